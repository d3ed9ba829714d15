"""The same flows through every listener: TCP, TLS with and without a certificate, ALPN, WebSocket.

What a client gets must not depend on the way it came: paho for the flows, bytes for the seams.
"""

import pytest

import wire as w
from server import Server
from ways import WAYS, Way, frame, upgrade

SIZES = [0, 1, 125, 126, 16_384, 70_000, 200_000]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_of_every_size_arrive_in_order(device, name, way, version, qos):
    topic, lamp = name("t"), device(name("lamp"), version=version, way=way)
    assert lamp.subscribe(topic, qos) == qos
    sent = [bytes([number]) * size for number, size in enumerate(SIZES)]
    for payload in sent:
        lamp.publish(topic, payload, qos)
    received = [lamp.message() for _ in sent]
    assert [message.payload for message in received] == sent
    assert {message.qos for message in received} == {qos}


def test_burst_of_small_messages(device, wire, name, way):
    """More than any buffer between, from TCP to the listener's client."""
    topic, lamp = name("t"), device(name("lamp"), way=way)
    lamp.subscribe(topic, 1)
    sender = wire(client_id=name("sender"))
    for number in range(2000):
        sender.send(w.publish(topic, str(number).encode() * 20, 1, packet_id=number % 500 + 1))
        if number % 500 == 499:
            assert all(sender.read()[0] == w.PUBACK for _ in range(500))
    assert [lamp.payload() for _ in range(2000)] == [str(number) * 20 for number in range(2000)]


def test_retained_message(device, name, way, version):
    topic = name("t")
    device(name("s"), version=version, way=way).publish(topic, "kept", retain=True)
    late = device(name("late"), version=version, way=way)
    late.subscribe(topic)
    message = late.message()
    assert (message.payload, message.retain) == (b"kept", True)


def test_will_when_the_network_is_gone(device, name, way, version):
    topic, watcher = name("will"), device(name("watcher"))
    watcher.subscribe(topic)
    lamp = device(name("lamp"), version=version, way=way, will={"topic": topic})
    lamp.vanish()
    assert watcher.payload() == "gone"


def test_no_will_after_disconnect(device, name, way, version):
    topic, fence, watcher = name("will"), name("fence"), device(name("watcher"))
    watcher.subscribe(topic)
    watcher.subscribe(fence)
    lamp = device(name("lamp"), version=version, way=way, will={"topic": topic})
    lamp.disconnect()
    watcher.publish(fence, "fence")
    assert watcher.until("fence") == []


def test_takeover(device, name, way, version):
    """[MQTT-3.1.4-3], from every way to TCP and back."""
    client_id = name("lamp")
    first = device(client_id, version=version, way=way)
    second = device(client_id, version=version)
    assert first.ended() == ended(version, 0x8E)
    third = device(client_id, version=version, way=way)
    assert second.ended() == ended(version, 0x8E)
    assert third.is_connected()


def ended(version, reason):
    """How paho tells it: MQTT 3.1.1 only sees the end (0x80, Unspecified error)."""
    return (True, reason) if version == 5 else (False, 0x80)


def test_delete_connection(device, iot, name, way, version):
    """DC-1, DC-18: told 0x98 with MQTT 5, closed with MQTT 3.1.1, on WebSocket too; will sent."""
    topic, client_id, watcher = name("will"), name("lamp"), device(name("watcher"))
    watcher.subscribe(topic)
    lamp = device(client_id, version=version, way=way, will={"topic": topic})
    assert iot.get_connection(clientId=client_id)["connected"]
    iot.delete_connection(clientId=client_id)
    assert lamp.ended() == ended(version, 0x98)
    assert watcher.payload() == "gone"
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.delete_connection(clientId=client_id)


