"""MQTT 3.1.1 and 5 with paho: what clients build on."""

import threading
import time

import pytest

import wire as w
from server import wait_until


@pytest.mark.parametrize("sent", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_delivery_is_at_the_lower_qos(device, name, version, sent, granted):
    """[MQTT-3.8.4-8], [MQTT3-3.8.4-6]: over TCP [MQTT-4.2-1], [MQTT3-7.1.1-1] with a client
    of another project [MQTT3-7.0.0-2]"""
    topic = name("t")
    receiver, sender = device(name("r"), version=version), device(name("s"), version=version)
    assert receiver.subscribe(topic, granted) == granted
    sender.publish(topic, "x", qos=sent)
    message = receiver.message()
    assert (message.payload, message.qos, message.retain) == (b"x", min(sent, granted), False)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_arrive_once_and_in_order(device, name, version, qos):
    """[MQTT-4.6.0-5], [MQTT3-4.6.0-6]"""
    topic = name("t")
    receiver, sender = device(name("r"), version=version), device(name("s"), version=version)
    receiver.subscribe(topic, qos)
    for number in range(500):
        sender.paho.publish(topic, str(number), qos)
    assert [receiver.payload() for _ in range(500)] == [str(number) for number in range(500)]


@pytest.mark.parametrize("publisher,subscriber", [(4, 5), (5, 4)])
def test_versions_talk_to_each_other(device, name, publisher, subscriber):
    topic = name("t")
    receiver = device(name("r"), version=subscriber)
    receiver.subscribe(topic, 2)
    device(name("s"), version=publisher).publish(topic, "across", qos=2)
    assert receiver.payload() == "across"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 1_000_000])
