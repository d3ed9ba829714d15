"""Signature Version 4 with `--auth enforce`: who is let in, and what one change of a request does.

`data-plane-http.md` §3 and §6. A request whose signature holds is answered by its operation (404
for a client that is not there), one whose signature does not is 403 and says which kind.
"""

import datetime
import email.utils
import hashlib
import json
import os
import pathlib
import random
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse

import botocore.auth
import botocore.crt.auth
import botocore.exceptions
import pytest

from enforced import InHeaders, TEMPORARY, changed, sign, unsigned
from test_boto3 import ODD

AWS = pathlib.Path(sys.executable).with_name("aws")
SIGNATURE, FORBIDDEN = "InvalidSignatureException", "ForbiddenException"
NOBODY = "/connections/nobody"


@pytest.fixture(scope="module")
def key(enforced):
    return enforced.key(("Allow", "iot:GetConnection", "*"), ("Allow", "iot:Publish", "*"))


def holds(enforced, request, **how):
    """Whether the signature holds: the operation answered."""
    answer = enforced.send(request, **how)
    assert answer.status in (200, 404) or answer.error in (SIGNATURE, FORBIDDEN), answer
    return answer.status != 403


def refused(enforced, request, error=SIGNATURE, **how):
    answer = enforced.send(request, **how)
    assert (answer.status, answer.error) == (403, error), answer
    assert json.loads(answer.body)["traceId"] == answer.headers["x-amzn-requestid"]
    return answer


# Clients

def keys_of(enforced):
    """What a client may come with: (key, session token, the exception that it gets)."""
    right, inactive = enforced.key(), enforced.key()
    enforced.update_key(inactive, "INACTIVE")
    temporary = (TEMPORARY.id, TEMPORARY.secret)
    expired = enforced.key(expiresAt=int(time.time()) - 1)
    return {
        "right": (right, None, None),
        "wrong secret": ((right.id, "not-the-secret"), None, SIGNATURE),
        "unknown": (("AKIANOBODYKNOWSTHIS0", right.secret), None, FORBIDDEN),
        "inactive": (inactive, None, FORBIDDEN),
        "inactive, wrong secret": ((inactive.id, "not-the-secret"), None, SIGNATURE),
        "expired": (expired, None, FORBIDDEN),
        "with a token that it has not": (right, "token", FORBIDDEN),
        "temporary": (temporary, TEMPORARY.token, None),
        "temporary, another token": (temporary, TEMPORARY.token + "=", FORBIDDEN),
        "temporary, no token": (temporary, None, FORBIDDEN),
    }


def test_boto3_gets_a_typed_exception(enforced, signing):
    """H-15: 403 is `ForbiddenException`, a signature that does not hold its own."""
    for what, (key, token, error) in keys_of(enforced).items():
        iot = enforced.data(key, token)
        with pytest.raises(botocore.exceptions.ClientError) as answered:
            iot.delete_connection(clientId="nobody")
        response = answered.value.response
        if error is None:
            assert isinstance(answered.value, iot.exceptions.ResourceNotFoundException), what
            continue
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 403, what
        assert response["Error"]["Code"] == error, what
        if error == FORBIDDEN:
            assert isinstance(answered.value, iot.exceptions.ForbiddenException), what
            assert response["Error"]["Message"] == "Forbidden", what


def test_aws_cli(enforced, key, tmp_path):
    def run(*words, secret=key.secret):
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_IOT_DATA_PLANE": enforced.endpoint, "AWS_ACCESS_KEY_ID": key.id,
            "AWS_SECRET_ACCESS_KEY": secret, "AWS_EC2_METADATA_DISABLED": "true"}
        return subprocess.run([AWS, "iot-data", *words], env=environment, cwd=tmp_path,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    done = run("publish", "--topic", "a/b c", "--qos", "1", "--payload", "aGVsbG8=")
    assert done.returncode == 0, done.stderr
    done = run("delete-connection", "--client-id", "a/b c")
    assert done.returncode != 0 and "(ForbiddenException)" in done.stderr
    done = run("get-connection", "--client-id", "nobody", secret="not-the-secret")
    assert done.returncode != 0 and "(InvalidSignatureException)" in done.stderr


@pytest.fixture(params=["python", "crt"])
def signing(request, monkeypatch):
    """The two signers of boto3: with awscrt installed it takes that."""
    ways = {"python": botocore.auth.SigV4Auth, "crt": botocore.crt.auth.CrtSigV4Auth}
    monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, "v4", ways[request.param])


