"""DeleteConnection, by the numbers of the contract's state table, with boto3 and paho.

Each row that needs no policy runs on MQTT 3.1.1 and on MQTT 5.
"""

import concurrent.futures
import json
import time

import pytest

import wire as w
from server import wait_until

ADMINISTRATIVE_ACTION = 0x98


class Watcher:
    """Sees a client's will and its lifecycle events, in order."""

    def __init__(self, device, http, name, watched):
        self.http = http
        self.will, self.fence_topic = f"wills/{watched}", name("fence")
        self.device = device(name("watcher"))
        for topic in (self.will, self.fence_topic, f"$aws/events/presence/+/{watched}",
                      f"$aws/events/subscriptions/+/{watched}"):
            assert self.device.subscribe(topic) == 1

    def next(self):
        """`("will", payload)` or `("disconnected", event)`."""
        message = self.device.message()
        if message.topic == self.will:
            return "will", message.payload.decode()
        if message.topic == self.fence_topic:
            return "fence", None
        event = json.loads(message.payload)
        return event["eventType"], event

    def seen(self):
        """What was seen up to this moment, as words; an event is named by its type."""
        assert self.http.post(f"/topics/{self.fence_topic}?qos=1", b"fence").status == 200
        words = []
        while (word := self.next()[0]) != "fence":
            words.append(word)
        return words


@pytest.fixture
def watcher(device, http, name):
    return lambda watched: Watcher(device, http, name, watched)


@pytest.fixture
def lamp(device, name, version, watcher):
    """Connects a client with a will, watched: (device, watcher)."""

    def connect(persistent=False, **options):
        client_id = options.pop("client_id", None) or name("lamp")
        watching = options.pop("watching", None) or watcher(client_id)
        session = {"clean": not persistent, "expiry": 3600 if persistent else None}
        if version == 4:
            session.pop("expiry")
        will = {"topic": watching.will, "payload": "gone", **options.pop("will", {})}
        connected = device(client_id, version=version, will=will, **(session | options))
        assert watching.next()[0] == "connected"
        return connected, watching

    return connect


def delete(iot, client_id, **options):
    answer = iot.delete_connection(clientId=client_id, **options)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


def assert_put_off(device):
    """The connection was closed: MQTT 5 is told why, MQTT 3.1.1 sees a bare close."""
    from_server, reason = device.ended()
    if device.version == 5:
        assert (from_server, reason) == (True, ADMINISTRATIVE_ACTION)
    else:
        assert not from_server


def resume(device, gone, **options):
    """The same client again, asking for its session."""
    return device(gone.client_id, version=gone.version, clean=False, **options)


def assert_not_found(iot, call, **arguments):
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        call(**arguments)


def test_dc_1_clean_session_is_closed_with_will_and_event(lamp, iot, device):
    """DC-1"""
    connected, watcher = lamp()
    delete(iot, connected.client_id)
    assert_put_off(connected)
    assert watcher.next() == ("will", "gone")
    kind, event = watcher.next()
    assert (kind, event["disconnectReason"]) == ("disconnected", "API_INITIATED_DISCONNECT")
    assert event["clientInitiatedDisconnect"] is False
    assert not resume(device, connected).session_present


@pytest.mark.parametrize("clean_session", [True, False])
def test_dc_2_clean_session_parameter_is_ignored_for_a_clean_session(
        lamp, iot, device, clean_session):
    """DC-2"""
    connected, watcher = lamp()
    delete(iot, connected.client_id, cleanSession=clean_session)
    assert_put_off(connected)
    assert [watcher.next()[0] for _ in range(2)] == ["will", "disconnected"]
    assert not resume(device, connected).session_present


def test_dc_3_will_of_a_clean_session_is_prevented(lamp, iot):
    """DC-3"""
    connected, watcher = lamp()
    delete(iot, connected.client_id, preventWillMessage=True)
    assert_put_off(connected)
    assert watcher.seen() == ["disconnected"]


def test_dc_4_persistent_session_is_kept(lamp, iot, device, http):
    """DC-4: subscriptions live on, QoS 1 queues, the expiry is unchanged."""
    connected, watcher = lamp(persistent=True)
    topic = f"to/{connected.client_id}"
    assert connected.subscribe(topic) == 1
    assert watcher.next()[0] == "subscribed"
    delete(iot, connected.client_id)
    assert_put_off(connected)
    assert [watcher.next()[0] for _ in range(2)] == ["will", "disconnected"]
    http.post(f"/topics/{topic}?qos=1", b"queued")
    state = iot.get_connection(clientId=connected.client_id)
    assert (state["connected"], state["cleanSession"]) == (False, False)
    if connected.version == 5:
        assert state["sessionExpiry"] == 3600
    back = resume(device, connected, **({"expiry": 3600} if connected.version == 5 else {}))
    assert back.session_present
    assert back.payload() == "queued"
    http.post(f"/topics/{topic}?qos=1", b"live")
    assert back.payload() == "live"


