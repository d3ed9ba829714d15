"""Device shadows: boto3, the AWS CLI, and MQTT beside them. Contract `device-shadow.md`."""

import json

import botocore.exceptions
import pytest

from conftest import data_plane
from control import ACCOUNT
from device import Device
from test_aws_cli import aws


def document(desired=None, reported=None, **more):
    state = {"desired": desired, "reported": reported}
    state = {name: section for name, section in state.items() if section is not None}
    return json.dumps({"state": state, **more}).encode()


def read(answer):
    """The document of an answer of boto3."""
    return json.loads(answer["payload"].read())


class Watcher:
    """A client that hears what the service says about a thing."""

    def __init__(self, device, thing, shadow=None):
        self.prefix = f"$aws/things/{thing}/shadow" + (f"/name/{shadow}" if shadow else "")
        self.device = device
        assert device.subscribe(f"{self.prefix}/#") == 1

    def next(self):
        """The end of the next message's topic, and its body."""
        message = self.device.message()
        assert message.topic.startswith(self.prefix + "/")
        assert (message.qos, message.retain) == (1, False)
        return message.topic.removeprefix(self.prefix + "/"), json.loads(message.payload)

    def nothing_but(self, fence):
        """What came before a request that nobody else makes: a get with this token."""
        self.device.publish(f"{self.prefix}/get", json.dumps({"clientToken": fence}))
        heard = []
        while True:
            last, body = self.next()
            if body.get("clientToken") == fence:
                return heard
            heard.append(last)


@pytest.fixture
def thing(name):
    return name("thing")


@pytest.fixture
def watcher(device, name, thing, version):
    return Watcher(device(name("watcher"), version=version), thing)


def test_update_get_and_delete(iot, thing):
    """S-1, S-19, S-35 by boto3: bodies are the documents, no client makes a thing first."""
    update = read(iot.update_thing_shadow(
        thingName=thing, payload=document({"led": "on"}, clientToken="t")))
    assert (update["version"], update["clientToken"]) == (1, "t")
    assert update["state"] == {"desired": {"led": "on"}}
    stamp = update["metadata"]["desired"]["led"]["timestamp"]
    assert stamp == update["timestamp"]
    got = read(iot.get_thing_shadow(thingName=thing))
    assert got["state"] == {"desired": {"led": "on"}, "delta": {"led": "on"}}
    deleted = read(iot.delete_thing_shadow(thingName=thing))
    assert set(deleted) == {"version", "timestamp"} and deleted["version"] == 1
    assert read(iot.update_thing_shadow(thingName=thing, payload=document({})))["version"] == 3


def test_names_with_odd_letters(iot, name):
    """data-plane-http §5: `T%3A1`; MODEL allows `$` in a shadow's name."""
    thing = name("T:1_-")
    iot.update_thing_shadow(thingName=thing, shadowName="$a:b_-", payload=document({}))
    assert iot.list_named_shadows_for_thing(thingName=thing)["results"] == ["$a:b_-"]
    got = read(iot.get_thing_shadow(thingName=thing, shadowName="$a:b_-"))
    assert (got["state"], got["version"]) == ({}, 1)


def test_pages_of_named_shadows(iot, thing):
    """S-27: the classic one is not listed; tokens until the last page."""
    names = sorted(f"s{number:03}" for number in range(120))
    for shadow in [None, *names]:
        named = {"shadowName": shadow} if shadow else {}
        iot.update_thing_shadow(thingName=thing, payload=document({}), **named)
    first = iot.list_named_shadows_for_thing(thingName=thing)
    assert (first["results"], first["timestamp"] > 0) == (names[:100], True)
    listed, token = [], {}
    while True:
        page = iot.list_named_shadows_for_thing(thingName=thing, pageSize=50, **token)
        listed += page["results"]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert listed == names
    iot.delete_thing_shadow(thingName=thing, shadowName="s007")
    assert "s007" not in iot.list_named_shadows_for_thing(thingName=thing)["results"]
    assert iot.list_named_shadows_for_thing(thingName=thing + "x")["results"] == []


def raises(iot, exception, call, **asked):
    """Calls, and returns the message of the typed exception."""
    with pytest.raises(getattr(iot.exceptions, exception)) as caught:
        getattr(iot, call)(**asked)
    error = caught.value.response
    assert error["Error"]["Code"] == exception
    return error["Error"]["Message"]


