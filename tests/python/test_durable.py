"""What is acknowledged outlives the process, however it ends while clients publish and read."""

import collections
import contextlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess

import pytest

import wire as w
from lives import Lives, client, subscriber
from server import BINARY, wait_until

DEATHS = 2
PUBLISHERS = 3
DAMAGES = 60
# Session Expiry Interval.
FOR_EVER = b"\x11\xff\xff\xff\xff"


@pytest.fixture(scope="session")
def faults(tmp_path_factory):
    """A library that makes the disk fail (faults/faults.c)."""
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = pathlib.Path(__file__).parent / "faults" / "faults.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def server(tmp_path, faults):
    server = Lives(tmp_path, LD_PRELOAD=str(faults), FAULT=str(tmp_path / "fault"))
    server.start(2)
    yield server
    server.kill()


def fault(server, kind):
    """What fails from here on: see faults.c."""
    (server.folder / "fault").write_text(kind)


# How a process ends

def killed(server):
    server.kill()


def killed_twice(server):
    """The second time when it has just read what the first one left."""
    server.kill()
    server.start(2)
    server.kill()


def stopped(server):
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0


def failed(server, kind):
    """A session that is new must be written, if nothing else."""
    fault(server, kind)
    with contextlib.suppress(ConnectionError):
        w.Wire(server.address).send(w.connect("new", clean=False, properties=FOR_EVER))
    assert server.process.wait(20) == 1
    assert "nothing that waited for it was acknowledged" in (server.folder / "log").read_text()
    fault(server, "")


def sync_failed(server):
    failed(server, "s")


def write_failed(server):
    failed(server, "w")


ENDS = [killed, killed_twice, stopped, sync_failed, write_failed]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_nothing_acknowledged_is_lost_reordered_or_doubled(server, end):
    """QoS 1 at least once, QoS 2 exactly once, in order, whatever ends the process at any moment."""
    readers = {qos: subscriber(server, f"reader-{qos}", qos) for qos in (1, 2)}
    acked = collections.Counter()
    writers = [client(server, f"writer-{n}",
                      on_publish=lambda c, d, mid, *_, n=n: acked.update([n]))
               for n in range(PUBLISHERS)]
    sent = 0
    for death in range(DEATHS):
        before = sum(acked.values())
        for _ in range(100):
            for number, writer in enumerate(writers):
                writer.publish(f"t/{number}", str(sent), qos=1 + number % 2)
            sent += 1
        wait_until(lambda: sum(acked.values()) > before + 60, "some are acknowledged")
        end(server)
        server.start(1 + death)
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


def test_an_offline_session_is_owed_what_came_while_it_was_away(server):
    """Queued messages and their order, a retained message, a subscription: after a kill."""
    reader, got = subscriber(server, "away", 1)
    reader.disconnect()
    reader.loop_stop()
    writer = client(server, "writer")
    for number in range(50):
        info = writer.publish("t/away", str(number), qos=1, retain=True)
    info.wait_for_publish(10)
    writer.loop_stop()
    server.kill()
    server.start(3)
    reader = client(server, "away", on_message=lambda c, d, m: got.put((m.topic, m.payload)))
    assert [int(got.get(timeout=10)[1]) for _ in range(50)] == list(range(50))
    fresh, kept = subscriber(server, "fresh", 0)
    assert kept.get(timeout=10) == ("t/away", b"49")
    reader.loop_stop()
    fresh.loop_stop()


