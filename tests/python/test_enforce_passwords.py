"""Users with passwords, custom authorizers and clients without a credential, with `--auth enforce`.

`mqtt-broker.md` §1.2 and §1.3, `data-plane-http.md` §7.
"""

import base64
import dataclasses
import http.server
import itertools
import json
import pathlib
import socket
import subprocess
import threading
import time
import types
import urllib.parse
from concurrent.futures import Future

import botocore.exceptions
import pytest
from awscrt import mqtt5
from awsiot import mqtt5_client_builder

import rawhttp
import wire as w
from control import ACCOUNT, document
from device import Device
from enforced import knock, sign, unsigned
from server import wait_until
from ways import Way, WebSocket, upgrade

SECONDS = 10.0
BAD_PASSWORD, NOT_AUTHORIZED = 0x86, 0x87
ALL = ("Allow", "iot:*", "*")
# How a client without a certificate comes to speak MQTT.
DOORS = {
    "mqtt": Way("mqtt"), "mqtts": Way("mqtts", tls=True), "ws": Way("http", websocket=True),
    "mqtts by ALPN": Way("mqtts", tls=True, alpn="mqtt"),
    "https by ALPN": Way("https", tls=True, alpn="mqtt"),
    "wss": Way("https", tls=True, websocket=True),
}


_sources = itertools.count(2)


def door(word="mqtts"):
    """One of the doors, from an address of its own: whoever fails too often waits."""
    return dataclasses.replace(DOORS[word], source=f"127.0.1.{next(_sources) % 250}")


# Users

@pytest.fixture(scope="session")
def users(enforced):
    enforced.user("ann", "correct horse of ann", ALL)
    enforced.user("bob", "correct horse of bob",
                  ("Allow", "iot:Connect", ACCOUNT + "client/${aws:username}-*"))
    enforced.user("eve", "correct horse of eve", ALL)
    enforced.ours("PUT", "/bitts/v1/credentials/user%2Feve?newStatus=INACTIVE")


@pytest.mark.parametrize("word", DOORS)
def test_user_with_a_password(enforced, users, name, word):
    """0x86 whoever it is that is refused; 4 for MQTT 3.1.1."""
    for username, password, good in (("ann", "correct horse of ann", True), ("ann", "wrong", False),
                                     ("nobody", "correct horse of ann", False)):
        for version, refused in ((5, BAD_PASSWORD), (4, 4)):
            client, code = knock(enforced, door(word), name("lamp"), version, username=username,
                                 password=password)
            assert code == (0 if good else refused), (username, password, version)
            client.close()


@pytest.mark.parametrize("username,password", [
    ("ann", ""), ("ann", None), (None, "correct horse of ann"), ("ann", "correct horse of bob"), ("ann", "correct horse of ann "),
    ("ann", "correct horse of ann\0"), ("Ann", "correct horse of ann"),
    ("ann\ufeff", "correct horse of ann"), ("", "correct horse of ann"),
    ("eve", "correct horse of eve"), ("eve", "wrong")])
def test_almost_a_user_is_none(enforced, users, name, username, password):
    """Another case, another end, inactive: all are told the same."""
    assert knock(enforced, door(), name("lamp"), username=username,
                 password=password)[1] == BAD_PASSWORD


def test_user_may_do_what_its_policies_say(enforced, users, name):
    way, who = door(), {"username": "bob", "password": "correct horse of bob"}
    lamp, code = knock(enforced, way, "bob-1", **who)
    assert code == 0
    lamp.send(w.publish("a", b"x", qos=1))
    assert lamp.read()[2][2] == NOT_AUTHORIZED
    assert knock(enforced, way, name("ann"), **who)[1] == NOT_AUTHORIZED
    # A password that was right is remembered; not beyond what makes it wrong.
    enforced.ours("PUT", "/bitts/v1/credentials/user%2Fbob?newStatus=INACTIVE")
    assert lamp.end() == NOT_AUTHORIZED
    assert knock(enforced, way, "bob-1", **who)[1] == BAD_PASSWORD
    enforced.ours("PUT", "/bitts/v1/credentials/user%2Fbob?newStatus=ACTIVE")
    assert knock(enforced, way, "bob-1", **who)[1] == 0
    enforced.ours("DELETE", "/bitts/v1/credentials/user%2Fbob")
    assert knock(enforced, way, "bob-1", **who)[1] == BAD_PASSWORD
    enforced.user("bob", "another password of bob", ALL)
    assert knock(enforced, way, "bob-1", **who)[1] == BAD_PASSWORD
    assert knock(enforced, way, "bob-1", username="bob",
                 password="another password of bob")[1] == 0