def test_dc_4_expiry_timer_starts_at_the_deletion(device, iot, name):
    """DC-4: a Session Expiry Interval of 1 s ends the session a second after the call."""
    lamp = device(name("lamp"), clean=False, expiry=1)
    lamp.subscribe(name("topic"))
    delete(iot, lamp.client_id)
    began = time.monotonic()
    iot.list_subscriptions(clientId=lamp.client_id)

    def is_gone():
        try:
            iot.list_subscriptions(clientId=lamp.client_id)
        except iot.exceptions.ResourceNotFoundException:
            return True
        return False

    wait_until(is_gone, "the end of the session")
    assert time.monotonic() - began > 0.8


def test_dc_4_will_waits_for_its_delay(device, iot, name, watcher):
    """DC-4, will delay: after the delay, and not if the client resumes first."""
    first, second = name("lamp"), name("lamp")
    both = watcher(first)
    will = {"topic": both.will, "WillDelayInterval": 1}
    resumed = device(first, clean=False, expiry=60, will={**will, "payload": "resumed"})
    waiting = device(second, clean=False, expiry=60, will={**will, "payload": "waited"})
    began = time.monotonic()
    delete(iot, first)
    delete(iot, second)
    assert_put_off(resumed)
    assert_put_off(waiting)
    assert resume(device, resumed, expiry=60).session_present
    words = [both.next() for _ in range(4)]
    assert [word[0] for word in words] == ["connected", "disconnected", "connected", "will"]
    assert words[3] == ("will", "waited")
    assert time.monotonic() - began > 0.9
    assert both.seen() == []


def test_dc_5_persistent_session_is_removed(lamp, iot, device, http):
    """DC-5: no session is left, queued messages are dropped, no `unsubscribed` event."""
    connected, watcher = lamp(persistent=True)
    topic = f"to/{connected.client_id}"
    connected.subscribe(topic)
    assert watcher.next()[0] == "subscribed"
    delete(iot, connected.client_id, cleanSession=True)
    assert_put_off(connected)
    assert watcher.seen() == ["will", "disconnected"]
    http.post(f"/topics/{topic}?qos=1", b"for nobody")
    back = resume(device, connected)
    assert not back.session_present
    assert back.subscribe(topic) == 1
    http.post(f"/topics/{topic}?qos=1", b"live")
    assert back.payload() == "live"


def test_dc_5_shared_group_membership_ends(lamp, iot, device, http, name):
    """DC-5: the other member gets every message of the group."""
    connected, _ = lamp(persistent=True)
    other = device(name("other"))
    topic = name("jobs")
    for member in (connected, other):
        assert member.subscribe(f"$share/workers/{topic}") == 1
    delete(iot, connected.client_id, cleanSession=True)
    for number in range(20):
        http.post(f"/topics/{topic}?qos=1", str(number).encode())
    assert [other.payload() for _ in range(20)] == [str(number) for number in range(20)]


def test_dc_5_delayed_will_goes_at_once(device, iot, name, watcher):
    """DC-5: the end of the session ends the Will Delay Interval."""
    client_id = name("lamp")
    watching = watcher(client_id)
    device(client_id, clean=False, expiry=3600,
           will={"topic": watching.will, "WillDelayInterval": 3600})
    assert watching.next()[0] == "connected"
    delete(iot, client_id, cleanSession=True)
    assert sorted(watching.next()[0] for _ in range(2)) == ["disconnected", "will"]


def test_dc_6_persistent_session_and_will_are_both_gone(lamp, iot, device):
    """DC-6"""
    connected, watcher = lamp(persistent=True)
    delete(iot, connected.client_id, cleanSession=True, preventWillMessage=True)
    assert_put_off(connected)
    assert watcher.seen() == ["disconnected"]
    assert not resume(device, connected).session_present


def test_dc_7_offline_session_is_kept(lamp, iot, device):
    """DC-7: 200, nothing changes, no event."""
    connected, watcher = lamp(persistent=True)
    connected.subscribe(f"to/{connected.client_id}")
    assert watcher.next()[0] == "subscribed"
    connected.disconnect()
    assert watcher.next()[0] == "disconnected"
    delete(iot, connected.client_id)
    assert watcher.seen() == []
    assert iot.list_subscriptions(clientId=connected.client_id)["subscriptions"]
    assert resume(device, connected).session_present


