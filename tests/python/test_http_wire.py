"""The data plane byte by byte: paths, queries, methods, errors; H-1 to H-15 of the contract."""

import json
import re
import uuid

import pytest

from rawhttp import parse

OK = re.compile(r'\{"message":"OK","traceId":"[0-9a-f-]{36}"\}')


def assert_error(answer, status, error):
    """H-11: bare type, one identifier in header and body, JSON, no numeric `code`, never HTML."""
    assert (answer.status, answer.error) == (status, error), answer
    assert answer.headers["content-type"] == "application/json"
    assert "date" in answer.headers
    body = answer.json()
    assert set(body) == {"message", "traceId"}
    assert body["traceId"] == answer.headers["x-amzn-requestid"]
    assert str(uuid.UUID(body["traceId"])) == body["traceId"]
    assert isinstance(body["message"], str) and "<" not in body["message"]


@pytest.fixture
def listening(device, name):
    """A subscriber of everything below a prefix: (device, prefix)."""
    prefix = name("h")
    listener = device(name("listener"))
    assert listener.subscribe(f"{prefix}/#") == 1
    return listener, prefix


# Ids and topics

def test_h_1_encoded_client_id(http, wire, name):
    """H-1: `a%2Fb%20c` is the client `a/b c`."""
    client_id = name("a/b c")
    lamp = wire(client_id=client_id)
    encoded = client_id.replace("/", "%2F").replace(" ", "%20")
    answer = http.delete(f"/connections/{encoded}?cleanSession=true&preventWillMessage=false")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "0"
    assert lamp.end() == 0x98


def test_h_2_bare_question_mark(http, wire, name):
    """H-2: Dart's form of no parameters."""
    client_id = name("x")
    lamp = wire(client_id=client_id)
    assert http.get(f"/connections/{client_id}?").status == 200
    assert http.delete(f"/connections/{client_id}?").status == 200
    assert lamp.end() == 0x98


@pytest.mark.parametrize("path", ["/connections/%24x", "/connections/", "/connections/%00",
                                  "/connections/%ff%fe", "/connections/%c0%80",
                                  "/connections/%zz", "/connections/%2", "/connections/" + "x" * 129])
def test_h_3_bad_client_id(http, path):
    """H-3 and §5 rule 5."""
    assert_error(http.delete(path), 400, "InvalidRequestException")
    assert_error(http.get(path), 400, "InvalidRequestException")


@pytest.mark.parametrize("value,clean", [("TRUE", True), ("true", True), ("True", True),
                                         ("FALSE", False), ("false", False)])
def test_h_4_booleans_in_any_case(http, device, name, value, clean):
    """H-4: AWS's own example shows TRUE."""
    lamp = device(name("lamp"), clean=False, expiry=60)
    assert http.delete(f"/connections/{lamp.client_id}?cleanSession={value}").status == 200
    assert device(lamp.client_id, clean=False, expiry=60).session_present != clean


@pytest.mark.parametrize("query", ["cleanSession=yes", "cleanSession=1", "preventWillMessage=0",
                                   "cleanSession=tru%65x", "cleanSession=+true"])
def test_h_4_other_words_are_no_booleans(http, wire, name, query):
    """delete-connection §1.2: any other non-empty string; the client stays connected."""
    client_id = name("lamp")
    lamp = wire(client_id=client_id)
    assert_error(http.delete(f"/connections/{client_id}?{query}"), 400, "InvalidRequestException")
    assert lamp.is_alive()


def test_h_5_greedy_and_encoded_topics_are_the_same(http, listening):
    """H-5"""
    listener, prefix = listening
    assert http.post(f"/topics/{prefix}%2Fb%2Fc?qos=1", b"encoded").status == 200
    assert http.post(f"/topics/{prefix}/b/c?qos=1", b"greedy").status == 200
    messages = [listener.message() for _ in range(2)]
    assert {message.topic for message in messages} == {f"{prefix}/b/c"}
    assert {message.payload for message in messages} == {b"encoded", b"greedy"}


