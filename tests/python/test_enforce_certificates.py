"""Devices with X.509 certificates and `--auth enforce`: mutual TLS on every door, policies live.

`mqtt-broker.md` §1 and §4, `policies.md` §4 and §5, `control-plane-and-jobs.md` §3.
"""

import datetime
import http.client
import json
import queue
import socket
import ssl
import subprocess
from concurrent.futures import Future

import pytest
from awscrt import mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder

import wire as w
from control import ACCOUNT, document
from device import Device
from enforced import Authority, Enforced, knock, sign, unsigned
from server import BINARY, wait_until

SECONDS = 10.0
NOT_AUTHORIZED = 0x87
ALL = ("Allow", "iot:*", "*")
# How a device with a certificate comes to speak MQTT.
DOORS = {
    "mqtts": {}, "mqtts-mqtt-ca": {"alpn": "x-amzn-mqtt-ca"},
    "https-mqtt-ca": {"listener": "https", "alpn": "x-amzn-mqtt-ca"},
    "wss": {"listener": "https", "websocket": True},
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """An authority that the server has never heard of."""
    return Authority(tmp_path_factory.mktemp("foreign") / "ca")


@pytest.fixture(scope="module")
def held(enforced, foreign):
    """Certificates, good and bad, all with a policy that allows everything where they have one."""
    made = {word: enforced.certificate(ALL) for word in ("active", "inactive", "revoked")}
    made["inactive"].update("INACTIVE")
    made["revoked"].update("REVOKED")
    made["foreign"] = foreign.sign(enforced)
    made["foreign"].register(ALL)
    made["of version 1"] = foreign.sign(enforced, plain=True)
    made["of version 1"].register(ALL)
    made["unknown"] = foreign.sign(enforced)
    made["without policy"] = enforced.certificate()
    made["expired"] = foreign.sign(enforced, dates=("20200101000000Z", "20210101000000Z"))
    made["not yet"] = foreign.sign(enforced, dates=("20990101000000Z", "20991231000000Z"))
    for word in ("expired", "not yet"):
        made[word].register(ALL)
    made["deleted"] = enforced.certificate()
    made["deleted"].update("INACTIVE")
    enforced.plane.delete_certificate(certificateId=made["deleted"].id)
    # Of the server's own authority, but never registered.
    made["of our authority"] = development_certificate(enforced, made["active"])
    return made


def development_certificate(enforced, like):
    made = enforced.device
    return type(like)(enforced, made.id, made.certificate, made.key)


GOOD = ["active", "foreign", "of version 1"]
BAD = ["inactive", "revoked", "unknown", "without policy", "expired", "not yet", "deleted",
       "of our authority"]


# Doors

@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("word", GOOD + BAD)
def test_certificate_opens_mqtt_if_it_is_registered_and_active(enforced, held, name, word, door):
    """Whoever signed it: the registry alone says who it is."""
    way = held[word].way(**DOORS[door])
    for version, refused in ((5, NOT_AUTHORIZED), (4, 5)):
        client, code = knock(enforced, way, name("lamp"), version)
        assert code == (0 if word in GOOD else refused), version
        assert client.is_alive() == (word in GOOD)
        client.close()


@pytest.mark.parametrize("alpn", ["", "x-amzn-http-ca", "http/1.1"])
@pytest.mark.parametrize("word", GOOD + BAD)
def test_certificate_opens_https(enforced, held, word, alpn):
    """`data-plane-http.md` §7."""
    context = held[word].context([alpn] if alpn else [])
    request = unsigned(enforced, "POST", "/topics/a?qos=1", b"x")
    answer = enforced.send(request, context=context)
    assert (answer.status, answer.error) == (
        (200, None) if word in GOOD else (403, "ForbiddenException"))


def test_aws_profile_closes_311_and_tells_5(enforce):
    """`mqtt-broker.md` §4: 3.1.1 is closed without CONNACK."""
    server = enforce("--profile", "aws")
    good, bad = server.certificate(ALL), server.certificate(
        ("Allow", "iot:Connect", f"{ACCOUNT}client/x"))
    for version, refused in ((5, NOT_AUTHORIZED), (4, None)):
        client, code = knock(server, good.way(), "lamp", version)
        assert code == 0
        client.close()
        client, code = knock(server, bad.way(), "lamp", version)
        assert code == refused
        client.close()
    # B-16: a denied publish ends the connection.
    some = server.certificate(("Allow", "iot:Connect", "*"))
    client, _ = knock(server, some.way(), "lamp")
    client.send(w.publish("a", b"x", qos=1))
    assert client.end() == NOT_AUTHORIZED


def test_handshake_needs_the_certificates_key(enforced, held, foreign):
    """A certificate is public; who shows one without its key gets no connection."""
    stolen = held["active"]
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context().load_cert_chain(stolen.certificate, held["unknown"].key)
    done = subprocess.run(
        ["openssl", "s_client", "-connect", "{}:{}".format(*enforced.addresses["mqtts"]), "-CAfile",
         enforced.ca, "-cert", stolen.certificate, "-key", held["unknown"].key],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    assert done.returncode != 0


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_certificate_of_version_1(enforced, foreign, name, key, version):
    """What `openssl x509 -req` signs, as AWS's guide for authorities of one's own has it."""
    certificate = foreign.sign(enforced, plain=True, key=key)
    certificate.register(ALL)
    context = certificate.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    request = unsigned(enforced, "POST", f"/topics/{name('t')}", b"x")
    assert enforced.send(request, context=context).status == 200
    certificate.update("INACTIVE")
    assert enforced.send(request, context=context).status == 403


def test_certificate_decides_even_beside_a_password(enforced, held, name):
    """B-13: the user name of the device SDKs is no credential, nor is another one."""
    enforced.user("beside", "password-of-beside", ALL)
    user = {"username": "beside", "password": "password-of-beside"}
    metrics = {"username": "?SDK=IoTDeviceSDK/Python&Platform=Unix&Metadata=(CRTVersion=0.36.1)"}
    wrong = {"username": "nobody", "password": "wrong"}
    for more, word, expected in (
            (metrics, "active", 0), (wrong, "active", 0), (user, "active", 0),
            (metrics, "unknown", NOT_AUTHORIZED), (user, "inactive", NOT_AUTHORIZED),
            (user, "unknown", NOT_AUTHORIZED)):
        client, code = knock(enforced, held[word].way(), name("lamp"), **more)
        assert code == expected, (more, word)
        client.close()


# AWS's device SDK

class Sdk:
    """The device SDK's MQTT 5 client over mutual TLS."""

    def __init__(self, server, certificate, client_id, **more):
        self.connack, self.stopped, self.ends = Future(), Future(), queue.Queue()
        self.messages = queue.Queue()
        self.client = mqtt5_client_builder.mtls_from_path(
            cert_filepath=certificate.certificate, pri_key_filepath=certificate.key,
            endpoint="127.0.0.1", port=server.addresses["mqtts"][1], ca_filepath=str(server.ca),
            on_publish_received=lambda event: self.messages.put(event.publish_packet),
            on_lifecycle_connection_success=lambda event: self._told((0, None)),
            on_lifecycle_connection_failure=lambda event: self._told(
                (event.connack_packet and event.connack_packet.reason_code, event.exception)),
            on_lifecycle_disconnection=lambda event: self.ends.put(event.disconnect_packet),
            on_lifecycle_stopped=lambda event: self.stopped.set_result(event),
            connect_options=mqtt5.ConnectPacket(client_id=client_id),
            min_reconnect_delay_ms=60_000, max_reconnect_delay_ms=60_000, **more)
        self.client.start()
        self.code = self.connack.result(SECONDS)[0]

    def _told(self, what):
        if not self.connack.done():
            self.connack.set_result(what)

    def stop(self):
        self.client.stop()
        self.stopped.result(SECONDS)


@pytest.mark.parametrize("word", ["active", "of version 1", "inactive", "unknown", "expired"])
def test_device_sdk_of_mqtt_5(enforced, held, name, word):
    lamp = Sdk(enforced, held[word], name("sdk"))
    if word in GOOD:
        assert lamp.code == 0
        topic = name("t")
        asked = mqtt5.SubscribePacket([mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)])
        lamp.client.subscribe(asked).result(SECONDS)
        packet = mqtt5.PublishPacket(topic=topic, payload="hello", qos=mqtt5.QoS.AT_LEAST_ONCE)
        lamp.client.publish(packet).result(SECONDS)
        assert lamp.messages.get(timeout=SECONDS).payload == b"hello"
    else:
        assert lamp.code == mqtt5.ConnectReasonCode.NOT_AUTHORIZED
    lamp.stop()


@pytest.mark.parametrize("word", ["active", "revoked"])
def test_device_sdk_of_mqtt_311(enforced, held, name, word):
    lamp = mqtt_connection_builder.mtls_from_path(
        cert_filepath=held[word].certificate, pri_key_filepath=held[word].key,
        endpoint="127.0.0.1", port=enforced.addresses["mqtts"][1], ca_filepath=str(enforced.ca),
        client_id=name("sdk"), clean_session=True, keep_alive_secs=30)
    if word == "active":
        assert lamp.connect().result(SECONDS) == {"session_present": False}
        published, _ = lamp.publish(name("t"), "hello", mqtt.QoS.AT_LEAST_ONCE)
        published.result(SECONDS)
        lamp.disconnect().result(SECONDS)
    else:
        with pytest.raises(Exception, match="AWS_ERROR_MQTT_UNSUPPORTED|NOT_AUTHORIZED|refused|"
                                            "PROTOCOL|CONNACK|UNEXPECTED"):
            lamp.connect().result(SECONDS)


# At once, in live sessions

def watcher(enforced, client_id, *filters):
    """A client that may see everything."""
    made = Device(enforced, client_id, way=enforced.certificate(ALL).way())
    for one in filters:
        assert made.subscribe(one) in (0, 1)
    return made


@pytest.mark.parametrize("status", ["INACTIVE", "REVOKED"])
def test_certificate_made_inactive_ends_its_connections_at_once(enforced, name, status):
    """Live MQTT ends with 0x87 and the event says FORBIDDEN_ACCESS; HTTPS connections that stay
    open get 403; others stay."""
    certificate = enforced.certificate(ALL)
    client_id = name("lamp")
    watching = watcher(enforced, name("watcher"), f"$aws/events/presence/disconnected/{client_id}")
    lamp, _ = knock(enforced, certificate.way(), client_id)
    old, _ = knock(enforced, certificate.way(), name("old"), 4)
    https = http.client.HTTPSConnection(*enforced.addresses["https"], timeout=10,
                                        context=certificate.context())
    request = unsigned(enforced, "POST", "/topics/a", b"x")
    assert enforced.send(request, client=https).status == 200
    certificate.update(status)
    assert lamp.end() == NOT_AUTHORIZED
    assert old.end() is None
    assert enforced.send(request, client=https).status == 403
    event = json.loads(watching.payload())
    assert (event["disconnectReason"], event["principalIdentifier"]) == (
        "FORBIDDEN_ACCESS", certificate.id)
    assert knock(enforced, certificate.way(), client_id)[1] == NOT_AUTHORIZED
    assert watching.is_connected()
    certificate.update("ACTIVE")
    assert knock(enforced, certificate.way(), client_id)[1] == 0
    watching.close()
    https.close()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_resumed_tls_session_is_decided_anew(enforced, version):
    """The handshake is shorter, the certificate is the same, and its status is asked again."""
    certificate = enforced.certificate(ALL)
    context = certificate.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    first, code = resume(enforced, context, None)
    assert code == 0
    certificate.update("INACTIVE")
    second, code = resume(enforced, context, first.session)
    assert second.session_reused and code == NOT_AUTHORIZED
    certificate.update("ACTIVE")
    assert resume(enforced, context, first.session)[1] == 0


def resume(server, context, session):
    """Connects with a TLS session: (the stream, the code of CONNACK)."""
    address = server.addresses["mqtts"]
    plain = socket.create_connection(address, timeout=SECONDS)
    stream = context.wrap_socket(plain, server_hostname=address[0], session=session)
    client = w.Wire(None, stream=stream)
    client.send(w.connect("resumed"))
    return stream, client.read()[2][1]


def puback(client, topic):
    """The Reason Code of a PUBACK; its absence is success."""
    client.send(w.publish(topic, b"x", qos=1, packet_id=9))
    kind, _, body = client.read()
    assert kind == w.PUBACK, (kind, body)
    return body[2] if len(body) > 2 else 0


def test_attached_policy_decides_before_the_call_returns(enforced, name):
    """`AttachPolicy`, `DetachPolicy`, another default version: the next packet is decided by it."""
    certificate = enforced.certificate(("Allow", "iot:Connect", "*"))
    lamp, _ = knock(enforced, certificate.way(), name("lamp"))
    publish = enforced.policy(("Allow", "iot:Publish", f"{ACCOUNT}topic/a"))
    for _ in range(5):
        assert puback(lamp, "a") == NOT_AUTHORIZED
        certificate.attach(publish)
        assert puback(lamp, "a") in (0, 0x10)
        certificate.detach(publish)
    certificate.attach(publish)
    enforced.plane.create_policy_version(
        policyName=publish, setAsDefault=True,
        policyDocument=document(("Allow", "iot:Publish", f"{ACCOUNT}topic/b")))
    assert puback(lamp, "a") == NOT_AUTHORIZED and puback(lamp, "b") in (0, 0x10)
    enforced.plane.set_default_policy_version(policyName=publish, policyVersionId="1")
    assert puback(lamp, "a") in (0, 0x10) and puback(lamp, "b") == NOT_AUTHORIZED
    assert lamp.is_alive()


def test_another_policy_silences_a_live_subscription(enforced, name):
    """P-38: `Receive` denied later; the connection and its subscription stay."""
    certificate = enforced.certificate(ALL)
    lamp = Device(enforced, name("lamp"), way=certificate.way())
    lamp.subscribe("p38/#")
    iot = enforced.data(enforced.admin)
    iot.publish(topic="p38/a", payload=b"first", qos=1)
    assert lamp.payload() == "first"
    deny = enforced.policy(("Deny", "iot:Receive", f"{ACCOUNT}topic/p38/a"))
    certificate.attach(deny)
    iot.publish(topic="p38/a", payload=b"silenced", qos=1)
    iot.publish(topic="p38/b", payload=b"fence", qos=1)
    assert lamp.until("fence") == []
    certificate.detach(deny)
    iot.publish(topic="p38/a", payload=b"again", qos=1)
    assert lamp.payload() == "again"
    lamp.close()


def test_subscribe_without_receive_gets_nothing(enforced, name):
    """P-37."""
    certificate = enforced.certificate(
        ("Allow", ["iot:Connect", "iot:Subscribe"], "*"),
        ("Allow", "iot:Receive", f"{ACCOUNT}topic/p37/fence"))
    lamp = Device(enforced, name("lamp"), way=certificate.way())
    assert lamp.subscribe("p37/#") == 1
    iot = enforced.data(enforced.admin)
    iot.publish(topic="p37/a", payload=b"unseen", qos=1)
    iot.publish(topic="p37/fence", payload=b"fence", qos=1)
    assert lamp.until("fence") == []
    assert lamp.is_connected()
    lamp.close()


def test_will_needs_its_permissions_at_connect(enforced, name):
    certificate = enforced.certificate(
        ("Allow", "iot:Connect", "*"), ("Allow", "iot:Publish", f"{ACCOUNT}topic/will/*"))
    way = certificate.way()
    for will, retain, expected in ((("will/a", "gone", 1), False, 0),
                                   (("other", "gone", 1), False, NOT_AUTHORIZED),
                                   (("will/a", "gone", 1), True, NOT_AUTHORIZED)):
        client, code = knock(enforced, way, name("lamp"), will=will, retain=retain)
        assert code == expected, (will, retain)
        client.close()


@pytest.mark.parametrize("operator,words,allowed", [
    # P-12 to P-17: which of plain, persistent, with a Will, both.
    ("ForAllValues:StringEquals", ["PersistentConnect"], [True, True, False, False]),
    ("ForAllValues:StringNotEquals", ["PersistentConnect"], [True, False, True, False]),
    ("ForAllValues:StringEquals", [], [True, False, False, False]),
    ("ForAnyValue:StringEquals", ["PersistentConnect"], [False, True, False, True]),
    ("ForAnyValue:StringEquals", ["LastWill"], [False, False, True, True])])
@pytest.mark.parametrize("version", [4, 5])
def test_features_of_a_connect_are_conditions(enforced, name, version, operator, words, allowed):
    """Persistent is cleanSession 0, or a Session Expiry Interval above 0."""
    certificate = enforced.certificate(("Allow", "iot:Publish", "*"))
    certificate.attach(enforced.policy(json.dumps({
        "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "iot:Connect", "Resource": "*",
            "Condition": {operator: {"iot:ConnectAttributes": words}}}})))
    expiry = {"properties": b"\x11\0\0\0\x09"} if version == 5 else {"clean": False}
    will = {"will": ("will", "gone", 1)}
    connects = [{}, expiry, will, {**expiry, **will}]
    codes = [knock(enforced, certificate.way(), name("lamp"), version, **one)[1]
             for one in connects]
    assert codes == [0 if good else {4: 5, 5: NOT_AUTHORIZED}[version] for good in allowed]


