"""MQTT byte by byte: for what no client library would send, and to see exactly what comes back."""

import socket
import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)


def varint(number):
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def binary(data):
    """Two bytes of length, then the data; text becomes UTF-8."""
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">H", len(data)) + data


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect(client_id, version=5, clean=True, keep_alive=60, properties=b"", will=None,
            username=None, password=None, retain=False, will_properties=b""):
    """CONNECT; `will` is (topic, payload, qos), retained if `retain`."""
    flags = 0x02 if clean else 0
    payload = binary(client_id)
    if will:
        topic, content, qos = will
        flags |= 0x04 | qos << 3 | (0x20 if retain else 0)
        if version == 5:
            payload += varint(len(will_properties)) + will_properties
        payload += binary(topic) + binary(content)
    for flag, given in ((0x80, username), (0x40, password)):
        if given is not None:
            flags |= flag
            payload += binary(given)
    head = binary("MQTT") + bytes([version, flags]) + struct.pack(">H", keep_alive)
    if version == 5:
        head += varint(len(properties)) + properties
    return packet(CONNECT, 0, head + payload)


def publish(topic, payload=b"", qos=0, packet_id=1, version=5, properties=b"", flags=0):
    body = binary(topic)
    if qos:
        body += struct.pack(">H", packet_id)
    if version == 5:
        body += varint(len(properties)) + properties
    return packet(PUBLISH, qos << 1 | flags, body + payload)


def subscribe(*filters, qos=1, packet_id=1, version=5, properties=b""):
    body = struct.pack(">H", packet_id)
    if version == 5:
        body += varint(len(properties)) + properties
    return packet(SUBSCRIBE, 2, body + b"".join(binary(f) + bytes([qos]) for f in filters))


def ack(kind, packet_id, reason=None):
    body = struct.pack(">H", packet_id) + (b"" if reason is None else bytes([reason]))
    return packet(kind, 2 if kind == PUBREL else 0, body)


class Closed(Exception):
    """The server closed the connection."""


class Wire:
    """A socket to the server's MQTT listener, or another stream; every read has a limit of time."""

    def __init__(self, address, client_id=None, seconds=10.0, stream=None, **options):
        if stream is None:
            stream = socket.create_connection(address, timeout=seconds)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = stream
        self.seconds = seconds
        self.version = options.get("version", 5)
        self.buffer = b""
        if client_id is not None:
            self.send(connect(client_id, **options))
            kind, _, body = self.read()
            assert kind == CONNACK and body[1] == 0, (kind, body)
            self.session_present = body[0] & 1

    def send(self, data):
        """Sends; a peer that has closed already is no failure of the test's own."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _fill(self):
        try:
            more = self.socket.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            raise Closed
        self.buffer += more

    def _take(self, count):
        while len(self.buffer) < count:
            self._fill()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def read(self):
        """The next packet: (type, flags, body)."""
        first = self._take(1)[0]
        length, shift = 0, 0
        while True:
            digit = self._take(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return first >> 4, first & 0x0F, self._take(length)

    def rest(self):
        """Every byte until the server closes."""
        try:
            while True:
                self._fill()
        except Closed:
            return self.buffer

    def end(self):
        """How the connection ends: the Reason Code of DISCONNECT, or None for a bare close."""
        try:
            while True:
                kind, _, body = self.read()
                if kind == DISCONNECT:
                    assert self.rest() == b""
                    return body[0] if body else 0
        except Closed:
            return None

    def is_alive(self):
        """PINGREQ, PINGRESP; packets before it are left out."""
        self.send(packet(PINGREQ, 0, b""))
        try:
            while self.read()[0] != PINGRESP:
                pass
        except Closed:
            return False
        return True

    def is_silent(self, seconds):
        """Whether nothing arrives, not even the end, for so long."""
        self.socket.settimeout(seconds)
        try:
            self._fill()
            return False
        except (TimeoutError, Closed) as why:
            return isinstance(why, TimeoutError)
        finally:
            self.socket.settimeout(self.seconds)

    def close(self):
        self.socket.close()
