"""Clients that devices run, unmodified: AWS's IoT Device SDK for Python v2, aiomqtt.

The SDK connects as it does to AWS: TLS with a device certificate, by port or by ALPN, or WebSocket
with Signature Version 4. All that is changed is the endpoint, its port and the CA.
"""

import asyncio
import queue
from concurrent.futures import Future

import aiomqtt
import pytest
from awscrt import auth, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder

SECONDS = 10.0


def credentials(token=None):
    return auth.AwsCredentialsProvider.new_static("AKIDEXAMPLE", "SECRETEXAMPLE", token)


def connection_of(server, how, certificate=None, signer=None):
    """(builders' suffix, arguments) of a way to connect, as a device or a key of the server."""
    https, mqtts = server.addresses["https"][1], server.addresses["mqtts"][1]
    common = {"endpoint": "127.0.0.1", "ca_filepath": str(server.ca)}
    if how == "certificate":
        held = certificate or server.device
        files = {"cert_filepath": held.certificate, "pri_key_filepath": held.key}
        return "mtls_from_path", {**common, **files, "port": mqtts}
    if how == "websocket":
        token = {"credentials_provider": signer or credentials()}
    else:
        token = {"credentials_provider": credentials("TOKEN/EXAMPLE+=")}
    return "websockets_with_default_aws_signing", {
        **common, **token, "port": https, "region": "us-east-1"}


WAYS = ["certificate", "websocket", "websocket-token"]


class Mqtt5:
    """The SDK's MQTT 5 client, started and connected."""

    def __init__(self, server, how, client_id, **identity):
        self.messages, self.ends = queue.Queue(), queue.Queue()
        self.connack, self.stopped = Future(), Future()
        builder, arguments = connection_of(server, how, **identity)
        self.client = getattr(mqtt5_client_builder, builder)(
            on_publish_received=lambda event: self.messages.put(event.publish_packet),
            on_lifecycle_connection_success=self._on_success,
            on_lifecycle_connection_failure=self._on_failure,
            on_lifecycle_disconnection=lambda event: self.ends.put(event.disconnect_packet),
            on_lifecycle_stopped=lambda event: self.stopped.set_result(event),
            connect_options=mqtt5.ConnectPacket(
                client_id=client_id, session_expiry_interval_sec=3600),
            session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
            min_reconnect_delay_ms=60_000, max_reconnect_delay_ms=60_000, **arguments)
        self.client.start()
        self.negotiated = self.connack.result(SECONDS)

    def _on_success(self, event):
        if not self.connack.done():
            self.connack.set_result(event.negotiated_settings)

    def _on_failure(self, event):
        if not self.connack.done():
            self.connack.set_exception(event.exception)

    def subscribe(self, topic):
        asked = mqtt5.SubscribePacket([mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE)])
        return self.client.subscribe(asked).result(SECONDS).reason_codes[0]

    def publish(self, topic, payload):
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE,
                                     user_properties=[mqtt5.UserProperty("a", "b")])
        return self.client.publish(packet).result(SECONDS).puback.reason_code

    def stop(self):
        self.client.stop()
        self.stopped.result(SECONDS)


class Mqtt311:
    """The SDK's MQTT 3.1.1 connection, connected."""

    def __init__(self, server, how, client_id, **identity):
        builder, arguments = connection_of(server, how, **identity)
        self.client = getattr(mqtt_connection_builder, builder)(
            client_id=client_id, clean_session=True, keep_alive_secs=30, **arguments)
        self.client.connect().result(SECONDS)

    def stop(self):
        self.client.disconnect().result(SECONDS)


@pytest.fixture
def sdk(server):
    """Connects the SDK's MQTT 5 client."""
    made = []

    def connect(how, client_id):
        made.append(Mqtt5(server, how, client_id))
        return made[-1]

    yield connect
    for one in made:
        if not one.stopped.done():
            one.stop()


@pytest.mark.parametrize("how", WAYS)
def test_sdk_of_mqtt_5_publishes_and_subscribes(sdk, name, how):
    topic, lamp = name("sdk/test"), sdk(how, name("sdk"))
    assert lamp.subscribe(topic) == mqtt5.SubackReasonCode.GRANTED_QOS_1
    assert lamp.publish(topic, "hello") == mqtt5.PubackReasonCode.SUCCESS
    message = lamp.messages.get(timeout=SECONDS)
    assert (message.payload, message.topic) == (b"hello", topic)
    assert [(one.name, one.value) for one in message.user_properties] == [("a", "b")]


