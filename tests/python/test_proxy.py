"""`--proxy-protocol`: each connection begins with a header of that protocol, version 1 or 2."""

import ipaddress
import socket
import struct

import pytest

import wire as w
from canary import Canary
from rawhttp import Http, parse
from server import Server, wait_until
from ways import WAYS, WebSocket

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
SOURCE, PORT = "192.0.2.7", 40_001
# The listener's own address, as it is for a proxy beside the server.
HEADERS = {
    "v1": (f"PROXY TCP4 {SOURCE} 192.0.2.1 {PORT} 8883\r\n".encode(), SOURCE),
    "v1 of IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40001 8883\r\n", "2001:db8::7"),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "v2": (SIGNATURE + b"\x21\x11\0\x0c" + ipaddress.ip_address(SOURCE).packed
           + b"\xc0\0\x02\x01" + struct.pack(">HH", PORT, 8883), SOURCE),
    "v2 with extensions": (
        SIGNATURE + b"\x21\x11\0\x16" + ipaddress.ip_address(SOURCE).packed
        + b"\xc0\0\x02\x01" + struct.pack(">HH", PORT, 8883) + b"\x04\0\x07" + b"padding", SOURCE),
    "v2 of IPv6": (
        SIGNATURE + b"\x21\x21\0\x24" + ipaddress.ip_address("2001:db8::7").packed
        + ipaddress.ip_address("2001:db8::1").packed + struct.pack(">HH", PORT, 8883),
        "2001:db8::7"),
    "v2 local": (SIGNATURE + b"\x20\0\0\0", "127.0.0.1"),
}


@pytest.fixture(scope="module")
def proxied():
    running = Server("--proxy-protocol")
    yield running
    assert running.stop() == 0, running.tail


class Proxy:
    """Opens a way to the server through a proxy that tells `header`, byte by byte if asked."""

    def __init__(self, way, header, step=None):
        self.way, self.header, self.step = way, header, step or len(header)

    def open(self, server):
        host, port = self.way.address(server)
        stream = socket.create_connection((host, port), timeout=10)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(self.header), self.step):
            stream.sendall(self.header[start:start + self.step])
        if self.way.tls:
            stream = self.way.context(server).wrap_socket(stream, server_hostname=host)
        return WebSocket(stream) if self.way.websocket else stream


def get(server, path):
    """A GET through the proxy."""
    http = Http(server.http)
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    return parse(http.raw(HEADERS["v1"][0] + request))


def refused(server):
    lines = get(server, "/metrics").body.decode().splitlines()
    return next(int(line.split()[-1]) for line in lines if 'reason="not_proxied"' in line)


@pytest.mark.parametrize("what", HEADERS)
def test_source_is_what_the_proxy_tells(proxied, name, way, what):
    header, source = HEADERS[what]
    client_id = name("lamp")
    lamp = w.Wire(None, client_id, stream=Proxy(way, header).open(proxied))
    state = get(proxied, f"/connections/{client_id}?includeSocketInformation=true").json()
    assert state["sourceIp"] == source
    if source != "127.0.0.1":
        assert state["sourcePort"] == PORT
    assert lamp.is_alive()
    lamp.close()


@pytest.mark.parametrize("what", ["v1", "v2"])
def test_header_a_byte_at_a_time(proxied, name, way, what):
    lamp = w.Wire(None, name("lamp"), stream=Proxy(way, HEADERS[what][0], 1).open(proxied))
    assert lamp.is_alive()
    lamp.close()


@pytest.mark.parametrize("listener", ["mqtt", "mqtts", "http", "https"])
@pytest.mark.parametrize("data", [
    w.connect("direct"), b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n",
    b"\x16\x03\x01\x00\xc8" + bytes(200),
    b"PROXY TCP4 999.0.2.7 192.0.2.1 1 2\r\n", b"PROXY TCP4 " + b"1" * 4000,
    SIGNATURE + b"\x31\x11\0\x0c" + bytes(12), SIGNATURE + b"\x21\x11\xff\xff" + bytes(5000),
    SIGNATURE + b"\x21\x11\0\x04" + bytes(40),
], ids=["mqtt", "http", "tls", "v1-address", "v1-endless", "v2-version", "v2-endless",
        "v2-short"])
def test_connection_without_a_header_is_closed(proxied, listener, data):
    """Closed without a byte, counted as `not_proxied`."""
    before = refused(proxied)
    with socket.create_connection(proxied.addresses[listener], timeout=10) as attacker:
        try:
            attacker.sendall(data)
            assert attacker.recv(1) == b""
        except ConnectionResetError:
            pass
    wait_until(lambda: refused(proxied) > before, "the counter")


def test_header_that_never_ends_is_closed(proxied):
    """10 s for the header, beside a client that goes on."""
    bird = Canary(None, Proxy(WAYS["mqtt"], HEADERS["v2"][0]).open(proxied))
    halves = [socket.create_connection(address, timeout=15)
              for address in proxied.addresses.values()]
    for half in halves:
        half.sendall(SIGNATURE[:7])
    for half in halves:
        try:
            assert half.recv(1) == b""
        except ConnectionResetError:
            pass
        half.close()
    worst, _ = bird.end()
    assert worst < 1.0
