"""Bad input over MQTT, class by class.

Every test runs beside a canary: a client whose round trips go on. The server stays alive, and only
the connection that sent the bytes ends.
"""

import random
import socket
import struct
import time

import pytest

import wire as w
from server import wait_until

MALFORMED, PROTOCOL, ALIAS, TOPIC = 0x81, 0x82, 0x94, 0x90
MEBIBYTE = 1 << 20

pytestmark = pytest.mark.usefixtures("canary")


def both(v5, v4=None):
    """The same bytes for both versions, or one form for each."""
    return {5: v5, 4: v5 if v4 is None else v4}


def topic_of(raw):
    return both(w.publish(raw), w.publish(raw, version=4))


NOT_MQTT = {
    "reserved type 0": both(b"\x00\x00"),
    "publish at QoS 3": both(b"\x36\x05\x00\x01a\x00\x01"),
    "subscribe without its flags": both(b"\x80" + w.subscribe("a")[1:],
                                        b"\x80" + w.subscribe("a", version=4)[1:]),
    "unsubscribe without its flags": both(b"\xa0\x06\x00\x01\x00\x00\x01a", b"\xa0\x05\0\1\0\1a"),
    "pubrel without its flags": both(b"\x60\x02\x00\x01"),
    "pingreq with flags": both(b"\xc1\x00"),
    "pingreq with a body": both(b"\xc0\x01\x00"),
    "length of five bytes": both(b"\x30\xff\xff\xff\xff\x01"),
    "puback with trailing bytes": both(b"\x40\x05\x00\x01\x00\x00\x00", b"\x40\x03\x00\x01\x00"),
    "puback of one byte": both(b"\x40\x01\x00"),
    "publish without a topic": both(b"\x30\x01\x00"),
    "topic longer than the packet": both(b"\x30\x04\xff\xffab"),
    "topic with invalid UTF-8": topic_of(b"a\xff"),
    "topic with an overlong NUL": topic_of(b"a\xc0\x80"),
    "topic with a surrogate": topic_of(b"a\xed\xa0\x80"),
    "topic with NUL": topic_of(b"a\x00b"),
    "filter with NUL": both(w.subscribe(b"a\0"), w.subscribe(b"a\0", version=4)),
    "subscribe with reserved option bits": both(w.packet(8, 2, b"\0\1\0" + w.binary("a") + b"\xc0"),
                                                w.packet(8, 2, b"\0\1" + w.binary("a") + b"\x04")),
    "subscribe at QoS 3": both(w.subscribe("a", qos=3), w.subscribe("a", qos=3, version=4)),
    "subscribe without filters": both(w.packet(8, 2, b"\0\1\0"), w.packet(8, 2, b"\0\1")),
    "subscribe cut after the filter": both(w.packet(8, 2, b"\0\1\0" + w.binary("a")),
                                           w.packet(8, 2, b"\0\1" + w.binary("a"))),
    "unsubscribe without filters": both(w.packet(10, 2, b"\0\1\0"), w.packet(10, 2, b"\0\1")),
}

NOT_MQTT_5 = {
    "unknown property": w.publish("a", properties=b"\x7f\x00"),
    "property of another packet": w.publish("a", properties=b"\x11\0\0\0\1"),
    "properties longer than the packet": b"\x30\x05\x00\x01a\x7f\x01",
    "property cut short": w.publish("a", properties=b"\x02\x00\x00"),
    "content type twice": w.publish("a", properties=b"\x03\0\1a\x03\0\1b"),
    "payload format indicator 2": w.publish("a", properties=b"\x01\x02"),
    "user property with invalid UTF-8": w.publish("a", properties=b"\x26\0\1\xff\0\0"),
    "reason code unknown to PUBACK": b"\x40\x03\x00\x01\x05",
    "disconnect with an unknown reason": b"\xe0\x01\x05",
    "length that is not minimal": b"\xc0\x80\x00",
    "response topic with a wildcard": w.publish("a", properties=b"\x08\0\1#"),
}

WRONG_MOMENT = {
    "second CONNECT": both(w.connect("again"), w.connect("again", version=4)),
    "CONNACK": both(b"\x20\x03\0\0\0", b"\x20\x02\0\0"),
    "SUBACK": both(b"\x90\x04\0\1\0\0", b"\x90\x03\0\1\0"),
    "UNSUBACK": both(b"\xb0\x04\0\1\0\0", b"\xb0\x02\0\1"),
    "PINGRESP": both(b"\xd0\x00"),
    "AUTH": both(b"\xf0\x00"),
    "packet identifier 0 in PUBLISH": both(w.publish("a", qos=1, packet_id=0),
                                           w.publish("a", qos=1, packet_id=0, version=4)),
    "packet identifier 0 in SUBSCRIBE": both(w.subscribe("a", packet_id=0),
                                             w.subscribe("a", packet_id=0, version=4)),
}

