"""Bad input over HTTP: any doubt about where a message ends is 400 and the end of the connection.

Never HTML, never a 5xx, never a second answer; a canary's round trips go on.
"""

import random
import re
import socket
import time

import pytest

from rawhttp import parse

pytestmark = pytest.mark.usefixtures("canary")

MEBIBYTE = 1 << 20
SMUGGLED = b"DELETE /connections/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


def head(*lines, first="POST /topics/t HTTP/1.1"):
    return "\r\n".join([first, *lines]).encode("latin-1") + b"\r\n\r\n"


DOUBT = {
    "both lengths": head("host: x", "content-length: 5", "transfer-encoding: chunked")
    + b"0\r\n\r\n" + SMUGGLED,
    "both lengths, the other way": head("host: x", "transfer-encoding: chunked",
                                        "content-length: 5") + b"0\r\n\r\n" + SMUGGLED,
    "two lengths": head("host: x", "content-length: 3", "content-length: 4") + b"abcd",
    "two equal lengths": head("host: x", "content-length: 3", "content-length: 3") + b"abc",
    "a list of lengths": head("host: x", "content-length: 3, 3") + b"abc",
    "negative length": head("host: x", "content-length: -1"),
    "length with a sign": head("host: x", "content-length: +3") + b"abc",
    "length in hexadecimal": head("host: x", "content-length: 0x3") + b"abc",
    "length beyond 64 bits": head("host: x", "content-length: 99999999999999999999"),
    "empty length": head("host: x", "content-length: "),
    "chunked twice": head("host: x", "transfer-encoding: chunked, chunked") + b"0\r\n\r\n",
    "unknown transfer coding": head("host: x", "transfer-encoding: gzip") + b"abc",
    "chunked is not last": head("host: x", "transfer-encoding: chunked, gzip") + b"0\r\n\r\n",
    "chunk size is no number": head("host: x", "transfer-encoding: chunked") + b"zz\r\nabc\r\n",
    "negative chunk size": head("host: x", "transfer-encoding: chunked") + b"-1\r\nabc\r\n",
    "chunk size beyond 64 bits": head("host: x", "transfer-encoding: chunked")
    + b"fffffffffffffffff\r\n",
    "chunk without its end": head("host: x", "transfer-encoding: chunked") + b"3\r\nabcXX0\r\n\r\n",
    "no host": head("content-length: 0"),
    "two hosts": head("host: x", "host: y", "content-length: 0"),
    "two equal hosts": head("host: x", "host: x", "content-length: 0"),
    "space before the colon": head("host : x", "content-length: 0"),
    "folded header": head("host: x", "a: b", " folded", "content-length: 0"),
    "header without a colon": head("host: x", "nonsense", "content-length: 0"),
    "NUL in a header": head("host: x", "a: b\0c", "content-length: 0"),
    "control character in a header": head("host: x", "a: b\x01c", "content-length: 0"),
    "bare CR in a header": head("host: x", "a: b\rc: d", "content-length: 0"),
    "header name with a space": head("host: x", "a b: c", "content-length: 0"),
    "empty header name": head("host: x", ": c", "content-length: 0"),
    "no version": b"GET /retainedMessage\r\n\r\n",
    "unknown version": head("host: x", first="GET /retainedMessage HTTP/9.9"),
    "tab in the request line": head("host: x", first="GET\t/retainedMessage\tHTTP/1.1"),
    "two spaces in the request line": head("host: x", first="GET  /retainedMessage HTTP/1.1"),
    "NUL in the path": head("host: x", first="GET /connections/\0 HTTP/1.1"),
    "bytes above ASCII in the path": head("host: x", first="GET /connections/\xff\xfe HTTP/1.1"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40,
    "MQTT": bytes.fromhex("101000044d5154540502003c00000378797a"),
    "noise": random.Random(3).randbytes(300) + b"\r\n\r\n",
}


def assert_harmless(data):
    """At most one answer, 4xx, JSON or nothing in its body."""
    if not data:
        return None
    answer = parse(data)
    assert 400 <= answer.status < 500, data
    assert b"<" not in answer.body
    assert answer.rest == b"", "something after the answer"
    return answer


@pytest.mark.parametrize("what", DOUBT)
def test_message_in_doubt(http, what):
    answer = assert_harmless(http.raw(DOUBT[what]))
    if answer:
        assert answer.status in (400, 404, 405, 505), answer


def test_smuggled_request_is_not_carried_out(http, wire):
    """The bytes behind a message in doubt are not a request."""
    victim = wire(client_id="smuggled")
    for what in ("both lengths", "both lengths, the other way"):
        answer = assert_harmless(http.raw(DOUBT[what]))
        assert answer.status == 400
    assert victim.is_alive()


@pytest.mark.parametrize("what", ["both lengths", "two lengths", "two hosts", "no host",
                                  "unknown transfer coding"])
def test_doubt_is_answered_with_400(http, what):
    assert assert_harmless(http.raw(DOUBT[what])).status == 400


@pytest.mark.parametrize("path", ["%zz", "%2", "%", "%00", "%ff", "%c0%80", "%ed%a0%80", "a%0", "%u0041"])
def test_bad_percent_encoding(http, path):
    """§5 rule 5 and reliability: 400 in every place that takes a name."""
    for target in (f"/connections/{path}", f"/connections/{path}/subscriptions",
                   f"/retainedMessage/{path}"):
        answer = http.get(target)
        assert (answer.status, answer.error) == (400, "InvalidRequestException"), target
    answer = http.post(f"/topics/{path}")
    assert (answer.status, answer.error) == (400, "InvalidRequestException")


@pytest.mark.parametrize("query", ["cleanSession=%zz", "cleanSession=%ff", "%=1", "a=%00"])
def test_bad_query(http, query):
    answer = http.delete(f"/connections/nobody?{query}")
    assert 400 <= answer.status < 500
    assert b"<" not in answer.body


def test_target_over_8_kib(http):
    answer = assert_harmless(http.raw(head("host: x", first=f"GET /{'x' * 9000} HTTP/1.1")))
    assert answer.status in (400, 414)


def test_head_over_32_kib(http):
    answer = assert_harmless(http.raw(head("host: x", f"a: {'x' * 40_000}", "content-length: 0")))
    assert answer.status in (400, 431)


def test_too_many_headers(http):
    many = [f"h{number}: x" for number in range(200)]
    answer = assert_harmless(http.raw(head("host: x", *many, "content-length: 0")))
    assert answer.status in (400, 431)


def test_head_that_never_ends(server, http):
    """Megabytes of header: cut off, not kept."""
    before = server.resident_bytes()
    data = http.raw(b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * (4 * MEBIBYTE))
    assert_harmless(data)
    assert server.resident_bytes() - before < 8 * MEBIBYTE


def test_body_over_256_kib(server, http):
    """Refused by its length; a chunked one when it is over."""
    before = server.resident_bytes()
    answer = parse(http.raw(head("host: x", f"content-length: {1 << 30}")))
    assert (answer.status, answer.error) == (413, "RequestEntityTooLargeException")
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    data = http.raw(head("host: x", "transfer-encoding: chunked", "connection: close")
                    + chunk * 64 + b"0\r\n\r\n")
    if data:
        assert parse(data).status == 413
    assert server.resident_bytes() - before < 16 * MEBIBYTE


def test_oversize_body_on_a_get(http):
    data = http.raw(head("host: x", f"content-length: {300 << 10}", "connection: close",
                         first="GET /connections/nobody HTTP/1.1") + b"x" * (300 << 10))
    if data:
        assert parse(data).status in (400, 404, 413)


def test_random_bytes(server, http):
    """Five hundred connections of noise from a fixed seed."""
    noise = random.Random(11)
    for number in range(500):
        data = noise.randbytes(noise.randrange(1, 300))
        if number % 2:
            data = b"GET /connections/x HTTP/1.1\r\nhost: x\r\n" + data + b"\r\n\r\n"
        with socket.create_connection(server.http, timeout=10) as connection:
            try:
                connection.sendall(data)
            except OSError:
                pass
    assert http.get("/health/live").status == 200


def test_slow_heads_are_closed(server, http):
    """10 s for the head, whatever trickles in; other requests are answered meanwhile."""
    slow = [socket.create_connection(server.http) for _ in range(50)]
    for connection in slow:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: ")
    began, open_ones = time.monotonic(), list(slow)
    while open_ones and time.monotonic() - began < 25:
        assert http.get("/health/live").status == 200
        open_ones = [one for one in open_ones if not ended(one)]
        for connection in open_ones:
            try:
                connection.send(b"x")
            except OSError:
                pass
        time.sleep(0.25)
    for connection in slow:
        connection.close()
    assert not open_ones, f"{len(open_ones)} still open"


def ended(connection):
    connection.setblocking(False)
    try:
        data = connection.recv(4096)
        return data == b"" or b"HTTP/1.1 4" in data
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("size", [1, 7, 64, 65_536])
def test_requests_with_bodies_follow_each_other(http, size):
    """Pipelined in segments of any size; what looks like a head in a body is none."""
    body = b"\r\n\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n"
    post = b"POST /topics/a HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    get = b"GET /connections/nobody HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    data, received = post + get + post + post + last, b""
    with socket.create_connection(http.address, timeout=15) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), size):
            connection.sendall(data[at:at + size])
        while more := connection.recv(65536):
            received += more
    assert re.findall(rb"HTTP/1.1 (\d+) ", received) == [b"200", b"404", b"200", b"200", b"200"]


@pytest.mark.heavy
def test_many_requests_at_once(server, http):
    """Two hundred keep-alive connections, ten pipelined requests each."""
    one = b"GET /connections/nobody HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /connections/nobody HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    connections = [socket.create_connection(server.http, timeout=20) for _ in range(200)]
    for connection in connections:
        connection.sendall(one * 9 + last)
    for connection in connections:
        data = b""
        while more := connection.recv(65536):
            data += more
        assert data.count(b"HTTP/1.1 404 ") == 10
        connection.close()


def test_answer_that_is_not_read(server, http):
    """A client that asks and does not read harms itself alone."""
    before = server.resident_bytes()
    greedy = [socket.create_connection(server.http, timeout=5) for _ in range(20)]
    request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
    for connection in greedy:
        connection.settimeout(0.2)
        try:
            for _ in range(200):
                connection.sendall(request * 20)
        except (TimeoutError, OSError):
            pass
    assert http.get("/health/live").status == 200
    assert server.resident_bytes() - before < 64 * MEBIBYTE
    for connection in greedy:
        connection.close()
