"""The ways to speak MQTT with the server: TCP, TLS, WebSocket and WebSocket in TLS.

Each gives a stream with the few methods of a socket that a test needs, and options for paho.
"""

import base64
import dataclasses
import os
import socket
import ssl
import struct

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


@dataclasses.dataclass(frozen=True)
class Way:
    # As the ready file names it.
    listener: str
    tls: bool = False
    certificate: bool = False
    alpn: str = ""
    websocket: bool = False
    # The client's own address, another one of the loopback.
    source: str = ""

    def address(self, server):
        return server.addresses[self.listener]

    def context(self, server):
        """TLS that trusts the development CA; with a device certificate if this way has one."""
        context = ssl.create_default_context(cafile=server.ca)
        if self.certificate:
            context.load_cert_chain(server.device.certificate, server.device.key)
        if self.alpn:
            context.set_alpn_protocols([self.alpn])
        return context

    def open(self, server, seconds=10.0):
        """A stream of MQTT bytes."""
        source = (self.source, 0) if self.source else None
        stream = socket.create_connection(self.address(server), seconds, source)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            context = self.context(server)
            stream = context.wrap_socket(stream, server_hostname=self.address(server)[0])
        return WebSocket(stream) if self.websocket else stream


WAYS = {
    "mqtt": Way("mqtt"),
    "mqtts": Way("mqtts", tls=True),
    "mqtts-certificate": Way("mqtts", tls=True, certificate=True),
    "mqtts-mqtt-ca": Way("mqtts", tls=True, certificate=True, alpn="x-amzn-mqtt-ca"),
    "https-mqtt-ca": Way("https", tls=True, certificate=True, alpn="x-amzn-mqtt-ca"),
    "https-mqtt": Way("https", tls=True, alpn="mqtt"),
    "ws": Way("http", websocket=True),
    "wss": Way("https", tls=True, websocket=True),
    "wss-certificate": Way("https", tls=True, certificate=True, websocket=True),
}


def upgrade(*changes, target="/mqtt", method="GET", version="1.1", **replaced):
    """The bytes of an upgrade; a header that is None is left out, `changes` are lines at the end.

    Names of headers are written with `_`: `upgrade(Sec_WebSocket_Version="8")`.
    """
    headers = {
        "Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mqtt",
        **{key.replace("_", "-"): value for key, value in replaced.items()},
    }
    lines = [f"{key}: {value}" for key, value in headers.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/{version}", *lines, *changes, "", ""]).encode()


def frame(payload=b"", opcode=BINARY, final=True, masked=True, reserved=0, length=None):
    """A frame of a client; `length` is what it claims."""
    length = len(payload) if length is None else length
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    mark = 0x80 if masked else 0
    if length < 126:
        head += bytes([mark | length])
    elif length < 65_536:
        head += struct.pack(">BH", mark | 126, length)
    else:
        head += struct.pack(">BQ", mark | 127, length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    whole = (mask * (len(payload) // 4 + 1))[:len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")
    return head + mask + mixed.to_bytes(len(payload), "big")


class WebSocket:
    """A WebSocket's payload as a stream; `close_code` is what the server said at the end."""

    def __init__(self, stream, request=None):
        self.stream, self.buffer, self.close_code = stream, b"", None
        self.pongs = []
        stream.sendall(request or upgrade())
        self.answer = self._head()
        assert self.answer.startswith(b"HTTP/1.1 101 "), self.answer

    def _head(self):
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    def _fill(self):
        more = self.stream.recv(65536)
        if not more:
            raise ConnectionResetError
        self.buffer += more

    def _take(self, count):
        while len(self.buffer) < count:
            self._fill()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read_frame(self):
        """(opcode, payload); servers do not mask."""
        first, second = self._peek(2)
        assert first & 0x70 == 0 and second & 0x80 == 0
        extra = {126: 2, 127: 8}.get(second, 0)
        head = self._peek(2 + extra)
        length = int.from_bytes(head[2:], "big") if extra else second
        self._peek(2 + extra + length)
        return first & 0x0F, self._take(2 + extra + length)[2 + extra:]

    def _peek(self, count):
        while len(self.buffer) < count:
            self._fill()
        return self.buffer[:count]

    def sendall(self, data):
        self.stream.sendall(frame(data))

    def recv(self, _count):
        while True:
            opcode, payload = self.read_frame()
            if opcode == BINARY:
                return payload
            if opcode == CLOSE:
                self.close_code = int.from_bytes(payload[:2], "big")
                return b""
            assert opcode in (PING, PONG)
            self.pongs.append(payload)

    def settimeout(self, seconds):
        self.stream.settimeout(seconds)

    def setblocking(self, blocking):
        self.stream.setblocking(blocking)

    def setsockopt(self, *option):
        self.stream.setsockopt(*option)

    def close(self):
        self.stream.close()