def test_topic_of_a_will_is_a_condition(enforced, name):
    """P-18."""
    certificate = enforced.certificate(("Allow", "iot:Publish", "*"))
    certificate.attach(enforced.policy(json.dumps({
        "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "iot:Connect", "Resource": "*", "Condition": {
                "ArnEquals": {"iot:LastWillTopic": f"{ACCOUNT}topic/my/will"}}}})))
    for will, code in ((("my/will", "gone", 1), 0), (("other", "gone", 1), NOT_AUTHORIZED),
                       (None, NOT_AUTHORIZED)):
        assert knock(enforced, certificate.way(), name("lamp"), will=will)[1] == code, will


def test_client_id_that_a_policy_does_not_allow_takes_nothing_over(enforced, name):
    """Nor learns whether somebody is there."""
    victim = name("victim")
    there = watcher(enforced, victim)
    thief = enforced.certificate(("Allow", "iot:Connect", f"{ACCOUNT}client/thief"))
    for _ in range(3):
        assert knock(enforced, thief.way(), victim)[1] == NOT_AUTHORIZED
        assert knock(enforced, thief.way(), name("nobody"))[1] == NOT_AUTHORIZED
    assert there.is_connected()
    there.close()


# Variables

def test_thing_of_a_connection(enforced, name):
    """§4: the thing whose name is the client id and to which the certificate is attached."""
    mine, other = name("thing"), name("thing")
    enforced.plane.create_thing_type(thingTypeName=f"type-{mine}")
    for thing in (mine, other):
        enforced.plane.create_thing(
            thingName=thing, thingTypeName=f"type-{mine}",
            attributePayload={"attributes": {"site": f"berlin-{thing}"}})
    certificate = enforced.certificate(
        ("Allow", "iot:Connect", "*"), ("Allow", "iot:Publish", [
            ACCOUNT + "topic/name/${iot:Connection.Thing.ThingName}",
            ACCOUNT + "topic/type/${iot:Connection.Thing.ThingTypeName}",
            ACCOUNT + "topic/site/${iot:Connection.Thing.Attributes[site]}"]))
    certificate.attach(enforced.policy(json.dumps({
        "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "iot:Publish", "Resource": f"{ACCOUNT}topic/attached",
            "Condition": {"Bool": {"iot:Connection.Thing.IsAttached": ["true"]}}}})))
    topics = [f"name/{mine}", f"type/type-{mine}", f"site/berlin-{mine}", "attached"]
    lamp, _ = knock(enforced, certificate.way(), mine)
    assert [puback(lamp, topic) for topic in topics] == [NOT_AUTHORIZED] * 4
    enforced.plane.attach_thing_principal(thingName=mine, principal=certificate.arn)
    assert [puback(lamp, topic) in (0, 0x10) for topic in topics] == [True] * 4
    assert puback(lamp, f"name/{other}") == NOT_AUTHORIZED
    enforced.plane.update_thing(
        thingName=mine, attributePayload={"attributes": {"site": "paris"}, "merge": True})
    assert puback(lamp, f"site/berlin-{mine}") == NOT_AUTHORIZED
    assert puback(lamp, "site/paris") in (0, 0x10)
    # Under another client id the thing is not the connection's.
    stranger, _ = knock(enforced, certificate.way(), other)
    assert puback(stranger, f"name/{other}") == NOT_AUTHORIZED
    enforced.plane.detach_thing_principal(thingName=mine, principal=certificate.arn)
    assert [puback(lamp, topic) for topic in topics] == [NOT_AUTHORIZED] * 4