@pytest.mark.parametrize("odd", ODD)
def test_odd_client_id_is_signed_and_decoded_alike(enforced, signing, odd):
    """§5, §6: a key for this one id gets to it as boto3 escapes it, and to no other."""
    literal = "".join(f"${{{one}}}" if one in "*?$" else one for one in odd)
    iot = enforced.data(enforced.key(
        ("Allow", "iot:GetConnection", f"arn:aws:iot:us-east-1:000000000000:client/{literal}")))
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_connection(clientId=odd)
    with pytest.raises(iot.exceptions.ForbiddenException):
        iot.get_connection(clientId=f"{odd}x")


def test_key_is_good_and_bad_from_the_moment_that_says_so(enforced):
    key = enforced.key()
    request = sign(enforced, key, "GET", NOBODY)
    assert holds(enforced, request)
    enforced.update_key(key, "INACTIVE")
    refused(enforced, request, FORBIDDEN)
    enforced.update_key(key, "ACTIVE")
    assert holds(enforced, request)
    enforced.ours("DELETE", f"/bitts/v1/credentials/{key.id}")
    refused(enforced, request, FORBIDDEN)


# Time

@pytest.mark.parametrize("query", [False, True])
@pytest.mark.parametrize("skew,is_good", [(-600, False), (-310, False), (-240, True), (240, True),
                                          (310, False), (600, False)])
def test_clock_may_be_five_minutes_off(enforced, key, query, skew, is_good):
    """A refusal's `Date` lets a client correct itself."""
    request = sign(enforced, key, "GET", NOBODY, skew=skew, query=query)
    if is_good:
        assert holds(enforced, request)
        return
    date = refused(enforced, request).headers["date"]
    assert abs(email.utils.parsedate_to_datetime(date).timestamp() - time.time()) < 5


def test_boto3_with_a_wrong_clock_is_told_the_date(enforced, key, signing, monkeypatch):
    now = datetime.datetime.now(datetime.UTC)
    for module in ("botocore.auth", "botocore.crt.auth"):
        monkeypatch.setattr(f"{module}.get_current_datetime",
                            lambda **_: now - datetime.timedelta(minutes=10))
    iot = enforced.data(key)
    with pytest.raises(botocore.exceptions.ClientError) as answered:
        iot.get_connection(clientId="nobody")
    response = answered.value.response
    assert response["Error"]["Code"] == SIGNATURE
    date = response["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert abs(email.utils.parsedate_to_datetime(date) - now) < datetime.timedelta(seconds=10)


@pytest.mark.parametrize("expires,skew,is_good", [
    (1, 0, True), (0, 0, False), (600, -400, True), (300, -400, False), (604_800, -604_000, True),
    (604_801, 0, False), (None, -200, True), (None, -400, False), ("5x", 0, False)])
def test_presigned_request_is_good_for_as_long_as_it_says(enforced, key, expires, skew, is_good):
    """Without `X-Amz-Expires` it is as good as a header, which AWS's device SDKs rely on."""
    signed = sign(enforced, key, "GET", NOBODY, skew=skew, query=True, expires=expires)
    assert holds(enforced, signed) == is_good


# Payloads

def test_payload_that_is_not_signed(enforced, key):
    """`UNSIGNED-PAYLOAD` where a signed header says so, and nowhere else."""
    context = ssl.create_default_context(cafile=enforced.ca)
    request = sign(enforced, key, "POST", "/topics/a", b"hello", unsigned=True)
    assert ("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD") in request.headers
    assert holds(enforced, request, context=context)
    assert holds(enforced, changed(request, body=b"HELLO"), context=context)
    request = sign(enforced, key, "POST", "/topics/a", b"hello")
    request.headers.append(("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"))
    assert holds(enforced, request)
    refused(enforced, changed(request, body=b"HELLO"))


@pytest.mark.parametrize("value", [
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "",
    "unsigned-payload", hashlib.sha256(b"other").hexdigest(),
    hashlib.sha256(b"hello").hexdigest().upper()])
def test_payload_hash_is_the_payloads(enforced, key, value):
    request = sign(enforced, key, "POST", "/topics/a", b"hello",
                   headers={"X-Amz-Content-SHA256": value})
    refused(enforced, request)


@pytest.mark.parametrize("query", [False, True])
def test_body_belongs_to_its_signature(enforced, key, query):
    if query:
        # Presigned for a body: botocore takes an empty one alone.
        request = sign(enforced, key, "POST", "/topics/a", query=True)
        assert holds(enforced, request)
        headers = [it for it in request.headers if it[0] != "Content-Length"]
        refused(enforced, changed(request, body=b"x", headers=[*headers, ("Content-Length", "1")]))
        return
    request = sign(enforced, key, "POST", "/topics/a", b"hello")
    assert holds(enforced, request)
    refused(enforced, changed(request, body=b"hellO"))


# Forms

def test_header_and_query_together_are_refused(enforced, key):
    in_header = sign(enforced, key, "GET", NOBODY)
    in_query = sign(enforced, key, "GET", NOBODY, query=True)
    refused(enforced, changed(in_query, headers=in_header.headers))
    both = sign(enforced, key, "GET", in_query.target)
    refused(enforced, both)


@pytest.mark.parametrize("name", [
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
    "X-Amz-Signature"])
@pytest.mark.parametrize("at", ["begin", "end"])
def test_parameter_of_a_signature_stands_once(enforced, key, name, at):
    request = sign(enforced, key, "GET", NOBODY, query=True)
    path, _, query = request.target.partition("?")
    again = next(pair for pair in query.split("&") if pair.startswith(f"{name}="))
    query = f"{again}&{query}" if at == "begin" else f"{query}&{again}"
    refused(enforced, changed(request, target=f"{path}?{query}"))


@pytest.mark.parametrize("name", ["Authorization", "X-Amz-Date", "X-Amz-Security-Token"])
def test_header_of_a_signature_stands_once(enforced, name):
    key = (TEMPORARY.id, TEMPORARY.secret)
    request = sign(enforced, key, "GET", NOBODY, token=TEMPORARY.token)
    again = next(header for header in request.headers if header[0] == name)
    refused(enforced, changed(request, headers=[*request.headers, again]))


@pytest.mark.parametrize("before,after", [
    ("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date"),
    ("SignedHeaders=host;x-amz-date", "SignedHeaders=host"),
    ("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date;host"),
    ("SignedHeaders=host;x-amz-date", "SignedHeaders=host;host;x-amz-date"),
    ("SignedHeaders=host;x-amz-date", "SignedHeaders="),
    ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), ("AWS4-HMAC-SHA256", "Bearer"),
    ("/aws4_request", "/aws5_request"), ("/us-east-1/", "//"), ("/us-east-1/", "/eu-west-1/"),
    ("/iotdata/", "/iotdevicegateway/"), ("/iotdata/", "/s3/"),
    ("Signature=", "Signature=0"), ("Signature=", "Signature=0x"), (", ", "; ")])
