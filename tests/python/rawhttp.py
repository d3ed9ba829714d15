"""HTTP byte by byte: paths as they are given, headers as they are given, everything that returns."""

import dataclasses
import json
import socket


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes
    # What came after this answer on the same connection.
    rest: bytes = b""

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The exception's bare name, or None."""
        return self.headers.get("x-amzn-errortype")


class Http:
    """One connection for each request, closed by the server."""

    def __init__(self, address):
        self.address = address

    def request(self, method, target, body=b"", headers=()):
        lines = [f"{method} {target} HTTP/1.1", "host: {}:{}".format(*self.address),
                 "connection: close", *headers]
        if body or method in ("POST", "PUT"):
            lines.append(f"content-length: {len(body)}")
        return self.exchange("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def get(self, target, **options):
        return self.request("GET", target, **options)

    def post(self, target, body=b"", **options):
        return self.request("POST", target, body, **options)

    def delete(self, target, **options):
        return self.request("DELETE", target, **options)

    def exchange(self, data, seconds=15.0):
        """Sends these bytes, reads until the server closes; None if it closes without a byte."""
        received = self.raw(data, seconds)
        return parse(received) if received else None

    def raw(self, data, seconds=15.0):
        with socket.create_connection(self.address, timeout=seconds) as connection:
            try:
                connection.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            received = b""
            while True:
                try:
                    more = connection.recv(65536)
                except ConnectionResetError:
                    return received
                if not more:
                    return received
                received += more


def parse(data):
    head, separator, rest = data.partition(b"\r\n\r\n")
    assert separator, data
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        key, _, value = line.partition(":")
        assert key.lower() not in headers, f"{key} twice"
        headers[key.lower()] = value.strip()
    status = int(first.split(" ")[1])
    if "content-length" not in headers:
        return Answer(status, headers, rest)
    length = int(headers["content-length"])
    return Answer(status, headers, rest[:length], rest[length:])
