"""No descriptor is left for connections: clients that are there go on, and so does the store."""

import pathlib
import resource
import socket

import pytest

import wire as w
from server import Server, wait_until

DESCRIPTORS = 96
# More than a segment of the journal has room for, whatever the disk.
MESSAGES, PAYLOAD = 320, b"x" * 65_536


class Kept(Server):
    """It keeps what it is told."""

    KEEPS = ()


@pytest.fixture
def kept():
    server = Kept("--threads", "2")
    yield server
    server.stop()


def exhausted(server):
    """The most connections that it takes: MQTT and HTTP in turn, until neither is answered."""
    sockets = []
    for at in range(2 * DESCRIPTORS):
        made = socket.create_connection((server.mqtt, server.http)[at % 2], timeout=10)
        if at % 2 == 0:
            made.sendall(w.connect(f"more-{at}", 4))
        sockets.append(made)
    wait_until(lambda: "cannot accept connections" in server.log(), "no descriptor is left")
    return sockets


def test_the_store_goes_on_where_connections_have_all_descriptors(kept):
    """Segments begin, directories are synced, and what is published is acknowledged."""
    absent = w.Wire(kept.mqtt, "absent", clean=False, properties=b"\x11\xff\xff\xff\xff")
    absent.send(w.subscribe("kept/#"))
    assert absent.read()[0] == w.SUBACK
    absent.close()
    publisher = w.Wire(kept.mqtt, "publisher")
    resource.prlimit(kept.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    sockets = exhausted(kept)
    journal = pathlib.Path(kept.folder.name, "bitts-data", "journal")
    before = set(journal.glob("journal-*"))
    for number in range(MESSAGES):
        publisher.send(w.publish("kept/1", PAYLOAD, 1, number + 1))
        assert publisher.read() == (w.PUBACK, 0, (number + 1).to_bytes(2, "big"))
    assert set(journal.glob("journal-*")) - before, "no segment was begun"
    used = len(list(pathlib.Path(f"/proc/{kept.process.pid}/fd").iterdir()))
    assert DESCRIPTORS - 32 < used < DESCRIPTORS
    for made in sockets:
        made.close()
    wait_until(lambda: w.Wire(kept.mqtt, "after").is_alive(), "a connection after those")
