"""A well-behaved client beside a misbehaving one: it publishes to itself and keeps the time."""

import itertools
import threading
import time

import wire

_numbers = itertools.count(1)


class Canary:
    """Round trips of QoS 1 on a connection of its own, one after the other, until `end`."""

    PAUSE_SECONDS = 0.02

    def __init__(self, address, stream=None):
        own = f"canary-{next(_numbers)}-{time.monotonic_ns()}"
        self.wire = wire.Wire(address, own, seconds=30.0, stream=stream)
        self.wire.send(wire.subscribe(own))
        assert self.wire.read()[0] == wire.SUBACK
        self.topic = own
        self.worst, self.trips, self.failure = 0.0, 0, None
        self.stopping = threading.Event()
        self.first = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.first.wait(30.0)

    def _run(self):
        try:
            while not self.stopping.wait(self.PAUSE_SECONDS):
                began = time.monotonic()
                self._trip()
                self.worst = max(self.worst, time.monotonic() - began)
                self.trips += 1
                self.first.set()
        except Exception as failure:  # noqa: BLE001: told by end()
            self.failure = failure
            self.first.set()

    def _trip(self):
        self.wire.send(wire.publish(self.topic, b"tweet", qos=1, packet_id=7))
        waiting = {wire.PUBACK, wire.PUBLISH}
        while waiting:
            kind, _, body = self.wire.read()
            waiting.discard(kind)
            if kind == wire.PUBLISH:
                at = 2 + len(self.topic)
                self.wire.send(wire.packet(wire.PUBACK, 0, body[at:at + 2]))

    def end(self):
        """Stops; the longest round trip in seconds, and how many there were."""
        self.stopping.set()
        self.thread.join(40.0)
        self.wire.close()
        if self.failure:
            raise AssertionError("the canary lost its connection") from self.failure
        return self.worst, self.trips