def test_policies_of_the_groups_of_a_thing(enforced, name):
    """§5: of its groups and of the groups above them."""
    thing, parent, child = name("thing"), name("group"), name("group")
    enforced.plane.create_thing(thingName=thing)
    enforced.plane.create_thing_group(thingGroupName=parent)
    enforced.plane.create_thing_group(thingGroupName=child, parentGroupName=parent)
    certificate = enforced.certificate(("Allow", "iot:Connect", "*"))
    enforced.plane.attach_thing_principal(thingName=thing, principal=certificate.arn)
    policy = enforced.policy(("Allow", "iot:Publish", f"{ACCOUNT}topic/of/group"))
    enforced.plane.attach_policy(policyName=policy, target=f"{ACCOUNT}thinggroup/{parent}")
    lamp, _ = knock(enforced, certificate.way(), thing)
    assert puback(lamp, "of/group") == NOT_AUTHORIZED
    enforced.plane.add_thing_to_thing_group(thingGroupName=child, thingName=thing)
    assert puback(lamp, "of/group") in (0, 0x10)
    enforced.plane.remove_thing_from_thing_group(thingGroupName=child, thingName=thing)
    assert puback(lamp, "of/group") == NOT_AUTHORIZED


def test_attributes_of_a_certificate(enforced, foreign, name):
    certificate = foreign.sign(
        enforced, subject="/O=Acme/OU=One/OU=Two/CN=lamp 7",
        extensions=["subjectAltName=DNS:lamp.example,IP:192.0.2.7"])
    certificate.register(("Allow", "iot:Connect", "*"), ("Allow", "iot:Publish", [
        ACCOUNT + f"topic/{{}}/${{iot:Certificate.{name}}}".replace("{}", str(number))
        for number, name in enumerate((
            "Subject.CommonName", "Subject.OrganizationalUnit", "Subject.OrganizationalUnit.1",
            "Subject.OrganizationalUnit.2", "Issuer.CommonName", "CertificateId",
            "Subject.AlternativeName.DNSName", "Subject.AlternativeName.IPAddress",
            "Subject.Country"))]))
    lamp, _ = knock(enforced, certificate.way(), name("lamp"))
    for number, value in enumerate(("lamp 7", "One", "Two", None, "Test authority", certificate.id,
                                    "lamp.example", "192.0.2.7", None)):
        allowed = value is not None
        code = puback(lamp, f"{number}/{value or 'x'}")
        assert code in (0, 0x10) if allowed else code == NOT_AUTHORIZED, number
    literal = "3/${iot:Certificate.Subject.OrganizationalUnit.2}"
    assert puback(lamp, literal) == NOT_AUTHORIZED


