"""The control plane for tests: clients, documents, a server that keeps what it is told."""

import json
import pathlib
import subprocess
import tempfile

import boto3
import botocore.config

from server import BINARY, Server, address, wait_until

ACCOUNT = "arn:aws:iot:us-east-1:000000000000:"


def control_plane(endpoint, key="AKIDEXAMPLE", secret="SECRETEXAMPLE", **config):
    """An unmodified boto3 client of the service `iot`."""
    return boto3.client(
        "iot", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key,
        aws_secret_access_key=secret, config=botocore.config.Config(**config))


def document(*statements):
    """A policy's document of (effect, action, resource) statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Action": action, "Resource": resource}
        for effect, action, resource in statements]})


def allow(action, resource):
    return document(("Allow", action, resource if resource == "*" else ACCOUNT + resource))


def bitts(*words, env=None, stdin=None, status=0):
    """Runs the binary: what it printed, read as JSON."""
    done = subprocess.run([BINARY, *words], env=env, input=stdin, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == status, done.stderr
    if status:
        return done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


class Durable(Server):
    """`bitts serve` on a data directory that outlives it."""

    def __init__(self, data_dir, *flags):
        self.data_dir = pathlib.Path(data_dir)
        self.folder = tempfile.TemporaryDirectory(prefix="bitts-")
        folder = pathlib.Path(self.folder.name)
        ready = folder / "ready.json"
        self.log_path = folder / "log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve", "--data-dir", data_dir, "--mqtt", "off", "--mqtts", "off",
                 "--https", "127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-file", ready, *flags],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: ready.exists() or self.process.poll() is not None, "the ready file")
        assert self.process.poll() is None, self.log()
        listeners = json.loads(ready.read_text())
        self.http, self.https = address(listeners["http"]), address(listeners["https"])
        self.endpoint = "http://{}:{}".format(*self.http)

    def kill(self):
        """SIGKILL, as if the power went."""
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()
