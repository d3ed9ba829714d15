"""Bad input on the listeners with TLS, beside a canary that came by TLS itself."""

import os
import socket
import ssl
import subprocess

import pytest

import wire as w
from canary import Canary
from server import wait_until
from ways import WAYS, Way

LISTENERS = pytest.mark.parametrize("listener", ["mqtts", "https"])


@pytest.fixture(autouse=True)
def secure_canary(server, memory):
    """Round trips over TLS go on, each within a second."""
    bird = Canary(None, WAYS["mqtts-certificate"].open(server, 30.0))
    yield
    worst, trips = bird.end()
    assert trips > 0 and worst < 1.0, f"a round trip took {worst:.2f} s"


def connect_to(server, listener, seconds=10.0):
    return socket.create_connection(server.addresses[listener], timeout=seconds)


def client_hello(server, server_name="localhost"):
    """The first bytes of a good handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=server.ca)
    tls = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def everything(stream):
    """Every byte until the end."""
    received = b""
    try:
        while more := stream.recv(65536):
            received += more
    except ConnectionResetError:
        pass
    return received


NOT_TLS = {
    "MQTT": w.connect("plain"),
    "MQTT 3.1.1": w.connect("plain", version=4),
    "HTTP": b"GET /mqtt HTTP/1.1\r\nhost: x\r\n\r\n",
    "noise": bytes(range(256)) * 8,
    "zeros": bytes(600),
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40),
    "record of type 0": b"\x00\x03\x01\x00\x05hello",
    "application data first": b"\x17\x03\x03\x00\x05hello",
    "alert first": b"\x15\x03\x03\x00\x02\x02\x28",
    "change cipher spec first": b"\x14\x03\x03\x00\x01\x01" * 40,
    "record over the maximum": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "handshake over the maximum": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380),
    "empty records": b"\x16\x03\x01\x00\x00" * 100,
    "hello cut inside": b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
}


@LISTENERS
@pytest.mark.parametrize("what", NOT_TLS)
@pytest.mark.before_connect
def test_not_tls(server, listener, what):
    """An alert at most; never an answer of MQTT or HTTP."""
    with connect_to(server, listener) as attacker:
        try:
            attacker.sendall(NOT_TLS[what])
            attacker.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received = everything(attacker)
    assert received == b"" or received[0] == 0x15, received[:40]


@LISTENERS
@pytest.mark.before_connect
def test_client_hello_with_flipped_bytes(server, listener):
    """Every byte of it; the handshake fails, or goes on as if the byte did not matter."""
    hello = client_hello(server)
    for at in range(len(hello)):
        with connect_to(server, listener) as attacker:
            attacker.sendall(hello[:at] + bytes([hello[at] ^ 0xFF]) + hello[at + 1:])
            attacker.shutdown(socket.SHUT_WR)
            received = everything(attacker)
            assert received == b"" or received[0] in (0x15, 0x16), (at, received[:40])


@LISTENERS
@pytest.mark.before_connect
def test_noise_after_the_client_hello(server, listener):
    hello = client_hello(server)
    for _ in range(50):
        with connect_to(server, listener) as attacker:
            attacker.sendall(hello)
            assert attacker.recv(1) == b"\x16"
            try:
                attacker.sendall(os.urandom(500))
                attacker.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            everything(attacker)


@LISTENERS
def test_noise_inside_a_connection(server, wire, name, listener):
    """Damaged records of a client that was good: the end, with its Will."""
    alpn = "x-amzn-mqtt-ca" if listener == "https" else ""
    watcher, topic = wire(client_id=name("watcher")), name("will")
    watcher.send(w.subscribe(topic))
    assert watcher.read()[0] == w.SUBACK
    attacker = wire(Way(listener, tls=True, alpn=alpn), client_id=name("attacker"),
                    will=(topic, "gone", 1))
    os.write(attacker.socket.fileno(), b"\x17\x03\x03\x01\x00" + os.urandom(256))
    assert watcher.read()[2].endswith(b"gone")


@LISTENERS
@pytest.mark.heavy
@pytest.mark.before_connect
def test_half_handshakes(server, wire, name, listener):
    """300 sockets that stop behind their first bytes; others still connect; closed within 10 s."""
    hello = client_hello(server)
    halves = [connect_to(server, listener, 20.0) for _ in range(300)]
    for number, half in enumerate(halves):
        half.sendall(hello[:1 + number % len(hello)])
    alpn = "x-amzn-mqtt-ca" if listener == "https" else ""
    assert wire(Way(listener, tls=True, alpn=alpn), client_id=name("late")).is_alive()
    for half in halves:
        everything(half)
        half.close()


@LISTENERS
@pytest.mark.heavy
@pytest.mark.before_connect
def test_handshakes_without_a_word_after(server, wire, name, listener):
    """A hundred finished handshakes without CONNECT or request: closed within 10 s."""
    way = Way(listener, tls=True, alpn="mqtt")
    silent = [way.open(server, 20.0) for _ in range(100)]
    assert wire(way, client_id=name("late")).is_alive()
    for one in silent:
        assert everything(one) == b""
        one.close()


@LISTENERS
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(server, listener, version):
    host, port = server.addresses[listener]
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"{host}:{port}", version, "-cipher",
         "ALL:@SECLEVEL=0"], input=b"", capture_output=True, timeout=20)
    assert done.returncode != 0
    assert b"SSL alert number" in done.stderr


@LISTENERS
def test_renegotiation_is_refused(server, listener):
    """TLS 1.2: a client that asks for another handshake gets none, and its connection ends."""
    host, port = server.addresses[listener]
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-alpn", "mqtt", "-CAfile",
         server.ca], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output = b""
        while b"Verify return code" not in output:
            line = client.stdout.readline()
            assert line, output
            output += line
        # A line that is `R` asks openssl to renegotiate.
        client.stdin.write(b"R\n")
        client.stdin.flush()
        rest = client.communicate(timeout=20)[0]
    finally:
        client.kill()
    assert b"RENEGOTIATING" in rest
    assert client.returncode != 0 or b"no renegotiation" in rest, rest


@LISTENERS
def test_tls_flood_of_handshakes(server, wire, name, listener):
    """150 whole handshakes, each dropped at once."""
    way = Way(listener, tls=True, alpn="mqtt")
    for _ in range(150):
        way.open(server).close()
    assert wire(way, client_id=name("after")).is_alive()


def test_mqtt_on_the_https_port_needs_its_alpn(server):
    """Without ALPN that port speaks HTTP: CONNECT is a bad request, not a client."""
    stream = Way("https", tls=True).open(server)
    stream.sendall(w.connect("lost"))
    received = everything(stream)
    assert received == b"" or received.startswith(b"HTTP/1.1 400 "), received[:80]
    stream.close()


def test_http_on_the_mqtts_port(server):
    stream = Way("mqtts", tls=True).open(server)
    stream.sendall(b"DELETE /connections/x HTTP/1.1\r\nhost: x\r\n\r\n")
    assert everything(stream) == b""
    stream.close()


def test_many_records_of_one_byte(server, wire, name):
    """20,000 records that hold a byte each are a packet like any other."""
    lamp = wire(WAYS["mqtts"], client_id=name("lamp"), seconds=30.0)
    packet = w.publish(name("t"), b"x" * 20_000, 1)
    for byte in packet:
        lamp.socket.sendall(bytes([byte]))
    assert lamp.read()[0] == w.PUBACK
    wait_until(lamp.is_alive, "an answer")