WRONG_MOMENT_5 = {
    "subscription identifier from a client": (w.publish("a", properties=b"\x0b\x01"), PROTOCOL),
    "subscription identifier 0": (w.subscribe("a", properties=b"\x0b\x00"), PROTOCOL),
    "topic alias 0": (w.publish("a", properties=b"\x23\0\0"), ALIAS),
    "topic alias above the maximum": (w.publish("a", properties=b"\x23\xff\xff"), ALIAS),
    "topic alias that stands for nothing": (w.publish("", properties=b"\x23\0\1"), PROTOCOL),
    "no topic and no alias": (w.publish(""), PROTOCOL),
    "no local on a shared subscription": (
        w.packet(8, 2, b"\0\1\0" + w.binary("$share/g/a") + b"\x05"), PROTOCOL),
    "retain handling 3": (w.packet(8, 2, b"\0\1\0" + w.binary("a") + b"\x31"), PROTOCOL),
    "session expiry raised from 0": (b"\xe0\x07\x00\x05\x11\0\0\0\x3c", PROTOCOL),
}


def assert_refused(attacker, version, reasons):
    """MQTT 5 hears the reason, MQTT 3.1.1 is closed without a byte."""
    if version == 5:
        assert attacker.end() in reasons
    else:
        assert attacker.rest() == b""


@pytest.mark.parametrize("what", NOT_MQTT)
def test_malformed_bytes(wire, name, version, what):
    attacker = wire(client_id=name("attacker"), version=version)
    attacker.send(NOT_MQTT[what][version])
    assert_refused(attacker, version, {MALFORMED, PROTOCOL})


@pytest.mark.parametrize("what", NOT_MQTT_5)
def test_malformed_bytes_of_mqtt_5(wire, name, what):
    attacker = wire(client_id=name("attacker"))
    attacker.send(NOT_MQTT_5[what])
    assert_refused(attacker, 5, {MALFORMED, PROTOCOL})


@pytest.mark.parametrize("what", WRONG_MOMENT)
def test_wrong_moment(wire, name, version, what):
    attacker = wire(client_id=name("attacker"), version=version)
    attacker.send(WRONG_MOMENT[what][version])
    assert_refused(attacker, version, {PROTOCOL})


@pytest.mark.parametrize("what", WRONG_MOMENT_5)
def test_wrong_moment_of_mqtt_5(wire, name, what):
    data, reason = WRONG_MOMENT_5[what]
    attacker = wire(client_id=name("attacker"))
    attacker.send(data)
    assert attacker.end() in {reason, MALFORMED} | ({ALIAS} if "alias" in what else set())


@pytest.mark.parametrize("topic", ["a/+", "#", "a/#/b", "+"])
def test_topic_name_with_a_wildcard(wire, name, version, topic):
    """[MQTT-3.3.2-2]"""
    attacker = wire(client_id=name("attacker"), version=version)
    attacker.send(w.publish(topic, b"x", qos=1, version=version))
    assert_refused(attacker, version, {TOPIC, MALFORMED})


@pytest.mark.parametrize("control", ["\x01", "\x1f", "\x7f", "\x9f", "\ufffe", "\ufdd0"])
def test_control_characters_in_a_topic(wire, name, version, control):
    attacker = wire(client_id=name("attacker"), version=version)
    attacker.send(w.publish(f"a{control}", version=version))
    assert_refused(attacker, version, {MALFORMED})


@pytest.mark.parametrize("filter", ["a#", "a/#/b", "#/", "a+/b", "+a", "", "$share/g", "$share/g/",
                                    "$share//a", "$share/+/a", "$share/g#/a", "$share/"])
def test_invalid_filter(wire, name, version, filter):
    """Refused for itself; the connection and the other filters of the packet are not."""
    lamp = wire(client_id=name("lamp"), version=version)
    lamp.send(w.subscribe("fine/1", filter, "fine/2", version=version))
    kind, _, body = lamp.read()
    assert kind == w.SUBACK
    assert body[-3:] == bytes([1, 0x8F if version == 5 else 0x80, 1])
    assert lamp.is_alive()