def test_authorization_is_read_strictly(enforced, key, before, after):
    request = sign(enforced, key, "GET", NOBODY)
    headers = [(name, value.replace(before, after) if name == "Authorization" else value)
               for name, value in request.headers]
    assert headers != request.headers
    refused(enforced, changed(request, headers=headers))


def test_session_token_of_a_presigned_request(enforced):
    """`mqtt-broker.md` §1.1: inside of what is signed, or outside."""
    key, token = (TEMPORARY.id, TEMPORARY.secret), TEMPORARY.token
    outside = sign(enforced, key, "GET", NOBODY, query=True)
    escaped = urllib.parse.quote(token, safe="")
    with_token = changed(outside, target=f"{outside.target}&X-Amz-Security-Token={escaped}")
    assert holds(enforced, with_token)
    refused(enforced, outside, FORBIDDEN)
    refused(enforced, changed(with_token, target=with_token.target + "x"), FORBIDDEN)
    assert holds(enforced, sign(enforced, key, "GET", NOBODY, query=True, token=token))


@pytest.mark.parametrize("service,is_good", [
    ("iotdata", True), ("iotdevicegateway", True), ("iot", False), ("iot-jobs-data", False),
    ("s3", False), ("IotData", False), ("execute-api", False)])
@pytest.mark.parametrize("query", [False, True])
def test_service_that_a_request_is_signed_for(enforced, key, service, is_good, query):
    request = sign(enforced, key, "GET", NOBODY, service=service, query=query)
    assert holds(enforced, request) == is_good


def test_request_without_a_credential(enforced):
    refused(enforced, unsigned(enforced, "GET", NOBODY), FORBIDDEN)
    refused(enforced, unsigned(enforced, "GET", NOBODY, headers=[("Authorization", "Bearer x")]))


# Paths

class Dart(InHeaders):
    """How the Dart packages sign: the path as it is on the wire, `%20` where `+` is sent."""

    def _normalize_url_path(self, path):
        return path


