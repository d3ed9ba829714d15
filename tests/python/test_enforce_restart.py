"""Who clients are is kept: what a killed server leaves is decided by policies as they are then."""

import pytest

import wire as w
from control import ACCOUNT, document
from enforced import sign
from wire import Wire

CONNECT = ("Allow", "iot:Connect", ACCOUNT + "client/*")
SESSION_FOREVER = b"\x11" + b"\x00\x01\x00\x00"


def join(server, held, client_id, *, clean=False, will=None, expiry=SESSION_FOREVER):
    stream = held.way().open(server, 30.0)
    return Wire(None, stream=stream, seconds=30.0, client_id=client_id,
                clean=clean, will=will, properties=expiry)


def watch(server, *filters):
    """A client of the administrator's choice that sees these topics."""
    held = server.certificate(("Allow", "iot:*", "*"))
    watcher = join(server, held, "watcher", clean=True, expiry=b"")
    watcher.send(w.subscribe(*filters))
    assert watcher.read()[0] == w.SUBACK
    return watcher


def payloads(client, count):
    """The next messages, acknowledged."""
    got = []
    while len(got) < count:
        kind, flags, body = client.read()
        assert kind == w.PUBLISH, (kind, body)
        length = int.from_bytes(body[:2], "big")
        body = body[2 + length:]
        if flags & 6:
            client.send(w.ack(w.PUBACK, int.from_bytes(body[:2], "big")))
            body = body[2:]
        got.append(body[1 + body[0]:])
    return got


@pytest.fixture
def lamp(enforce):
    """A server and a device that may leave a Will on `wills/lamp` and read `t/…`."""
    server = enforce()
    held = server.certificate()
    policy = server.policy(CONNECT, ("Allow", "iot:Publish", ACCOUNT + "topic/wills/*"),
                           ("Allow", "iot:Subscribe", "*"), ("Allow", "iot:Receive", "*"))
    held.attach(policy)
    return server, held, policy


def replace(server, policy, *statements):
    server.plane.create_policy_version(
        policyName=policy, policyDocument=document(*statements), setAsDefault=True)


def test_a_will_arrives_once_although_the_server_was_killed(lamp):
    server, held, _ = lamp
    connected = join(server, held, "lamp", will=("wills/lamp", "gone", 1))
    server.kill()
    connected.close()
    server.restart()
    watcher = watch(server, "wills/lamp")
    assert payloads(watcher, 1) == [b"gone"]
    server.kill()
    server.restart()
    assert watch(server, "wills/lamp").is_silent(3)


def test_a_will_that_is_not_allowed_any_more_does_not_arrive(lamp):
    """The policy changes after the restart, before the Will is due."""
    server, held, policy = lamp
    connected = [join(server, held, word, will=(f"wills/{word}", word, 1))
                 for word in ("lamp", "other")]
    server.kill()
    for one in connected:
        one.close()
    server.restart()
    watcher = watch(server, "wills/#")
    replace(server, policy, CONNECT, ("Allow", "iot:Publish", ACCOUNT + "topic/wills/other"))
    assert payloads(watcher, 1) == [b"other"]
    assert watcher.is_silent(1)
    metrics = server.send(sign(server, server.admin, "GET", "/metrics")).body.decode()
    assert 'bitts_denied_total{reason="will"} 1' in metrics


def test_what_is_published_after_a_restart_is_queued_and_decided_at_delivery(lamp):
    server, held, policy = lamp
    device = join(server, held, "lamp")
    device.send(w.subscribe("t/#"))
    assert device.read()[0] == w.SUBACK
    device.close()
    data = server.data(server.admin)
    data.publish(topic="t/before", qos=1, payload=b"before")
    server.kill()
    server.restart()
    data = server.data(server.admin)
    for topic in ("t/after", "t/secret"):
        data.publish(topic=topic, qos=1, payload=topic.encode())
    replace(server, policy, CONNECT, ("Allow", "iot:Receive", ACCOUNT + "topic/t/before"),
            ("Allow", "iot:Receive", ACCOUNT + "topic/t/after"))
    device = join(server, held, "lamp")
    assert device.session_present
    assert payloads(device, 2) == [b"before", b"t/after"]
    assert device.is_silent(0.5)


@pytest.mark.parametrize("names", [True, False], ids=["named", "anybody"])
def test_a_session_belongs_to_who_made_it_after_a_restart_too(enforce, names):
    """Where policies name client ids, to whom they name; elsewhere to the principal."""
    server = enforce()
    resource = "client/lamp" if names else "client/*"
    policy = server.policy(("Allow", "iot:Connect", ACCOUNT + resource))
    first, second = server.certificate(), server.certificate()
    for held in (first, second):
        held.attach(policy)
    join(server, first, "lamp")
    server.kill()
    server.restart()
    assert join(server, first, "lamp").session_present
    server.kill()
    server.restart()
    assert join(server, second, "lamp").session_present == names