@pytest.mark.parametrize("topic", ["$SYS/broker", "$aws/events/presence/connected/x", "$share/g/a",
                                   "$internal", "$aws/things/x"])
def test_publish_to_a_reserved_topic(wire, device, name, version, topic):
    """Never delivered, never stored; MQTT 5 hears why, MQTT 3.1.1 cannot [MQTT3-3.3.5-2]."""
    watcher, fence = device(name("watcher")), name("fence")
    for filter in ("$SYS/#", "$aws/things/#", "$internal/#", "$internal", fence):
        watcher.subscribe(filter)
    if not topic.startswith("$share"):
        watcher.subscribe(topic)
    attacker = wire(client_id=name("attacker"), version=version)
    attacker.send(w.publish(topic, b"forged", qos=1, version=version, flags=1))
    if version == 5:
        kind, _, body = attacker.read()
        assert (kind, body[2]) == (w.PUBACK, 0x87)
    else:
        assert attacker.read() == (w.PUBACK, 0, b"\x00\x01")
    assert attacker.is_alive()
    late = device(name("late"))
    for filter in (fence, topic) if not topic.startswith("$share") else (fence,):
        late.subscribe(filter)
    watcher.publish(fence, "fence")
    for one in (watcher, late):
        seen = []
        while (message := one.message()).topic != fence:
            seen.append(message.payload)
        assert b"forged" not in seen


def test_unknown_packet_identifiers(wire, name, version):
    """PUBACK is ignored; PUBREC and PUBREL are answered (0x92 with MQTT 5)."""
    lamp = wire(client_id=name("lamp"), version=version)
    not_found = b"\x92" if version == 5 else b""
    lamp.send(w.ack(w.PUBACK, 77) + w.ack(w.PUBREC, 78) + w.ack(w.PUBREL, 79))
    kind, flags, body = lamp.read()
    assert (kind, flags, body[:2], body[2:3]) == (w.PUBREL, 2, b"\0\x4e", not_found)
    kind, _, body = lamp.read()
    assert (kind, body[:2], body[2:3]) == (w.PUBCOMP, b"\0\x4f", not_found)
    assert lamp.is_alive()


# Before CONNECT

@pytest.mark.parametrize("data", [
    w.packet(w.PINGREQ, 0, b""), w.publish("a", b"x"), w.subscribe("a"), b"\xff" * 64,
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x10\x04\x00\x04MQ", b"\x10\xff\xff\xff\xff\x7f",
    w.packet(1, 0, w.binary("MQTX") + b"\5\2\0\0\0" + w.binary("a")),
    w.packet(1, 0, w.binary("MQTT") + b"\5\3\0\0\0" + w.binary("a")),
    w.packet(1, 1, w.binary("MQTT") + b"\5\2\0\0\0" + w.binary("a")),
    w.packet(1, 0, w.binary("MQTT") + b"\4\x02\0\0" + w.binary(b"\xff")),
    w.packet(1, 0, w.binary("MQTT") + b"\4\x1e\0\0" + w.binary("a") + w.binary("t") + w.binary("")),
    w.packet(1, 0, w.binary("MQTT") + b"\4\x42\0\0" + w.binary("a") + w.binary("password only")),
])
def test_garbage_before_connect(wire, data):
    """Closed; at most a CONNACK that refuses, never a state."""
    attacker = wire()
    attacker.send(data)
    answer = attacker.rest()
    assert answer == b"" or (answer[0] == 0x20 and answer[3] != 0), answer


def test_unsupported_version(wire):
    """[MQTT-3.1.2-2]: CONNACK 1 or 0x84, then the end."""
    for level in (3, 6, 255):
        attacker = wire()
        attacker.send(w.packet(1, 0, w.binary("MQTT") + bytes([level, 2, 0, 0]) + w.binary("a")))
        assert attacker.rest()[-1:] in (b"\x01", b"\x84", b"\x00", b"")


def test_refused_connect_has_no_will(wire, device, name):
    """reliability D8"""
    topic, watcher, fence = name("will"), device(name("watcher")), name("fence")
    watcher.subscribe(topic)
    watcher.subscribe(fence)
    attacker = wire()
    attacker.send(w.connect("x" * 5000, will=(topic, "forged", 1)))
    assert attacker.rest()[:1] == b"\x20"
    watcher.publish(fence, "fence")
    assert watcher.until("fence") == []


