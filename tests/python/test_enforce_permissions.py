"""What a key may do with `--auth enforce`: each operation, our own paths, and in which order.

`policies.md` §2 and §5, `data-plane-http.md` §3: permission is asked before a request is validated
and before anything is looked up, so what is refused tells nothing.
"""

import json
import socket
import ssl

import botocore.exceptions
import pytest

from control import ACCOUNT
from device import Device
from enforced import TEMPORARY, basic, sign, unsigned

# Of each operation: its action, the resource that it needs, its request.
OPERATIONS = {
    "DeleteConnection": ("client/lamp", "DELETE", "/connections/lamp", b""),
    "GetConnection": ("client/lamp", "GET", "/connections/lamp", b""),
    "ListSubscriptions": ("client/lamp", "GET", "/connections/lamp/subscriptions", b""),
    "SendDirectMessage": ("client/lamp", "POST", "/connections/lamp/messages?topic=t", b"x"),
    "Publish": ("topic/a/b", "POST", "/topics/a%2Fb", b"x"),
    "GetRetainedMessage": ("topic/a/b", "GET", "/retainedMessage/a%2Fb", b""),
    "ListRetainedMessages": ("*", "GET", "/retainedMessage", b""),
    "GetThingShadow": ("thing/lamp", "GET", "/things/lamp/shadow", b""),
    "UpdateThingShadow": ("thing/lamp", "POST", "/things/lamp/shadow", b'{"state":{}}'),
    "DeleteThingShadow": ("thing/lamp", "DELETE", "/things/lamp/shadow", b""),
    "ListNamedShadowsForThing": (
        "thing/lamp", "GET", "/api/things/shadow/ListNamedShadowsForThing/lamp", b""),
}
# Those of our own paths.
OURS = {
    "bitts:GetMetrics": ("GET", "/metrics"),
    "bitts:ListConnections": ("GET", "/bitts/v1/connections"),
    "bitts:DisconnectMany": ("POST", "/bitts/v1/connections/disconnect"),
    "bitts:ThrottleNext": ("POST", "/bitts/v1/throttle?calls=0"),
    "bitts:ComparePolicy": ("POST", "/bitts/v1/policy/compare"),
    "bitts:ListCredentials": ("GET", "/bitts/v1/credentials"),
}


def arn(resource):
    return resource if resource == "*" else ACCOUNT + resource


@pytest.fixture(scope="module")
def nothing(enforced):
    """A key that may do nothing of what is asked here."""
    return enforced.key(("Allow", "iot:Nothing", "*"))


@pytest.fixture
def lamp(enforced, name):
    """A connected client with a subscription."""
    held = enforced.certificate(("Allow", "iot:*", "*"))
    connected = Device(enforced, name("lamp"), way=held.way())
    assert connected.subscribe("a/b") == 1
    yield connected
    connected.close()


def ask(enforced, key, method, target, body=b""):
    return enforced.send(sign(enforced, key, method, target, body))


def is_allowed(enforced, key, method, target, body=b""):
    answer = ask(enforced, key, method, target, body)
    assert answer.status != 403 or answer.error in ("ForbiddenException", "AccessDeniedException")
    return answer.status != 403


# Actions

@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_action_is_one_operation(enforced, operation):
    """A key with one action on one resource: its operation there, no other one, nowhere else."""
    resource = OPERATIONS[operation][0]
    key = enforced.key(("Allow", f"iot:{operation}", arn(resource)))
    allowed = [other for other, (_, *request) in OPERATIONS.items()
               if is_allowed(enforced, key, *request)]
    assert allowed == [operation]
    for method, path in OURS.values():
        assert not is_allowed(enforced, key, method, path)
    _, method, target, body = OPERATIONS[operation]
    for other in (target.replace("lamp", "lamq").replace("a%2Fb", "a%2Fc"),
                  target.replace("lamp", "Lamp").replace("a%2Fb", "a%2FB"),
                  target.replace("lamp", "lamp%2Fx").replace("a%2Fb", "a%252Fb")):
        assert other == target or not is_allowed(enforced, key, method, other, body)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_deny_wins_over_all_that_allows(enforced, operation):
    _, method, target, body = OPERATIONS[operation]
    key = enforced.key(("Allow", "*", "*"), ("Deny", f"iot:{operation}", "*"))
    assert not is_allowed(enforced, key, method, target, body)
    others = [request for other, (_, *request) in OPERATIONS.items() if other != operation]
    assert all(is_allowed(enforced, key, *request) for request in others)


