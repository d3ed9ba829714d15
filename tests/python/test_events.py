"""Lifecycle events, `mqtt-broker.md` §9: topics, exact payloads, every reason that can occur."""

import json
import re
import time
import uuid

import pytest

import wire as w


class Events:
    """The lifecycle events of one client."""

    def __init__(self, device, http, name, watched):
        self.device = device(name("watcher"))
        self.fence_topic, self.http = name("fence"), http
        for topic in (f"$aws/events/presence/+/{watched}",
                      f"$aws/events/subscriptions/+/{watched}", self.fence_topic):
            assert self.device.subscribe(topic) == 1

    def next(self, seconds=10.0):
        message = self.device.message(seconds)
        event = json.loads(message.payload)
        assert message.retain is False
        assert message.topic.split("/")[3] == event["eventType"]
        assert message.topic.endswith("/" + event["clientId"])
        assert abs(event["timestamp"] / 1000 - time.time()) < 30
        return event

    def none(self):
        self.http.post(f"/topics/{self.fence_topic}?qos=1", b"{}")
        return self.device.message().topic == self.fence_topic


@pytest.fixture
def events(device, http, name):
    return lambda watched: Events(device, http, name, watched)


def test_connected_has_these_members(events, wire, name, version):
    client_id = name("lamp")
    watch = events(client_id)
    wire(client_id=client_id, version=version)
    event = watch.next()
    assert list(event) == ["clientId", "timestamp", "eventType", "sessionIdentifier",
                           "principalIdentifier", "ipAddress", "versionNumber"]
    assert (event["clientId"], event["eventType"]) == (client_id, "connected")
    assert event["ipAddress"] == "127.0.0.1"
    assert str(uuid.UUID(event["sessionIdentifier"])) == event["sessionIdentifier"]
    assert type(event["timestamp"]) is int and type(event["versionNumber"]) is int