def test_session_is_kept_then_cleared(device, iot, name, way, version):
    """DC-4, DC-5: what waits arrives at the next connection, which may come another way."""
    topic, session = name("t"), {"clean": False, "version": version}
    if version == 5:
        session["expiry"] = 3600
    client_id = name("lamp")
    device(client_id, way=way, **session).subscribe(topic)
    iot.delete_connection(clientId=client_id)
    device(name("s")).publish(topic, "missed")
    lamp = device(client_id, way=way, **session)
    assert lamp.session_present and lamp.payload() == "missed"
    iot.delete_connection(clientId=client_id, cleanSession=True, preventWillMessage=True)
    assert not device(client_id, **session).session_present


def test_get_connection_tells_the_socket(device, iot, server, name, way):
    """GC: source and target of the connection the client made."""
    client_id = name("lamp")
    lamp = device(client_id, way=way)
    state = iot.get_connection(clientId=client_id, includeSocketInformation=True)
    assert state["sourceIp"] == "127.0.0.1"
    sock = lamp.paho.socket()
    assert state["sourcePort"] == getattr(sock, "_socket", sock).getsockname()[1]
    assert state["targetPort"] == way.address(server)[1]


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_bytes_however_they_are_cut(wire, name, way, version, step):
    """[MQTT-6.0.0-2]: CONNECT and what follows it, at once or a byte at a time; a frame a piece."""
    topic, lamp = name("t"), wire(way)
    data = w.connect(name("lamp"), version=version) + w.subscribe(topic, version=version)
    data += w.publish(topic, b"hello", 1, version=version) + w.packet(w.PINGREQ, 0, b"")
    for start in range(0, len(data), step):
        lamp.send(data[start:start + step])
    kinds = [lamp.read()[0] for _ in range(5)]
    assert kinds[:2] == [w.CONNACK, w.SUBACK]
    assert sorted(kinds[2:]) == [w.PUBLISH, w.PUBACK, w.PINGRESP]


@pytest.mark.parametrize("plain", [Way("http"), Way("https", tls=True)], ids=["ws", "wss"])
def test_connect_right_behind_the_upgrade(server, name, plain):
    """A frame in the same segment as the upgrade is not lost."""
    stream = plain.open(server)
    stream.sendall(upgrade() + frame(w.connect(name("lamp"))))
    received = b""
    while len(received.partition(b"\r\n\r\n")[2]) < 4:
        more = stream.recv(4096)
        assert more, received
        received += more
    stream.close()
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    # [MQTT-6.0.0-3], [MQTT-6.0.0-4]: the subprotocol.
    assert b"sec-websocket-protocol: mqtt" in head.lower()
    assert (rest[0], rest[2]) == (0x82, w.CONNACK << 4)


@pytest.mark.parametrize("listener", ["ws", "wss"])
def test_ping_is_answered_between_packets(wire, name, listener):
    lamp = wire(WAYS[listener], client_id=name("lamp"))
    lamp.socket.stream.sendall(frame(b"are you there", opcode=9))
    assert lamp.is_alive()
    assert lamp.socket.pongs == [b"are you there"]


@pytest.mark.parametrize("listener", ["ws", "wss"])
def test_disconnect_ends_with_a_close_frame(wire, name, listener):
    """1000, then the end of the socket."""
    lamp = wire(WAYS[listener], client_id=name("lamp"))
    lamp.send(w.packet(w.DISCONNECT, 0, b""))
    assert lamp.rest() == b""
    assert lamp.socket.close_code == 1000
    assert lamp.socket.stream.recv(1) == b""


def test_stopping_server_tells_every_listener():
    """Drain: 0x8B and the end, whatever way a client came."""
    server = Server()
    lamps = {name: w.Wire(None, name, stream=way.open(server)) for name, way in WAYS.items()}
    assert all(lamp.is_alive() for lamp in lamps.values())
    server.process.terminate()
    assert {name: lamp.end() for name, lamp in lamps.items()} == dict.fromkeys(WAYS, 0x8B)
    assert server.process.wait(timeout=20) == 0
    server.folder.cleanup()