def test_a_will_comes_once(server):
    """Of who was connected when the process died, after its delay; not of who had said goodbye."""
    watcher, got = subscriber(server, "watcher", 2)
    for client_id in ("lost", "gone"):
        delay = b"\x18\0\0\0\1"
        leaver = w.Wire(server.address, client_id, clean=False, properties=FOR_EVER,
                        will=("t/will", client_id.encode(), 2), will_properties=delay)
        if client_id == "gone":
            leaver.send(w.packet(w.DISCONNECT, 0, b""))
            assert leaver.rest() == b""
    say(server, "t/before")
    server.kill()
    server.start(2)
    came = [got.get(timeout=20)]
    while came[-1][0] != "t/will":
        came.append(got.get(timeout=20))
    server.kill()
    server.start(1)
    say(server, "t/after")
    while came[-1][0] != "t/after":
        came.append(got.get(timeout=20))
    assert [payload for topic, payload in came if topic == "t/will"] == [b"lost"]
    watcher.loop_stop()


def say(server, topic):
    """Publishes; what was before is durable when it is acknowledged."""
    speaker = w.Wire(server.address, "speaker")
    speaker.send(w.publish(topic, b"", 1))
    assert speaker.read()[0] == w.PUBACK
    speaker.close()


def test_a_disk_without_space_is_waited_for(server):
    """What must be kept waits or is refused, the rest goes on, and with space so does all."""
    watcher, got = subscriber(server, "watcher", 1)
    other = w.Wire(server.address, "other")
    other.send(w.subscribe("q/#", qos=0))
    assert other.read()[0] == w.SUBACK
    writer = client(server, "writer")
    writer.publish("t/1", b"before", qos=1).wait_for_publish(20)
    fault(server, "n")
    kept = writer.publish("t/1", b"meanwhile", qos=1)
    for number in range(20):
        other.send(w.publish("q/1", str(number).encode()))
        assert other.read()[0] == w.PUBLISH
    assert other.is_alive() and server.process.poll() is None and not kept.is_published()
    fault(server, "")
    kept.wait_for_publish(20)
    server.kill()
    server.start(2)
    assert [got.get(timeout=20)[1] for _ in range(2)] == [b"before", b"meanwhile"]
    for one in (watcher, writer):
        one.loop_stop()


def damaged(random, folder):
    """Damages a file of a journal; says how."""
    path = random.choice(sorted(it for it in folder.iterdir() if it.stat().st_size))
    data = bytearray(path.read_bytes())
    at, how = random.randrange(len(data)), random.choice(["flip", "zero", "cut", "more", "remove"])
    if how == "flip":
        data[at] ^= 1 << random.randrange(8)
    elif how == "zero":
        data[at:at + 512] = bytes(len(data[at:at + 512]))
    elif how == "cut":
        del data[at:]
    else:
        data += random.randbytes(random.randrange(1, 5000))
    path.write_bytes(data)
    if how == "remove":
        path.unlink()
    return f"{how} {path.name} at {at}"


def test_what_was_damaged_is_cut_off_or_named(server, tmp_path):
    """Never taken for what was written: a start has all, or less and says so, or names the place."""
    reader, _ = subscriber(server, "away", 1)
    reader.disconnect()
    reader.loop_stop()
    writer = client(server, "writer")
    for number in range(500):
        info = writer.publish("t/away", f"{number} " + "x" * 200, qos=1)
    info.wait_for_publish(20)
    writer.loop_stop()
    server.kill()
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    chance, refused, less = random.Random(seed), 0, 0
    for trial in range(DAMAGES):
        copy = tmp_path / "copy"
        shutil.copytree(server.folder / "data", copy)
        what = f"SEED={seed} {trial}: {damaged(chance, copy / 'journal')}"
        done = subprocess.run([BINARY, "store", "export", "--data-dir", copy, "--to", "-"],
                              capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            found = [int(digits) for digits in re.findall(r'"payload":"(\d+) xxx', done.stdout)]
            assert found == list(range(len(found))), what
            less += len(found) < 500
        else:
            assert done.returncode == 1 and done.stderr.count("\n") == 1, (what, done.stderr)
            assert str(copy / "journal") in done.stderr, (what, done.stderr)
            refused += 1
        shutil.rmtree(copy)
    assert refused and less < DAMAGES - refused, (seed, refused, less)