def test_user_of_paho(enforced, name):
    """The name may have what AWS's SDKs tell of themselves behind it."""
    enforced.user("paho", "secret", ALL)
    enforced.secrets.remove("secret")
    for username in ("paho", "paho?SDK=PythonV2&Version=1.0"):
        lamp = Device(enforced, name("lamp"), way=DOORS["wss"], username=username)
        assert lamp.reason.value == 0
        lamp.subscribe("paho/#")
        lamp.publish("paho/a", "hello")
        assert lamp.payload() == "hello"
        lamp.close()


@pytest.mark.parametrize("version", ["311", "5"])
def test_mosquittos_tools(enforced, users, version):
    host, port = enforced.addresses["mqtts"]

    def publish(topic, *words):
        done = subprocess.run(
            ["mosquitto_pub", "-h", host, "-p", str(port), "--cafile", enforced.ca, "-V", version,
             "-q", "1", "-t", topic, "-m", "x", *words], capture_output=True, text=True, timeout=20)
        return done.returncode == 0

    assert publish("a", "-u", "ann", "-P", "correct horse of ann")
    assert not publish("a", "-u", "ann", "-P", "wrong")
    assert not publish("a")
    held = enforced.certificate(("Allow", "iot:Connect", "*"),
                                ("Allow", "iot:Publish", f"{ACCOUNT}topic/a"))
    files = ["--cert", held.certificate, "--key", held.key]
    assert publish("a", *files)
    held.update("INACTIVE")
    assert not publish("a", *files)


def test_password_is_no_credential_of_http(enforced, users):
    word = base64.b64encode(b"ann:correct horse of ann").decode()
    for path in ("/connections/x", "/metrics"):
        request = unsigned(enforced, "GET", path, headers=[("Authorization", f"Basic {word}")])
        assert enforced.send(request).status == 403


def test_whoever_guesses_waits_and_others_do_not(enforced, users, name):
    """100 failures of an address in a minute are answered at once, those after it a second late."""
    guesser, took = door("mqtt"), 0.0
    wrong = {"username": "x?x-amz-customauthorizer-name=nowhere&a=b"}
    # A minute may end meanwhile, and the count with it.
    for _ in range(205):
        began = time.monotonic()
        client, code = knock(enforced, guesser, name("lamp"), **wrong)
        took = time.monotonic() - began
        assert code == BAD_PASSWORD
        client.close()
        if took >= 1.0:
            break
    assert took >= 1.0
    began = time.monotonic()
    assert knock(enforced, door("mqtt"), name("lamp"), **wrong)[1] == BAD_PASSWORD
    assert time.monotonic() - began < 1.0


def test_whoever_waits_for_guessing_holds_nobody_up(enforced, users, name):
    """Hundreds of late answers to one address leave others their place."""
    guesser = door("mqtt")
    wrong = w.connect(name("lamp"), username="x?x-amz-customauthorizer-name=nowhere&a=b")
    streams = [guesser.open(enforced) for _ in range(500)]
    for stream in streams:
        stream.sendall(wrong)
    began = time.monotonic()
    for _ in range(3):
        assert knock(enforced, door("mqtt"), name("lamp"), username="ann",
                     password="correct horse of ann")[1] == 0
    assert time.monotonic() - began < 0.8
    for stream in streams:
        assert w.Wire(None, stream=stream).read()[2][1] == BAD_PASSWORD
        stream.close()