def dart(enforced, key, method, path, query=None):
    """As Dart sends: every header signed, the host without its port, a bare `?`."""
    encoded = urllib.parse.urlencode(query or {}, quote_via=urllib.parse.quote)
    request = sign(enforced, key, method, f"{path}?{encoded}" if query else path,
                   signer=Dart, headers={
                       "Host": enforced.http[0], "accept": "application/json",
                       "x-amz-content-sha256": hashlib.sha256(b"").hexdigest()})
    headers = [it for it in request.headers if it[0] != "Host"] + [("Host", enforced.http[0])]
    return changed(request, headers=headers,
                   target=f"{path}?{urllib.parse.urlencode(query or {})}")


@pytest.mark.parametrize("name", ["nobody", "a%2Fb%20c", "%C3%BC~*()'!", "trail%2F", "T%3A1"])
def test_dart_signs_the_path_as_it_is_sent(enforced, key, name):
    assert holds(enforced, dart(enforced, key, "GET", f"/connections/{name}"))


def test_dart_sends_a_plus_for_a_space(enforced, key):
    """H-13 on a request that is signed."""
    request = dart(enforced, key, "POST", "/topics/a%2Fb", {"contentType": "a b", "qos": "1"})
    assert "contentType=a+b" in request.target
    assert holds(enforced, request)


@pytest.mark.parametrize("how", ["double", "single"])
def test_request_for_a_name_is_not_one_for_its_escaped_form(enforced, key, how):
    """What was signed for `a/b` is not good for the client whose id is `a%2Fb`."""
    path = "/connections/a%2Fb"
    request = (sign(enforced, key, "GET", path) if how == "double"
               else dart(enforced, key, "GET", path))
    assert holds(enforced, request)
    refused(enforced, changed(request, target=request.target.replace("%2F", "%252F")))
    # And as it was signed in full it is good.
    assert holds(enforced, sign(enforced, key, "GET", "/connections/a%252Fb"))


@pytest.mark.parametrize("target", [
    "/connections/nobody2", "/connections/Nobody", "/connections/nobod%79", "/connections/nobody/",
    "/connections/./nobody", "/connections//nobody", "/connections/x/../nobody",
    "/connections/nobody?includeSocketInformation=true", "/connections/nobody?x",
    "/topics/../connections/nobody"])
def test_signature_is_for_one_target(enforced, key, target):
    request = sign(enforced, key, "GET", NOBODY)
    assert holds(enforced, request)
    answer = enforced.send(changed(request, target=target))
    assert answer.error in (SIGNATURE, "ResourceNotFoundException", "MethodNotAllowedException")
    if answer.error != SIGNATURE:
        # No operation has such a path, whoever asks.
        assert enforced.send(unsigned(enforced, "GET", target)).error == answer.error


# Property

REQUESTS = 10_000
AT_ONCE = 25
LETTERS = "abcXYZ019-._~ /%+*'()!?&=:;,@$[]\"<>{}|\\^`üß日\U0001f600"