@pytest.mark.parametrize("wire_form,topic", [
    ("a%252Fb", "a%2Fb"),                       # H-6: decoded once
    ("x%20y", "x y"),
    ("%C3%BC~%2A%28%29%27%21", "ü~*()'!"),      # boto3, JS, Rust
    ("%C3%BC~*()'!", "ü~*()'!"),                # Dart
    ("50%2525", "50%25"),
    ("a%3Ab%40c%2Cd%3Be%3Df%26g", "a:b@c,d;e=f&g"),
    ("a:b@c,d;e=f&g", "a:b@c,d;e=f&g"),
    ("trail/", "trail/"), ("trail%2F", "trail/"),
    ("a//b", "a//b"), ("a%2F%2Fb", "a//b"),
    ("a+b", None),
    (".", "."), ("../x", "../x"), ("%2E%2E/x", "../x"), ("./a/../b", "./a/../b"),
])
def test_odd_topics(http, listening, wire_form, topic):
    """§5: split before decoding, decode once, never normalise. `+` in a path is itself: no topic."""
    listener, prefix = listening
    answer = http.post(f"/topics/{prefix}/{wire_form}?qos=1", b"odd")
    if topic is None:
        assert_error(answer, 400, "InvalidRequestException")
        return
    assert answer.status == 200
    assert listener.message().topic == f"{prefix}/{topic}"


@pytest.mark.parametrize("path,topic", [("/topics/%2Flead{}", "/lead{}"), ("/topics//lead{}", "/lead{}")])
def test_topic_with_a_leading_slash(http, device, name, path, topic):
    """§5"""
    word = name("x")
    listener = device(name("listener"))
    listener.subscribe(topic.format(word))
    assert http.post(path.format(word) + "?qos=1", b"odd").status == 200
    assert listener.message().topic == topic.format(word)


@pytest.mark.parametrize("target", [
    "/topics/",                                  # H-7
    "/topics/x?qos=2", "/topics/x?qos=-1", "/topics/x?qos=one", "/topics/x?qos=1.0",  # H-8
    "/topics/a%2B", "/topics/a%23", "/topics/a%2F%23", "/topics/%00", "/topics/%ff",
    "/topics/" + "x" * 257, "/topics/1/2/3/4/5/6/7/8/9",
    "/topics/%24SYS%2Fx", "/topics/%24aws%2Fx", "/topics/%24share%2Fg%2Fx", "/topics/%24x",
    "/topics/x?retain=perhaps",
    "/topics/x?responseTopic=a%2F%23", "/topics/x?responseTopic=%2B",
    "/topics/x?messageExpiry=soon",
])
def test_bad_publish(http, target):
    """H-7, H-8 and §9"""
    assert_error(http.post(target, b"payload"), 400, "InvalidRequestException")


@pytest.mark.parametrize("target", ["/topics/" + "x" * 256, "/topics/1/2/3/4/5/6/7/8"])
def test_longest_topics(http, target):
    """§9: 256 bytes, seven slashes."""
    assert http.post(target, b"payload").status == 200


def test_publish_answer(http, name):
    """§4: the recorded answer."""
    answer = http.post(f"/topics/{name('t')}", b"payload")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert OK.fullmatch(answer.body.decode())
    assert answer.json()["traceId"] == answer.headers["x-amzn-requestid"]


def test_unencoded_slash_in_a_client_id_is_no_path(http):
    """§5 rule 3: 404, and no exception of an operation that was not asked for."""
    answer = http.delete("/connections/a/b")
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/json"


def test_dart_query(http, device, name):
    """H-13: `+` in a query is a space."""
    listener = device(name("listener"))
    topic = name("t")
    listener.subscribe(topic)
    for form in ("t%2Fo+p", "t%2Fo%20p"):
        assert http.post(f"/topics/{topic}?qos=1&responseTopic={form}", b"x").status == 200
        assert listener.message().properties.ResponseTopic == "t/o p"


# Methods and paths

@pytest.mark.parametrize("method,target", [
    ("PUT", "/retainedMessage/x"),               # H-12
    ("DELETE", "/retainedMessage/x"), ("POST", "/retainedMessage"), ("PUT", "/connections/x"),
    ("POST", "/connections/x"), ("PATCH", "/connections/x"), ("GET", "/topics/x"),
    ("DELETE", "/topics/x"), ("POST", "/connections/x/subscriptions"),
    ("OPTIONS", "/topics/x"), ("TRACE", "/topics/x"), ("BREW", "/topics/x"),
])
def test_known_path_with_another_method(http, method, target):
    """H-12 and §9"""
    assert_error(http.request(method, target), 405, "MethodNotAllowedException")


@pytest.mark.parametrize("target", ["/", "/nothing", "/connections", "/topics", "/connections/x/y/z",
                                    "/Connections/x", "//connections/x", "/retainedmessage",
                                    "/api/things", "/%63onnections%2Fx"])
def test_unknown_path(http, target):
    """§9"""
    answer = http.get(target)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/json"
    assert b"<" not in answer.body


