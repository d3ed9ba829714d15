"""SendDirectMessage by boto3 and the AWS CLI. Contract `delete-connection.md` §4."""

import concurrent.futures
import json
import time

import botocore.exceptions
import pytest

from conftest import data_plane
from control import ACCOUNT
from device import Device
from enforced import sign
from test_aws_cli import aws

PROPERTIES = [{"deviceName": "alpha"}, {"deviceCnt": "45"}]


def test_dm_01_confirmed_with_properties(iot, device, name, way):
    """Each way to speak MQTT; the client subscribes to nothing."""
    lamp = device(name("lamp one/ü"), way=way)
    answer = iot.send_direct_message(
        clientId=lamp.client_id, topic="commands/reboot", payload=b"now", confirmation=True,
        contentType="text/plain", responseTopic="answers/1", correlationData="Y29ycg==",
        payloadFormatIndicator="UTF8_DATA", userProperties=PROPERTIES)
    assert answer["message"] == "OK"
    assert answer["traceId"] == answer["ResponseMetadata"]["RequestId"]
    got = lamp.message()
    assert (got.topic, got.payload) == ("commands/reboot", b"now")
    assert (got.qos, got.retain, got.dup) == (1, False, False)
    assert got.properties.UserProperty == [("deviceName", "alpha"), ("deviceCnt", "45")]
    assert got.properties.ContentType == "text/plain"
    assert got.properties.ResponseTopic == "answers/1"
    assert got.properties.CorrelationData == b"corr"
    assert got.properties.PayloadFormatIndicator == 1


def test_dm_02_and_dm_11_unconfirmed_to_either_version(iot, device, name, version):
    lamp = device(name("lamp"), version=version)
    iot.send_direct_message(clientId=lamp.client_id, topic="t", payload=b"x", timeout=99,
                            userProperties=PROPERTIES)
    got = lamp.message()
    assert (got.payload, got.qos) == (b"x", 0)


@pytest.fixture
def once(server):
    """boto3 without retries: a 504 is retried by default."""
    return data_plane(server, retries={"total_max_attempts": 1})


def test_dm_03_a_client_that_acknowledges_nothing(once, wire, name):
    client_id = name("mute")
    wire(client_id=client_id)
    began = time.monotonic()
    with pytest.raises(once.exceptions.GatewayTimeoutException):
        once.send_direct_message(clientId=client_id, topic="t", payload=b"x",
                                 confirmation=True, timeout=1)
    assert 1.0 <= time.monotonic() - began < 5.0


def test_a_client_that_leaves_meanwhile(once, wire, name):
    client_id = name("mute")
    mute = wire(client_id=client_id)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(once.send_direct_message, clientId=client_id, topic="t", payload=b"x",
                           confirmation=True, timeout=15)
        mute.read()
        mute.close()
        with pytest.raises(once.exceptions.GatewayTimeoutException):
            sent.result(10)


def test_dm_04_and_dm_05_who_is_not_there(once, device, name):
    lamp = device(name("lamp"), clean=False, expiry=3600)
    lamp.disconnect()
    for confirmation in (False, True):
        with pytest.raises(once.exceptions.ResourceNotFoundException) as offline:
            once.send_direct_message(clientId=lamp.client_id, topic="t", payload=b"x",
                                     confirmation=confirmation)
        assert "but it has an active persistent session" in str(offline.value)
    with pytest.raises(once.exceptions.ResourceNotFoundException) as unknown:
        once.send_direct_message(clientId=name("nobody"), topic="t", payload=b"x")
    assert "persistent session" not in str(unknown.value)
    back = device(lamp.client_id, clean=False, expiry=3600)
    back.subscribe("fence")
    once.publish(topic="fence", payload=b"fence")
    assert back.until("fence") == [], "nothing was queued"