def test_variables_of_a_certificate_over_https(enforced, foreign, name):
    """`data-plane-http.md` §7: the certificate's have values; a client id and a thing are MQTT's."""
    thing = name("thing")
    certificate = foreign.sign(enforced, subject=f"/CN={thing}")
    certificate.register(("Allow", "iot:Publish", [
        ACCOUNT + "topic/cn/${iot:Certificate.Subject.CommonName}",
        ACCOUNT + "topic/thing/${iot:Connection.Thing.ThingName}",
        ACCOUNT + "topic/client/${iot:ClientId}"]))
    enforced.plane.create_thing(thingName=thing)
    enforced.plane.attach_thing_principal(thingName=thing, principal=certificate.arn)

    def status(topic):
        request = unsigned(enforced, "POST", f"/topics/{topic}?qos=1", b"x")
        return enforced.send(request, certificate=certificate).status

    assert status(f"cn/{thing}") == 200
    for topic in ("cn/other", f"thing/{thing}", f"client/{thing}", "client/"):
        assert status(topic) == 403, topic


@pytest.mark.parametrize("client_id", ["*", "?", "+", "#", "a*", "${iot:ClientId}", "$", "../x"])
def test_client_id_in_a_policy_is_no_pattern(enforced, client_id):
    """P-9, P-10: what is substituted stands for itself."""
    certificate = enforced.certificate(
        ("Allow", "iot:Connect", "*"),
        ("Allow", "iot:Subscribe", ACCOUNT + "topicfilter/my/${iot:ClientId}/topic"),
        ("Allow", "iot:Publish", ACCOUNT + "topic/dev/${iot:ClientId}"))
    lamp, code = knock(enforced, certificate.way(), client_id)
    assert code == 0
    for other in ("x", "ab", "a/b"):
        assert puback(lamp, f"dev/{other}") == NOT_AUTHORIZED
    lamp.send(w.subscribe("my/other/topic", "my/#"))
    assert lamp.read()[2][-2:] == bytes([NOT_AUTHORIZED] * 2)
    lamp.close()