def test_h_12_absent_retained_message(http, name):
    """H-12"""
    assert_error(http.get(f"/retainedMessage/{name('a')}%2Fb"), 404, "ResourceNotFoundException")


def test_unknown_client(http, name):
    """H-11"""
    for answer in (http.get(f"/connections/{name('x')}"), http.delete(f"/connections/{name('x')}"),
                   http.get(f"/connections/{name('x')}/subscriptions")):
        assert_error(answer, 404, "ResourceNotFoundException")


def test_error_does_not_echo_the_request(http):
    """reliability: no echo of the input in an error."""
    for answer in (http.delete("/connections/%24script"), http.get("/connections/script-nobody")):
        assert b"script" not in answer.body


def test_request_identifiers_differ(http, name):
    ids = {http.get(f"/connections/{name('x')}").headers["x-amzn-requestid"] for _ in range(5)}
    assert len(ids) == 5


def test_head_of_a_known_path_has_no_body(http):
    data = http.raw(b"HEAD /retainedMessage HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = parse(data)
    assert answer.status in (200, 405)
    assert data.endswith(b"\r\n\r\n")


# Payloads

def test_h_14_payload_limit(http, listening):
    """H-14: 131,072 bytes and one more."""
    listener, prefix = listening
    assert http.post(f"/topics/{prefix}/big?qos=1", b"x" * 131_072).status == 200
    assert len(listener.message().payload) == 131_072
    answer = http.post(f"/topics/{prefix}/big?qos=1", b"x" * 131_073)
    assert_error(answer, 413, "RequestEntityTooLargeException")


def test_empty_payload(http, listening):
    """§6: an empty publish is legal."""
    listener, prefix = listening
    assert http.post(f"/topics/{prefix}/empty?qos=1").status == 200
    assert listener.message().payload == b""


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", None,
                                          "text/html", "nonsense"])
def test_content_type_is_not_required(http, listening, content_type):
    """§6"""
    listener, prefix = listening
    headers = [f"content-type: {content_type}"] if content_type else []
    answer = http.post(f"/topics/{prefix}/t?qos=1", b"{\xff", headers=headers)
    assert answer.status == 200
    assert listener.message().payload == b"{\xff"