class Line:
    """A connection that stays, with one request at a time on its way."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=30)
        self.reader = self.socket.makefile("rb")

    def ask(self, request):
        self.socket.sendall(wire_of(request))

    def answer(self):
        """(status, exception)."""
        status = int(self.reader.readline().split()[1])
        length, error = 0, None
        while (line := self.reader.readline().rstrip()):
            name, _, value = line.partition(b": ")
            if name == b"content-length":
                length = int(value)
            elif name == b"x-amzn-errortype":
                error = value.decode()
        self.reader.read(length)
        return status, error


def exchange(lines, requests):
    """What each is answered; as many at once as there are lines."""
    for line, request in zip(lines, requests, strict=True):
        line.ask(request)
    return [line.answer() for line in lines]


def wire_of(request):
    lines = [f"{request.method} {request.target} HTTP/1.1",
             *(f"{name}: {value}" for name, value in request.headers)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + request.body


def some_text(dice, least=1, most=12):
    return "".join(dice.choices(LETTERS, k=dice.randint(least, most)))


def some_request(dice, enforced, key):
    kind = dice.choice(["get", "delete", "publish", "retained", "subscriptions"])
    text = "p" + some_text(dice)
    # A topic has no wildcard.
    text = text.replace("+", "-") if kind in ("publish", "retained") else text
    name = urllib.parse.quote(text, safe="")
    query = []
    if kind in ("publish",):
        query = [("qos", dice.choice("01")), ("contentType", some_text(dice)),
                 ("messageExpiry", str(dice.randint(1, 9)))]
    elif kind == "delete":
        query = [("cleanSession", dice.choice(["true", "FALSE"]))]
    elif kind == "get":
        query = [("includeSocketInformation", "true"), (some_text(dice), some_text(dice, 0))]
    query = dice.sample(query, dice.randint(0, len(query)))
    dice.shuffle(query)
    method, path = {
        "get": ("GET", f"/connections/{name}"), "delete": ("DELETE", f"/connections/{name}"),
        "publish": ("POST", f"/topics/{name}"), "retained": ("GET", f"/retainedMessage/{name}"),
        "subscriptions": ("GET", f"/connections/{name}/subscriptions")}[kind]
    if query:
        path += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote, safe="")
    body = dice.randbytes(dice.randint(0, 60)) if kind == "publish" else b""
    headers = {}
    if dice.random() < 0.5:
        headers["x-test"] = f"a{' ' * dice.randint(1, 3)}{dice.randint(0, 9)}"
    if dice.random() < 0.3:
        headers["Content-Type"] = "application/octet-stream"
    in_query = dice.random() < 0.2 and not body
    token = TEMPORARY.token if key[0] == TEMPORARY.id else None
    return sign(enforced, key, method, path, body, token=token, headers=headers,
                skew=dice.randint(-200, 200), query=in_query,
                service=dice.choice(["iotdata", "iotdevicegateway"]))


def one_change(dice, request):
    """The request with one thing changed that is signed: (what, request)."""
    headers = dict(request.headers)
    is_query = "Authorization" not in headers

    def header(name, value):
        return changed(request, headers=list({**headers, name: value}.items()))

    def digit(text, at):
        return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]

    def of_signature(change):
        """`change` of the signature's text, wherever it stands."""
        if is_query:
            return changed(request, target=change(request.target))
        return header("Authorization", change(headers["Authorization"]))

    path, mark, query = request.target.partition("?")
    at = path.index("/p") + 1
    changes = {
        "signature": lambda: of_signature(
            lambda text: digit(text, text.index("Signature=") + 10 + dice.randrange(64))),
        "region": lambda: of_signature(lambda text: text.replace("us-east-1", "us-east-2")),
        "credential": lambda: of_signature(lambda text: digit(text, text.index(
            time.strftime("%Y%m", time.gmtime())) + 7)),
        "path": lambda: changed(request, target=f"{path[:at]}q{path[at + 1:]}{mark}{query}"),
        "added to the query": lambda: changed(
            request, target=f"{path}?{query}&z=1" if mark else f"{path}?z=1"),
    }
    if request.method != "POST":
        other = "DELETE" if request.method == "GET" else "GET"
        if path.count("/") == 2 and path.startswith("/connections/"):
            changes["method"] = lambda: changed(request, method=other)
    else:
        body = request.body
        changes["body"] = lambda: changed(
            header("Content-Length", str(len(body) + 1)), body=body + b"x")
        if body:
            where = dice.randrange(len(body))
            changes["byte of the body"] = lambda: changed(
                request, body=body[:where] + bytes([body[where] ^ 1]) + body[where + 1:])
    if query and not is_query:
        changes["a parameter less"] = lambda: changed(
            request, target="?".join(filter(None, [path, query.rpartition("&")[0]])))
    if not is_query:
        date = headers["X-Amz-Date"]
        second = f"{(int(date[13:15]) + 1) % 60:02}"
        changes["date"] = lambda: header("X-Amz-Date", f"{date[:13]}{second}Z")
        if "x-test" in headers:
            changes["header"] = lambda: header("x-test", headers["x-test"] + "1")
            changes["header not signed"] = lambda: header(
                "Authorization", headers["Authorization"].replace(";x-test", ""))
        if "X-Amz-Security-Token" in headers:
            changes["token"] = lambda: header("X-Amz-Security-Token", "other")
    host = headers["Host"]
    changes["host"] = lambda: header("Host", host.replace("127", "128"))
    what = dice.choice(sorted(changes))
    return what, changes[what]()


def test_what_botocore_signs_holds_and_one_change_breaks_it(enforced):
    """10,000 random requests, each also with one random change."""
    seed = int(os.environ.get("PROPERTY_SEED", random.randrange(1 << 32)))
    dice = random.Random(seed)
    keys = [enforced.admin, enforced.key(), (TEMPORARY.id, TEMPORARY.secret)]
    lines = [Line(enforced.http) for _ in range(AT_ONCE)]
    for _ in range(REQUESTS // AT_ONCE):
        requests = [some_request(dice, enforced, dice.choice(keys)) for _ in lines]
        for request, (status, error) in zip(requests, exchange(lines, requests)):
            assert status in (200, 404), (seed, status, error, wire_of(request))
        broken = [one_change(dice, request) for request in requests]
        answers = exchange(lines, [request for _, request in broken])
        for (what, request), answer in zip(broken, answers):
            assert answer == (403, SIGNATURE), (seed, what, answer, wire_of(request))
