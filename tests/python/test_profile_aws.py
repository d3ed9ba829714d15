"""`--profile aws`, as clients and boto3 see it: the contract's vectors B-*.

Every difference is played by spec/scenarios/profile-aws.scn; here it meets unmodified clients.
"""

import pytest
from awscrt import mqtt5
from paho.mqtt.properties import Properties

import wire as w
from conftest import data_plane
from device import properties
from server import Server
from test_device_sdks import Mqtt5
from ways import CLOSE, WAYS, frame


@pytest.fixture(scope="module")
def aws():
    running = Server("--profile", "aws", "--region", "eu-central-1")
    yield running
    assert running.stop() == 0, running.tail


@pytest.fixture(scope="module")
def aws_iot(aws):
    return data_plane(aws)


@pytest.fixture
def lamp(aws, device):
    """Connects paho to the server of this module."""
    return lambda client_id, **options: device(client_id, server=aws, **options)


def test_connack(lamp, name, way):
    """B-3, on every way."""
    connack = lamp(name("lamp"), way=way, keep_alive=1200).connack
    assert isinstance(connack, Properties)
    said = {key: value for key, value in connack.json().items() if key != "UserProperty"}
    assert said == {
        "ReceiveMaximum": 100, "MaximumQoS": 1, "RetainAvailable": 1, "MaximumPacketSize": 149_504,
        "TopicAliasMaximum": 8, "WildcardSubscriptionAvailable": 1,
        "SubscriptionIdentifierAvailable": 0, "SharedSubscriptionAvailable": 1,
        "ServerKeepAlive": 1200,
    }


@pytest.mark.parametrize("asked,told", [(5, 30), (30, 30), (600, 600), (1201, 1200), (0, 1200)])
def test_server_keep_alive(lamp, name, asked, told):
    """B-4: 30 to 1,200 seconds."""
    assert lamp(name("lamp"), keep_alive=asked).connack.ServerKeepAlive == told


def test_parent_is_not_matched(lamp, name):
    """B-1"""
    topic, one = name("sensor"), lamp(name("lamp"))
    one.subscribe(f"{topic}/#")
    one.publish(topic, "parent")
    one.publish(f"{topic}/", "child")
    assert one.payload() == "child"


def test_wildcards_get_nothing_retained(lamp, name):
    """B-2"""
    topic, one = name("r"), lamp(name("lamp"))
    one.publish(f"{topic}/b", "kept", retain=True)
    one.subscribe(f"{topic}/+")
    one.publish(f"{topic}/c", "fence")
    assert one.payload() == "fence"
    one.subscribe(f"{topic}/b")
    message = one.message()
    assert (message.payload, message.retain) == (b"kept", True)


def test_nine_filters(aws, wire, name):
    """B-5: each of them refused; MQTT 3.1.1 is closed."""
    filters = [f"f/{number}" for number in range(9)]
    new, old = (wire(server=aws, client_id=name("lamp"), version=version) for version in (5, 4))
    new.send(w.subscribe(*filters))
    assert new.read()[2][-9:] == b"\x97" * 9
    assert new.is_alive()
    old.send(w.subscribe(*filters, version=4))
    assert old.rest() == b""


def test_levels_of_a_topic(aws, wire, name):
    """B-6"""
    eight = "/".join("abcdefgh")
    one = wire(server=aws, client_id=name("lamp"))
    one.send(w.subscribe(f"$share/g/{eight}"))
    kind, _, body = one.read()
    assert (kind, body[-1]) == (w.SUBACK, 1)
    one.send(w.publish(f"$aws/rules/r/{eight}", b"x", 1))
    assert one.read()[0] == w.PUBACK
    one.send(w.publish(f"{eight}/i", b"x", 1))
    assert one.end() == 0x90


def test_takeover_sends_the_will_without_retain(lamp, name):
    """B-7"""
    topic, watcher, client_id = name("will"), lamp(name("watcher")), name("lamp")
    watcher.subscribe(topic)
    watcher.subscribe(f"$aws/events/presence/disconnected/{client_id}")
    first = lamp(client_id, will={"topic": topic, "retain": True})
    lamp(client_id)
    assert first.ended() == (True, 0x8E)
    messages = {message.topic: message for message in (watcher.message(), watcher.message())}
    assert not messages.pop(topic).retain
    (event,) = messages.values()
    assert b'"DUPLICATE_CLIENTID"' in event.payload


def test_assigned_client_identifier(lamp):
    """B-8"""
    assigned = lamp("").connack.AssignedClientIdentifier
    assert assigned.startswith("$GEN/")
    assert lamp(assigned).reason.value == 0x85


def test_subscription_identifier(aws, wire, name):
    """B-12"""
    one = wire(server=aws, client_id=name("lamp"))
    one.send(w.subscribe("a", properties=b"\x0b\x01"))
    assert one.end() == 0xA1


def test_user_name_of_the_sdk(lamp, aws_iot, name):
    """B-13: metrics in the user name, no password, a device certificate."""
    one = lamp(name("sdk"), username="?SDK=Python&Version=1.31.0", way=WAYS["mqtts-certificate"])
    assert aws_iot.get_connection(clientId=one.client_id)["connected"]


@pytest.mark.parametrize("how", ["certificate", "websocket", "websocket-token"])
def test_device_sdk(aws, aws_iot, name, how):
    """B-14, B-18: AWS's device SDK against AWS's profile, then put off."""
    topic, client_id = name("sdk/test"), name("sdk")
    one = Mqtt5(aws, how, client_id)
    assert one.negotiated.maximum_qos == mqtt5.QoS.AT_LEAST_ONCE
    assert one.negotiated.receive_maximum_from_server == 100
    assert one.subscribe(topic) == mqtt5.SubackReasonCode.GRANTED_QOS_1
    assert one.publish(topic, "hello") == mqtt5.PubackReasonCode.SUCCESS
    assert one.messages.get(timeout=10).payload == b"hello"
    aws_iot.delete_connection(clientId=client_id)
    told = one.ends.get(timeout=10)
    assert told.reason_code == mqtt5.DisconnectReasonCode.ADMINISTRATIVE_ACTION
    one.stop()