# Just-in-time registration

def test_certificate_of_a_registered_authority_is_registered_at_its_first_connect(
        enforced, tmp_path, name):
    """JITR: refused, told on `$aws/events/certificates/registered/{caId}`, then it is somebody's
    to decide."""
    authority = Authority(tmp_path / "ca", name("Maker"))
    code = enforced.plane.get_registration_code()["registrationCode"]
    proof = authority.sign(enforced, f"/CN={code}")
    ca_id = enforced.plane.register_ca_certificate(
        caCertificate=authority.pem, verificationCertificate=proof.pem, setAsActive=True,
        allowAutoRegistration=True)["certificateId"]
    watching = watcher(enforced, name("watcher"), f"$aws/events/certificates/registered/{ca_id}")
    device = authority.sign(enforced, "/O=Maker/CN=lamp")
    lamp, refused = knock(enforced, device.way(), name("lamp"))
    assert refused == NOT_AUTHORIZED
    event = json.loads(watching.payload())
    assert (event["certificateId"], event["caCertificateId"], event["certificateStatus"]) == (
        device.id, ca_id, "PENDING_ACTIVATION")

    def status():
        found = enforced.plane.describe_certificate(certificateId=device.id)
        return found["certificateDescription"]["status"]

    assert status() == "PENDING_ACTIVATION"
    audit = [json.loads(line) for line in (enforced.data_dir / "audit.log").open()]
    [made] = [it for it in audit if it["with"].get("caCertificateId") == ca_id
              and it["action"] == "iot:RegisterCertificate"]
    assert (made["principal"], made["outcome"]) == (f"cert/{device.id}", "done")
    device.attach(enforced.policy(ALL))
    # Once is enough, and waiting for a decision opens nothing.
    assert knock(enforced, device.way(), name("lamp"))[1] == NOT_AUTHORIZED
    assert enforced.send(unsigned(enforced, "POST", "/topics/a"), certificate=device).status == 403
    device.update("ACTIVE")
    assert status() == "ACTIVE"
    lamp, code = knock(enforced, device.way(), name("lamp"))
    assert code == 0 and lamp.is_alive()
    # One that only says it is of that authority, and one that came after registration ended.
    forged = Authority(tmp_path / "forged", authority_name(authority)).sign(enforced)
    assert knock(enforced, forged.way(), name("lamp"))[1] == NOT_AUTHORIZED
    enforced.plane.update_ca_certificate(certificateId=ca_id, newAutoRegistrationStatus="DISABLE")
    late = authority.sign(enforced)
    assert knock(enforced, late.way(), name("lamp"))[1] == NOT_AUTHORIZED
    for other in (forged, late):
        with pytest.raises(enforced.plane.exceptions.ResourceNotFoundException):
            enforced.plane.describe_certificate(certificateId=other.id)
    assert watching.messages.empty()
    watching.close()