@pytest.mark.parametrize("how", WAYS)
def test_sdk_of_mqtt_5_is_put_off(sdk, iot, name, how):
    """DC-1, DC-4, DC-5 as a device of AWS IoT sees them."""
    client_id = name("sdk")
    lamp = sdk(how, client_id)
    assert not lamp.negotiated.rejoined_session
    iot.delete_connection(clientId=client_id)
    told = lamp.ends.get(timeout=SECONDS)
    assert told.reason_code == mqtt5.DisconnectReasonCode.ADMINISTRATIVE_ACTION
    lamp.stop()
    again = sdk(how, client_id)
    assert again.negotiated.rejoined_session
    iot.delete_connection(clientId=client_id, cleanSession=True)
    again.ends.get(timeout=SECONDS)
    again.stop()
    assert not sdk(how, client_id).negotiated.rejoined_session


@pytest.mark.parametrize("how", WAYS)
def test_sdk_of_mqtt_311(server, iot, name, how):
    """Publishes, subscribes, and notices that it is put off; it reconnects by itself."""
    interrupted, resumed, messages = Future(), Future(), queue.Queue()
    builder, arguments = connection_of(server, how)
    client_id, topic = name("sdk"), name("sdk/test")
    lamp = getattr(mqtt_connection_builder, builder)(
        client_id=client_id, clean_session=False, keep_alive_secs=30,
        on_connection_interrupted=lambda connection, error, **more: interrupted.set_result(error),
        on_connection_resumed=lambda connection, return_code, session_present, **more:
            resumed.set_result(session_present),
        reconnect_min_timeout_secs=1, reconnect_max_timeout_secs=1, **arguments)
    assert lamp.connect().result(SECONDS) == {"session_present": False}
    subscribed, _ = lamp.subscribe(topic, mqtt.QoS.AT_LEAST_ONCE,
                                   lambda topic, payload, **more: messages.put(payload))
    assert subscribed.result(SECONDS)["qos"] == mqtt.QoS.AT_LEAST_ONCE
    published, _ = lamp.publish(topic, "hello", mqtt.QoS.AT_LEAST_ONCE)
    published.result(SECONDS)
    assert messages.get(timeout=SECONDS) == b"hello"
    iot.delete_connection(clientId=client_id)
    interrupted.result(SECONDS)
    assert resumed.result(SECONDS) is True
    lamp.disconnect().result(SECONDS)


def test_sdk_chooses_mqtt_by_alpn_on_the_https_port(server, name):
    """The SDK offers `x-amzn-mqtt-ca` on port 443 alone; the TLS options are its own."""
    from awscrt import io
    options = io.TlsContextOptions.create_client_with_mtls_from_path(
        server.device.certificate, server.device.key)
    options.override_default_trust_store_from_path(ca_filepath=str(server.ca))
    options.alpn_list = ["x-amzn-mqtt-ca"]
    client = mqtt.Client(tls_ctx=io.ClientTlsContext(options))
    lamp = mqtt.Connection(client=client, host_name="127.0.0.1",
                           port=server.addresses["https"][1], client_id=name("sdk"))
    assert lamp.connect().result(SECONDS) == {"session_present": False}
    published, _ = lamp.publish(name("t"), "hello", mqtt.QoS.AT_LEAST_ONCE)
    published.result(SECONDS)
    lamp.disconnect().result(SECONDS)


def test_aiomqtt(server, way, name):
    """Subscribes, publishes, reads; on every way to the server."""
    topic = name("t")

    async def run():
        transport = "websockets" if way.websocket else "tcp"
        host, port = way.address(server)
        async with aiomqtt.Client(
                host, port, identifier=name("aiomqtt"), transport=transport,
                websocket_path="/mqtt" if way.websocket else None,
                tls_context=way.context(server) if way.tls else None) as lamp:
            await lamp.subscribe(topic, qos=2)
            await lamp.publish(topic, "hello", qos=2)
            async for message in lamp.messages:
                return message.payload

    assert asyncio.run(asyncio.wait_for(run(), SECONDS)) == b"hello"