def test_dm_06_dm_12_and_sizes(once, device, name):
    lamp = device(name("lamp"))
    for asked in ({"topic": "$aws/x"}, {"topic": "a/+"}, {"topic": ""}, {"topic": "a" * 257},
                  {"topic": "1/2/3/4/5/6/7/8/9"},
                  {"topic": "t", "confirmation": True, "timeout": 16},
                  {"topic": "t", "confirmation": True, "timeout": 0},
                  {"topic": "t", "responseTopic": "a/#"},
                  {"topic": "t", "userProperties": [{"name": "a", "value": "b"}]}):
        with pytest.raises(once.exceptions.InvalidRequestException):
            once.send_direct_message(clientId=lamp.client_id, payload=b"x", **asked)
    with pytest.raises(once.exceptions.InvalidRequestException):
        once.send_direct_message(clientId="$x", topic="t")
    once.send_direct_message(clientId=lamp.client_id, topic="t", payload=b"x" * 131_072)
    assert len(lamp.message().payload) == 131_072
    with pytest.raises(once.exceptions.RequestEntityTooLargeException):
        once.send_direct_message(clientId=lamp.client_id, topic="t", payload=b"x" * 131_073)


def test_dm_09_nobody_else_gets_it(iot, device, name):
    lamp, other = device(name("lamp")), device(name("other"))
    topic = name("t")
    other.subscribe(topic)
    iot.send_direct_message(clientId=lamp.client_id, topic=topic, payload=b"secret",
                            confirmation=True)
    iot.publish(topic=topic, payload=b"fence")
    assert other.until("fence") == []
    assert lamp.payload() == "secret"
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_retained_message(topic=topic)


def test_dm_13_throttling_is_typed(once, http, device, name):
    lamp = device(name("lamp"))
    http.post("/bitts/v1/throttle?calls=1&operation=SendDirectMessage")
    with pytest.raises(once.exceptions.ThrottlingException):
        once.send_direct_message(clientId=lamp.client_id, topic="t", payload=b"x")


def test_dm_14_a_refusing_client(once, wire, name):
    """MQTT 5: PUBACK 0x83."""
    client_id = name("picky")
    picky = wire(client_id=client_id)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(once.send_direct_message, clientId=client_id, topic="t", payload=b"x",
                           confirmation=True)
        _, flags, body = picky.read()
        assert flags & 0x06 == 0x02
        picky.send(b"\x40\x03" + body[3:5] + b"\x83")
        with pytest.raises(once.exceptions.InternalFailureException) as failed:
            sent.result(10)
    assert "0x83" in str(failed.value)


def test_the_aws_cli_sends(aws, device, name):
    lamp = device(name("lamp"))
    status, answer, error = aws(
        "send-direct-message", "--client-id", lamp.client_id, "--topic", "a b", "--payload", "hi",
        "--confirmation", "--timeout", "3", "--user-properties", '[{"a":"1"}]')
    assert status == 0, error
    assert answer["message"] == "OK"
    got = lamp.message()
    assert (got.topic, got.payload, got.qos) == ("a b", b"hi", 1)
    assert got.properties.UserProperty == [("a", "1")]


def test_dm_07_and_dm_08_two_kinds_of_403(enforced, name):
    """The sender's has no body, the receiver's names the client (data-plane-http §3)."""
    client_id = name("lamp")
    held = enforced.certificate(
        ("Allow", "iot:Connect", f"{ACCOUNT}client/*"),
        ("Allow", "iot:Receive", f"{ACCOUNT}topic/commands/a"))
    lamp = Device(enforced, client_id, way=held.way())
    try:
        document = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "iot:SendDirectMessage",
            "Resource": f"{ACCOUNT}client/{client_id}",
            "Condition": {"StringLike": {"iot:Topic": "commands/*"}}}]}
        key = enforced.key(json.dumps(document))
        sender = enforced.data(key)
        for confirmation in (True, False):
            sender.send_direct_message(clientId=client_id, topic="commands/a", payload=b"x",
                                       confirmation=confirmation)
            assert lamp.message().topic == "commands/a"
        with pytest.raises(sender.exceptions.ForbiddenException) as receiver:
            sender.send_direct_message(clientId=client_id, topic="commands/b", payload=b"x")
        assert client_id in str(receiver.value)
        for target in (f"/connections/{client_id}/messages?topic=other",
                       f"/connections/{client_id}x/messages?topic=commands%2Fa",
                       f"/connections/{client_id}/messages"):
            answer = enforced.send(sign(enforced, key, "POST", target, b"x"))
            assert (answer.status, answer.error, answer.body) == (403, "ForbiddenException", b"")
        with pytest.raises(sender.exceptions.ForbiddenException):
            sender.send_direct_message(clientId=client_id, topic="other", payload=b"x")
    finally:
        lamp.close()