def authority_name(authority):
    done = subprocess.run(["openssl", "x509", "-in", "ca.pem", "-noout", "-subject", "-nameopt",
                           "multiline"], cwd=authority.folder, check=True, capture_output=True,
                          text=True)
    return done.stdout.rsplit("= ", 1)[1].strip()


# Revocation lists

def test_list_of_revoked_certificates(enforce, tmp_path):
    """A list refuses the handshake, a new one within seconds; a bad one changes nothing."""
    authority = Authority(tmp_path / "ca")
    path = tmp_path / "list.pem"
    path.write_text(authority.revoke())
    server = enforce("--tls-revoked", str(path))
    one, two, plain = (authority.sign(server, plain=word) for word in (False, False, True))
    for certificate in (one, two, plain):
        certificate.register(ALL)
        assert knock(server, certificate.way(), "lamp")[1] == 0
    context = one.context()
    before, code = resume(server, context, None)
    assert code == 0 and before.session.has_ticket

    def refuses(certificate):
        try:
            return knock(server, certificate.way(), "lamp")[1] is None
        except (ssl.SSLError, ConnectionError):
            return True

    path.write_text(authority.revoke(one, plain))
    wait_until(lambda: refuses(one), "the list to be read")
    assert refuses(plain) and not refuses(two)
    # Nor is a TLS session resumed that began before the list.
    with pytest.raises((ssl.SSLError, ConnectionError, w.Closed)):
        resume(server, context, before.session)
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        server.send(unsigned(server, "POST", "/topics/a"), certificate=one)
    before = server.log().count("the certificate stays as it was")
    path.write_text("not a list")
    wait_until(lambda: server.log().count("the certificate stays as it was") > before, "a warning")
    assert refuses(one) and not refuses(two)
    path.unlink()
    wait_until(lambda: server.log().count("the certificate stays as it was") > before + 1,
               "another warning")
    assert refuses(one) and not refuses(two)


