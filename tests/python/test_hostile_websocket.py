"""Bad input over WebSocket, beside a canary: frames, upgrades, floods (RFC 6455, MQTT §6).

The server says why in a Close frame (1002 protocol, 1003 not binary, 1008 policy) and closes.
"""

import os
import struct

import pytest

import wire as w
from rawhttp import parse
from ways import BINARY, CLOSE, PING, PONG, WAYS, Way, WebSocket, frame, upgrade

TEXT, CONTINUATION = 1, 0
PROTOCOL, UNSUPPORTED, POLICY = 1002, 1003, 1008
MEBIBYTE = 1 << 20
SECURE = pytest.mark.parametrize("listener", ["ws", "wss"])

pytestmark = pytest.mark.usefixtures("canary", "memory")

HELLO = w.connect("hello")

FRAMES = {
    "text": (frame(HELLO, TEXT), UNSUPPORTED),
    "unmasked": (frame(HELLO, masked=False), PROTOCOL),
    "first reserved bit": (frame(HELLO, reserved=4), PROTOCOL),
    "second reserved bit": (frame(HELLO, reserved=2), PROTOCOL),
    "third reserved bit": (frame(HELLO, reserved=1), PROTOCOL),
    "all reserved bits": (frame(HELLO, reserved=7), PROTOCOL),
    **{f"opcode {code}": (frame(HELLO, code), PROTOCOL) for code in (3, 4, 5, 6, 7, 11, 12, 15)},
    "fragmented ping": (frame(b"x", PING, final=False), PROTOCOL),
    "fragmented pong": (frame(b"x", PONG, final=False), PROTOCOL),
    "fragmented close": (frame(b"", CLOSE, final=False), PROTOCOL),
    "oversized ping": (frame(b"x" * 126, PING), PROTOCOL),
    "oversized close": (frame(b"\x03\xe8" + b"x" * 124, CLOSE), PROTOCOL),
    "ping that claims 2^32 bytes": (frame(b"", PING, length=1 << 32), PROTOCOL),
    "continuation of nothing": (frame(HELLO, CONTINUATION), PROTOCOL),
    "message inside a message": (frame(b"\x10", final=False) + frame(HELLO), PROTOCOL),
    "text inside a message": (frame(b"\x10", final=False) + frame(b"x", TEXT), UNSUPPORTED),
    "length of 64 bits with the first set": (frame(b"", length=1 << 63), PROTOCOL),
    "length that is not the shortest": (b"\x82\xfe\0\x01" + bytes(5), PROTOCOL),
    "long length that is not the shortest": (b"\x82\xff" + struct.pack(">Q", 300) + bytes(5),
                                             PROTOCOL),
    "close with half a code": (frame(b"\x03", CLOSE), PROTOCOL),
    "close with a code nobody may send": (frame(struct.pack(">H", 1005), CLOSE), PROTOCOL),
    "close with invalid UTF-8": (frame(b"\x03\xe8\xff\xfe", CLOSE), PROTOCOL),
}


def close_of(stream):
    """(code, whether nothing follows) of the server's Close frame; other frames are read over."""
    while True:
        opcode, payload = stream.read_frame()
        if opcode == CLOSE:
            stream.stream.settimeout(10)
            return int.from_bytes(payload[:2], "big"), stream.buffer + stream.stream.recv(1) == b""


@SECURE
@pytest.mark.parametrize("what", FRAMES)
def test_bad_frame_before_connect(server, listener, what):
    data, code = FRAMES[what]
    stream = WAYS[listener].open(server)
    stream.stream.sendall(data)
    assert close_of(stream) == (code, True)
    stream.close()


@SECURE
@pytest.mark.parametrize("what", FRAMES)
def test_bad_frame_of_a_client(server, wire, device, name, listener, what):
    """The Will is sent: the connection ended without DISCONNECT."""
    data, code = FRAMES[what]
    topic, watcher = name("will"), device(name("watcher"))
    watcher.subscribe(topic)
    attacker = wire(WAYS[listener], client_id=name("attacker"), will=(topic, "gone", 1))
    attacker.socket.stream.sendall(data)
    assert close_of(attacker.socket) == (code, True)
    assert watcher.payload() == "gone"


@SECURE
@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8going", struct.pack(">H", 3000)])
def test_close_is_answered(server, wire, listener, name, payload):
    """[RFC 6455 §5.5.1]: with the same code; nothing follows."""
    lamp = wire(WAYS[listener], client_id=name("lamp"))
    lamp.socket.stream.sendall(frame(payload, CLOSE) + frame(w.packet(w.PINGREQ, 0, b"")))
    opcode, answer = lamp.socket.read_frame()
    assert (opcode, answer) == (CLOSE, payload[:2])
    assert lamp.socket.stream.recv(1) == b""


