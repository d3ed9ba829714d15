"""The shadow clients of the AWS IoT Device SDK for Python v2, unmodified: V1 and V2.

Over MQTT 3.1.1 and 5, by certificate and by WebSocket. Both match answers by client token; V2
subscribes to `…/get/+` first.
"""

import queue
from concurrent.futures import Future

import pytest
from awscrt import auth, mqtt, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, iotshadow

from control import ACCOUNT
from test_device_sdks import SECONDS, Mqtt5, Mqtt311

HOW = ["certificate", "websocket"]
CLIENTS = {"mqtt311": Mqtt311, "mqtt5": Mqtt5}
QOS = mqtt.QoS.AT_LEAST_ONCE


@pytest.fixture(params=CLIENTS.values(), ids=CLIENTS.keys())
def sdk(request):
    """Connects the SDK's clients of both versions."""
    made = []

    def connect(*arguments, **identity):
        made.append(request.param(*arguments, **identity))
        return made[-1].client

    yield connect
    for one in made:
        one.stop()


def shadow_v2(client):
    return iotshadow.IotShadowClientV2(client, mqtt_request_response.ClientOptions(
        max_request_response_subscriptions=4, max_streaming_subscriptions=2,
        operation_timeout_in_seconds=int(SECONDS)))


@pytest.fixture(params=HOW)
def v2(server, sdk, name, request):
    """The V2 client over the SDK's client of each version."""
    return shadow_v2(sdk(server, request.param, name("sdk")))


def stream(open_stream, request):
    """Opens a stream; the queue of its events, once its subscription is there."""
    events, established = queue.Queue(), Future()

    def on_status(event):
        if not established.done():
            established.set_result(event.type)

    opened = open_stream(request, ServiceStreamOptions(
        incoming_event_listener=events.put, subscription_status_listener=on_status))
    opened.open()
    kind = mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED
    assert established.result(SECONDS) == kind
    return opened, events


def test_v2_updates_gets_and_deletes(v2, name):
    thing = name("thing")
    deltas, delta_events = stream(
        v2.create_shadow_delta_updated_stream,
        iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=thing))
    changes, change_events = stream(
        v2.create_shadow_updated_stream,
        iotshadow.ShadowUpdatedSubscriptionRequest(thing_name=thing))
    updated = v2.update_shadow(iotshadow.UpdateShadowRequest(
        thing_name=thing, state=iotshadow.ShadowState(desired={"color": "red"})))
    answer = updated.result(SECONDS)
    assert (answer.version, answer.state.desired) == (1, {"color": "red"})
    delta = delta_events.get(timeout=SECONDS)
    assert (delta.state, delta.version) == ({"color": "red"}, 1)
    change = change_events.get(timeout=SECONDS)
    assert (change.previous, change.current.state.desired) == (None, {"color": "red"})
    got = v2.get_shadow(iotshadow.GetShadowRequest(thing_name=thing)).result(SECONDS)
    assert (got.state.desired, got.state.delta, got.version) == (
        {"color": "red"}, {"color": "red"}, 1)
    conflict = v2.update_shadow(iotshadow.UpdateShadowRequest(
        thing_name=thing, version=7, state=iotshadow.ShadowState(reported={"color": "red"})))
    with pytest.raises(V2ServiceException) as caught:
        conflict.result(SECONDS)
    assert (caught.value.modeled_error.code, caught.value.modeled_error.message) == (
        409, "Version conflict")
    deleted = v2.delete_shadow(iotshadow.DeleteShadowRequest(thing_name=thing)).result(SECONDS)
    assert deleted.version == 1
    with pytest.raises(V2ServiceException) as caught:
        v2.get_shadow(iotshadow.GetShadowRequest(thing_name=thing)).result(SECONDS)
    assert caught.value.modeled_error.code == 404
    del deltas, changes


def test_v2_of_a_named_shadow(v2, iot, name):
    thing = name("thing")
    deltas, events = stream(
        v2.create_named_shadow_delta_updated_stream,
        iotshadow.NamedShadowDeltaUpdatedSubscriptionRequest(thing_name=thing, shadow_name="s"))
    iot.update_thing_shadow(thingName=thing, shadowName="s",
                            payload=b'{"state":{"desired":{"a":{"b":[1,2]}}}}')
    assert events.get(timeout=SECONDS).state == {"a": {"b": [1, 2]}}
    answer = v2.update_named_shadow(iotshadow.UpdateNamedShadowRequest(
        thing_name=thing, shadow_name="s",
        state=iotshadow.ShadowState(reported={"a": {"b": [1, 2]}}))).result(SECONDS)
    assert answer.version == 2
    got = v2.get_named_shadow(iotshadow.GetNamedShadowRequest(
        thing_name=thing, shadow_name="s")).result(SECONDS)
    assert (got.state.reported, got.state.delta) == ({"a": {"b": [1, 2]}}, None)
    del deltas