class Lenient(Enforced):
    """It lets anybody in."""

    KEEPS = ("--data-dir", "bitts-data", "--auth", "open")


@pytest.fixture(params=[Enforced, Lenient], ids=["enforce", "open"])
def kind(request):
    return request.param


def test_list_that_names_a_connected_certificate_ends_its_connections(kind, tmp_path):
    """Of MQTT, of WebSocket and of HTTP, as a certificate made inactive does, and nobody else's."""
    authority = Authority(tmp_path / "ca")
    path = tmp_path / "list.pem"
    path.write_text(authority.revoke())
    server = kind("--tls-revoked", str(path))
    one, two = authority.sign(server), authority.sign(server)
    for certificate in (one, two):
        certificate.register(ALL)
    watching = Device(server, "watcher", way=two.way())
    assert watching.subscribe("$aws/events/presence/disconnected/#") in (0, 1)
    live, code = knock(server, one.way(), "live")
    old, _ = knock(server, one.way(), "old", version=4)
    socket, _ = knock(server, one.way("https", websocket=True), "socket")
    other, _ = knock(server, two.way(), "other")
    https = http.client.HTTPSConnection(*server.addresses["https"], context=one.context())
    request = unsigned(server, "GET", "/connections/other")
    assert code == 0 and server.send(request, client=https).status == 200

    path.write_text(authority.revoke(one))
    assert live.end() == socket.end() == 0x87 and old.end() is None
    ended = [json.loads(watching.message().payload) for _ in range(3)]
    assert {(it["clientId"], it["disconnectReason"]) for it in ended} == {
        (word, "FORBIDDEN_ACCESS") for word in ("live", "old", "socket")}
    assert other.is_alive() and watching.messages.empty()
    assert server.send(request, client=https).status == (403 if kind is Enforced else 200)
    watching.close()
    assert server.stop() == 0