def test_client_identifier_over_the_limit(wire, version):
    attacker = wire()
    attacker.send(w.connect("x" * 1025, version=version))
    answer = attacker.rest()
    assert answer[3] == (0x85 if version == 5 else 2)


# Too large, too many, too fast

def test_packet_over_the_maximum_is_refused_at_its_header(wire, server, name, version):
    """0x95 before a byte of the body is read."""
    attacker = wire(client_id=name("attacker"), version=version)
    attacker.send(b"\x30" + w.varint(16 * MEBIBYTE + 1))
    assert_refused(attacker, version, {0x95})


def test_too_many_filters_in_one_packet(wire, name, version):
    """Every filter of the packet is refused."""
    lamp = wire(client_id=name("lamp"), version=version)
    lamp.send(w.subscribe(*[f"f/{number}" for number in range(1025)], version=version))
    kind, _, body = lamp.read()
    refused = 0x97 if version == 5 else 0x80
    assert kind == w.SUBACK and set(body[-1025:]) == {refused}
    assert lamp.is_alive()


def test_wildcard_bomb(wire, name):
    """Distinct wildcard shapes are bounded for each session; the others still subscribe."""
    lamp = wire(client_id=name("lamp"))
    shapes = [bin(number)[2:].replace("1", "+/").replace("0", "x/") + "y" for number in range(1, 101)]
    for shape in shapes:
        lamp.send(w.subscribe(shape))
    codes = [lamp.read()[2][-1] for _ in shapes]
    assert codes.count(1) == 64 and codes.count(0x97) == 36
    other = wire(client_id=name("other"))
    other.send(w.subscribe("+/fine/#"))
    assert other.read()[2][-1] == 1


def test_filter_and_topic_over_the_levels(wire, name, version):
    """128 levels."""
    deep = "/".join("x" * 129)
    lamp = wire(client_id=name("lamp"), version=version)
    lamp.send(w.subscribe(deep, version=version))
    assert lamp.read()[2][-1] == (0x8F if version == 5 else 0x80)
    lamp.send(w.publish(deep, b"x", version=version))
    assert_refused(lamp, version, {TOPIC})


def test_receive_maximum_exceeded(wire, name):
    """[MQTT-3.3.4-7]: 0x93 for the 1,025th QoS 2 PUBLISH without PUBREL."""
    attacker, topic = wire(client_id=name("attacker")), name("t")
    for packet_id in range(1, 1026):
        attacker.send(w.publish(topic, b"x", qos=2, packet_id=packet_id))
    assert attacker.end() == 0x93


def test_too_many_user_properties(wire, name):
    attacker = wire(client_id=name("attacker"))
    attacker.send(w.publish("a", properties=b"\x26\0\1a\0\1b" * 65))
    assert attacker.end() in {0x97, MALFORMED, PROTOCOL}


