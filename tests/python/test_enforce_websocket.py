"""MQTT over WebSocket with Signature Version 4 and `--auth enforce`.

`mqtt-broker.md` §1.1: a handshake whose signature does not hold gets 403 and no WebSocket; what
the key may do is asked at CONNECT.
"""

import json
import queue
from concurrent.futures import Future

import pytest
from awscrt import auth, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder

import rawhttp
import wire as w
from control import ACCOUNT
from device import Device
from enforced import TEMPORARY, basic, knock, presign
from ways import Way, upgrade

SECONDS = 10.0
NOT_AUTHORIZED = 0x87
ALL = ("Allow", "iot:*", "*")
FORMS = ["crt", "browser", "presigned"]
TEMPORARY_KEY = (TEMPORARY.id, TEMPORARY.secret)


@pytest.fixture(scope="module")
def key(enforced):
    return enforced.key(ALL)


def handshake(enforced, way, **headers):
    """The answer to an upgrade that is refused."""
    address = enforced.addresses[way.listener]
    with Way(way.listener, way.tls).open(enforced) as stream:
        stream.sendall(upgrade("Content-Length: 0", target=way.target, Host=way.host, **headers))
        received = b""
        while b"\r\n\r\n" not in received or not is_whole(received):
            more = stream.recv(65536)
            assert more, (address, received)
            received += more
    return rawhttp.parse(received)


def is_whole(received):
    answer = rawhttp.parse(received)
    return answer.status == 101 or len(answer.body) == int(answer.headers["content-length"])


def refused(enforced, way, error):
    answer = handshake(enforced, way)
    assert (answer.status, answer.error) == (403, error)
    assert answer.json()["traceId"] == answer.headers["x-amzn-requestid"]
    assert "date" in answer.headers


# Forms of a signed URL

@pytest.mark.parametrize("listener", ["http", "https"])
@pytest.mark.parametrize("form", FORMS)
def test_signed_url(enforced, key, name, form, listener):
    """Each client's form, over TLS and without."""
    for version in (4, 5):
        way = presign(enforced, key, form, listener=listener)
        lamp, code = knock(enforced, way, name("lamp"), version)
        assert code == 0 and lamp.is_alive()
        lamp.close()


@pytest.mark.parametrize("form", FORMS)
def test_session_token(enforced, name, form):
    """B-14: outside of what is signed, or inside; it has to be there and right."""
    lamp, code = knock(enforced, presign(enforced, TEMPORARY_KEY, form, token=TEMPORARY.token),
                       name("lamp"))
    assert code == 0 and lamp.is_alive()
    refused(enforced, presign(enforced, TEMPORARY_KEY, form, token="another"), "ForbiddenException")
    refused(enforced, presign(enforced, TEMPORARY_KEY, form), "ForbiddenException")


@pytest.mark.parametrize("form", FORMS)
def test_wrong_signature_is_403_on_the_upgrade(enforced, key, form):
    inactive, expired = enforced.key(ALL), enforced.key(ALL, expiresAt=1)
    enforced.update_key(inactive, "INACTIVE")
    signature, forbidden = "InvalidSignatureException", "ForbiddenException"
    refused(enforced, presign(enforced, (key.id, "wrong"), form), signature)
    refused(enforced, presign(enforced, ("AKIANOBODYKNOWSTHIS0", key.secret), form), forbidden)
    refused(enforced, presign(enforced, inactive, form), forbidden)
    refused(enforced, presign(enforced, expired, form), forbidden)
    refused(enforced, presign(enforced, key, form, skew=600), signature)
    refused(enforced, presign(enforced, key, form, skew=-90_000), signature)
    refused(enforced, presign(enforced, key, form, service="s3"), signature)


def test_url_is_good_for_as_long_as_it_says(enforced, key, name):
    old = presign(enforced, key, "presigned", skew=-80_000)
    assert knock(enforced, old, name("lamp"))[1] == 0
    refused(enforced, presign(enforced, key, "presigned", skew=-80_000, expires=3600),
            "InvalidSignatureException")
    refused(enforced, presign(enforced, key, "crt", skew=-400), "InvalidSignatureException")