def test_certificate_whose_time_is_over_keeps_the_connections_that_it_has(enforce, tmp_path):
    """It opens none any more; whatever else changes."""
    authority = Authority(tmp_path / "ca")
    server = enforce()
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
    one = authority.sign(server, dates=("20200101000000Z", until.strftime("%Y%m%d%H%M%SZ")))
    one.register(ALL)
    live, code = knock(server, one.way(), "live")
    assert code == 0
    wait_until(lambda: knock(server, one.way(), "late")[1] == 0x87, "the end of its time")
    server.plane.create_thing(thingName="anything")
    live.send(w.subscribe("t"))
    assert live.read()[2][-1] == 1
    live.send(w.publish("t", b"x", qos=1))
    assert {live.read()[0] for _ in range(2)} == {w.PUBACK, w.PUBLISH}


@pytest.mark.parametrize("content,why", [
    (None, "No such file"), ("", "holds no certificate revocation list"),
    ("not a list", "holds no certificate revocation list"), ("version 1", "not of version 2")])
def test_server_does_not_start_without_its_list(tmp_path, content, why):
    """It names the file and says what is wrong with it."""
    path = tmp_path / "list.pem"
    if content == "version 1":
        content = Authority(tmp_path / "ca").revoke(plain=True)
    if content is not None:
        path.write_text(content)
    done = subprocess.run(
        [BINARY, "serve", "--ephemeral", "--auth", "enforce", "--tls-revoked", path, "--mqtt",
         "off", "--http", "off", "--mqtts", "127.0.0.1:0", "--https", "off"],
        cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "list.pem" in done.stderr and why in done.stderr


def test_signature_over_a_certificates_connection_decides(enforced, held):
    """Whoever signs is who signs, whatever the TLS connection is of."""
    key = enforced.key(("Allow", "iot:GetConnection", "*"))
    request = sign(enforced, key, "GET", "/connections/nobody")
    request.headers[0] = ("Host", "{}:{}".format(*enforced.http))
    assert enforced.send(request, certificate=held["inactive"]).status == 404
    wrong = sign(enforced, (key.id, "wrong"), "GET", "/connections/nobody")
    answer = enforced.send(wrong, certificate=held["active"])
    assert (answer.status, answer.error) == (403, "InvalidSignatureException")
