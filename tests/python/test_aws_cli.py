"""The AWS CLI, unmodified: found by its environment, pointed at the server by one variable."""

import base64
import json
import os
import pathlib
import subprocess
import sys

import pytest

AWS = pathlib.Path(sys.executable).with_name("aws")


@pytest.fixture
def aws(server, tmp_path):
    """Runs `aws iot-data WORDS…`: (exit status, parsed output, standard error)."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL_IOT_DATA_PLANE": server.endpoint, "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "SECRETEXAMPLE",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def run(*words):
        done = subprocess.run([AWS, "iot-data", *words], env=environment, cwd=tmp_path,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        output = json.loads(done.stdout) if done.stdout.strip() else None
        return done.returncode, output, done.stderr

    return run


def test_connection_commands(aws, device, name):
    """get-connection, list-subscriptions, delete-connection, and again."""
    lamp = device(name("lamp one"), clean=False, expiry=3600)
    lamp.subscribe("a/b")
    status, connection, _ = aws("get-connection", "--client-id", lamp.client_id,
                                "--include-socket-information")
    assert status == 0
    assert (connection["connected"], connection["sourceIp"]) == (True, "127.0.0.1")
    status, listed, _ = aws("list-subscriptions", "--client-id", lamp.client_id)
    assert (status, listed["subscriptions"]) == (0, [{"topicFilter": "a/b", "qos": 1}])
    status, output, _ = aws("delete-connection", "--client-id", lamp.client_id,
                            "--clean-session", "--prevent-will-message")
    assert (status, output) == (0, None)
    assert lamp.ended() == (True, 0x98)
    status, _, error = aws("delete-connection", "--client-id", lamp.client_id)
    assert status != 0 and "ResourceNotFoundException" in error


def test_bad_client_id(aws):
    """H-3"""
    status, _, error = aws("delete-connection", "--client-id", "$x")
    assert status != 0 and "InvalidRequestException" in error


def test_publish_and_retained_messages(aws, device, name, tmp_path):
    topic, listener = name("a b/ü"), device(name("listener"))
    listener.subscribe(topic)
    status, *_ = aws("publish", "--topic", topic, "--qos", "1", "--retain", "--payload", "hello",
                     "--user-properties", '[{"a":"1"}]')
    assert status == 0
    message = listener.message()
    assert message.payload == b"hello"
    assert message.properties.UserProperty == [("a", "1")]
    status, got, _ = aws("get-retained-message", "--topic", topic)
    assert status == 0
    assert base64.b64decode(got["payload"]) == b"hello"
    status, listed, _ = aws("list-retained-messages", "--page-size", "1")
    assert status == 0
    assert topic in [one["topic"] for one in listed["retainedTopics"]]
    status, _, error = aws("get-retained-message", "--topic", name("absent"))
    assert status != 0 and "ResourceNotFoundException" in error