def test_disconnected_has_these_members_and_pairs_with_connected(events, wire, name, version):
    client_id = name("lamp")
    watch = events(client_id)
    lamp = wire(client_id=client_id, version=version)
    connected = watch.next()
    lamp.send(w.packet(w.DISCONNECT, 0, b""))
    event = watch.next()
    assert list(event) == ["clientId", "timestamp", "eventType", "sessionIdentifier",
                           "principalIdentifier", "clientInitiatedDisconnect",
                           "disconnectReason", "versionNumber"]
    assert event["clientInitiatedDisconnect"] is True
    assert event["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    for same in ("sessionIdentifier", "principalIdentifier", "versionNumber"):
        assert event[same] == connected[same]


def test_version_number_rises(events, wire, name):
    client_id = name("lamp")
    watch = events(client_id)
    seen = []
    for _ in range(3):
        lamp = wire(client_id=client_id)
        seen.append(watch.next()["versionNumber"])
        lamp.send(w.packet(w.DISCONNECT, 0, b""))
        watch.next()
    assert seen == sorted(set(seen))


def test_subscribed_and_unsubscribed_have_these_members(events, device, name, version):
    client_id = name("lamp")
    watch = events(client_id)
    lamp = device(client_id, version=version)
    connected = watch.next()
    lamp.subscribe("foo/bar")
    subscribed = watch.next()
    assert list(subscribed) == ["clientId", "timestamp", "eventType", "sessionIdentifier",
                                "principalIdentifier", "topics"]
    assert subscribed["topics"] == ["foo/bar"]
    assert subscribed["sessionIdentifier"] == connected["sessionIdentifier"]
    lamp.unsubscribe("foo/bar")
    unsubscribed = watch.next()
    assert (unsubscribed["eventType"], unsubscribed["topics"]) == ("unsubscribed", ["foo/bar"])


def test_one_subscribe_packet_is_one_event(events, wire, name, version):
    client_id = name("lamp")
    watch = events(client_id)
    lamp = wire(client_id=client_id, version=version)
    watch.next()
    lamp.send(w.subscribe("foo/bar", "device/data", version=version))
    assert watch.next()["topics"] == ["foo/bar", "device/data"]


def ends(client_id, lamp, wire, http):
    """How a connection can end, and the word for it."""
    return {
        "CONNECTION_LOST": lambda: lamp.close(),
        "CLIENT_ERROR": lambda: lamp.send(w.connect(client_id, version=lamp.version)),
        "API_INITIATED_DISCONNECT": lambda: http.delete(f"/connections/{client_id}"),
        "DUPLICATE_CLIENTID": lambda: wire(client_id=client_id, version=lamp.version),
        "MQTT_KEEP_ALIVE_TIMEOUT": lambda: lamp.rest(),
    }


REASONS = ["CONNECTION_LOST", "CLIENT_ERROR", "API_INITIATED_DISCONNECT", "DUPLICATE_CLIENTID",
           "MQTT_KEEP_ALIVE_TIMEOUT"]


@pytest.mark.parametrize("reason", REASONS)
def test_disconnect_reason_and_will(events, wire, http, device, name, version, reason):
    """§9, the table: each of these sends the will, before the event."""
    client_id = name("lamp")
    watch = events(client_id)
    assert watch.device.subscribe(f"wills/{client_id}") == 1
    keep_alive = 1 if reason == "MQTT_KEEP_ALIVE_TIMEOUT" else 60
    lamp = wire(client_id=client_id, version=version, keep_alive=keep_alive,
                will=(f"wills/{client_id}", "gone", 1))
    assert watch.next()["eventType"] == "connected"
    ends(client_id, lamp, wire, http)[reason]()
    assert watch.device.payload() == "gone"
    event = watch.next()
    assert event["disconnectReason"] == reason
    assert event["clientInitiatedDisconnect"] is False


def test_client_initiated_disconnect_sends_no_will(events, wire, name, version):
    client_id = name("lamp")
    watch = events(client_id)
    watch.device.subscribe(f"wills/{client_id}")
    lamp = wire(client_id=client_id, version=version, will=(f"wills/{client_id}", "gone", 1))
    watch.next()
    lamp.send(w.packet(w.DISCONNECT, 0, b""))
    assert watch.next()["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    assert watch.none()


def test_disconnect_with_will_message_sends_it(events, wire, name):
    """MQTT 5, 0x04: still the client's own doing."""
    client_id = name("lamp")
    watch = events(client_id)
    watch.device.subscribe(f"wills/{client_id}")
    lamp = wire(client_id=client_id, will=(f"wills/{client_id}", "gone", 1))
    watch.next()
    lamp.send(w.packet(w.DISCONNECT, 0, b"\x04"))
    assert watch.device.payload() == "gone"
    assert watch.next()["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"


def test_b_7_takeover_is_told_in_order(events, wire, name, version):
    """B-7: `disconnected`, then `connected` with a higher version; MQTT 5 gets 0x8E."""
    client_id = name("lamp")
    watch = events(client_id)
    old = wire(client_id=client_id, version=version)
    first = watch.next()
    wire(client_id=client_id, version=version)
    gone, back = watch.next(), watch.next()
    assert (gone["eventType"], back["eventType"]) == ("disconnected", "connected")
    assert gone["versionNumber"] == first["versionNumber"] < back["versionNumber"]
    assert old.end() == (0x8E if version == 5 else None)


def test_b_15_client_id_with_wildcards_has_no_events(device, wire, http, name, version):
    """B-15: `#` and `+` in the Client Identifier: no event, everything else works."""
    watch = device(name("watcher"))
    watch.subscribe("$aws/events/presence/#")
    plus, sharp = name("a+b"), name("a#b")
    for client_id in (plus, sharp):
        odd = device(client_id, version=version)
        topic = name("topic")
        odd.subscribe(topic)
        odd.publish(topic, "works")
        assert odd.payload() == "works"
        odd.disconnect()
    fence = name("fence")
    wire(client_id=fence)
    seen = []
    while not seen or seen[-1] != fence:
        seen.append(json.loads(watch.message().payload)["clientId"])
    assert not [one for one in seen if re.search("[#+]", one)]


def test_http_publish_has_no_event(device, http, name):
    """data-plane-http §7"""
    watch = device(name("watcher"))
    watch.subscribe("$aws/events/#")
    http.post("/topics/x?qos=1", b"payload")
    fence = name("fence")
    device(fence)
    seen = []
    while fence not in seen:
        seen.append(json.loads(watch.message().payload)["clientId"])
    assert None not in seen
    assert not [one for one in seen if "x" == one]