def test_chunked_payload(http, listening):
    listener, prefix = listening
    target = f"/topics/{prefix}/t?qos=1"
    answer = http.exchange(
        f"POST {target} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        "connection: close\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n".encode())
    assert answer.status == 200
    assert listener.message().payload == b"abcdefg"


def test_expect_continue(http, listening):
    """curl asks before it sends a large body."""
    listener, prefix = listening
    data = http.raw(
        f"POST /topics/{prefix}/t?qos=1 HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
        "content-length: 3\r\nconnection: close\r\n\r\nabc".encode())
    assert b"200 OK" in data
    assert listener.message().payload == b"abc"


def test_keep_alive_answers_each_request(http, name):
    one = f"GET /connections/{name('x')} HTTP/1.1\r\nhost: x\r\n".encode()
    data = http.raw(one + b"\r\n" + one + b"connection: close\r\n\r\n")
    assert data.count(b"HTTP/1.1 404") == 2


# MQTT 5 headers

@pytest.mark.parametrize("header,pairs", [
    ("W3siZGV2aWNlTmFtZSI6ImFscGhhIn0seyJkZXZpY2VDbnQiOiI0NSJ9XQ==",
     [("deviceName", "alpha"), ("deviceCnt", "45")]),
    ("Ilt7XCJhXCI6XCJiXCJ9XSI=", [("a", "b")]),
    ("W10=", []),
])
def test_h_10_user_properties(http, listening, header, pairs):
    """H-10: an array, and an array in a string."""
    listener, prefix = listening
    answer = http.post(f"/topics/{prefix}/t?qos=1", b"x",
                       headers=[f"x-amz-mqtt5-user-properties: {header}"])
    assert answer.status == 200
    assert getattr(listener.message().properties, "UserProperty", []) == pairs


@pytest.mark.parametrize("header", [
    "x-amz-mqtt5-user-properties: !!!", "x-amz-mqtt5-user-properties: e30=",
    "x-amz-mqtt5-user-properties: W3sibmFtZSI6ImEiLCJ2YWx1ZSI6ImIifV0=",
    "x-amz-mqtt5-user-properties: W3siYSI6MX1d", "x-amz-mqtt5-user-properties: bm8gSlNPTg==",
    "x-amz-mqtt5-payload-format-indicator: TEXT", "x-amz-mqtt5-correlation-data: !!!",
])
def test_bad_mqtt5_header(http, name, header):
    """§8: bad base64, bad JSON, two keys in one object, an unknown word."""
    answer = http.post(f"/topics/{name('t')}", b"x", headers=[header])
    assert_error(answer, 400, "InvalidRequestException")


def test_all_mqtt5_properties_travel(http, listening):
    """§8"""
    listener, prefix = listening
    answer = http.post(
        f"/topics/{prefix}/t?qos=1&contentType=text%2Fplain&responseTopic=reply%2Fhere"
        "&messageExpiry=60", b"x",
        headers=["x-amz-mqtt5-payload-format-indicator: UTF8_DATA",
                 "x-amz-mqtt5-correlation-data: AAEC"])
    assert answer.status == 200
    properties = listener.message().properties
    assert properties.ContentType == "text/plain"
    assert properties.ResponseTopic == "reply/here"
    assert properties.CorrelationData == b"\0\1\2"
    assert properties.PayloadFormatIndicator == 1
    assert 58 <= properties.MessageExpiryInterval <= 60


@pytest.mark.parametrize("asked,given", [("0", 1), ("700000", 604_800)])
def test_message_expiry_is_clamped(http, listening, asked, given):
    """§8: 1 to 604,800 s."""
    listener, prefix = listening
    assert http.post(f"/topics/{prefix}/t?qos=1&messageExpiry={asked}", b"x").status == 200
    assert given - 1 <= listener.message().properties.MessageExpiryInterval <= given


def test_b_19_properties_do_not_reach_mqtt_311(http, device, name):
    """B-19"""
    listener, topic = device(name("old"), version=4), name("t")
    listener.subscribe(topic)
    http.post(f"/topics/{topic}?qos=1&contentType=text", b"only this")
    assert listener.payload() == "only this"


# Retained messages

def test_retained_message_is_stored_and_read(http, name):
    topic = name("r")
    assert http.post(f"/topics/{topic}?qos=1&retain=true", b"\0kept").status == 200
    body = http.get(f"/retainedMessage/{topic}").json()
    assert (body["topic"], body["payload"], body["qos"]) == (topic, "AGtlcHQ=", 1)
    assert type(body["lastModifiedTime"]) is int
    assert body.get("userProperties") is None
    assert http.post(f"/topics/{topic}?retain=true").status == 200
    assert http.get(f"/retainedMessage/{topic}").status == 404


def test_reserved_topics_are_not_retained(http):
    """§9"""
    answer = http.post("/topics/%24aws%2Fthings%2Fx%2Fshadow%2Fget?retain=true", b"x")
    assert_error(answer, 400, "InvalidRequestException")


@pytest.mark.parametrize("query", ["maxResults=201", "maxResults=0", "maxResults=x", "nextToken=!"])
def test_bad_page_of_retained_messages(http, query):
    """§2"""
    assert_error(http.get(f"/retainedMessage?{query}"), 400, "InvalidRequestException")


# Signatures: any is accepted with `--auth open`

@pytest.mark.parametrize("header", [
    "authorization: AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/iotdata/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00",
    "authorization: AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-1/iotdevicegateway/"
    "aws4_request, SignedHeaders=host, Signature=ff",
    "authorization: Basic eDp5",
])
def test_any_signature_is_accepted(http, name, header):
    answer = http.get(f"/connections/{name('x')}", headers=[header])
    assert_error(answer, 404, "ResourceNotFoundException")


def test_health_and_metrics(http):
    assert http.get("/health/live").status == 200
    assert http.get("/health/ready").status == 200
    metrics = http.get("/metrics")
    assert metrics.status == 200
    kind = metrics.headers["content-type"].split(";")[0]
    assert kind in ("text/plain", "application/openmetrics-text")
    if kind == "application/openmetrics-text":
        assert metrics.body.endswith(b"# EOF\n")
    assert re.search(rb"^[a-z_]+(\{.*\})? [0-9.e+]+$", metrics.body, re.M)


def test_parameters_of_other_operations_are_ignored(http, name):
    """SDKs add none, people do: an unknown parameter changes nothing."""
    answer = http.get(f"/connections/{name('x')}?x-id=GetConnection&unknown=1")
    assert_error(answer, 404, "ResourceNotFoundException")


def test_json_is_compact_and_has_no_nulls(http, name):
    topic = name("r")
    http.post(f"/topics/{topic}?retain=true", b"x")
    body = http.get("/retainedMessage?maxResults=1").body
    assert json.loads(body)["retainedTopics"][0].keys() == {
        "topic", "payloadSize", "qos", "lastModifiedTime"}