def test_client_without_an_id_is_asked_for_the_one_that_it_gets(enforced, users, name):
    """`iot:Connect` on the assigned id; a policy for one id does not give another."""
    enforced.user("one-id", "password of one-id", ("Allow", "iot:Connect", f"{ACCOUNT}client/x"))
    assert knock(enforced, door(), "", username="ann", password="correct horse of ann")[1] == 0
    assert knock(enforced, door(), "", username="one-id",
                 password="password of one-id")[1] == NOT_AUTHORIZED
    assert knock(enforced, door(), "x", username="one-id", password="password of one-id")[1] == 0


# Without a credential

def test_anonymous_is_let_in_by_a_policy_only(enforced, name):
    """For MQTT and HTTP, as far as the policy goes; a wrong credential does not become none."""
    way, request = door("mqtt"), unsigned(enforced, "POST", "/topics/open%2Fa?qos=1", b"x")
    other = unsigned(enforced, "POST", "/topics/closed", b"x")
    assert knock(enforced, way, "open-1")[1] == NOT_AUTHORIZED
    assert enforced.send(request).status == 403
    policy = enforced.policy(("Allow", "iot:Connect", f"{ACCOUNT}client/open-*"),
                             ("Allow", "iot:Publish", f"{ACCOUNT}topic/open/*"))
    enforced.plane.attach_policy(policyName=policy, target="anonymous")
    try:
        lamp, code = knock(enforced, way, "open-1")
        assert code == 0
        lamp.send(w.publish("open/a", b"x", qos=1))
        body = lamp.read()[2]
        assert len(body) == 2 or body[2] in (0, 0x10)
        lamp.send(w.publish("closed", b"x", qos=1))
        assert lamp.read()[2][2] == NOT_AUTHORIZED
        assert knock(enforced, way, name("closed"))[1] == NOT_AUTHORIZED
        assert enforced.send(request).status == 200
        assert enforced.send(other).status == 403
        assert knock(enforced, way, "open-1", username="ann", password="wrong")[1] == BAD_PASSWORD
        signed = sign(enforced, (enforced.admin.id, "wrong"), "POST", "/topics/open%2Fa")
        assert enforced.send(signed).status == 403
        for path in ("/metrics", "/bitts/v1/connections", "/things"):
            assert enforced.send(unsigned(enforced, "GET", path)).status == 403
    finally:
        enforced.plane.detach_policy(policyName=policy, target="anonymous")
    assert lamp.end() == NOT_AUTHORIZED
    assert knock(enforced, way, "open-1")[1] == NOT_AUTHORIZED
    assert enforced.send(request).status == 403


# Custom authorizers

class Hook:
    """A webhook: answers what `says` is, and remembers what it was asked."""

    def __init__(self):
        self.asked, self.says, self.status = [], {}, 200
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                hook.asked.append(json.loads(self.rfile.read(length)))
                says = hook.says(hook.asked[-1]) if callable(hook.says) else hook.says
                body = says if isinstance(says, bytes) else json.dumps(says).encode()
                self.send_response(hook.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket.listen(256)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/authorize"

    def lets_in(self, *statements, **more):
        self.asked.clear()
        self.status = 200
        self.says = {"isAuthenticated": True, "principalId": "lamp7", "policyDocuments": [
            json.loads(document(*(statements or [ALL])))], **more}

    def lets_in_later(self):
        """It lets in when the event is set that this returns."""
        self.lets_in()
        says, release = self.says, threading.Event()

        def slow(_):
            assert release.wait(SECONDS)
            return says

        self.says = slow
        return release

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def hook():
    made = Hook()
    yield made
    made.close()


@pytest.fixture(scope="module")
def signing(tmp_path_factory):
    """A key pair of RSA: its public key, and signatures with it."""
    folder = tmp_path_factory.mktemp("signing")

    def openssl(*words, **more):
        return subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True,
                              **more).stdout

    openssl("genrsa", "-out", "key.pem", "2048")
    public = openssl("rsa", "-in", "key.pem", "-pubout").decode()

    def signature(token):
        made = openssl("dgst", "-sha256", "-sign", "key.pem", input=token.encode())
        return base64.b64encode(made).decode()

    return types.SimpleNamespace(public=public, sign=signature)