def test_key_without_a_policy_may_do_everything_and_with_one_only_that(enforced):
    """§5, choice: a drop-in for tests, until the first policy is attached."""
    free = enforced.key()
    assert is_allowed(enforced, free, "GET", "/connections/lamp")
    policy = enforced.policy(("Allow", "iot:Publish", "*"))
    enforced.plane.attach_policy(policyName=policy, target=f"accesskey/{free.id}")
    assert not is_allowed(enforced, free, "GET", "/connections/lamp")
    assert is_allowed(enforced, free, "POST", "/topics/a")
    enforced.plane.detach_policy(policyName=policy, target=f"accesskey/{free.id}")
    assert not is_allowed(enforced, free, "POST", "/topics/a")


def test_retained_publish_needs_both_actions(enforced):
    """P-23 over HTTP, whatever `retain` looks like."""
    both = enforced.key(("Allow", ["iot:Publish", "iot:RetainPublish"], arn("topic/r")))
    publish = enforced.key(("Allow", "iot:Publish", arn("topic/r")))
    retain = enforced.key(("Allow", "iot:RetainPublish", arn("topic/r")))
    for query in ("retain=true", "retain=TRUE", "qos=1&retain=True"):
        target = f"/topics/r?{query}"
        assert is_allowed(enforced, both, "POST", target)
        assert not is_allowed(enforced, publish, "POST", target)
        assert not is_allowed(enforced, retain, "POST", target)
    for target in ("/topics/r", "/topics/r?retain=false"):
        assert is_allowed(enforced, publish, "POST", target)
        assert not is_allowed(enforced, retain, "POST", target)
    # What cannot be read is taken as asking for more, not for less.
    assert not is_allowed(enforced, publish, "POST", "/topics/r?retain=maybe")


def test_list_of_retained_messages_needs_a_star(enforced):
    """P-30: a list has no resource."""
    for resource in (arn("topic/*"), f"{ACCOUNT}*", "arn:*"):
        key = enforced.key(("Allow", "iot:ListRetainedMessages", resource))
        assert not is_allowed(enforced, key, "GET", "/retainedMessage")


def test_socket_information_has_a_condition_of_its_own(enforced):
    """P-25."""
    key = enforced.key(json.dumps({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "iot:GetConnection", "Resource": "*",
        "Condition": {"Bool": {"iot:IncludeSocketInformation": "false"}}}}))
    for query in ("", "?includeSocketInformation=false"):
        assert is_allowed(enforced, key, "GET", f"/connections/lamp{query}")
    for query in ("=true", "=TRUE", "=maybe"):
        assert not is_allowed(
            enforced, key, "GET", f"/connections/lamp?includeSocketInformation{query}")


def test_direct_message_has_its_topic_as_a_condition(enforced):
    """P-26."""
    key = enforced.key(json.dumps({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "iot:SendDirectMessage", "Resource": arn("client/lamp"),
        "Condition": {"StringLike": {"iot:Topic": "cmd/*"}}}}))
    path = "/connections/lamp/messages?topic="
    assert is_allowed(enforced, key, "POST", f"{path}cmd%2Freboot")
    for topic in ("other", "cmd", ""):
        assert not is_allowed(enforced, key, "POST", f"{path}{topic}")


def test_named_shadow_is_a_resource_below_its_thing(enforced):
    """P-27 over HTTP."""
    key = enforced.key(("Allow", "iot:GetThingShadow", arn("thing/lamp/pub*")))
    assert is_allowed(enforced, key, "GET", "/things/lamp/shadow?name=public")
    for query in ("", "?name=private", "?name="):
        assert not is_allowed(enforced, key, "GET", f"/things/lamp/shadow{query}")


@pytest.mark.parametrize("actions,one,request_of,first,last", [
    (["Publish"], "topic/a", "POST /topics/a?", "retain=false", "retain=true"),
    (["GetThingShadow"], "thing/lamp/one", "GET /things/lamp/shadow?", "name=one", "name=two"),
    (["GetThingShadow"], "thing/lamp/one", "GET /things/lamp/shadow?", "name=one", "name="),
])
def test_repeated_parameter_is_decided_as_it_is_done(
        enforced, actions, one, request_of, first, last):
    """The last one counts, for permission as for the operation."""
    key = enforced.key(("Allow", [f"iot:{action}" for action in actions], arn(one)))
    method, target = request_of.split(" ")
    assert is_allowed(enforced, key, method, f"{target}{first}")
    assert is_allowed(enforced, key, method, f"{target}{last}&{first}")
    assert not is_allowed(enforced, key, method, f"{target}{first}&{last}")
    if "retain" in first:
        ask(enforced, key, method, f"{target}{last}&{first}", b"x")
        admin = enforced.data(enforced.admin)
        with pytest.raises(admin.exceptions.ResourceNotFoundException):
            admin.get_retained_message(topic="a")


