"""A server over several lives on one data directory, and clients that come back to it."""

import os
import pathlib
import queue
import subprocess
import threading

import paho.mqtt.client as paho
from paho.mqtt.enums import MessageState

from server import BINARY, wait_until


class Client(paho.Client):
    """Paho, where a message that was released stays so when an attempt to reconnect is refused: of
    itself it publishes such a message again, and that is another one."""

    def _messages_reconnect_reset_out(self):
        states = MessageState.MQTT_MS_WAIT_FOR_PUBCOMP, MessageState.MQTT_MS_RESEND_PUBREL
        released = [held for held in self._out_messages.values() if held.state in states]
        super()._messages_reconnect_reset_out()
        for held in released:
            held.state = MessageState.MQTT_MS_RESEND_PUBREL


class Lives:
    """A server on one data directory and one port, over several lives."""

    def __init__(self, folder, **environment):
        self.folder = pathlib.Path(folder)
        self.environment = {**os.environ, **environment}
        self.port = 0
        self.process = None

    def start(self, threads):
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve", "--data-dir", self.folder / "data", "--mqtts", "off", "--https",
                 "off", "--http", "off", "--mqtt", f"127.0.0.1:{self.port}",
                 "--threads", str(threads), "--ready-file", ready],
                env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: ready.exists() or self.process.poll() is not None, "the ready file")
        assert self.process.poll() is None, (self.folder / "log").read_text()
        self.port = int(ready.read_text().split("127.0.0.1:")[1].split('"')[0])

    @property
    def address(self):
        return "127.0.0.1", self.port

    def kill(self):
        self.process.kill()
        self.process.wait()


def client(server, client_id, **callbacks):
    """A client that comes back to its session by itself and resends what is not acknowledged."""
    made = Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    made.reconnect_delay_set(0.02, 0.1)
    made.max_inflight_messages_set(10)
    for name, callback in callbacks.items():
        setattr(made, name, callback)
    made.connect("127.0.0.1", server.port)
    made.loop_start()
    return made


def subscriber(server, client_id, qos):
    """A subscriber, and the queue of what it gets."""
    got, subscribed = queue.Queue(), threading.Event()
    made = client(server, client_id,
                  on_connect=lambda c, d, flags, reason, p: (
                      None if flags.session_present else c.subscribe("t/#", qos)),
                  on_subscribe=lambda *_: subscribed.set(),
                  on_message=lambda c, d, message: got.put((message.topic, message.payload)))
    assert subscribed.wait(10)
    return made, got