@pytest.fixture
def authorizer(enforced, hook, signing, name):
    """Makes an authorizer of the webhook and gives its name."""
    made = []

    def create(**more):
        word = name("authorizer")
        if not more.get("signingDisabled"):
            more = {"tokenKeyName": "tok", "tokenSigningPublicKeys": {"one": signing.public},
                    **more}
        enforced.plane.create_authorizer(
            authorizerName=word, authorizerFunctionArn=more.pop("url", hook.url), status="ACTIVE",
            **more)
        made.append(word)
        return word

    yield create
    for word in made:
        enforced.plane.update_authorizer(authorizerName=word, status="INACTIVE")
        enforced.plane.delete_authorizer(authorizerName=word)


def username(user, name, token=None, signature=None, key="tok"):
    """As AWS's device SDK for Python writes it."""
    parts = [f"x-amz-customauthorizer-name={name}"]
    if signature is not None:
        parts.append("x-amz-customauthorizer-signature=" + urllib.parse.quote(signature))
    if token is not None:
        parts.append(f"{key}={token}")
    return f"{user}?{'&'.join(parts)}&SDK=IoTDeviceSDK/Python&Platform=Unix"


@pytest.mark.parametrize("word_of_door", DOORS)
def test_authorizer_is_asked_about_a_connect(
        enforced, hook, authorizer, signing, name, word_of_door):
    """What it is told, and that its documents decide."""
    word, client_id = authorizer(), name("lamp")
    token = f"token-of-{client_id}"
    enforced.secrets.append(token)
    hook.lets_in(("Allow", "iot:Connect", f"{ACCOUNT}client/{client_id}"),
                 ("Allow", "iot:Publish", f"{ACCOUNT}topic/up"))
    given = username("user", word, token, signing.sign(token))
    lamp, code = knock(enforced, door(word_of_door), client_id, username=given,
                       password="password-for-the-hook")
    assert code == 0
    asked, = hook.asked
    assert asked["token"] == token and asked["signatureVerified"] is True
    assert set(asked["protocols"]) == {"mqtt", *(["tls"] if DOORS[word_of_door].tls else [])}
    assert asked["protocolData"]["mqtt"] == {
        "username": given, "clientId": client_id,
        "password": base64.b64encode(b"password-for-the-hook").decode()}
    assert asked["connectionMetadata"]["id"]
    lamp.send(w.publish("up", b"x", qos=1))
    body = lamp.read()[2]
    assert len(body) == 2 or body[2] in (0, 0x10)
    lamp.send(w.publish("other", b"x", qos=1))
    assert lamp.read()[2][2] == NOT_AUTHORIZED
    # Its documents name one client id.
    assert knock(enforced, door(word_of_door), name("other"), username=given)[1] == NOT_AUTHORIZED
    lamp.close()


def test_token_needs_its_signature(enforced, hook, authorizer, signing, name):
    """Base64 of RSA-SHA256 over the token; without it the webhook is not even asked."""
    word, way = authorizer(), door()
    hook.lets_in()
    good = signing.sign("token")
    for token, signature in (("token", good[:-4] + "AAA="), ("tokem", good), ("token", "!"),
                             ("token", ""), ("token", None), (None, good), (None, None),
                             ("", good)):
        client, code = knock(enforced, way, name("lamp"), username=username(
            "user", word, token, signature))
        assert code == BAD_PASSWORD, (token, signature)
    assert knock(enforced, way, name("lamp"), username=username(
        "user", word, "token", good, key="other"))[1] == BAD_PASSWORD
    assert hook.asked == []
    # As some SDKs write it: what is base64 is not escaped again.
    raw = (f"user?x-amz-customauthorizer-name={word}&x-amz-customauthorizer-signature={good}"
           "&tok=token")
    assert knock(enforced, way, name("lamp"), username=raw)[1] == 0