def test_dc_7_pending_delayed_will_is_left_alone(device, iot, name, watcher):
    """DC-7: the will comes when its delay is over."""
    client_id = name("lamp")
    watching = watcher(client_id)
    lamp = device(client_id, clean=False, expiry=60,
                  will={"topic": watching.will, "WillDelayInterval": 1})
    assert watching.next()[0] == "connected"
    lamp.vanish()
    assert watching.next()[1]["disconnectReason"] == "CONNECTION_LOST"
    delete(iot, client_id)
    assert watching.next() == ("will", "gone")


def test_dc_8_offline_session_is_removed(lamp, iot, device, http):
    """DC-8: the session and its queue are gone, no event."""
    connected, watcher = lamp(persistent=True)
    topic = f"to/{connected.client_id}"
    connected.subscribe(topic)
    assert watcher.next()[0] == "subscribed"
    connected.disconnect()
    assert watcher.next()[0] == "disconnected"
    http.post(f"/topics/{topic}?qos=1", b"queued")
    delete(iot, connected.client_id, cleanSession=True)
    assert watcher.seen() == []
    assert_not_found(iot, iot.list_subscriptions, clientId=connected.client_id)
    assert not resume(device, connected).session_present


@pytest.mark.parametrize("prevent", [False, True])
def test_dc_8_pending_delayed_will(device, iot, name, watcher, prevent):
    """DC-8: published at once as the session ends, unless prevented."""
    client_id = name("lamp")
    watching = watcher(client_id)
    lamp = device(client_id, clean=False, expiry=3600,
                  will={"topic": watching.will, "WillDelayInterval": 3600})
    lamp.vanish()
    assert [watching.next()[0] for _ in range(2)] == ["connected", "disconnected"]
    delete(iot, client_id, cleanSession=True, preventWillMessage=prevent)
    if prevent:
        assert watching.seen() == []
    else:
        assert watching.next() == ("will", "gone")


def test_dc_9_pending_delayed_will_is_discarded_and_the_session_kept(
        device, iot, name, watcher):
    """DC-9: a will of the same delay that was not prevented comes, this one does not."""
    first, second = name("lamp"), name("lamp")
    watching = watcher(first)
    for client_id, payload in ((first, "prevented"), (second, "published")):
        will = {"topic": watching.will, "payload": payload, "WillDelayInterval": 1}
        device(client_id, clean=False, expiry=60, will=will).vanish()
    assert [watching.next()[0] for _ in range(2)] == ["connected", "disconnected"]
    delete(iot, first, preventWillMessage=True)
    assert watching.next() == ("will", "published")
    assert watching.seen() == []
    assert iot.list_subscriptions(clientId=first)["subscriptions"] == []


def test_dc_10_unknown_client_is_not_found(iot, name):
    """DC-10: never seen."""
    for options in ({}, {"cleanSession": True}, {"preventWillMessage": True}):
        assert_not_found(iot, iot.delete_connection, clientId=name("nobody"), **options)


def test_dc_10_clean_session_that_is_gone_is_not_found(iot, device, name, version):
    """DC-10: a client that left with a clean session."""
    lamp = device(name("lamp"), version=version)
    lamp.disconnect()

    def is_gone():
        return not iot.get_connection(clientId=lamp.client_id)["connected"]

    wait_until(is_gone, "the end of the connection")
    assert_not_found(iot, iot.delete_connection, clientId=lamp.client_id)


@pytest.mark.parametrize("client_id", ["$x", "x" * 129, "ü" * 65])
def test_dc_11_bad_client_id_is_an_invalid_request(iot, client_id):
    """DC-11"""
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.delete_connection(clientId=client_id)


def test_dc_11_empty_label_is_an_invalid_request(http):
    """DC-11"""
    answer = http.delete("/connections/")
    assert (answer.status, answer.error) == (400, "InvalidRequestException")


def test_dc_11_longest_client_id_is_found(iot, device, name):
    """DC-11: 128 bytes are allowed."""
    client_id = name("long").ljust(128, "x")
    lamp = device(client_id)
    delete(iot, client_id)
    assert_put_off(lamp)


def test_dc_13_twice_without_a_session(lamp, iot):
    """DC-13: 200, then 404; one event, one will."""
    connected, watcher = lamp()
    delete(iot, connected.client_id)
    assert_not_found(iot, iot.delete_connection, clientId=connected.client_id)
    assert watcher.seen() == ["will", "disconnected"]


def test_dc_14_twice_with_a_session(lamp, iot):
    """DC-14: 200, then 200; one event, one will."""
    connected, watcher = lamp(persistent=True)
    delete(iot, connected.client_id)
    delete(iot, connected.client_id)
    assert watcher.seen() == ["will", "disconnected"]


