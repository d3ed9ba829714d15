"""Rates: off unless asked for, AWS's with `--rate-limits aws`, and throttling on a test's word."""

import time

import pytest

import wire as w
from conftest import data_plane
from control import control_plane
from rawhttp import Http
from server import Server


@pytest.fixture(scope="module")
def rated():
    running = Server("--rate-limits", "aws", "--profile", "aws")
    yield running
    assert running.stop() == 0, running.tail


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_boto3_tries_again(fresh_server, mode):
    """H-15: two calls throttle, the third try is answered."""
    iot = data_plane(fresh_server, retries={"mode": mode, "total_max_attempts": 3})
    http = Http(fresh_server.http)
    assert http.post("/bitts/v1/throttle?calls=2", b"").status == 200
    answer = iot.publish(topic="a", payload=b"x")
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2


def test_throttling_is_typed_and_says_when(fresh_server):
    iot = data_plane(fresh_server, retries={"total_max_attempts": 1})
    http = Http(fresh_server.http)
    assert http.post("/bitts/v1/throttle?calls=1&operation=GetConnection", b"").status == 200
    iot.publish(topic="a", payload=b"x")
    with pytest.raises(iot.exceptions.ThrottlingException) as refused:
        iot.get_connection(clientId="nobody")
    metadata = refused.value.response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == 429
    assert metadata["HTTPHeaders"]["retry-after"] == "1"
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_connection(clientId="nobody")


def test_one_operation_of_the_control_plane_throttles(fresh_server):
    """As AWS's control plane does it: 400."""
    plane = control_plane(fresh_server.endpoint, retries={"total_max_attempts": 1})
    http = Http(fresh_server.http)
    assert http.post("/bitts/v1/throttle?calls=1&operation=CreateThing", b"").status == 200
    plane.list_things()
    with pytest.raises(plane.exceptions.ThrottlingException) as refused:
        plane.create_thing(thingName="lamp")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    plane.create_thing(thingName="lamp")


@pytest.mark.parametrize("query", ["calls=x", "calls=1&operation=Nothing", "call=1"])
def test_what_is_not_understood_is_refused(fresh_server, query):
    assert Http(fresh_server.http).post(f"/bitts/v1/throttle?{query}", b"").status == 400


def test_lists_of_retained_messages_have_aws_rate(rated):
    iot = data_plane(rated, retries={"total_max_attempts": 1})
    refused = 0
    for _ in range(25):
        try:
            iot.list_retained_messages()
        except iot.exceptions.ThrottlingException:
            refused += 1
    assert refused > 0


def test_bytes_of_a_client_are_delayed(rated, name):
    """512 KiB a second: ten messages of 100 KiB take about a second more."""
    client = w.Wire(rated.mqtt, name("lamp"))
    begun = time.monotonic()
    for packet_id in range(1, 11):
        client.send(w.publish("a/b", b"x" * 102_400, qos=1, packet_id=packet_id))
    for _ in range(10):
        assert client.read()[0] == w.PUBACK
    assert 0.7 < time.monotonic() - begun < 10


def test_control_plane_has_a_rate_of_its_own(tmp_path):
    """Its exception is a 400, which SDKs try again; other operations go on."""
    config = tmp_path / "bitts.toml"
    config.write_text("[limits]\ncontrol-plane-requests-per-second = 2\n")
    running = Server("--config", str(config))
    plane = control_plane(running.endpoint, retries={"total_max_attempts": 1})
    refused = []
    for _ in range(20):
        try:
            plane.list_things()
        except plane.exceptions.ThrottlingException as error:
            refused.append(error.response["ResponseMetadata"])
    assert refused
    assert {it["HTTPStatusCode"] for it in refused} == {400}
    assert {it["HTTPHeaders"]["retry-after"] for it in refused} == {"1"}
    plane.list_policies()
    patient = control_plane(running.endpoint, retries={"mode": "standard", "max_attempts": 5})
    for number in range(4):
        patient.create_thing(thingName=f"thing-{number}")
    assert running.stop() == 0
