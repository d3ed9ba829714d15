"""Writes vectors.json: requests as AWS's own signer signs them.

Needs boto3 1.44. Run `python generate.py > vectors.json` in this folder.

"boto3" is the whole client, parameters in and request out. "botocore" is its signer on a URL of our
own. "presign" is its query signer. "crt" and "dart" are its signer, changed to what the AWS common
runtime and the Dart package `aws_client` do differently.
"""

import base64
import calendar
import datetime
import json

import boto3
import botocore.auth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials

MOMENT = datetime.datetime(2026, 2, 28, 23, 59, 58, tzinfo=datetime.timezone.utc)
UNIX = calendar.timegm(MOMENT.timetuple())
botocore.auth.get_current_datetime = lambda *_: MOMENT
KEY, SECRET = "AKIDEXAMPLE", "SECRETEXAMPLE"
TOKEN = "FwoGZXIvYXdzE//token+with/odd==characters"
REGION = "eu-central-1"
vectors = []


def add(name, by, request, token=None):
    """Records a signed request. `request` has method, url, headers and body."""
    rest = request.url.split("://", 1)[1]
    host, slash, target = rest.partition("/")
    headers = []
    for header, value in request.headers.items():
        if header.lower() in ("user-agent", "amz-sdk-invocation-id", "amz-sdk-request"):
            continue  # neither signed nor ours
        value = value.decode() if isinstance(value, bytes) else str(value)
        headers.append([header, value])
    if not any(header.lower() == "host" for header, _ in headers):
        headers.append(["Host", host])
    body = request.body or b""
    if hasattr(body, "read"):
        body = body.read()
    vectors.append({
        "name": name,
        "by": by,
        "method": request.method,
        "target": slash + target,
        "headers": headers,
        "body": base64.b64encode(body).decode(),
        "secret": SECRET,
        "token": token,
        "unix_seconds": UNIX,
    })


def boto3_vectors():
    for token in (None, TOKEN):
        client = boto3.client(
            "iot-data",
            endpoint_url="http://127.0.0.1:8830",
            region_name=REGION,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            aws_session_token=token,
            config=Config(retries={"max_attempts": 1}),
        )
        current = []

        def capture(request, **_):
            add(current[0], "boto3", request, token)
            return AWSResponse(request.url, 200, {}, Raw())

        client.meta.events.register("before-send.iot-data", capture)
        for name, call, parameters in CALLS[:: 5 if token else 1]:
            current[:] = [name + (" with a token" if token else "")]
            getattr(client, call)(**parameters)


class Raw:
    def stream(self, **_):
        return iter([b"{}"])

    def read(self, *_):
        return b"{}"


NAMES = [
    "thermostat-7", "a/b c", "ü~*()'!", "50%25", "a%2Fb", "#+x", "a+b", "a:b@c,d;e=f&g", ".", "..",
    "...", "a/../b", "./a", "a/.", "//", "/lead", "trail/", "日本", "%", "%%41", " ", "a\tb", "?x=1",
    "~-._", "[1]", "\"q\"\\", "x" * 128,
]

CALLS = [
    *[(f"DeleteConnection {n!r}", "delete_connection",
       {"clientId": n, "cleanSession": True, "preventWillMessage": False}) for n in NAMES],
    *[(f"GetConnection {n!r}", "get_connection", {"clientId": n}) for n in NAMES],
    *[(f"ListSubscriptions {n!r}", "list_subscriptions",
       {"clientId": n, "maxResults": 7, "nextToken": "a+/=&b c~ü"}) for n in NAMES],
    *[(f"Publish {n!r}", "publish",
       {"topic": n, "qos": 1, "payload": b"\x00\xff on", "contentType": "text/plain; a=b c",
        "responseTopic": "r/" + n}) for n in NAMES],
    ("Publish to no topic", "publish", {"topic": "", "payload": b"x"}),
    ("Publish nothing", "publish", {"topic": "t"}),
    ("Publish with MQTT 5 headers", "publish",
     {"topic": "t", "payload": "{}", "messageExpiry": 60, "retain": True,
      "userProperties": [{"a": "b"}, {"a": "ü"}], "payloadFormatIndicator": "UTF8_DATA",
      "correlationData": "AAEC"}),
    ("GetRetainedMessage", "get_retained_message", {"topic": "a/b c"}),
    ("ListRetainedMessages", "list_retained_messages", {}),
    ("GetThingShadow", "get_thing_shadow", {"thingName": "T:1", "shadowName": "s"}),
    ("UpdateThingShadow", "update_thing_shadow", {"thingName": "T:1", "payload": b"{}"}),
    ("ListNamedShadowsForThing", "list_named_shadows_for_thing", {"thingName": "T:1"}),
]


