"""What is acknowledged outlives the process: the server is killed while clients publish and read."""

import collections
import os
import pathlib
import queue
import signal
import subprocess
import threading

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import MessageState

from server import BINARY, wait_until

KILLS = 6
PUBLISHERS = 3


class Client(paho.Client):
    """Paho, where a message that was released stays so when an attempt to reconnect is refused: of
    itself it publishes such a message again, and that is another one."""

    def _messages_reconnect_reset_out(self):
        states = MessageState.MQTT_MS_WAIT_FOR_PUBCOMP, MessageState.MQTT_MS_RESEND_PUBREL
        released = [held for held in self._out_messages.values() if held.state in states]
        super()._messages_reconnect_reset_out()
        for held in released:
            held.state = MessageState.MQTT_MS_RESEND_PUBREL


class Killed:
    """A server on one data directory and one port, over several lives."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
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
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: ready.exists() or self.process.poll() is not None, "the ready file")
        assert self.process.poll() is None, (self.folder / "log").read_text()
        self.port = int(ready.read_text().split("127.0.0.1:")[1].split('"')[0])

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def killed(tmp_path):
    server = Killed(tmp_path)
    server.start(2)
    yield server
    server.kill()


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


def test_nothing_acknowledged_is_lost_reordered_or_doubled(killed):
    """QoS 1 at least once, QoS 2 exactly once, in order, over kills at any moment."""
    readers = {qos: subscriber(killed, f"reader-{qos}", qos) for qos in (1, 2)}
    acked = collections.Counter()
    writers = [client(killed, f"writer-{n}",
                      on_publish=lambda c, d, mid, *_, n=n: acked.update([n]))
               for n in range(PUBLISHERS)]
    sent = 0
    for kill in range(KILLS):
        before = sum(acked.values())
        for _ in range(100):
            for number, writer in enumerate(writers):
                writer.publish(f"t/{number}", str(sent), qos=1 + number % 2)
            sent += 1
        wait_until(lambda: sum(acked.values()) > before + 40 * (kill + 1), "some are acknowledged")
        killed.kill()
        killed.start(1 + kill % 3)
        # What is published while paho reconnects may overtake what it sends again.
        wait_until(lambda: sum(acked.values()) >= sent * PUBLISHERS, "all are acknowledged", 30)
    for qos, (reader, got) in readers.items():
        arrived = collections.defaultdict(list)
        while any(len(set(arrived[f"t/{n}"])) < sent for n in range(PUBLISHERS)):
            topic, payload = got.get(timeout=20)
            arrived[topic].append(int(payload))
        for number in range(PUBLISHERS):
            numbers = arrived[f"t/{number}"]
            assert list(dict.fromkeys(numbers)) == list(range(sent)), (qos, number)
            if min(qos, 1 + number % 2) == 2:
                assert len(numbers) == sent, f"t/{number} came twice"
        reader.loop_stop()
    for writer in writers:
        writer.loop_stop()


def test_an_offline_session_is_owed_what_came_while_it_was_away(killed):
    """Queued messages and their order, a retained message, a subscription: after a kill."""
    reader, got = subscriber(killed, "away", 1)
    reader.disconnect()
    reader.loop_stop()
    writer = client(killed, "writer")
    for number in range(50):
        info = writer.publish("t/away", str(number), qos=1, retain=True)
    info.wait_for_publish(10)
    writer.loop_stop()
    killed.kill()
    killed.start(3)
    reader = client(killed, "away", on_message=lambda c, d, m: got.put((m.topic, m.payload)))
    assert [int(got.get(timeout=10)[1]) for _ in range(50)] == list(range(50))
    fresh, kept = subscriber(killed, "fresh", 0)
    assert kept.get(timeout=10) == ("t/away", b"49")
    reader.loop_stop()
    fresh.loop_stop()