def test_random_bytes(server, wire, name):
    """A thousand connections of noise, half of them after a CONNECT, from a fixed seed."""
    noise = random.Random(7)
    for number in range(1000):
        connection = socket.create_connection(server.mqtt, timeout=10)
        data = noise.randbytes(noise.randrange(1, 400))
        if number % 2:
            data = w.connect(name("noise"), version=4 + number % 4 // 2) + data
        try:
            connection.sendall(data)
        except OSError:
            pass
        connection.close()
    assert wire(client_id=name("after")).is_alive()


def test_cut_and_flipped_packets(wire, server, name):
    """Every prefix of good packets, and every byte of them flipped."""
    good = [w.connect("x", will=("w", "gone", 1)), w.publish("a/b", b"x", qos=1),
            w.subscribe("a/+", "b/#"), w.ack(w.PUBREL, 3)]
    hello = w.connect(name("cut"))
    for packet in good:
        head = b"" if packet[0] == 0x10 else hello
        variants = [packet[:cut] for cut in range(1, len(packet))]
        variants += [packet[:at] + bytes([packet[at] ^ 0xFF]) + packet[at + 1:]
                     for at in range(len(packet))]
        for variant in variants:
            with socket.create_connection(server.mqtt, timeout=10) as connection:
                connection.sendall(head + variant)
    assert wire(client_id=name("after")).is_alive()


@pytest.mark.heavy
def test_subscriber_that_does_not_read(server, wire, device, name):
    """QoS 0 for it is dropped: memory stays bounded, everyone else goes on."""
    topic = name("flood")
    deaf = wire()
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.send(w.connect(name("deaf")))
    assert deaf.read()[0] == w.CONNACK
    deaf.send(w.subscribe(topic, qos=0))
    assert deaf.read()[0] == w.SUBACK
    before = server.resident_bytes()
    sender = wire(client_id=name("sender"))
    burst = w.publish(topic, b"x" * 60_000) * 10
    for _ in range(200):
        sender.send(burst)
    assert sender.is_alive()
    assert server.resident_bytes() - before < 32 * MEBIBYTE


@pytest.mark.heavy
def test_publisher_that_floods(server, wire, name):
    """A hundred thousand small messages to nobody, as fast as a socket takes them."""
    attacker, topic = wire(client_id=name("attacker"), version=4), name("t")
    burst = w.publish(topic, b"x" * 10, version=4) * 10_000
    before = server.resident_bytes()
    for _ in range(10):
        attacker.send(burst)
    assert attacker.is_alive()
    assert server.resident_bytes() - before < 32 * MEBIBYTE


@pytest.mark.heavy
def test_connections_that_say_nothing(server, wire, name):
    """Over 256 sockets of one address that are not connected: the oldest are closed."""
    before = server.resident_bytes()
    silent = [socket.create_connection(server.mqtt, timeout=10) for _ in range(400)]
    try:
        late = wire(client_id=name("late"))
        assert late.is_alive()
        assert server.resident_bytes() - before < 16 * MEBIBYTE
        wait_until(lambda: is_closed(silent[0]), "the end of the oldest", 20)
    finally:
        for one in silent:
            one.close()


@pytest.mark.heavy
def test_large_packets_that_never_end(server, wire, name):
    """Claimed lengths are not allocated: two hundred sockets each promise 16 MiB."""
    before = server.resident_bytes()
    liars = [wire(client_id=name("liar")) for _ in range(200)]
    for liar in liars:
        liar.send(b"\x30" + w.varint(16 * MEBIBYTE) + b"\x00\x01a" + b"x" * 100)
    assert wire(client_id=name("after")).is_alive()
    assert server.resident_bytes() - before < 32 * MEBIBYTE


def is_closed(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_slow_senders_are_closed(server, wire, name):
    """10 s for CONNECT, 30 s for any packet once begun: nothing, half a CONNECT, half a PUBLISH.

    A half packet is no traffic for the keep-alive; a byte now and then does not help.
    """
    nothing = socket.create_connection(server.mqtt)
    half = socket.create_connection(server.mqtt)
    half.sendall(w.connect("x")[:-1])
    dribbler = wire(client_id=name("dribbler"), keep_alive=0)
    rest = iter(w.publish("a", b"x" * 4000))
    dribbler.send(bytes([next(rest) for _ in range(20)]))
    began = time.monotonic()
    closed = {}
    sockets = {"nothing": nothing, "half a CONNECT": half, "half a PUBLISH": dribbler.socket}
    idle = wire(client_id=name("idle"), keep_alive=0)
    while len(closed) < 3 and time.monotonic() - began < 45:
        for what, connection in sockets.items():
            if what not in closed and is_closed_or_disconnected(connection):
                closed[what] = time.monotonic() - began
        dribbler.socket.setblocking(True)
        if "half a PUBLISH" not in closed:
            dribbler.send(bytes([next(rest)]))
        assert idle.is_silent(0.5)
    for connection in sockets.values():
        connection.close()
    assert closed.keys() == sockets.keys(), closed
    assert closed["nothing"] < 16 and closed["half a CONNECT"] < 16
    assert idle.is_alive()


def is_closed_or_disconnected(connection):
    """Whether the server said DISCONNECT or closed; PINGRESP and the like do not come here."""
    connection.setblocking(False)
    try:
        data = connection.recv(64)
        return data == b"" or data[0] == 0xE0
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_attacks_leave_their_counters(http, wire, name):
    """Every close has one counter."""

    def violations():
        text = http.get("/metrics").body.decode()
        lines = [line for line in text.splitlines() if "violation" in line and line[0] != "#"]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    before = violations()
    attacker = wire(client_id=name("attacker"))
    attacker.send(w.connect("again"))
    assert attacker.end() == PROTOCOL
    wait_until(lambda: violations() > before, "the counter")


def test_will_of_a_client_that_breaks_a_rule(wire, device, name, version):
    """reliability D8: a protocol error is an end like others."""
    topic, watcher = name("will"), device(name("watcher"))
    watcher.subscribe(topic)
    attacker = wire(client_id=name("attacker"), version=version, will=(topic, "gone", 1))
    attacker.send(struct.pack(">BB", 0x00, 0x00))
    assert watcher.payload() == "gone"
