"""Too much of what is allowed, and clients that never end what they begin, beside a canary.

What a client costs is bounded, and what it left is gone when it is gone.
"""

import itertools
import socket
import ssl
import struct
import threading
import time

import pytest

import wire as w
from server import wait_until
from ways import WAYS, Way, frame, upgrade

MEBIBYTE = 1 << 20

pytestmark = [pytest.mark.usefixtures("canary", "memory"), pytest.mark.heavy]


def gauge(http, name):
    """A number of /metrics without labels."""
    lines = http.get("/metrics").body.decode().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name} "))


# Connections

@pytest.mark.parametrize("listener,count", [("mqtt", 1000), ("mqtts", 150), ("ws", 500)])
def test_connect_flood(server, http, wire, name, listener, count):
    """CONNECT, CONNACK and a dropped socket, again and again: nothing stays."""
    sessions = gauge(http, "bitts_sessions")
    for _ in range(count):
        wire(WAYS[listener], client_id=name("flood")).close()
    wait_until(lambda: gauge(http, "bitts_sessions") <= sessions, "the end of the sessions")


def test_connect_flood_without_reading(server, wire, name):
    """CONNECT and a dropped socket before CONNACK."""
    for _ in range(1000):
        with socket.create_connection(server.mqtt, timeout=10) as attacker:
            attacker.sendall(w.connect(name("flood")))
    assert wire(client_id=name("after")).is_alive()


def test_half_of_the_largest_connects(server, wire, name):
    """80 sockets hold 300 KiB of a CONNECT each: over 16 MiB the largest are closed."""
    body = w.binary("MQTT") + b"\4\xc6\0\0" + w.binary("x" * 900) + w.binary("t")
    body += w.binary(b"x" * 65_535) * 3
    head = b"\x10" + w.varint(380 * 1024) + body + b"x" * 100_000
    halves = [socket.create_connection(server.mqtt, timeout=10) for _ in range(80)]
    for half in halves:
        try:
            half.sendall(head)
        except ConnectionError:
            pass
    assert wire(client_id=name("late")).is_alive()
    for half in halves:
        half.close()