def test_every_exception_is_typed(server, iot, http, thing):
    """§4, S-32: what can occur of the model's exceptions, as boto3's classes."""
    for payload, message in [
        (b"{", "Invalid JSON"), (b"", "Invalid JSON"), (b'{"a":1}', "Missing required node: state"),
        (b'{"state":{"desired":{"a":[null]}}}', "State contains an invalid node"),
        (b'{"state":{},"clientToken":7}', "Invalid clientToken"),
        (b'{"state":{},"version":"2"}', "Invalid version"),
        (b'{"state":{"desired":{"a":{"b":{"c":{"d":{"e":{"f":{"g":1}}}}}}}}}',
         "JSON contains too many levels of nesting; maximum is 6"),
        (b"[" * 100_000, "JSON contains too many levels of nesting; maximum is 6"),
    ]:
        said = raises(iot, "InvalidRequestException", "update_thing_shadow", thingName=thing,
                      payload=payload)
        assert said == message
    for asked in ({"thingName": "a b"}, {"thingName": thing, "shadowName": "a/b"}):
        raises(iot, "InvalidRequestException", "get_thing_shadow", **asked)
    said = raises(iot, "ResourceNotFoundException", "get_thing_shadow", thingName=thing)
    assert said == f"No shadow exists with name: '{thing}'"
    raises(iot, "ResourceNotFoundException", "delete_thing_shadow", thingName=thing, shadowName="s")
    iot.update_thing_shadow(thingName=thing, payload=document({}))
    said = raises(iot, "ConflictException", "update_thing_shadow", thingName=thing,
                  payload=document({}, version=7))
    assert said == "Version conflict"
    for size in (8_300, 131_073):
        raises(iot, "RequestEntityTooLargeException", "update_thing_shadow", thingName=thing,
               payload=document({"a": "x" * size}))
    raises(iot, "UnsupportedDocumentEncodingException", "update_thing_shadow", thingName=thing,
           payload=b'{"state":{"desired":{"a":"\xff"}}}')
    once = data_plane(server, retries={"total_max_attempts": 1})
    for call, operation, more in [
        ("get_thing_shadow", "GetThingShadow", {}),
        ("update_thing_shadow", "UpdateThingShadow", {"payload": document({})}),
        ("delete_thing_shadow", "DeleteThingShadow", {}),
        ("list_named_shadows_for_thing", "ListNamedShadowsForThing", {}),
    ]:
        http.post(f"/bitts/v1/throttle?calls=1&operation={operation}")
        raises(once, "ThrottlingException", call, thingName=thing, **more)
    answer = http.request("PUT", f"/things/{thing}/shadow", b"{}")
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (405, "MethodNotAllowedException")
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.list_named_shadows_for_thing(thingName=thing, pageSize=101)
    assert read(iot.get_thing_shadow(thingName=thing))["version"] == 1


def test_a_device_and_an_application(iot, thing, watcher):
    """S-29, S-30: an update over HTTP is heard, a refused one and a get are not."""
    iot.update_thing_shadow(thingName=thing, payload=document({"led": "on"}, clientToken="app"))
    heard = dict(watcher.next() for _ in range(3))
    assert set(heard) == {"update/accepted", "update/documents", "update/delta"}
    assert all(body["clientToken"] == "app" for body in heard.values())
    assert heard["update/delta"]["state"] == {"led": "on"}
    assert heard["update/documents"]["previous"] is None
    iot.get_thing_shadow(thingName=thing)
    with pytest.raises(iot.exceptions.ConflictException):
        iot.update_thing_shadow(thingName=thing, payload=document({}, version=9))
    assert watcher.nothing_but("fence") == []
    watcher.device.publish(f"{watcher.prefix}/update", document(reported={"led": "on"}))
    heard = dict(watcher.next() for _ in range(2))
    assert heard["update/accepted"]["version"] == 2, "and no delta"
    assert set(heard) == {"update/accepted", "update/documents"}
    got = read(iot.get_thing_shadow(thingName=thing))
    assert got["state"] == {"desired": {"led": "on"}, "reported": {"led": "on"}}
    watcher.device.publish(f"{watcher.prefix}/delete")
    assert watcher.next()[0] == "delete/accepted"
    watcher.device.publish(f"{watcher.prefix}/delete", b"{}")
    last, body = watcher.next()
    assert (last, body["code"]) == ("delete/rejected", 404)