UPGRADES = {
    "POST": (upgrade(method="POST"), {400, 404, 405}),
    "HTTP/1.0": (upgrade(version="1.0"), {400, 426}),
    "without Upgrade": (upgrade(Upgrade=None), {426}),
    "to another protocol": (upgrade(Upgrade="h2c"), {426}),
    "without Connection": (upgrade(Connection=None), {426}),
    "Connection: close": (upgrade(Connection="close"), {426}),
    "without a version": (upgrade(Sec_WebSocket_Version=None), {426}),
    "version 8": (upgrade(Sec_WebSocket_Version="8"), {426}),
    "without a key": (upgrade(Sec_WebSocket_Key=None), {400}),
    "empty key": (upgrade(Sec_WebSocket_Key=""), {400}),
    "short key": (upgrade(Sec_WebSocket_Key="AAAA"), {400}),
    "two keys": (upgrade("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), {400}),
    "without a subprotocol": (upgrade(Sec_WebSocket_Protocol=None), {400}),
    "another subprotocol": (upgrade(Sec_WebSocket_Protocol="soap"), {400}),
    "without Host": (upgrade(Host=None), {400}),
    "two Hosts": (upgrade("Host: b"), {400}),
    "with a body of two lengths": (upgrade("Content-Length: 1", "Content-Length: 2"), {400}),
    "with a NUL": (upgrade("X: a\0b"), {400}),
    "another path": (upgrade(target="/mqttx"), {404, 405, 400, 403}),
    "a path above": (upgrade(target="/mqtt/../mqtt"), {404, 405, 400, 403}),
}


def is_whole(received):
    """Whether it is an answer with its whole body."""
    if b"\r\n\r\n" not in received:
        return False
    answer = parse(received)
    return len(answer.body) == int(answer.headers.get("content-length", 0))


@SECURE
@pytest.mark.parametrize("what", UPGRADES)
def test_bad_upgrade(server, listener, what):
    """An answer of HTTP, never 101 and never a 5xx; a version that fits is named with 426."""
    data, statuses = UPGRADES[what]
    stream = Way(WAYS[listener].listener, tls=WAYS[listener].tls).open(server)
    stream.sendall(data)
    received = b""
    while not is_whole(received):
        more = stream.recv(65536)
        assert more, received
        received += more
    stream.close()
    answer = parse(received)
    assert answer.status in statuses, answer
    if answer.status == 426:
        assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("words", [
    {"Upgrade": "WebSocket"}, {"Connection": "keep-alive, Upgrade"}, {"Connection": "upgrade"},
    {"Sec_WebSocket_Protocol": "soap, mqtt"}, {"Sec_WebSocket_Extensions": "permessage-deflate"},
    {"Origin": "http://example.com"}])
def test_odd_upgrade_is_taken(server, name, words):
    """What RFC 6455 allows; no extension is agreed to."""
    stream = Way("http").open(server)
    stream.sendall(upgrade(**words) + frame(w.connect(name("lamp"))))
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 4:
        more = stream.recv(4096)
        assert more, received
        received += more
    assert received.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in received.partition(b"\r\n\r\n")[0].lower()
    stream.close()


@SECURE
@pytest.mark.heavy
def test_ping_flood(server, wire, name, listener):
    """Pongs nobody reads are bounded: 1008, or the end."""
    attacker = wire(WAYS[listener], client_id=name("attacker"), seconds=20.0)
    flood = frame(b"x" * 125, PING) * 1000
    try:
        for _ in range(200):
            attacker.socket.stream.sendall(flood)
        pytest.fail("26 MB of Pings without a read were taken")
    except (ConnectionError, TimeoutError, OSError):
        pass


@SECURE
def test_empty_frames_flood(server, wire, name, listener):
    """A hundred thousand frames without a byte cost nothing but their reading."""
    attacker = wire(WAYS[listener], client_id=name("attacker"), seconds=30.0)
    flood = frame(b"") * 1000
    for _ in range(100):
        attacker.socket.stream.sendall(flood)
    assert attacker.is_alive()


@SECURE
@pytest.mark.heavy
@pytest.mark.before_connect
def test_huge_length_is_not_allocated(server, listener):
    """A hundred sockets promise 2^62 bytes each, and send a few."""
    liars = [WAYS[listener].open(server) for _ in range(100)]
    for liar in liars:
        liar.stream.sendall(frame(b"\x10\xff\xff\xff\x7f" + bytes(200), length=1 << 62))
    assert WAYS[listener].open(server).answer.startswith(b"HTTP/1.1 101 ")
    for liar in liars:
        liar.close()


@SECURE
@pytest.mark.heavy
def test_message_that_never_ends(server, wire, name, listener):
    """Fragments without a last one are a stream like any other: packets pass, nothing is kept."""
    attacker = wire(WAYS[listener], client_id=name("attacker"), version=4, seconds=30.0)
    payload = w.publish(name("t"), b"x" * 60_000, version=4)
    attacker.socket.stream.sendall(frame(payload, BINARY, final=False))
    for _ in range(300):
        attacker.socket.stream.sendall(frame(payload, CONTINUATION, final=False))
    attacker.socket.stream.sendall(
        frame(w.packet(w.PINGREQ, 0, b""), CONTINUATION, final=True))
    assert attacker.read()[0] == w.PINGRESP


@SECURE
@pytest.mark.heavy
def test_random_frames(server, wire, name, listener):
    """Noise behind a good upgrade, from the start and after CONNECT."""
    for number in range(100):
        stream = WAYS[listener].open(server)
        if number % 2:
            stream.sendall(w.connect(name("noise")))
        try:
            stream.stream.sendall(os.urandom(300))
        except OSError:
            pass
        stream.close()
    assert wire(WAYS[listener], client_id=name("after")).is_alive()


@SECURE
def test_malformed_mqtt_in_a_good_frame(server, wire, name, listener):
    """DISCONNECT 0x81 in a frame, with a Reason String, then a Close frame, then the end."""
    attacker = wire(WAYS[listener], client_id=name("attacker"))
    attacker.send(b"\x00\x00")
    kind, _, body = attacker.read()
    assert (kind, body[0]) == (w.DISCONNECT, 0x81)
    assert attacker.rest() == b""
    assert attacker.socket.close_code == 1000