def test_takeover_storm(server, wire, device, name):
    """Eight threads fight for one Client Identifier; one wins, and one session is left."""
    client_id = name("fought")
    failures = []

    def fight():
        try:
            for _ in range(100):
                attacker = w.Wire(server.mqtt, seconds=20.0)
                attacker.send(w.connect(client_id, clean=False))
                try:
                    assert attacker.read()[0] == w.CONNACK
                except w.Closed:
                    pass
        except Exception as failure:  # noqa: BLE001: told below
            failures.append(failure)

    threads = [threading.Thread(target=fight) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    last = wire(client_id=client_id)
    assert last.is_alive()


def test_wills_of_many_at_once(wire, name):
    """300 clients with a Will of 60,000 bytes are gone at once; each Will arrives."""
    topic = name("wills")
    watcher = wire(client_id=name("watcher"), seconds=30.0)
    watcher.send(w.subscribe(topic))
    assert watcher.read()[0] == w.SUBACK
    will = (topic, b"x" * 60_000, 1)
    lamps = [wire(client_id=name("lamp"), will=will) for _ in range(300)]
    for lamp in lamps:
        lamp.close()
    for number in range(300):
        kind, _, body = watcher.read()
        assert kind == w.PUBLISH, number
        at = 2 + len(topic)
        watcher.send(w.packet(w.PUBACK, 0, body[at:at + 2]))


# Slow on purpose

def dribbles(server):
    """What is dribbled at each listener: (stream, an endless source of its next bytes)."""
    hello = w.connect("x" * 60)
    head = b"GET /connections/x HTTP/1.1\r\nhost: x\r\nx-long: " + b"x" * 1000
    body = b"POST /topics/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
    tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
    handshake = upgrade().replace(b"Upgrade: websocket", b"X: " + b"x" * 500)
    plain = {
        "mqtt: CONNECT": ("mqtt", b"", hello), "mqtts: handshake": ("mqtts", b"", tls),
        "https: handshake": ("https", b"", tls), "http: head": ("http", b"", head),
        "http: body": ("http", body, b"x" * 900), "http: upgrade": ("http", b"", handshake),
    }
    found = {}
    for what, (listener, first, rest) in plain.items():
        stream = socket.create_connection(server.addresses[listener], timeout=10)
        stream.sendall(first)
        found[what] = (stream, iter(rest))
    secure = {"mqtts: CONNECT": ("mqtts", "", b"", hello),
              "https by ALPN: CONNECT": ("https", "x-amzn-mqtt-ca", b"", hello),
              "https: head": ("https", "", b"", head),
              "https: body": ("https", "", body, b"x" * 900)}
    for what, (listener, alpn, first, rest) in secure.items():
        stream = Way(listener, tls=True, alpn=alpn).open(server)
        stream.sendall(first)
        found[what] = (stream, iter(rest))
    for way in ("ws", "wss"):
        stream = WAYS[way].open(server)
        found[f"{way}: CONNECT in a frame"] = (stream.stream, iter(frame(hello)))
        stream = WAYS[way].open(server)
        tiny = itertools.chain.from_iterable(frame(bytes([byte])) for byte in hello)
        found[f"{way}: CONNECT in tiny frames"] = (stream.stream, tiny)
        stream = WAYS[way].open(server)
        found[f"{way}: empty frames"] = (stream.stream, itertools.cycle(frame(b"")))
    return found


def has_ended(stream):
    """Whether the server closed; what else it says is read over."""
    stream.setblocking(False)
    try:
        while more := stream.recv(65536):
            assert more
        return True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        stream.setblocking(True)


def test_slowloris_at_every_listener(server, wire, name):
    """A byte every quarter of a second: each is closed within 10 s, and no one else is."""
    idle = wire(client_id=name("idle"))
    found = dribbles(server)
    began, ended = time.monotonic(), {}
    while len(ended) < len(found) and time.monotonic() - began < 20:
        for what, (stream, rest) in found.items():
            if what in ended:
                continue
            if has_ended(stream):
                ended[what] = time.monotonic() - began
                continue
            try:
                stream.sendall(bytes([next(rest)]))
            except OSError:
                ended[what] = time.monotonic() - began
        assert idle.is_silent(0.25)
    for stream, _ in found.values():
        stream.close()
    assert set(found) - set(ended) == set()
    assert {what for what, seconds in ended.items() if seconds < 5} == set()
    assert idle.is_alive()


# Never reading, never acknowledging

@pytest.mark.parametrize("listener", ["mqtt", "mqtts", "ws", "wss"])
def test_subscriber_that_never_reads(wire, name, listener):
    """60 MiB at QoS 0 for it are dropped but for its buffers; its neighbour gets every message."""
    topic = name("flood")
    deaf = wire(WAYS[listener])
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.send(w.connect(name("deaf")))
    assert deaf.read()[0] == w.CONNACK
    deaf.send(w.subscribe(topic, qos=0))
    assert deaf.read()[0] == w.SUBACK
    sender = wire(client_id=name("sender"), seconds=30.0)
    sender.send(w.subscribe(f"{topic}/end"))
    assert sender.read()[0] == w.SUBACK
    burst = w.publish(topic, b"x" * 60_000) * 10
    for _ in range(100):
        sender.send(burst)
    sender.send(w.publish(f"{topic}/end", b"end"))
    assert sender.read()[0] == w.PUBLISH


@pytest.mark.parametrize("listener", ["mqtt", "mqtts", "ws", "wss"])
@pytest.mark.parametrize("asked", ["ping", "subscribe", "publish"])
def test_client_that_never_reads_its_answers(server, wire, name, listener, asked):
    """Requests whose answers nobody takes: its socket is not read any more, memory stays."""
    topic = name("t")
    what = {"ping": w.packet(w.PINGREQ, 0, b""), "subscribe": w.subscribe(topic),
            "publish": w.publish(topic, b"", 1)}[asked]
    attacker = wire(WAYS[listener], client_id=name("attacker"), seconds=2.0)
    burst = what * (60_000 // len(what))
    sent = 0
    try:
        while sent < 40 * MEBIBYTE:
            attacker.socket.sendall(burst)
            sent += len(burst)
    except OSError:
        pass
    assert wire(client_id=name("after")).is_alive()


@pytest.mark.parametrize("listener", ["http", "https"])
def test_http_client_that_never_reads(server, wire, name, listener):
    """Pipelined requests whose answers nobody takes."""
    stream = Way(listener, tls=listener == "https").open(server, 2.0)
    burst = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 500
    sent = 0
    try:
        while sent < 20 * MEBIBYTE:
            stream.sendall(burst)
            sent += len(burst)
    except OSError:
        pass
    stream.close()
    assert sent < 20 * MEBIBYTE
    assert wire(client_id=name("after")).is_alive()


@pytest.mark.parametrize("listener", ["mqtt", "wss"])
def test_subscriber_that_never_acknowledges(http, wire, name, listener):
    """1,024 in flight, the rest waits; all of it is gone with the session."""
    waiting, topic = gauge(http, "bitts_queued_messages"), name("t")
    mute = wire(WAYS[listener], client_id=name("mute"))
    mute.send(w.subscribe(topic))
    assert mute.read()[0] == w.SUBACK
    sender = wire(client_id=name("sender"), version=4, seconds=30.0)
    for start in range(0, 20_000, 500):
        batch = [w.publish(topic, b"x" * 1000, 1, packet_id=number + 1, version=4)
                 for number in range(500)]
        sender.send(b"".join(batch))
        assert all(sender.read()[0] == w.PUBACK for _ in batch), start
    seen = 0
    while seen < 1024:
        seen += mute.read()[0] == w.PUBLISH
    assert mute.is_alive() and mute.buffer == b""
    wait_until(lambda: gauge(http, "bitts_queued_messages") >= waiting + 18_000, "the queue")
    mute.close()
    wait_until(lambda: gauge(http, "bitts_queued_messages") <= waiting, "the end of the queue")


# State

def test_retained_flood(http, wire, name):
    """20,000 retained messages, a subscriber that never reads them, and their end."""
    kept, topic = gauge(http, "bitts_retained_messages"), name("r")
    sender = wire(client_id=name("sender"), version=4, seconds=30.0)

    def retain(payload):
        for start in range(0, 20_000, 500):
            batch = [w.publish(f"{topic}/{start + number}", payload, 1, number + 1, 4, flags=1)
                     for number in range(500)]
            sender.send(b"".join(batch))
            assert all(sender.read()[0] == w.PUBACK for _ in batch)

    retain(b"x" * 1000)
    assert gauge(http, "bitts_retained_messages") == kept + 20_000
    deaf = wire(client_id=name("deaf"))
    for _ in range(50):
        deaf.send(w.subscribe(f"{topic}/#", qos=1))
    reader = wire(client_id=name("reader"), version=4, seconds=30.0)
    reader.send(w.subscribe(f"{topic}/#", version=4))
    assert reader.read()[0] == w.SUBACK
    seen = set()
    while len(seen) < 20_000:
        kind, _, body = reader.read()
        assert kind == w.PUBLISH
        at = 2 + int.from_bytes(body[:2], "big")
        seen.add(body[2:at])
        reader.send(w.packet(w.PUBACK, 0, body[at:at + 2]))
    deaf.close()
    retain(b"")
    assert gauge(http, "bitts_retained_messages") == kept


def test_subscription_flood(http, wire, name):
    """10,000 subscriptions of one session, no more; all of them are gone with it."""
    before, lamp = gauge(http, "bitts_subscriptions"), wire(client_id=name("lamp"), seconds=30.0)
    topic = name("f")
    codes = []
    for start in range(0, 11_000, 1000):
        filters = [f"{topic}/{start + number}" for number in range(1000)]
        lamp.send(w.subscribe(*filters))
        codes += lamp.read()[2][3:]
    assert codes.count(1) == 10_000 and codes.count(0x97) == 1000
    assert gauge(http, "bitts_subscriptions") == before + 10_000
    lamp.close()
    wait_until(lambda: gauge(http, "bitts_subscriptions") == before, "the end of them")


def test_subscription_churn(http, wire, name):
    """A hundred thousand times to and fro, with filters never seen before."""
    before, lamp = gauge(http, "bitts_subscriptions"), wire(client_id=name("lamp"), seconds=30.0)
    topic = name("f")
    for start in range(0, 100_000, 500):
        filters = [f"{topic}/{start + number}/+" for number in range(500)]
        gone = b"".join(w.binary(filter) for filter in filters)
        lamp.send(w.subscribe(*filters) + w.packet(w.UNSUBSCRIBE, 2, b"\0\2\0" + gone))
        assert [lamp.read()[0] for _ in range(2)] == [w.SUBACK, w.UNSUBACK]
    assert gauge(http, "bitts_subscriptions") == before


def test_group_flood(http, wire, name):
    """5,000 `$share` groups on one topic, a message for each, and their end."""
    before, topic = gauge(http, "bitts_subscriptions"), name("t")
    lamp = wire(client_id=name("lamp"), version=4, seconds=30.0)
    for start in range(0, 5000, 500):
        filters = [f"$share/g{start + number}/{topic}" for number in range(500)]
        lamp.send(w.subscribe(*filters, qos=0, version=4))
        kind, _, body = lamp.read()
        assert kind == w.SUBACK and set(body[2:]) == {0}
    lamp.send(w.publish(topic, b"x", version=4))
    assert all(lamp.read()[0] == w.PUBLISH for _ in range(5000))
    lamp.close()
    wait_until(lambda: gauge(http, "bitts_subscriptions") == before, "the end of them")


def test_session_flood(http, wire, iot, name):
    """2,000 sessions that are to last; each can be ended by DeleteConnection."""
    sessions = gauge(http, "bitts_sessions")
    expiry = b"\x11" + struct.pack(">I", 3600)
    ids = [name("kept") for _ in range(2000)]
    for client_id in ids:
        wire(client_id=client_id, clean=False, properties=expiry).close()
    wait_until(lambda: gauge(http, "bitts_sessions") >= sessions + 2000, "the sessions")
    for client_id in ids:
        answer = http.delete(f"/connections/{client_id}?cleanSession=true")
        assert answer.status == 200
    wait_until(lambda: gauge(http, "bitts_sessions") <= sessions, "the end of them")