def test_payload_of_any_size(device, name, version, size):
    topic, body = name("t"), bytes(range(256)) * (size // 256 + 1)
    receiver = device(name("r"), version=version)
    receiver.subscribe(topic)
    device(name("s"), version=version).publish(topic, body[:size])
    assert receiver.message().payload == body[:size]


@pytest.mark.parametrize("filter,matches,misses", [
    ("{}/+/c", ["{}/b/c", "{}//c"], ["{}/c", "{}/b/c/d", "{}/b/d"]),
    ("{}/#", ["{}", "{}/", "{}/a", "{}/a/b/c"], ["x{}", "{}x"]),
    ("+/{}", ["a/{}", "/{}"], ["{}", "a/b/{}"]),
    ("/{}", ["/{}"], ["{}"]),
    ("{}/ü/日本", ["{}/ü/日本"], ["{}/u/日本"]),
])
def test_topic_filters(device, name, version, filter, matches, misses):
    """MQTT 4.7; `{}/#` matches its parent in the open profile [MQTT-4.7.1-1], [MQTT3-4.7.1-2]."""
    word, fence = name("f"), name("fence")
    receiver, sender = device(name("r"), version=version), device(name("s"), version=version)
    receiver.subscribe(filter.format(word))
    receiver.subscribe(fence)
    for topic in misses + matches:
        sender.publish(topic.format(word), topic.format(word))
    sender.publish(fence, "fence")
    assert receiver.until("fence") == [topic.format(word) for topic in matches]


def test_wildcards_do_not_match_dollar_topics(device, name, version):
    """[MQTT-4.7.2-1]"""
    receiver, fence = device(name("r"), version=version), name("fence")
    receiver.subscribe("#")
    receiver.subscribe("+/events/#")
    device(name("other")).publish(fence, "fence")
    seen = []
    while (message := receiver.message()).topic != fence:
        seen.append(message.topic)
    assert not [topic for topic in seen if topic.startswith("$")]


def test_overlapping_filters_deliver_at_the_highest_qos(device, name, version):
    """[MQTT-3.3.4-2]: one copy, or one for each subscription; the best one at QoS 2."""
    receiver, topic, fence = device(name("r"), version=version), name("t"), name("fence")
    for filter, qos in ((topic, 0), (f"{topic}/#", 2), (fence, 2)):
        receiver.subscribe(filter, qos)
    sender = device(name("s"))
    sender.publish(topic, "x", qos=2)
    sender.publish(fence, "fence", qos=2)
    copies = []
    while (message := receiver.message()).topic != fence:
        copies.append(message.qos)
    assert copies in ([2], [0, 2], [2, 0])


# Sessions

def test_session_is_resumed_with_its_messages(device, name, version):
    """QoS 1 and 2 wait, and come once, each in its order."""
    session = {"expiry": 60} if version == 5 else {}
    topic, client_id = name("t"), name("lamp")
    lamp = device(client_id, version=version, clean=False, **session)
    assert not lamp.session_present
    lamp.subscribe(topic, 2)
    lamp.disconnect()
    sender = device(name("s"), version=version)
    for number in range(50):
        sender.publish(topic, str(number), qos=1 + number % 2)
    back = device(client_id, version=version, clean=False, **session)
    assert back.session_present
    messages = [back.message() for _ in range(50)]
    for qos in (1, 2):
        numbers = [int(message.payload) for message in messages if message.qos == qos]
        assert numbers == list(range(qos - 1, 50, 2))


def test_clean_start_discards_the_session(device, name, version):
    """[MQTT-3.1.2-4]"""
    session = {"expiry": 60} if version == 5 else {}
    client_id, topic = name("lamp"), name("t")
    device(client_id, version=version, clean=False, **session).subscribe(topic)
    clean = device(client_id, version=version, clean=True, **session)
    assert not clean.session_present
    device(name("s")).publish(topic, "for nobody")
    clean.subscribe(topic)
    device(name("s")).publish(topic, "live")
    assert clean.payload() == "live"


def test_session_expiry_interval_ends_a_session(device, iot, name):
    """[MQTT-3.1.2-23]: kept for its second, and not for much longer."""
    lamp = device(name("lamp"), clean=False, expiry=1)
    lamp.disconnect()
    assert iot.list_subscriptions(clientId=lamp.client_id)["subscriptions"] == []

    def gone():
        try:
            iot.list_subscriptions(clientId=lamp.client_id)
        except iot.exceptions.ResourceNotFoundException:
            return True
        return False

    wait_until(gone, "the end of the session")
    assert not device(lamp.client_id, clean=False, expiry=1).session_present


def test_disconnect_can_shorten_the_session_expiry(device, iot, name):
    """MQTT 5, 3.14.2.2.2"""
    lamp = device(name("lamp"), clean=False, expiry=3600)
    lamp.disconnect(SessionExpiryInterval=0)
    assert not device(lamp.client_id, clean=False).session_present


def test_takeover(device, name, version):
    """[MQTT-3.1.4-3]: the new connection has the session, the old one is told."""
    session = {"expiry": 60} if version == 5 else {}
    client_id, topic = name("lamp"), name("t")
    old = device(client_id, version=version, clean=False, **session)
    old.subscribe(topic)
    new = device(client_id, version=version, clean=False, **session)
    assert new.session_present
    from_server, reason = old.ended()
    assert from_server == (version == 5)
    if version == 5:
        assert reason == 0x8E
    device(name("s")).publish(topic, "for the new one")
    assert new.payload() == "for the new one"


def test_assigned_client_identifier(wire):
    """[MQTT-3.2.2-16]: an empty one with MQTT 5 gets a name that nobody else has."""
    assigned = []
    for _ in range(2):
        lamp = wire()
        lamp.send(w.connect(""))
        kind, _, body = lamp.read()
        assert kind == w.CONNACK and body[1] == 0
        at = body.index(b"\x12\0", 3)
        assigned.append(body[at + 3:at + 3 + body[at + 2]].decode())
    assert len(set(assigned)) == 2
    assert all(len(one) > 16 for one in assigned)


def test_empty_client_identifier_needs_a_clean_session(wire):
    """[MQTT3-3.1.3-8]: refused with 2."""
    lamp = wire()
    lamp.send(w.connect("", version=4, clean=False))
    assert lamp.rest() in (bytes.fromhex("20020002"), b"")


def test_keep_alive_timeout(wire, name, version):
    """[MQTT-3.1.2-22]: one and a half times the interval; MQTT 5 hears 0x8D."""
    lamp = wire(client_id=name("lamp"), version=version, keep_alive=1)
    assert lamp.end() == (0x8D if version == 5 else None)


def test_any_packet_keeps_the_connection_alive(wire, name):
    """3.1.2.10: twice the interval passes, with something said in each half of it."""
    lamp = wire(client_id=name("lamp"), keep_alive=2)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        assert lamp.is_alive()
        assert lamp.is_silent(0.5)


# Retained messages

def test_retained_message_is_sent_on_subscribe(device, name, version):
    """[MQTT-3.3.1-9], [MQTT3-3.3.1-6], [MQTT3-3.3.1-8]"""
    topic, sender = name("t"), device(name("s"), version=version)
    sender.publish(topic, "old", retain=True)
    sender.publish(topic, "kept", retain=True)
    receiver = device(name("r"), version=version)
    receiver.subscribe(topic)
    message = receiver.message()
    assert (message.payload, message.retain) == (b"kept", True)
    sender.publish(topic, "live", retain=True)
    message = receiver.message()
    assert (message.payload, message.retain) == (b"live", False)


def test_retained_messages_match_wildcards(device, name, version):
    """The open profile follows the standard here (AWS does not: B-2)."""
    word, sender = name("w"), device(name("s"), version=version)
    for number in range(30):
        sender.publish(f"{word}/{number}/x", str(number), retain=True)
    receiver = device(name("r"), version=version)
    receiver.subscribe(f"{word}/+/x")
    assert sorted(int(receiver.payload()) for _ in range(30)) == list(range(30))


def test_empty_retained_message_deletes(device, name, version):
    """[MQTT-3.3.1-6], [MQTT-3.3.1-7], [MQTT3-3.3.1-10], [MQTT3-3.3.1-11]"""
    topic, fence, sender = name("t"), name("fence"), device(name("s"), version=version)
    sender.publish(topic, "kept", retain=True)
    sender.publish(topic, "", retain=True)
    receiver = device(name("r"), version=version)
    receiver.subscribe(topic)
    receiver.subscribe(fence)
    sender.publish(fence, "fence")
    assert receiver.until("fence") == []


@pytest.mark.parametrize("handling,again", [(0, True), (1, False), (2, False)])
def test_retain_handling(device, name, handling, again):
    """MQTT 5, 3.8.3.1: 0 always, 1 only for a new subscription, 2 never."""
    topic, fence, sender = name("t"), name("fence"), device(name("s"))
    sender.publish(topic, "kept", retain=True)
    receiver = device(name("r"))
    receiver.subscribe(fence)
    seen = []
    for _ in range(2):
        receiver.subscribe(topic, retainHandling=handling)
        sender.publish(fence, "fence")
        seen.append(receiver.until("fence"))
    assert seen == [["kept"] if handling < 2 else [], ["kept"] if again else []]


def test_retain_as_published(device, name):
    """MQTT 5, 3.8.3.1"""
    topic, sender = name("t"), device(name("s"))
    receiver = device(name("r"))
    receiver.subscribe(topic, retainAsPublished=True)
    sender.publish(topic, "x", retain=True)
    assert receiver.message().retain is True


def test_retained_message_expires(device, name):
    """MQTT 5, 3.3.2.3.3: gone after its Message Expiry Interval."""
    topic, sender = name("t"), device(name("s"))
    sender.publish(topic, "short", retain=True, MessageExpiryInterval=1)

    def is_gone():
        receiver, fence = device(name("r")), name("fence")
        receiver.subscribe(topic)
        receiver.subscribe(fence)
        sender.publish(fence, "fence")
        return receiver.until("fence") == []

    wait_until(is_gone, "the end of the message")


# What MQTT 5 adds

def test_properties_travel_in_order(device, name):
    """[MQTT-3.3.2-18] and the others: unaltered."""
    topic, receiver = name("t"), device(name("r"))
    receiver.subscribe(topic)
    pairs = [("b", "2"), ("a", "1"), ("b", "2")]
    device(name("s")).publish(
        topic, "x", ContentType="text/plain", ResponseTopic="reply", CorrelationData=b"\0\1",
        PayloadFormatIndicator=1, UserProperty=pairs)
    properties = receiver.message().properties
    assert properties.UserProperty == pairs
    assert (properties.ContentType, properties.ResponseTopic) == ("text/plain", "reply")
    assert (properties.CorrelationData, properties.PayloadFormatIndicator) == (b"\0\1", 1)


def test_subscription_identifiers(device, name):
    """[MQTT-3.3.4-3]: of every matching subscription."""
    topic, receiver = name("t"), device(name("r"))
    receiver.subscribe(topic, properties={"SubscriptionIdentifier": 7})
    receiver.subscribe(f"{topic}/#", properties={"SubscriptionIdentifier": 268_435_455})
    device(name("s")).publish(topic, "x")
    identifiers = []
    while len(identifiers) < 2:
        identifiers += receiver.message().properties.SubscriptionIdentifier
    assert sorted(identifiers) == [7, 268_435_455]


def test_no_local(device, name):
    """[MQTT-3.8.3-3]"""
    topic, lamp = name("t"), device(name("lamp"))
    fence = name("fence")
    lamp.subscribe(topic, noLocal=True)
    lamp.subscribe(fence)
    lamp.publish(topic, "own")
    lamp.publish(fence, "fence")
    assert lamp.until("fence") == []
    device(name("s")).publish(topic, "other's")
    assert lamp.payload() == "other's"


def test_message_expiry_interval_counts_while_waiting(device, name):
    """[MQTT-3.3.2-5], [MQTT-3.3.2-6]: dropped when over, else the rest is told."""
    topic, client_id, sender = name("t"), name("lamp"), device(name("s"))
    lamp = device(client_id, clean=False, expiry=60)
    lamp.subscribe(topic)
    lamp.disconnect()
    sender.publish(topic, "short", MessageExpiryInterval=1)
    sender.publish(topic, "long", MessageExpiryInterval=100)
    clock = device(name("clock"), clean=False, expiry=60,
                   will={"topic": topic, "payload": "will", "WillDelayInterval": 2})
    clock.vanish()
    observer = device(name("observer"))
    observer.subscribe(topic)
    assert observer.payload() == "will"
    back = device(client_id, clean=False, expiry=60)
    message = back.message()
    assert message.payload == b"long"
    assert 90 <= message.properties.MessageExpiryInterval <= 99
    assert back.payload() == "will"


def test_topic_aliases_of_the_client(wire, name):
    """3.3.2.3.4: set with a topic, used without, set anew."""
    lamp, first, second = wire(client_id=name("lamp")), name("t"), name("t")
    lamp.send(w.subscribe(first, second, qos=0))
    assert lamp.read()[0] == w.SUBACK
    alias = b"\x23\x00\x01"
    for topic, payload in ((first, b"1"), ("", b"2"), (second, b"3"), ("", b"4")):
        lamp.send(w.publish(topic, payload, properties=alias))
    bodies = [lamp.read()[2] for _ in range(4)]
    topics = [body[2:2 + int.from_bytes(body[:2])].decode() for body in bodies]
    assert topics == [first, first, second, second]
    assert [body[-1:] for body in bodies] == [b"1", b"2", b"3", b"4"]


def test_topic_aliases_of_the_server(wire, name):
    """[MQTT-3.1.2-26]: not more than the client allows, and each is explained before it is used."""
    lamp = wire(client_id=name("lamp"), properties=b"\x22\x00\x02")
    topics = [name("t") for _ in range(3)]
    lamp.send(w.subscribe(*topics, qos=0))
    assert lamp.read()[0] == w.SUBACK
    known = {}
    for topic in topics * 3:
        lamp.send(w.publish(topic, b"x"))
        body = lamp.read()[2]
        length = int.from_bytes(body[:2])
        spoken, rest = body[2:2 + length].decode(), body[2 + length:]
        if rest[0]:
            alias = int.from_bytes(rest[2:4])
            assert rest[1] == 0x23 and 1 <= alias <= 2
            if spoken:
                known[alias] = spoken
            spoken = known[alias]
        assert spoken == topic


def test_receive_maximum_of_the_client(wire, http, name):
    """[MQTT-3.3.4-9]: not more in flight than the client takes."""
    lamp, topic = wire(client_id=name("lamp"), properties=b"\x21\x00\x02"), name("t")
    lamp.send(w.subscribe(topic))
    assert lamp.read()[0] == w.SUBACK
    for number in range(6):
        assert http.post(f"/topics/{topic}?qos=1", str(number).encode()).status == 200
    for number in range(0, 6, 2):
        pair = [lamp.read()[2] for _ in range(2)]
        assert [body[-1:] for body in pair] == [str(n).encode() for n in (number, number + 1)]
        lamp.send(w.packet(w.PINGREQ, 0, b""))
        assert lamp.read()[0] == w.PINGRESP
        for body in pair:
            at = 2 + len(topic)
            lamp.send(w.packet(w.PUBACK, 0, body[at:at + 2]))


def test_maximum_packet_size_of_the_client(device, http, name):
    """[MQTT-3.1.2-24]: a message that is too large is not sent, the next one is."""
    topic = name("t")
    lamp = device(name("lamp"), connect={"MaximumPacketSize": 100})
    lamp.subscribe(topic)
    http.post(f"/topics/{topic}?qos=1", b"x" * 200)
    http.post(f"/topics/{topic}?qos=1", b"small")
    assert lamp.payload() == "small"


def test_puback_names_a_message_without_subscribers(wire, name):
    """3.4.2.1: 0x10 for a topic nobody wants, or plain success."""
    lamp = wire(client_id=name("lamp"))
    lamp.send(w.publish(name("t"), b"x", qos=1, packet_id=9))
    kind, _, body = lamp.read()
    assert kind == w.PUBACK and body[:2] == b"\0\x09" and body[2:3] in (b"", b"\0", b"\x10")


def test_qos_2_is_exactly_once(wire, http, name, version):
    """[MQTT-4.3.3-10]: a PUBLISH with DUP before PUBREL is no second message."""
    topic, watcher = name("t"), wire(client_id=name("watcher"))
    watcher.send(w.subscribe(topic, qos=0))
    assert watcher.read()[0] == w.SUBACK
    lamp = wire(client_id=name("lamp"), version=version)
    for dup in (0, 8):
        lamp.send(w.publish(topic, b"once", qos=2, packet_id=5, version=version, flags=dup))
        kind, _, body = lamp.read()
        assert kind == w.PUBREC and body[:2] == b"\0\5"
    lamp.send(w.ack(w.PUBREL, 5))
    assert lamp.read()[0] == w.PUBCOMP
    lamp.send(w.publish(topic, b"next", qos=0, version=version))
    assert [watcher.read()[2][-4:] for _ in range(2)] == [b"once", b"next"]


def test_request_and_response(device, name):
    """MQTT 5, 4.10"""
    requests, replies = name("requests"), name("replies")
    server, asker = device(name("server")), device(name("asker"))
    server.subscribe(requests)
    asker.subscribe(replies)
    asker.publish(requests, "ping", ResponseTopic=replies, CorrelationData=b"42")
    request = server.message().properties
    server.publish(request.ResponseTopic, "pong", CorrelationData=request.CorrelationData)
    answer = asker.message()
    assert (answer.payload, answer.properties.CorrelationData) == (b"pong", b"42")


def test_connack_of_the_open_profile(device, name):
    """3.2.2.3: everything that MQTT 5 has is available."""
    connack = device(name("lamp")).connack.json()
    assert connack["ReceiveMaximum"] == 1024
    assert connack["MaximumPacketSize"] == 16 << 20
    assert connack["TopicAliasMaximum"] == 32
    for key in ("RetainAvailable", "WildcardSubscriptionAvailable",
                "SubscriptionIdentifierAvailable", "SharedSubscriptionAvailable"):
        assert connack.get(key, 1) == 1
    assert "MaximumQoS" not in connack


# Shared subscriptions

def test_shared_subscription_gives_each_message_to_one(device, name, version):
    """MQTT 5, 4.8.2; also with MQTT 3.1.1."""
    topic, members = name("jobs"), [device(name("worker"), version=version) for _ in range(3)]
    for member in members:
        assert member.subscribe(f"$share/g/{topic}") == 1
    sender = device(name("s"))
    for number in range(60):
        sender.publish(topic, str(number))
    wait_until(lambda: sum(m.messages.qsize() for m in members) >= 60, "all messages")
    shares = [member.messages.qsize() for member in members]
    assert sum(shares) == 60 and all(shares), shares


def test_b_20_groups_and_filters_count_apart(device, name):
    """B-20: two groups and two filters of one group: three deliveries."""
    topic, fence = name("t"), name("fence")
    members = [device(name("m")) for _ in range(3)]
    for member, filter in zip(members, (f"$share/c1/{topic}", f"$share/c2/{topic}",
                                        f"$share/c1/{topic}/#")):
        member.subscribe(filter)
        member.subscribe(fence)
    sender = device(name("s"))
    sender.publish(topic, "x")
    # A message to a group may take a way by its owner's shard: it is no rival of the fence.
    assert [member.payload() for member in members] == ["x"] * 3
    sender.publish(fence, "fence")
    assert [member.until("fence") for member in members] == [[]] * 3


def test_no_retained_messages_for_shared_subscriptions(device, name):
    """3.8.4: none on subscribe."""
    topic, fence, sender = name("t"), name("fence"), device(name("s"))
    sender.publish(topic, "kept", retain=True)
    member = device(name("m"))
    member.subscribe(f"$share/g/{topic}")
    member.subscribe(fence)
    sender.publish(fence, "fence")
    assert member.until("fence") == []


# Wills

@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will_of_a_lost_connection(device, name, version, qos):
    """[MQTT-3.1.2-8]"""
    topic, watcher = name("will"), device(name("w"))
    watcher.subscribe(topic, 2)
    device(name("lamp"), version=version, will={"topic": topic, "qos": qos}).vanish()
    message = watcher.message()
    assert (message.payload, message.qos) == (b"gone", qos)


def test_will_properties(device, name):
    """[MQTT-3.1.3-10]: User Properties in order, and the others."""
    topic, watcher = name("will"), device(name("w"))
    watcher.subscribe(topic)
    device(name("lamp"), will={"topic": topic, "ContentType": "text/plain",
                               "UserProperty": [("b", "2"), ("a", "1")]}).vanish()
    properties = watcher.message().properties
    assert properties.ContentType == "text/plain"
    assert properties.UserProperty == [("b", "2"), ("a", "1")]


def test_many_clients_at_once(device, name):
    """Fifty threads connect, publish and leave."""
    topic, watcher = name("t"), device(name("w"))
    watcher.subscribe(topic)

    def visit(number):
        lamp = device(f"{topic}-{number}", version=4 + number % 2)
        lamp.publish(topic, str(number))
        lamp.disconnect()

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(watcher.payload()) for _ in range(50)) == list(range(50))


def test_b_13_username_of_the_device_sdks(device, name, version):
    """B-13, §1.3: a long user name is no credential."""
    metrics = "?SDK=IoTDeviceSDK/Python&Platform=Unix&Metadata=(CRTVersion=0.36.1)" + "x" * 2000
    assert device(name("lamp"), version=version, username=metrics).reason == "Success"