class DartAuth(SigV4Auth):
    """Signs the wire path as it is."""

    def _normalize_url_path(self, path):
        return path


class CrtAuth(SigV4QueryAuth):
    """Signs `connection` too, and leaves the session token out of what is signed."""

    def headers_to_sign(self, request):
        headers = super().headers_to_sign(request)
        headers["connection"] = request.headers["Connection"]
        return headers

    def _modify_request_before_signing(self, request):
        token, self.credentials.token = self.credentials.token, None
        super()._modify_request_before_signing(request)
        self.credentials.token = token

    def _inject_signature_to_request(self, request, signature):
        super()._inject_signature_to_request(request, signature)
        if self.credentials.token:
            quoted = botocore.auth.quote(self.credentials.token, safe="-_.~")
            request.url += "&X-Amz-Security-Token=" + quoted


def sign(name, by, auth, method, url, headers=(), data=b"", token=None):
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=data)
    request.context["payload_signing_enabled"] = True
    auth.add_auth(request)
    add(name, by, request, token)


def signer_vectors():
    plain, temporary = Credentials(KEY, SECRET), Credentials(KEY, SECRET, TOKEN)
    base = "http://127.0.0.1:8830"
    for path in ["/topics/a/b/c", "/topics/a(b)", "/connections/a%2fb", "/topics/t?b=2&a=2&a=1",
                 "/topics/t?a-b=1&a=1", "/topics/t?qos=1"]:
        auth = SigV4Auth(plain, "iotdata", REGION)
        sign(f"signer {path}", "botocore", auth, "POST", base + path, data=b"payload")
    auth = SigV4Auth(plain, "iotdevicegateway", REGION)
    sign("the gateway's service", "botocore", auth, "DELETE", base + "/connections/x")
    auth = SigV4Auth(plain, "iotdata", REGION)
    spaced = {"X-Spaced": "  a   b  ", "Content-Type": "application/octet-stream"}
    sign("spaced header", "botocore", auth, "POST", base + "/topics/t", spaced, b"x")
    unsigned = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    sign("unsigned payload", "botocore", auth, "POST", base + "/topics/t", unsigned, b"any")
    for path in ["/connections/a%2Fb%20c", "/topics/%C3%BC~*()'!", "/topics/plain", "/topics/a//b"]:
        auth = DartAuth(plain, "iotdata", REGION)
        headers = {"Accept": "application/json", "Host": "127.0.0.1"}
        sign(f"single-encoded {path}", "dart", auth, "POST", base + path, headers, b"x")
    for token, credentials in ((None, plain), (TOKEN, temporary)):
        suffix = " with a token" if token else ""
        auth = SigV4QueryAuth(credentials, "iotdevicegateway", REGION, expires=86400)
        sign("presigned" + suffix, "presign", auth, "GET", base + "/mqtt", token=token)
        auth = CrtAuth(credentials, "iotdevicegateway", REGION, expires=900)
        sign("WebSocket" + suffix, "crt", auth, "GET", base + "/mqtt",
             {"Connection": "Upgrade", "Host": "127.0.0.1"}, token=token)
        auth = SigV4QueryAuth(credentials, "iotdata", REGION, expires=60)
        sign("presigned operation" + suffix, "presign", auth, "GET",
             base + "/connections/a%2Fb?includeSocketInformation=true", token=token)


boto3_vectors()
signer_vectors()
lines = [json.dumps(vector, ensure_ascii=False) for vector in vectors]
print("[\n" + ",\n".join(lines) + "\n]")