@pytest.mark.parametrize("persistent", [True, False])
def test_dc_15_concurrent_calls_close_once(lamp, iot, http, persistent):
    """DC-15: one event and one will, whatever the order."""
    for _ in range(5):
        connected, watcher = lamp(persistent=persistent)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            path = f"/connections/{connected.client_id}"
            answers = list(pool.map(lambda _: http.delete(path).status, range(8)))
        assert answers.count(200) == (8 if persistent else 1)
        assert set(answers) <= {200, 404}
        assert watcher.seen() == ["will", "disconnected"]
        assert_put_off(connected)


def test_dc_16_later_connection_survives(wire, iot, name, version):
    """DC-16: a client that reconnects as soon as it is put off stays connected."""
    client_id = name("lamp")
    for _ in range(20):
        before = wire(client_id=client_id, version=version)
        delete(iot, client_id)
        after = wire(client_id=client_id, version=version)
        before.end()
        assert after.is_alive()
        assert iot.get_connection(clientId=client_id)["connected"]


def test_dc_16_reconnects_race_with_calls(wire, http, name, version):
    """DC-16: whatever the order, one connection is left or none, and all agree about it."""
    client_id = name("lamp")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            calls = [pool.submit(http.delete, f"/connections/{client_id}") for _ in range(2)]
            lamp = wire(client_id=client_id, version=version)
            statuses = {call.result().status for call in calls}
            assert statuses <= {200, 404}
            connected = http.get(f"/connections/{client_id}").json()["connected"]
            assert lamp.is_alive() == connected


def test_dc_17_retained_will_is_stored(lamp, iot, device, name):
    """DC-17: published with RETAIN: who subscribes later gets it."""
    connected, watcher = lamp(will={"retain": True})
    delete(iot, connected.client_id)
    assert watcher.next() == ("will", "gone")
    late = device(name("late"))
    late.subscribe(watcher.will)
    message = late.message()
    assert (message.payload, message.retain) == (b"gone", True)
    assert iot.get_retained_message(topic=watcher.will)["payload"] == b"gone"


def test_dc_19_shared_subscriber_becomes_an_offline_member(lamp, iot, device, http, name):
    """DC-19: the group queues for its only member."""
    connected, _ = lamp(persistent=True)
    topic = name("jobs")
    connected.subscribe(f"$share/workers/{topic}")
    delete(iot, connected.client_id)
    http.post(f"/topics/{topic}?qos=1", b"queued")
    back = resume(device, connected, **({"expiry": 60} if connected.version == 5 else {}))
    assert back.payload() == "queued"


def test_dc_20_unacknowledged_message_is_sent_again(wire, iot, http, name, version):
    """DC-20: with DUP and its Packet Identifier, as [MQTT-4.4.0-1] says."""
    client_id, topic = name("lamp"), name("topic")
    expiry = b"\x11" + (3600).to_bytes(4, "big")
    session = {"version": version, "clean": False}
    if version == 5:
        session["properties"] = expiry
    lamp = wire(client_id=client_id, **session)
    lamp.send(w.subscribe(topic, version=version))
    assert lamp.read()[0] == w.SUBACK
    http.post(f"/topics/{topic}?qos=1", b"once")
    kind, flags, first = lamp.read()
    assert (kind, flags) == (w.PUBLISH, 0b0010)
    delete(iot, client_id)
    lamp.end()
    back = wire(client_id=client_id, **session)
    assert back.session_present
    kind, flags, second = back.read()
    assert (kind, flags) == (w.PUBLISH, 0b1010)
    assert second == first


def test_disconnect_packet_is_these_four_bytes(wire, iot, name):
    """§1.3: `E0 02 98 00`, then the end of the connection."""
    lamp_id = name("lamp")
    lamp = wire(client_id=lamp_id)
    delete(iot, lamp_id)
    assert lamp.rest() == bytes.fromhex("e0029800")


def test_mqtt_311_sees_a_bare_close(wire, iot, name):
    """§1.2: MQTT 3.1.1 has no DISCONNECT from the server."""
    lamp_id = name("lamp")
    lamp = wire(client_id=lamp_id, version=4)
    delete(iot, lamp_id)
    assert lamp.rest() == b""


def test_connection_is_gone_when_the_answer_arrives(lamp, iot):
    """§1.5: a following GetConnection already says so."""
    connected, _ = lamp(persistent=True)
    delete(iot, connected.client_id)
    assert iot.get_connection(clientId=connected.client_id)["connected"] is False


def test_will_keeps_its_qos_and_retain(lamp, iot):
    """DC-4: published as the client asked."""
    connected, watcher = lamp(persistent=True, will={"qos": 0})
    delete(iot, connected.client_id)
    message = watcher.device.message()
    assert (message.payload, message.qos, message.retain) == (b"gone", 0, False)
