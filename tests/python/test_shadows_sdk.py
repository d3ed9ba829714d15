"""The shadow clients of the AWS IoT Device SDK for Python v2, unmodified: V1 and V2.

Both match answers by client token; V2 subscribes to `…/get/+` first.
"""

import queue
from concurrent.futures import Future

import pytest
from awscrt import mqtt, mqtt_request_response
from awsiot import ServiceStreamOptions, V2ServiceException, iotshadow, mqtt_connection_builder

from test_device_sdks import SECONDS, Mqtt5, connection_of

HOW = ["certificate", "websocket"]


@pytest.fixture(params=HOW)
def v2(server, name, request):
    """The V2 client over the SDK's MQTT 5 client."""
    lamp = Mqtt5(server, request.param, name("sdk"))
    options = mqtt_request_response.ClientOptions(
        max_request_response_subscriptions=4, max_streaming_subscriptions=2,
        operation_timeout_in_seconds=int(SECONDS))
    yield iotshadow.IotShadowClientV2(lamp.client, options)
    lamp.stop()


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


@pytest.mark.parametrize("how", HOW)
def test_v1_as_its_sample_does(server, iot, name, how):
    """MQTT 3.1.1: subscribes to accepted, rejected and delta, then asks."""
    builder, arguments = connection_of(server, how)
    lamp = getattr(mqtt_connection_builder, builder)(
        client_id=name("sdk"), clean_session=True, keep_alive_secs=30, **arguments)
    lamp.connect().result(SECONDS)
    shadow, thing, answers = iotshadow.IotShadowClient(lamp), name("thing"), queue.Queue()
    qos = mqtt.QoS.AT_LEAST_ONCE

    def subscribe(kind, request):
        method = getattr(shadow, f"subscribe_to_{kind}")
        waiting, _ = method(request=request, qos=qos,
                            callback=lambda answer: answers.put((kind, answer)))
        waiting.result(SECONDS)

    def next_answer():
        return answers.get(timeout=SECONDS)

    subscribe("get_shadow_accepted", iotshadow.GetShadowSubscriptionRequest(thing_name=thing))
    subscribe("get_shadow_rejected", iotshadow.GetShadowSubscriptionRequest(thing_name=thing))
    subscribe("update_shadow_accepted", iotshadow.UpdateShadowSubscriptionRequest(thing_name=thing))
    subscribe("update_shadow_rejected", iotshadow.UpdateShadowSubscriptionRequest(thing_name=thing))
    subscribe("shadow_delta_updated_events",
              iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=thing))
    shadow.publish_get_shadow(
        iotshadow.GetShadowRequest(thing_name=thing, client_token="g"), qos).result(SECONDS)
    kind, answer = next_answer()
    assert (kind, answer.code, answer.client_token) == ("get_shadow_rejected", 404, "g")
    shadow.publish_update_shadow(iotshadow.UpdateShadowRequest(
        thing_name=thing, client_token="u",
        state=iotshadow.ShadowState(reported={"color": "off"}, desired={"color": "off"})),
        qos).result(SECONDS)
    kind, answer = next_answer()
    assert (kind, answer.client_token) == ("update_shadow_accepted", "u")
    assert answer.state.reported == {"color": "off"}
    iot.update_thing_shadow(thingName=thing, payload=b'{"state":{"desired":{"color":"on"}}}')
    heard = dict(next_answer() for _ in range(2))
    assert heard["shadow_delta_updated_events"].state == {"color": "on"}
    assert heard["update_shadow_accepted"].version == 2
    lamp.disconnect().result(SECONDS)