@pytest.mark.parametrize("says", [
    {"isAuthenticated": False}, {"isAuthenticated": False, "principalId": "x"}, {}, [], b"",
    b"not json", b'{"isAuthenticated":true', {"isAuthenticated": "true", "principalId": "x"},
    {"isAuthenticated": True}, {"isAuthenticated": True, "principalId": ""},
    {"isAuthenticated": True, "principalId": "a-b"},
    {"isAuthenticated": True, "principalId": "x" * 129},
    {"isAuthenticated": True, "principalId": "x", "context": {"large": "x" * 200_000}},
    {"isAuthenticated": True, "principalId": "x", "policyDocuments": ["not a document"]},
    {"isAuthenticated": True, "principalId": "x", "policyDocuments": [document(ALL)] * 11},
    {"isAuthenticated": True, "principalId": "x", "policyDocuments": [document(
        ("Allow", "iot:*", [f"{ACCOUNT}topic/{'x' * 250}"] * 10))]},
    {"isAuthenticated": True, "principalId": "x", "policyDocuments": [document(ALL)],
     "disconnectAfterInSeconds": 299},
    {"isAuthenticated": True, "principalId": "x", "policyDocuments": [document(ALL)],
     "disconnectAfterInSeconds": 86_401},
    {"isAuthenticated": True, "principalId": "x", "policyDocuments": [document(ALL)],
     "refreshAfterInSeconds": 299},
    {"isAuthenticated": True, "principalId": "x", "policyDocuments": [document(ALL)],
     "refreshAfterInSeconds": -300}])
def test_answer_that_lets_nobody_in(enforced, hook, authorizer, name, says):
    hook.lets_in()
    hook.says = says
    client, code = knock(enforced, door(), name("lamp"), username=username(
        "user", authorizer(signingDisabled=True)))
    assert (code, len(hook.asked)) == (BAD_PASSWORD, 1)


@pytest.mark.parametrize("says", [
    {"policyDocuments": []}, {"policyDocuments": [document(("Deny", "*", "*"))]}])
def test_documents_that_allow_nothing(enforced, hook, authorizer, name, says):
    hook.lets_in(**says)
    client, code = knock(enforced, door(), name("lamp"), username=username(
        "user", authorizer(signingDisabled=True)))
    assert code == NOT_AUTHORIZED


@pytest.mark.parametrize("status", [201, 301, 403, 500])
def test_answer_is_200(enforced, hook, authorizer, name, status):
    hook.lets_in()
    hook.status = status
    assert knock(enforced, door(), name("lamp"), username=username(
        "user", authorizer(signingDisabled=True)))[1] == BAD_PASSWORD


@pytest.mark.parametrize("url", ["closed", "ftp://127.0.0.1/", "arn:aws:lambda:us-east-1:1:x",
                                 "http://", "nothing"])
def test_authorizer_that_cannot_be_asked_lets_nobody_in(enforced, authorizer, name, url):
    if url == "closed":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    try:
        word = authorizer(signingDisabled=True, url=url)
    except botocore.exceptions.ClientError as refused:
        assert refused.response["Error"]["Code"] == "InvalidRequestException"
        return
    assert knock(enforced, door(), name("lamp"),
                 username=username("user", word))[1] == BAD_PASSWORD


def test_authorizer_that_is_not_active_or_not_there(enforced, hook, authorizer, name):
    hook.lets_in()
    word = authorizer(signingDisabled=True)
    given = {"username": username("user", word)}
    assert knock(enforced, door(), name("lamp"), **given)[1] == 0
    enforced.plane.update_authorizer(authorizerName=word, status="INACTIVE")
    assert knock(enforced, door(), name("lamp"), **given)[1] == BAD_PASSWORD
    assert knock(enforced, door(), name("lamp"), username=username(
        "user", name("nowhere")))[1] == BAD_PASSWORD


