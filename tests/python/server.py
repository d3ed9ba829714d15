"""The server under test: the binary itself, on free ports of the loopback, one process each."""

import functools
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BITTS", ROOT / "target" / "release" / "bitts"))


def wait_until(condition, what, seconds=10.0):
    """Asks until `condition()` is true-ish and returns its value; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Server:
    """A running `bitts serve`."""

    # Where it keeps what it is told, and what else is not for a test to say.
    KEEPS = ("--ephemeral",)

    def __init__(self, *flags):
        self.folder = tempfile.TemporaryDirectory(prefix="bitts-")
        folder = pathlib.Path(self.folder.name)
        self.flags = flags
        self.log_path = folder / "log"
        self.prepare(folder)
        self._start(folder)
        self.pki = folder / "bitts-data" / "pki"
        self.ca = self.pki / "ca.pem"

    def _start(self, folder):
        ready = folder / "ready.json"
        ready.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve", *self.KEEPS, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0",
                 "--mqtts", "127.0.0.1:0", "--https", "127.0.0.1:0",
                 "--ready-file", ready, *self.flags],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: ready.exists() or self.process.poll() is not None, "the ready file")
        assert self.process.poll() is None, f"the server ended: {self.log()}"
        self.listeners = json.loads(ready.read_text())
        self.addresses = {name: address(text) for name, text in self.listeners.items()}
        self.mqtt = self.addresses["mqtt"]
        self.http = self.addresses["http"]
        self.endpoint = "http://{}:{}".format(*self.http)
        self.https_endpoint = "https://{}:{}".format(*self.addresses["https"])

    def kill(self):
        """SIGKILL, as the power would."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        """The next process in the same folder, on new ports."""
        self._start(pathlib.Path(self.folder.name))

    def prepare(self, folder):
        """What is in its folder before it starts."""

    @functools.cached_property
    def device(self):
        """The files of a device certificate, made by `bitts certificate create`."""
        made = subprocess.run(
            [BINARY, "certificate", "create", "device", "--pki-dir", self.pki, "--out",
             self.folder.name, "--output", "json"], check=True, capture_output=True, text=True)
        made = json.loads(made.stdout)
        return types.SimpleNamespace(
            id=made["certificateId"], certificate=made["certificate"], key=made["key"])

    def log(self):
        return self.log_path.read_text(errors="replace")

    def resident_bytes(self):
        """VmRSS of the process."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def is_running(self):
        return self.process.poll() is None

    def stop(self):
        """SIGTERM; the exit status."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.tail = self.log()[-4000:]
            self.folder.cleanup()


def address(text):
    """`("127.0.0.1", 40001)` of `127.0.0.1:40001`."""
    host, port = text.rsplit(":", 1)
    return host, int(port)