@pytest.mark.parametrize("statement,topics", [
    ({"Resource": arn("topic/a/*")}, {"a/b": True, "a/b/c": True, "a": False, "b/a": False}),
    ({"NotResource": arn("topic/a/*")}, {"a/b": False, "a": True, "b": True}),
    ({"Resource": arn("topic/a?c")}, {"abc": True, "a/c": True, "ac": False, "abbc": False}),
    ({"Resource": arn("topic/${aws:username}/*")}, {"ann/a": True, "bob/a": False}),
    ({"Resource": arn("topic/${iot:ClientId}")}, {"": False, "${iot:ClientId}": False}),
    ({"Resource": arn("topic/${iot:Connection.Thing.ThingName}")}, {"ann": False}),
    ({"Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}}, {"a": True}),
    ({"Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}, {"a": False}),
    ({"Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}, {"a": False}),
    ({"Resource": "*", "Condition": {"StringEquals": {"aws:username": "bob"}}}, {"a": False}),
    ({"Resource": "arn:aws:iot:us-east-1:999999999999:topic/a"}, {"a": False}),
    ({"Resource": "arn:aws:iot:*:*:topic/a"}, {"a": True})])
def test_resources_and_conditions(enforced, statement, topics):
    """`policies.md` §3 and §4; HTTP has no client id and no thing."""
    key = enforced.key(json.dumps({"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "iot:Publish", **statement}}), userName="ann")
    escape = {"/": "%2F", "$": "%24", "{": "%7B", "}": "%7D", ":": "%3A"}
    for topic, expected in topics.items():
        path = "".join(escape.get(one, one) for one in topic)
        assert is_allowed(enforced, key, "POST", f"/topics/{path}") == expected, topic


# Order

def bare(answer):
    """An answer without what every answer has of its own."""
    headers = {key: value for key, value in answer.headers.items() if key != "date"}
    one = headers.pop("x-amzn-requestid")
    return answer.status, headers, answer.body.replace(one.encode(), b"ID")


def test_refusal_is_the_same_whether_or_not_something_exists(enforced, lamp, nothing):
    """Byte for byte, but for its ids: clients, topics, and what is not valid at all."""
    ask(enforced, enforced.admin, "POST", "/topics/kept?retain=true", b"x")
    known = lamp.client_id
    assert ask(enforced, enforced.admin, "GET", f"/connections/{known}").status == 200
    for method, there, others in (
            ("DELETE", f"/connections/{known}", ["/connections/absent", "/connections/%24x",
                                                 f"/connections/{'x' * 200}",
                                                 "/connections/absent?cleanSession=7"]),
            ("GET", f"/connections/{known}", ["/connections/absent", "/connections/%24x"]),
            ("GET", f"/connections/{known}/subscriptions", [
                "/connections/absent/subscriptions",
                f"/connections/{known}/subscriptions?maxResults=201"]),
            ("GET", "/retainedMessage/kept", ["/retainedMessage/absent", "/retainedMessage/%23",
                                              "/retainedMessage?maxResults=-1"]),
            ("POST", "/topics/kept", ["/topics/absent", "/topics/a%2F%2B", "/topics/",
                                      "/topics/a?qos=2", f"/topics/{'x' * 300}"])):
        first = bare(ask(enforced, nothing, method, there))
        assert first[0] == 403 and b'"message":"Forbidden"' in first[2]
        for other in others:
            assert bare(ask(enforced, nothing, method, other)) == first, other
            if "absent" not in other or "?" in other:
                # Whoever may is told what is wrong.
                assert ask(enforced, enforced.admin, method, other).status in (400, 404), other
    assert lamp.is_connected()


def test_direct_message_is_refused_in_two_kinds(enforced, lamp, name, nothing):
    """§3: the sender's refusal has no body and tells nothing; the receiver's names the receiver."""
    path = f"/connections/{lamp.client_id}/messages?topic=a%2Fb"
    first = bare(ask(enforced, nothing, "POST", path, b"x"))
    assert (first[0], first[1]["x-amzn-errortype"], first[2]) == (403, "ForbiddenException", b"")
    for other in ("/connections/absent/messages?topic=a%2Fb", "/connections/%24x/messages?topic=a",
                  f"/connections/{lamp.client_id}/messages", path + "&timeout=99"):
        assert bare(ask(enforced, nothing, "POST", other, b"x")) == first, other
    sender = enforced.key(("Allow", "iot:SendDirectMessage", "*"))
    assert ask(enforced, sender, "POST", path, b"direct").status == 200
    assert lamp.payload() == "direct"
    deaf = enforced.certificate(("Allow", "iot:Connect", "*"))
    other = Device(enforced, name("deaf"), way=deaf.way())
    answer = ask(enforced, sender, "POST", f"/connections/{other.client_id}/messages?topic=a", b"x")
    assert (answer.status, answer.error) == (403, "ForbiddenException")
    assert other.client_id in json.loads(answer.body)["message"]
    assert other.messages.empty()
    other.close()


def test_refused_request_does_not_count_as_throttled(enforced, nothing):
    """Throttling comes after permission, too: it would tell of others."""
    enforced.ours("POST", "/bitts/v1/throttle?calls=1&operation=GetConnection")
    assert ask(enforced, nothing, "GET", "/connections/x").status == 403
    iot = enforced.data(enforced.admin)
    with pytest.raises(iot.exceptions.ThrottlingException):
        iot.get_connection(clientId="never-there")
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_connection(clientId="never-there")


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_boto3_tries_again_when_throttled_and_never_when_forbidden(enforced, nothing, mode):
    iot = enforced.data(enforced.admin, retries={"mode": mode, "total_max_attempts": 3})
    enforced.ours("POST", "/bitts/v1/throttle?calls=2")
    answer = iot.publish(topic="a", payload=b"x")
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2
    iot = enforced.data(nothing, retries={"mode": mode, "total_max_attempts": 3})
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        iot.publish(topic="a", payload=b"x")
    assert refused.value.response["ResponseMetadata"]["RetryAttempts"] == 0


# Our own paths

@pytest.mark.parametrize("action", OURS)
def test_own_path_has_an_action_of_its_own(enforced, action):
    key = enforced.key(("Allow", action, "*"))
    allowed = [other for other, request in OURS.items() if is_allowed(enforced, key, *request)]
    assert allowed == [action]
    assert not any(is_allowed(enforced, key, *request) for _, *request in OPERATIONS.values())


def test_action_of_iot_opens_no_path_of_ours(enforced):
    key = enforced.key(("Allow", "iot:*", "*"))
    assert not any(is_allowed(enforced, key, *request) for request in OURS.values())


def test_path_that_is_not_there_is_told_to_whoever_may_everything(enforced):
    key = enforced.key(("Allow", list(OURS), "*"))
    assert ask(enforced, key, "GET", "/bitts/v1/nothing").status == 403
    assert ask(enforced, enforced.admin, "GET", "/bitts/v1/nothing").status == 404


def test_health_is_for_everybody_and_metrics_are_not(enforced):
    for path in ("/health/live", "/health/ready"):
        assert enforced.send(unsigned(enforced, "GET", path)).status == 200
    for path in ("/metrics", "/bitts/v1/connections", "/bitts/v1/credentials", "/bitts/v1/none"):
        answer = enforced.send(unsigned(enforced, "GET", path))
        assert (answer.status, answer.error) == (403, "ForbiddenException"), path


def test_basic_is_for_what_cannot_sign(enforced):
    """A collector of metrics: an access key and its secret, from this machine or through TLS."""
    key = enforced.key(("Allow", "bitts:GetMetrics", "*"))
    inactive = enforced.key()
    enforced.update_key(inactive, "INACTIVE")

    def status(*headers, path="/metrics"):
        return enforced.send(unsigned(enforced, "GET", path, headers=headers)).status

    assert status(basic(key)) == 200
    assert status(("authorization", basic(key)[1].replace("Basic", "bAsIc"))) == 200
    assert status(basic(key), path="/bitts/v1/connections") == 403
    for wrong in ((key.id, "not-the-secret"), (key.id, ""), (key.id, key.secret + "x"),
                  ("AKIANOBODYKNOWSTHIS0", key.secret), inactive,
                  (TEMPORARY.id, TEMPORARY.secret)):
        assert status(basic(wrong)) == 403, wrong
    for bad in ("Basic", "Basic ", "Basic !!!", "Basic QQ==", "Basic " + "QUJD" * 50):
        assert status(("Authorization", bad)) == 403, bad


def test_basic_beside_a_signature_is_refused(enforced):
    """Two credentials: one of them would not have been looked at."""
    for signed in (sign(enforced, enforced.admin, "GET", "/metrics", query=True),
                   sign(enforced, enforced.admin, "GET", "/metrics")):
        signed.headers.append(basic(enforced.admin))
        assert enforced.send(signed).error == "InvalidSignatureException"


def test_address_that_a_proxy_tells_counts(enforce):
    """For `aws:SourceIp`, and for HTTP Basic in the clear, which is from this machine only."""
    server = enforce("--proxy-protocol")

    def status(source, request, secure=False):
        address = server.addresses["https" if secure else "http"]
        with socket.create_connection(address, timeout=10) as stream:
            stream.sendall(f"PROXY TCP4 {source} 127.0.0.1 1 2\r\n".encode())
            if secure:
                context = ssl.create_default_context(cafile=server.ca)
                stream = context.wrap_socket(stream, server_hostname="127.0.0.1")
            head = [f"{request.method} {request.target} HTTP/1.1", "Connection: close",
                    *(f"{name}: {value}" for name, value in request.headers)]
            stream.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + request.body)
            return int(stream.recv(65536).split(b" ")[1])

    metrics = unsigned(server, "GET", "/metrics", headers=[basic(server.admin)])
    assert status("127.0.0.1", metrics) == 200
    assert status("192.0.2.7", metrics) == 403
    assert status("192.0.2.7", metrics, secure=True) == 200
    policy = json.dumps({"policyDocument": json.dumps({
        "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "iot:Publish", "Resource": "*",
            "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}})}).encode()
    made = sign(server, server.admin, "POST", "/policies/p", policy, service="iot")
    assert status("127.0.0.1", made) == 200
    attached = json.dumps({"target": "anonymous"}).encode()
    made = sign(server, server.admin, "PUT", "/target-policies/p", attached, service="iot")
    assert status("127.0.0.1", made) == 200
    publish = unsigned(server, "POST", "/topics/a", b"x")
    assert status("192.0.2.7", publish) == 200
    assert status("198.51.100.7", publish) == 403
    assert status("127.0.0.1", publish) == 403
    assert server.stop() == 0


# $SYS

def test_sys_is_read_by_whoever_may(enforced, name):
    """`$SYS` is a topic as others: without its own permission a client sees none of it."""
    may = enforced.certificate(
        ("Allow", "iot:Connect", "*"), ("Allow", "iot:Subscribe", arn("topicfilter/$SYS/*")),
        ("Allow", "iot:Receive", arn("topic/$SYS/*")))
    may_not = enforced.certificate(
        ("Allow", "iot:Connect", "*"), ("Allow", "iot:Subscribe", arn("topicfilter/a/*")),
        ("Allow", "iot:Receive", "*"))
    reader = Device(enforced, name("reader"), way=may.way())
    assert reader.subscribe("$SYS/#") == 1
    assert reader.message().topic.startswith("$SYS/")
    other = Device(enforced, name("other"), way=may_not.way())
    for topic_filter in ("$SYS/#", "$SYS/broker/uptime", "$share/g/$SYS/#", "#", "+/#"):
        assert other.subscribe(topic_filter) == 0x87
    reader.close()
    other.close()


def test_key_of_the_data_plane_publishes_to_devices_and_no_further(enforced, name, lamp):
    """What a key may publish arrives; what it may not reaches nobody, not even as retained."""
    key = enforced.key(("Allow", ["iot:Publish", "iot:RetainPublish"], arn("topic/a/b")))
    assert lamp.subscribe("x/#") == 1
    iot = enforced.data(key)
    with pytest.raises(botocore.exceptions.ClientError):
        iot.publish(topic="x/y", payload=b"no", retain=True)
    iot.publish(topic="a/b", payload=b"fence", qos=1)
    assert lamp.until("fence") == []
    admin = enforced.data(enforced.admin)
    with pytest.raises(admin.exceptions.ResourceNotFoundException):
        admin.get_retained_message(topic="x/y")