def test_answer_is_remembered_for_as_long_as_it_says(enforced, hook, authorizer, name):
    """For the same client with the same credentials, until the authorizer is changed."""
    word, way, client_id = authorizer(signingDisabled=True), door(), name("lamp")

    def connects(client_id=client_id, password="password-one"):
        code = knock(enforced, way, client_id, username=username("user", word),
                     password=password)[1]
        assert code == 0
        return len(hook.asked)

    hook.lets_in()
    assert [connects(), connects()] == [1, 2]
    hook.lets_in(refreshAfterInSeconds=300)
    assert [connects(), connects(), connects()] == [1, 1, 1]
    assert connects(password="password-two") == 2
    assert connects(client_id=name("other")) == 3
    enforced.plane.update_authorizer(authorizerName=word, tokenKeyName="another")
    assert connects() == 4
    # A refusal is not remembered.
    hook.says = {"isAuthenticated": False}
    refused = {"username": username("user", word), "password": "password-three"}
    assert knock(enforced, way, client_id, **refused)[1] == BAD_PASSWORD
    hook.lets_in()
    assert knock(enforced, way, client_id, **refused)[1] == 0


def test_default_authorizer(enforced, hook, authorizer, users, name):
    """Of whoever names none and is no user."""
    word = authorizer(signingDisabled=True)
    hook.lets_in()
    given = {"username": "somebody", "password": "password-of-somebody"}
    assert knock(enforced, door(), name("lamp"), **given)[1] == BAD_PASSWORD
    enforced.plane.set_default_authorizer(authorizerName=word)
    try:
        assert knock(enforced, door(), name("lamp"), **given)[1] == 0
        assert hook.asked[-1]["protocolData"]["mqtt"]["username"] == "somebody"
        count = len(hook.asked)
        assert knock(enforced, door(), name("lamp"), username="ann",
                     password="wrong")[1] == BAD_PASSWORD
        assert knock(enforced, door(), name("lamp"), username="ann",
                     password="correct horse of ann")[1] == 0
        assert len(hook.asked) == count
    finally:
        answer = enforced.send(sign(enforced, enforced.admin, "DELETE", "/default-authorizer",
                                    service="iot"))
        assert answer.status == 200
    assert knock(enforced, door(), name("lamp"), **given)[1] == BAD_PASSWORD


@pytest.mark.parametrize("place", ["headers", "query"])
def test_authorizer_is_asked_about_a_request(enforced, hook, authorizer, signing, place):
    """`data-plane-http.md` §7: names and token in headers or in the query."""
    word, token = authorizer(), "token of/http=+%2F&ü" if place == "query" else "token-of-http"
    hook.lets_in(("Allow", "iot:Publish", f"{ACCOUNT}topic/a"))

    def ask(topic="a", word=word, token=token, signature=signing.sign(token)):
        pairs = {"x-amz-customauthorizer-name": word, "tok": token,
                 "x-amz-customauthorizer-signature": signature}
        if place == "headers":
            return enforced.send(unsigned(enforced, "POST", f"/topics/{topic}?qos=1", b"x",
                                          headers=list(pairs.items())))
        query = urllib.parse.urlencode({"qos": "1", **pairs}, quote_via=urllib.parse.quote)
        return enforced.send(unsigned(enforced, "POST", f"/topics/{topic}?{query}", b"x"))

    assert ask().status == 200
    asked, = hook.asked
    assert (asked["token"], asked["signatureVerified"], asked["protocols"]) == (
        token, True, ["http"])
    data = asked["protocolData"]["http"]
    if place == "headers":
        assert data["headers"]["x-amz-customauthorizer-name"] == word
        assert data["queryString"] == "?qos=1"
    else:
        assert f"x-amz-customauthorizer-name={word}" in data["queryString"]
    assert ask(topic="b").status == 403
    count = len(hook.asked)
    assert ask(signature="AAAA").status == 403
    assert ask(word="nowhere").status == 403
    assert len(hook.asked) == count
    hook.says = {"isAuthenticated": False}
    answer = ask()
    assert (answer.status, answer.error) == (403, "ForbiddenException")


def test_answer_is_remembered_for_http_if_the_authorizer_says_so(enforced, hook, authorizer):
    for caches in (False, True):
        word = authorizer(signingDisabled=True, enableCachingForHttp=caches)
        hook.lets_in(refreshAfterInSeconds=300)
        request = unsigned(enforced, "POST", "/topics/a", b"x",
                           headers=[("x-amz-customauthorizer-name", word)])
        assert [enforced.send(request).status for _ in range(3)] == [200] * 3
        assert len(hook.asked) == (1 if caches else 3)