class V1:
    """The V1 client with its answers in a queue: (what it is, the answer)."""

    def __init__(self, client, thing, named=None):
        self.shadow = iotshadow.IotShadowClient(client)
        self.names = {"thing_name": thing, **({"shadow_name": named} if named else {})}
        self.word = "named_shadow" if named else "shadow"
        self.kind = "Named" if named else ""
        self.answers = queue.Queue()
        for operation in ("get", "update", "delete"):
            for end in ("accepted", "rejected"):
                self._subscribe(f"{operation}_{self.word}_{end}",
                                f"{operation.title()}{self.kind}ShadowSubscriptionRequest",
                                f"{operation} {end}")
        self._subscribe(f"{self.word}_delta_updated_events",
                        f"{self.kind}ShadowDeltaUpdatedSubscriptionRequest", "delta")

    def _subscribe(self, method, request, word):
        waiting, _ = getattr(self.shadow, f"subscribe_to_{method}")(
            request=getattr(iotshadow, request)(**self.names), qos=QOS,
            callback=lambda answer: self.answers.put((word, answer)))
        waiting.result(SECONDS)

    def ask(self, operation, token, **members):
        request = getattr(iotshadow, f"{operation.title()}{self.kind}ShadowRequest")
        publish = getattr(self.shadow, f"publish_{operation}_{self.word}")
        publish(request(**self.names, client_token=token, **members), QOS).result(SECONDS)

    def next(self):
        return self.answers.get(timeout=SECONDS)


@pytest.mark.parametrize("named", [None, "s"])
@pytest.mark.parametrize("how", HOW)
def test_v1_as_its_sample_does(server, sdk, iot, name, how, named):
    """Subscribes to accepted, rejected and delta, then asks."""
    thing = name("thing")
    v1 = V1(sdk(server, how, name("sdk")), thing, named)
    v1.ask("get", "g")
    kind, answer = v1.next()
    assert (kind, answer.code, answer.client_token) == ("get rejected", 404, "g")
    v1.ask("update", "u", state=iotshadow.ShadowState(
        reported={"color": "off"}, desired={"color": "off"}))
    kind, answer = v1.next()
    assert (kind, answer.client_token) == ("update accepted", "u")
    assert answer.state.reported == {"color": "off"}
    iot.update_thing_shadow(thingName=thing, payload=b'{"state":{"desired":{"color":"on"}}}',
                            **({"shadowName": named} if named else {}))
    heard = dict(v1.next() for _ in range(2))
    assert heard["delta"].state == {"color": "on"}
    assert heard["update accepted"].version == 2
    v1.ask("update", "v", version=9, state=iotshadow.ShadowState(reported={"color": "on"}))
    kind, answer = v1.next()
    assert (kind, answer.code, answer.client_token) == ("update rejected", 409, "v")
    v1.ask("delete", "d")
    kind, answer = v1.next()
    assert (kind, answer.version, answer.client_token) == ("delete accepted", 2, "d")


def test_a_thing_has_its_own_shadow_alone(enforced, sdk, name):
    """Policies: a certificate of the control plane, attached to its thing; V1 and V2."""
    thing = name("thing")
    variable = "${iot:Connection.Thing.ThingName}"
    shadow = f"$aws/things/{variable}/shadow/*"
    held = enforced.certificate(
        ("Allow", "iot:Connect", f"{ACCOUNT}client/{variable}"),
        ("Allow", ["iot:Publish", "iot:Receive"], f"{ACCOUNT}topic/{shadow}"),
        ("Allow", "iot:Subscribe", f"{ACCOUNT}topicfilter/{shadow}"))
    enforced.plane.create_thing(thingName=thing)
    enforced.plane.attach_thing_principal(thingName=thing, principal=held.arn)
    client = sdk(enforced, "certificate", thing, certificate=held)
    v2 = shadow_v2(client)
    updated = v2.update_shadow(iotshadow.UpdateShadowRequest(
        thing_name=thing, state=iotshadow.ShadowState(desired={"color": "red"})))
    assert updated.result(SECONDS).version == 1
    v1 = V1(client, thing)
    v1.ask("get", "g")
    kind, answer = v1.next()
    assert (kind, answer.state.delta) == ("get accepted", {"color": "red"})


def test_a_key_signs_for_a_device_with_a_shadow(enforced, sdk, name):
    key = enforced.key(("Allow", "iot:*", "*"))
    signer = auth.AwsCredentialsProvider.new_static(key.id, key.secret)
    v2 = shadow_v2(sdk(enforced, "websocket", name("sdk"), signer=signer))
    updated = v2.update_shadow(iotshadow.UpdateShadowRequest(
        thing_name=name("thing"), state=iotshadow.ShadowState(reported={"on": True})))
    assert updated.result(SECONDS).state.reported == {"on": True}