def test_a_named_shadow_is_heard_under_its_name_only(device, iot, name, thing):
    """S-28"""
    classic = Watcher(device(name("w")), thing)
    classic.device.unsubscribe(f"{classic.prefix}/#")
    classic.device.subscribe(f"{classic.prefix}/update/+")
    classic.device.subscribe(f"{classic.prefix}/get/+")
    named = Watcher(device(name("w")), thing, "s")
    iot.update_thing_shadow(thingName=thing, shadowName="s", payload=document({"a": 1}))
    assert named.next()[0].startswith("update/")
    assert classic.nothing_but("fence") == []


def test_publish_of_the_api_is_a_request_too(iot, thing, watcher):
    iot.publish(topic=f"$aws/things/{thing}/shadow/update", qos=1, payload=document({"a": 1}))
    assert read(iot.get_thing_shadow(thingName=thing))["version"] == 1
    assert watcher.next()[0].startswith("update/")


def test_a_retried_get_is_answered_once_by_each_request(iot, device, thing, name):
    """Many requests of one client: as many answers, in the order of the requests."""
    watcher = Watcher(device(name("w")), thing)
    iot.update_thing_shadow(thingName=thing, payload=document({"a": 1}))
    for _ in range(3):
        watcher.next()
    for number in range(9):
        body = json.dumps({"clientToken": str(number)})
        watcher.device.publish(f"{watcher.prefix}/get", body)
    tokens = [watcher.next()[1]["clientToken"] for _ in range(9)]
    assert tokens == [str(number) for number in range(9)]


def test_commands_of_the_aws_cli(aws, thing, tmp_path):
    """`--payload` of version 1 is taken as it is typed; documents go to a file."""
    out = tmp_path / "out.json"
    status, _, error = aws("update-thing-shadow", "--thing-name", thing, "--shadow-name", "s",
                           "--payload", '{"state":{"desired":{"a":1}}}', str(out))
    assert status == 0, error
    assert json.loads(out.read_text())["version"] == 1
    status, *_ = aws("get-thing-shadow", "--thing-name", thing, "--shadow-name", "s", str(out))
    assert (status, json.loads(out.read_text())["state"]["delta"]) == (0, {"a": 1})
    status, listed, _ = aws("list-named-shadows-for-thing", "--thing-name", thing)
    assert (status, listed["results"]) == (0, ["s"])
    status, *_ = aws("delete-thing-shadow", "--thing-name", thing, "--shadow-name", "s", str(out))
    assert (status, json.loads(out.read_text())["version"]) == (0, 1)
    status, _, error = aws("get-thing-shadow", "--thing-name", thing, str(out))
    assert status != 0 and "ResourceNotFoundException" in error


def test_credentials_decide_over_mqtt_and_http(enforced, name, thing):
    """policies.md §2: a device with rights on its own shadow reads no other one's answers."""
    def allow(action, resource):
        return ("Allow", action, ACCOUNT + resource)

    mine = f"$aws/things/{thing}/shadow"
    held = enforced.certificate(
        allow("iot:Connect", "client/*"), allow("iot:Publish", f"topic/{mine}/get"),
        allow("iot:Subscribe", "topicfilter/$aws/things/*"),
        allow("iot:Receive", f"topic/{mine}/get/*"))
    lamp = Device(enforced, name("lamp"), way=held.way())
    try:
        assert lamp.subscribe("$aws/things/#") == 1
        admin = enforced.data(enforced.admin)
        admin.update_thing_shadow(thingName=thing, payload=document({"a": 1}))
        admin.update_thing_shadow(thingName=thing + "-2", payload=document({"a": 1}))
        lamp.publish(f"{mine}/get")
        assert lamp.message().topic == f"{mine}/get/accepted", "and nothing before it"
    finally:
        lamp.close()
    reader = enforced.data(enforced.key(("Allow", "iot:GetThingShadow", f"{ACCOUNT}thing/{thing}")))
    assert read(reader.get_thing_shadow(thingName=thing))["version"] == 1
    with pytest.raises(botocore.exceptions.ClientError) as denied:
        reader.update_thing_shadow(thingName=thing, payload=document({}))
    assert denied.value.response["Error"]["Code"] == "ForbiddenException"