@pytest.mark.parametrize("place", ["headers", "query"])
def test_authorizer_is_asked_about_an_upgrade(enforced, hook, authorizer, signing, name, place):
    """A refused one is 403 and no WebSocket."""
    word, token, client_id = authorizer(), "token-of-upgrade", name("lamp")
    hook.lets_in(("Allow", "iot:Connect", f"{ACCOUNT}client/{client_id}"))

    def bytes_of(token):
        pairs = {"x-amz-customauthorizer-name": word, "tok": token,
                 "x-amz-customauthorizer-signature": signing.sign("token-of-upgrade")}
        if place == "headers":
            return upgrade(*(f"{key}: {value}" for key, value in pairs.items()))
        query = urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote)
        return upgrade(target=f"/mqtt?{query}")

    stream = WebSocket(Way("https", tls=True).open(enforced), bytes_of(token))
    lamp = w.Wire(None, client_id, stream=stream)
    assert lamp.is_alive()
    assert set(hook.asked[0]["protocols"]) == {"tls", "http"}
    stream = WebSocket(Way("https", tls=True).open(enforced), bytes_of(token))
    other = w.Wire(None, stream=stream)
    other.send(w.connect(name("other")))
    assert other.read()[2][1] == NOT_AUTHORIZED
    with Way("https", tls=True).open(enforced) as stream:
        stream.sendall(bytes_of("another").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"))
        answer = rawhttp.parse(stream.recv(65536))
    assert (answer.status, answer.error) == (403, "ForbiddenException")


def test_slow_authorizer_holds_nobody_else_up(enforced, users, hook, authorizer, name):
    """Others are let in while one waits; and it is let in when its answer comes."""
    word, release = authorizer(signingDisabled=True), hook.lets_in_later()
    waiting = w.Wire(None, stream=door().open(enforced))
    waiting.send(w.connect(name("slow"), username=username("user", word)))
    deadline = time.monotonic() + SECONDS
    while not hook.asked:
        assert time.monotonic() < deadline
    for _ in range(3):
        assert knock(enforced, door(), name("lamp"), username="ann",
                     password="correct horse of ann")[1] == 0
    release.set()
    assert waiting.read()[2][1] == 0


@pytest.mark.heavy
def test_requests_of_one_address_leave_an_authorizer_to_others(enforced, hook, authorizer):
    """An address has half of the 256 places of HTTP requests; its others wait for each other."""
    word, release = authorizer(signingDisabled=True), hook.lets_in_later()
    head = f"POST /topics/a HTTP/1.1\r\nhost: x\r\nx-amz-customauthorizer-name: {word}\r\n"
    request = f"{head}content-length: 0\r\nconnection: close\r\n\r\n".encode()

    def ask(source):
        made = socket.create_connection(enforced.http, timeout=SECONDS, source_address=(source, 0))
        made.sendall(request)
        return made

    asking = [ask("127.0.0.1") for _ in range(140)]
    wait_until(lambda: len(hook.asked) == 128, "half of the places are taken")
    asking.append(ask("127.0.0.2"))
    wait_until(lambda: len(hook.asked) == 129, "another address is asked about")
    release.set()
    for made in asking:
        with made:
            assert rawhttp.parse(made.recv(65536)).status == 200
    assert len(hook.asked) == 141


# AWS's device SDK

@pytest.mark.parametrize("is_good", [True, False])
def test_device_sdk_with_a_custom_authorizer(enforced, hook, authorizer, signing, name, is_good):
    """Over TLS with ALPN `mqtt`, as it connects to AWS."""
    word, told = authorizer(), Future()
    hook.lets_in()
    signature = signing.sign("token" if is_good else "another")
    client = mqtt5_client_builder.direct_with_custom_authorizer(
        endpoint="127.0.0.1", port=enforced.addresses["https"][1], ca_filepath=str(enforced.ca),
        auth_username="user", auth_authorizer_name=word, auth_password=b"password-of-the-sdk",
        auth_authorizer_signature=signature, auth_token_key_name="tok", auth_token_value="token",
        connect_options=mqtt5.ConnectPacket(client_id=name("sdk")),
        min_reconnect_delay_ms=60_000, max_reconnect_delay_ms=60_000,
        on_lifecycle_connection_success=lambda event: told.set_result(0),
        on_lifecycle_connection_failure=lambda event: told.set_result(
            event.connack_packet.reason_code))
    client.start()
    assert told.result(SECONDS) == (0 if is_good else BAD_PASSWORD)
    client.stop()


# Secrets

def test_no_secret_is_told_even_to_a_log_of_everything(enforce, hook):
    """Passwords, tokens, keys and URLs with signatures, with `--log trace`."""
    server = enforce("--log", "trace")
    server.user("ann", "password-that-is-told-nobody", ALL)
    hook.lets_in()
    server.plane.create_authorizer(authorizerName="a", authorizerFunctionArn=hook.url,
                                   status="ACTIVE", signingDisabled=True, tokenKeyName="tok")
    server.secrets += ["token-that-is-told-nobody", "password-for-the-hook", "wrong-password"]
    for given, password in (("ann", "password-that-is-told-nobody"), ("ann", "wrong-password"),
                            (username("user", "a", "token-that-is-told-nobody"),
                             "password-for-the-hook")):
        knock(server, DOORS["mqtt"], "lamp", username=given, password=password)
    certificate = server.certificate(ALL)
    knock(server, certificate.way(), "lamp")
    word = base64.b64encode(":".join(server.admin).encode()).decode()
    server.secrets += [word, base64.b64encode(b"password-for-the-hook").decode()]
    request = unsigned(server, "GET", "/metrics", headers=[("Authorization", f"Basic {word}")])
    assert server.send(request).status == 200
    wrong = unsigned(server, "GET", "/metrics", headers=[("Authorization", f"Basic {word}=")])
    assert server.send(wrong).status == 403
    hook.says = b"token-that-is-told-nobody"
    knock(server, DOORS["mqtt"], "lamp", username=username("user", "a", "x"))
    assert server.told() == []
    for path in (server.data_dir / "registry.log", server.data_dir / "audit.log"):
        assert pathlib.Path(path).stat().st_mode & 0o777 == 0o600
    text = (server.data_dir / "registry.log").read_text()
    assert "password-that-is-told-nobody" not in text and "$argon2id$" in text


def test_test_invoke_authorizer_tells_what_it_says(enforced, hook, authorizer, signing, name):
    """control-plane-and-jobs.md §2: asked as for a client, and nobody is let in."""
    word, plane = authorizer(), enforced.plane
    hook.lets_in(refreshAfterInSeconds=300, disconnectAfterInSeconds=3600)
    asking = {"authorizerName": word, "token": "token", "mqttContext": {
        "username": "user", "password": b"secret-of-a-test", "clientId": "lamp"}}
    told = plane.test_invoke_authorizer(**asking, tokenSignature=signing.sign("token"))
    assert told["isAuthenticated"] is True and told["principalId"] == "lamp7"
    assert json.loads(told["policyDocuments"][0])["Version"] == "2012-10-17"
    assert (told["refreshAfterInSeconds"], told["disconnectAfterInSeconds"]) == (300, 3600)
    asked, = hook.asked
    assert asked["signatureVerified"] is True and asked["protocols"] == ["mqtt"]
    assert asked["protocolData"]["mqtt"] == {
        "username": "user", "clientId": "lamp",
        "password": base64.b64encode(b"secret-of-a-test").decode()}
    with pytest.raises(plane.exceptions.InvalidResponseException):
        plane.test_invoke_authorizer(**asking, tokenSignature=signing.sign("another"))
    hook.says = b"no JSON"
    with pytest.raises(plane.exceptions.InvalidResponseException):
        plane.test_invoke_authorizer(**asking, tokenSignature=signing.sign("token"))
    with pytest.raises(plane.exceptions.ResourceNotFoundException):
        plane.test_invoke_authorizer(authorizerName="nothing", token="t", tokenSignature="s")