def test_odd_client_identifier_has_no_events(lamp, name):
    """B-15"""
    watcher, fence = lamp(name("watcher")), name("fence")
    watcher.subscribe("$aws/events/presence/connected/+")
    watcher.subscribe(fence)
    odd = lamp(f"{name('a')}+b")
    odd.publish(fence, "fence")
    assert watcher.until("fence") == []


def test_qos_2_and_wills_of_qos_2(lamp, aws, wire, name):
    """B-17, and a PUBLISH: 0x9B."""
    refused = lamp(name("lamp"), will={"topic": name("w"), "qos": 2})
    assert refused.reason.value == 0x9B
    one = wire(server=aws, client_id=name("lamp"))
    one.send(w.publish(name("t"), b"x", 2))
    assert one.end() == 0x9B
    assert lamp(name("lamp")).subscribe(name("t"), 2) == 1


def test_three_deliveries_to_groups(lamp, name):
    """B-20"""
    topic = name("t")
    one, two, three = (lamp(name("lamp")) for _ in range(3))
    one.subscribe(f"$share/c1/{topic}")
    two.subscribe(f"$share/c2/{topic}")
    three.subscribe(f"$share/c1/{topic}/#")
    three.subscribe("$share/c1/#")
    lamp(name("s")).publish(topic, "shared")
    assert [each.payload() for each in (one, two, three)] == ["shared"] * 3


@pytest.mark.parametrize("listener", ["ws", "wss"])
def test_close_frame_is_a_goodbye(aws, wire, lamp, name, listener):
    """§7: a WebSocket that says Close sends no Will; one that is cut does."""
    topic, watcher = name("will"), lamp(name("watcher"))
    watcher.subscribe(topic)
    polite, cut = (wire(WAYS[listener], server=aws, client_id=name("lamp"),
                        will=(topic, word, 1)) for word in ("polite", "cut"))
    polite.socket.stream.sendall(frame(b"\x03\xe8", CLOSE))
    assert polite.rest() == b""
    cut.close()
    assert watcher.payload() == "cut"


def test_message_expiry_is_at_least_a_second(lamp, name):
    """B-10: 0 is taken for 1."""
    topic, one = name("t"), lamp(name("lamp"))
    one.subscribe(topic)
    one.publish(topic, "soon", MessageExpiryInterval=0)
    assert one.message().properties.MessageExpiryInterval == 1


def test_session_of_the_other_version(lamp, name):
    """B-11"""
    client_id = name("lamp")
    lamp(client_id, version=4, clean=False).disconnect()
    assert lamp(client_id, version=4, clean=False).session_present
    assert not lamp(client_id, clean=False, expiry=60).session_present


def test_properties_are_not_for_mqtt_311(lamp, name):
    """B-19"""
    topic, old = name("t"), lamp(name("old"), version=4)
    old.subscribe(topic)
    sender = lamp(name("s"))
    sender.paho.publish(topic, "hello", 1, properties=properties(
        "PUBLISH", UserProperty=("a", "b"), ContentType="text/plain"))
    assert old.payload() == "hello"


def test_boto3(aws_iot, lamp, name):
    """The data plane is the same: DC-1, GC, LS, retained."""
    topic, one = name("t"), lamp(name("lamp"), will={"topic": name("w")})
    one.subscribe(topic)
    aws_iot.publish(topic=topic, qos=1, retain=True, payload=b"hello")
    assert one.payload() == "hello"
    assert aws_iot.get_retained_message(topic=topic)["qos"] == 1
    state = aws_iot.get_connection(clientId=one.client_id)
    assert state["connected"]
    listed = aws_iot.list_subscriptions(clientId=one.client_id)["subscriptions"]
    assert listed == [{"topicFilter": topic, "qos": 1}]
    aws_iot.delete_connection(clientId=one.client_id, preventWillMessage=True)
    assert one.ended() == (True, 0x98)
    with pytest.raises(aws_iot.exceptions.ResourceNotFoundException):
        aws_iot.delete_connection(clientId=one.client_id)


def test_maximum_qos_is_told(aws, wire, name):
    """[MQTT-3.2.2-9]: property 0x24, 1."""
    lamp = wire(server=aws)
    lamp.send(w.connect(name("lamp")))
    kind, _, body = lamp.read()
    assert (kind, body[:2]) == (w.CONNACK, b"\x00\x00")
    assert b"\x24\x01" in body[3:]


@pytest.mark.parametrize("asked, granted", [(0, 0), (1, 1), (2, 1)])
def test_subscription_at_qos_2_is_granted_at_1(aws, wire, name, version, asked, granted):
    """[MQTT-3.2.2-10]"""
    lamp = wire(server=aws, client_id=name("lamp"), version=version)
    lamp.send(w.subscribe(name("t"), qos=asked, version=version))
    kind, _, body = lamp.read()
    assert (kind, body[-1]) == (w.SUBACK, granted)


def test_will_at_qos_2_is_refused(aws, wire, name):
    """[MQTT-3.2.2-12]: CONNACK 0x9B, then the end."""
    lamp = wire(server=aws)
    lamp.send(w.connect(name("lamp"), will=("t", "gone", 2)))
    kind, _, body = lamp.read()
    assert (kind, body[:2]) == (w.CONNACK, b"\x00\x9b")
    assert lamp.rest() == b""
