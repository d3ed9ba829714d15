"""A paho-mqtt client whose events wait in queues, so that a test can ask for the next one."""

import queue
import socket

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ways import WAYS

SECONDS = 10.0


def properties(packet, **values):
    """`properties("PUBLISH", ContentType="text/plain")`."""
    made = Properties(getattr(PacketTypes, packet))
    for key, value in values.items():
        setattr(made, key, value)
    return made


class Device:
    """A connected client, or one whose connection was refused: see `reason`."""

    def __init__(self, server, client_id, version=5, clean=True, expiry=None, keep_alive=60,
                 will=None, connect=None, username=None, way=WAYS["mqtt"]):
        self.client_id = client_id
        self.version = version
        self.connects = queue.Queue()
        self.messages = queue.Queue()
        self.ends = queue.Queue()
        self.acks = queue.Queue()
        session = {"clean_session": clean} if version == 4 else {}
        self.paho = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id,
                                protocol=version, reconnect_on_failure=False,
                                transport="websockets" if way.websocket else "tcp", **session)
        if way.tls:
            self.paho.tls_set_context(way.context(server))
        self.paho.on_connect = self._on_connect
        self.paho.on_message = lambda client, data, message: self.messages.put(message)
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_subscribe = lambda c, d, mid, codes, props: self.acks.put((mid, codes))
        self.paho.on_unsubscribe = lambda c, d, mid, codes, props: self.acks.put((mid, codes))
        if username:
            self.paho.username_pw_set(username, "secret")
        if will:
            self._set_will(**will)
        self.start = {}
        if version == 5:
            values = dict(connect or {})
            if expiry is not None:
                values["SessionExpiryInterval"] = expiry
            self.start = {"clean_start": clean, "properties": properties("CONNECT", **values)}
        self.paho.connect(*way.address(server), keepalive=keep_alive, **self.start)
        self.paho.loop_start()
        self.session_present, self.reason, self.connack = self.connects.get(timeout=SECONDS)

    def _set_will(self, topic, payload="gone", qos=1, retain=False, **values):
        extra = {"properties": properties("WILLMESSAGE", **values)} if self.version == 5 else {}
        self.paho.will_set(topic, payload, qos, retain, **extra)

    def _on_connect(self, client, data, flags, reason, connack):
        self.connects.put((flags.session_present, reason, connack))

    def _on_disconnect(self, client, data, flags, reason, props):
        self.ends.put((flags.is_disconnect_packet_from_server, reason.value))

    def subscribe(self, topic, qos=1, **options):
        """Subscribes and returns the Reason Code of the SUBACK."""
        if self.version == 5:
            values = options.pop("properties", None)
            asked = {"options": paho.SubscribeOptions(qos=qos, **options)}
            if values:
                asked["properties"] = properties("SUBSCRIBE", **values)
            status, mid = self.paho.subscribe(topic, **asked)
        else:
            status, mid = self.paho.subscribe(topic, qos)
        assert status == paho.MQTT_ERR_SUCCESS
        return self._ack(mid)[0].value

    def unsubscribe(self, topic):
        status, mid = self.paho.unsubscribe(topic)
        assert status == paho.MQTT_ERR_SUCCESS
        return self._ack(mid)

    def _ack(self, mid):
        acked, codes = self.acks.get(timeout=SECONDS)
        assert acked == mid
        return codes

    def publish(self, topic, payload=b"", qos=1, retain=False, **values):
        """Publishes and, above QoS 0, waits for the acknowledgement."""
        extra = {"properties": properties("PUBLISH", **values)} if values else {}
        sent = self.paho.publish(topic, payload, qos, retain, **extra)
        sent.wait_for_publish(SECONDS)
        assert sent.is_published()

    def message(self, seconds=SECONDS):
        """The next message."""
        return self.messages.get(timeout=seconds)

    def payload(self, seconds=SECONDS):
        """The next message's payload as text."""
        return self.message(seconds).payload.decode()

    def until(self, payload):
        """The payloads that arrive before `payload`."""
        before = []
        while (one := self.payload()) != payload:
            before.append(one)
        return before

    def ended(self, seconds=SECONDS):
        """Waits for the end of the connection: (the server said DISCONNECT, Reason Code)."""
        return self.ends.get(timeout=seconds)

    def is_connected(self):
        return self.ends.empty() and self.paho.is_connected()

    def vanish(self):
        """The network is gone: no DISCONNECT, only the end of the socket."""
        sock = self.paho.socket()
        if sock:
            # paho wraps the socket of a WebSocket.
            getattr(sock, "_socket", sock).shutdown(socket.SHUT_RDWR)
        self.paho.loop_stop()

    def disconnect(self, **values):
        if self.version == 5:
            code = values.pop("reason", None)
            self.paho.disconnect(code, properties("DISCONNECT", **values))
        else:
            self.paho.disconnect()
        self.ended()
        self.paho.loop_stop()

    def close(self):
        if self.paho.is_connected():
            self.paho.disconnect()
        self.paho.loop_stop()