def test_changed_url_is_refused(enforced, key):
    way = presign(enforced, key)
    for before, after in (("%2Fus-east-1%2F", "%2Feu-west-1%2F"), ("connection%3Bhost", "host"),
                          ("connection%3Bhost", "connection"), ("Signature=", "Signature=0"),
                          ("X-Amz-Date=2", "X-Amz-Date=1"), ("/mqtt?", "/mqtt?a=b&"),
                          ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS4")):
        assert before in way.target
        changed = type(way)(way.listener, way.tls, websocket=True, host=way.host,
                            target=way.target.replace(before, after))
        refused(enforced, changed, "InvalidSignatureException")
    other_host = type(way)(way.listener, way.tls, websocket=True, host="elsewhere",
                           target=way.target)
    refused(enforced, other_host, "InvalidSignatureException")


def test_signature_for_the_data_plane_opens_no_websocket(enforced, key):
    way = presign(enforced, key, path="/connections/nobody")
    assert way.target.startswith("/connections/nobody?")
    refused(enforced, type(way)(way.listener, way.tls, websocket=True, host=way.host,
                                target=way.target.replace("/connections/nobody", "/mqtt")),
            "InvalidSignatureException")


def test_two_credentials_are_refused(enforced, key):
    way = presign(enforced, key)
    for value in (basic(key)[1], "AWS4-HMAC-SHA256 Credential=x"):
        answer = handshake(enforced, way, Authorization=value)
        assert (answer.status, answer.error) == (403, "InvalidSignatureException"), value


def test_unsigned_upgrade_is_decided_at_connect(enforced, name):
    """A user name may come with CONNECT; without one nobody is let in."""
    for version, code in ((5, NOT_AUTHORIZED), (4, 5)):
        way = Way("https", tls=True, websocket=True)
        assert knock(enforced, way, name("lamp"), version)[1] == code


# What the key may do

def test_connect_is_asked_of_the_keys_policies(enforced, name):
    """`iot:Connect`: CONNACK 0x87, 5 for MQTT 3.1.1."""
    mine = name("mine")
    key = enforced.key(("Allow", "iot:Connect", f"{ACCOUNT}client/{mine}"))
    way = presign(enforced, key)
    for version, code in ((5, NOT_AUTHORIZED), (4, 5)):
        assert knock(enforced, way, mine, version)[1] == 0
        assert knock(enforced, way, name("other"), version)[1] == code
    with_name = enforced.key(
        ("Allow", "iot:Connect", ACCOUNT + "client/${aws:username}-*"), userName="ann")
    assert knock(enforced, presign(enforced, with_name), "ann-1")[1] == 0
    assert knock(enforced, presign(enforced, with_name), "bob-1")[1] == NOT_AUTHORIZED


def test_aws_profile_closes_311_without_connack(enforce):
    server = enforce("--profile", "aws")
    way = presign(server, server.key(("Allow", "iot:Connect", f"{ACCOUNT}client/mine")))
    assert knock(server, way, "mine", 4)[1] == 0
    assert knock(server, way, "other", 4)[1] is None
    assert knock(server, way, "other", 5)[1] == NOT_AUTHORIZED


def test_publish_and_subscribe_are_asked_too(enforced, name):
    key = enforced.key(("Allow", "iot:Connect", "*"),
                       ("Allow", "iot:Publish", f"{ACCOUNT}topic/up/*"),
                       ("Allow", "iot:Subscribe", f"{ACCOUNT}topicfilter/down/*"))
    lamp, _ = knock(enforced, presign(enforced, key), name("lamp"))
    for topic, allowed in (("up/a", True), ("down/a", False)):
        lamp.send(w.publish(topic, b"x", qos=1))
        body = lamp.read()[2]
        assert (len(body) == 2 or body[2] in (0, 0x10)) == allowed
    lamp.send(w.subscribe("down/#", "up/#", "$share/g/down/#"))
    assert lamp.read()[2][-3:] == bytes([1, NOT_AUTHORIZED, NOT_AUTHORIZED])
    lamp.close()


def test_signature_decides_beside_a_user_name(enforced, key, name):
    """§1.3: what comes with CONNECT is not looked at once the upgrade said who it is."""
    for more in ({"username": "?SDK=IoTDeviceSDK/Python&Platform=Unix"},
                 {"username": "nobody", "password": "wrong"},
                 {"username": "x?x-amz-customauthorizer-name=nowhere"}):
        assert knock(enforced, presign(enforced, key), name("lamp"), **more)[1] == 0


def test_inactive_key_ends_its_connections_at_once(enforced, name):
    key, client_id = enforced.key(ALL, userName="ann"), name("lamp")
    held = enforced.certificate(ALL)
    watching = Device(enforced, name("watcher"), way=held.way())
    watching.subscribe(f"$aws/events/presence/disconnected/{client_id}")
    lamp, _ = knock(enforced, presign(enforced, key), client_id)
    enforced.update_key(key, "INACTIVE")
    assert lamp.end() == NOT_AUTHORIZED
    event = json.loads(watching.payload())
    assert (event["disconnectReason"], event["principalIdentifier"]) == ("FORBIDDEN_ACCESS", "ann")
    watching.close()


# AWS's device SDK

def provider(key, token=None):
    return auth.AwsCredentialsProvider.new_static(key[0], key[1], token)


def arguments(server, key, token=None):
    return {"endpoint": "127.0.0.1", "ca_filepath": str(server.ca), "region": "us-east-1",
            "port": server.addresses["https"][1], "credentials_provider": provider(key, token)}


class Sdk:
    """The device SDK's MQTT 5 client over WebSocket."""

    def __init__(self, server, client_id, key, token=None):
        self.outcome, self.stopped, self.messages = Future(), Future(), queue.Queue()
        self.client = mqtt5_client_builder.websockets_with_default_aws_signing(
            on_publish_received=lambda event: self.messages.put(event.publish_packet.payload),
            on_lifecycle_connection_success=lambda event: self._told("connected"),
            on_lifecycle_connection_failure=lambda event: self._told(
                event.connack_packet.reason_code if event.connack_packet
                else str(event.exception)),
            on_lifecycle_stopped=lambda event: self.stopped.set_result(event),
            connect_options=mqtt5.ConnectPacket(client_id=client_id),
            min_reconnect_delay_ms=60_000, max_reconnect_delay_ms=60_000,
            **arguments(server, key, token))
        self.client.start()

    def _told(self, what):
        if not self.outcome.done():
            self.outcome.set_result(what)

    def stop(self):
        self.client.stop()
        self.stopped.result(SECONDS)


def cases(enforced):
    """Key, token, what the SDK learns."""
    right, inactive, expired = enforced.key(ALL), enforced.key(ALL), enforced.key(expiresAt=1)
    enforced.update_key(inactive, "INACTIVE")
    return {
        "right": (right, None, "connected"),
        "wrong secret": ((right.id, "wrong"), None, "UPGRADE_FAILURE"),
        "unknown": (("AKIANOBODYKNOWSTHIS0", right.secret), None, "UPGRADE_FAILURE"),
        "inactive": (inactive, None, "UPGRADE_FAILURE"),
        "expired": (expired, None, "UPGRADE_FAILURE"),
        "temporary": (TEMPORARY_KEY, TEMPORARY.token, "connected"),
        "another token": (TEMPORARY_KEY, "another", "UPGRADE_FAILURE"),
        "without its token": (TEMPORARY_KEY, None, "UPGRADE_FAILURE"),
        "may not connect": (enforced.key(("Allow", "iot:Publish", "*")), None,
                            mqtt5.ConnectReasonCode.NOT_AUTHORIZED),
    }


def test_device_sdk_of_mqtt_5(enforced, name):
    for what, (key, token, expected) in cases(enforced).items():
        lamp = Sdk(enforced, name("sdk"), key, token)
        outcome = lamp.outcome.result(SECONDS)
        if isinstance(expected, str):
            assert expected in str(outcome), what
        else:
            assert outcome == expected, what
        if outcome == "connected":
            topic = name("t")
            asked = mqtt5.SubscribePacket([mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)])
            lamp.client.subscribe(asked).result(SECONDS)
            packet = mqtt5.PublishPacket(topic=topic, payload="hello", qos=mqtt5.QoS.AT_LEAST_ONCE)
            lamp.client.publish(packet).result(SECONDS)
            assert lamp.messages.get(timeout=SECONDS) == b"hello"
        lamp.stop()


def test_device_sdk_of_mqtt_311(enforced, name):
    for what, (key, token, expected) in cases(enforced).items():
        lamp = mqtt_connection_builder.websockets_with_default_aws_signing(
            client_id=name("sdk"), clean_session=True, keep_alive_secs=30,
            **arguments(enforced, key, token))
        if expected == "connected":
            assert lamp.connect().result(SECONDS) == {"session_present": False}, what
            published, _ = lamp.publish(name("t"), "hello", mqtt.QoS.AT_LEAST_ONCE)
            published.result(SECONDS)
            lamp.disconnect().result(SECONDS)
        else:
            with pytest.raises(Exception) as failed:
                lamp.connect().result(SECONDS)
            if expected == "UPGRADE_FAILURE":
                assert expected in str(failed.value), what
