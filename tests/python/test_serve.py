"""`bitts serve` as a process: ready file, signals, exit statuses, errors before all is open."""

import json
import os
import signal
import socket
import subprocess

import pytest

import wire as w
from rawhttp import Http
from server import BINARY, Server, wait_until


@pytest.fixture
def own():
    """Starts servers of this test's own: `own("--threads", "1")`."""
    made = []

    def start(*flags):
        made.append(Server(*flags))
        return made[-1]

    yield start
    for one in made:
        if one.is_running():
            one.stop()


def serve(tmp_path, *flags, environment=None):
    """Runs a `bitts serve` that is to end by itself: (status, standard error)."""
    done = subprocess.run([BINARY, "serve", *flags], cwd=tmp_path, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=20,
                          env={**os.environ, "BITTS_MQTTS": "off", "BITTS_HTTPS": "off",
                               **(environment or {})})
    return done.returncode, done.stderr


def test_ready_file_names_the_listeners(own):
    server = own()
    assert {"mqtt", "http"} <= server.listeners.keys()
    assert server.mqtt[0] == server.http[0] == "127.0.0.1"
    assert Http(server.http).get("/health/ready").status == 200


def test_first_line_says_that_nothing_is_kept(own):
    server = own()
    first = server.log().splitlines()[0].lower()
    assert "memory" in first or "kept" in first or "ephemeral" in first, first


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains(own, how):
    """MQTT 5 hears 0x8B, MQTT 3.1.1 is closed, the status is 0, the ports are free."""
    server = own()
    new, old = w.Wire(server.mqtt, "new"), w.Wire(server.mqtt, "old", version=4)
    server.process.send_signal(how)
    assert new.end() == 0x8B
    assert old.rest() == b""
    assert server.process.wait(timeout=15) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.mqtt, timeout=5)


def test_drain_finishes_what_was_accepted(own):
    """A PUBLISH that is on its way when the signal comes is acknowledged or was never taken."""
    server = own()
    lamp = w.Wire(server.mqtt, "lamp")
    lamp.send(w.publish("t", b"x", qos=1, packet_id=3))
    assert lamp.read()[0] == w.PUBACK
    assert server.stop() == 0


def test_server_initiated_disconnect_event_of_the_drain(own):
    """§9: told to the watcher before its own connection ends, or not at all; never anything else."""
    server = own("--threads", "1")
    watcher = w.Wire(server.mqtt, "watcher")
    watcher.send(w.subscribe("$aws/events/presence/disconnected/+"))
    assert watcher.read()[0] == w.SUBACK
    lamp = w.Wire(server.mqtt, "lamp")
    server.process.send_signal(signal.SIGTERM)
    reasons = []
    while (packet := watcher.read())[0] == w.PUBLISH:
        reasons.append(json.loads(packet[2][packet[2].index(b"{"):])["disconnectReason"])
    assert packet[0] == w.DISCONNECT
    assert lamp.end() == 0x8B
    assert set(reasons) <= {"SERVER_INITIATED_DISCONNECT"}


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_threads(own, threads):
    """Clients on different shards meet."""
    server = own("--threads", threads)
    wires = [w.Wire(server.mqtt, f"client-{number}") for number in range(8)]
    for lamp in wires:
        lamp.send(w.subscribe("all"))
        assert lamp.read()[0] == w.SUBACK
    assert Http(server.http).post("/topics/all?qos=1", b"x").status == 200
    assert [lamp.read()[0] for lamp in wires] == [w.PUBLISH] * 8
    assert server.stop() == 0


def test_health_says_that_it_stops(own):
    server = own()
    http = Http(server.http)
    assert (http.get("/health/live").status, http.get("/health/ready").status) == (200, 200)


@pytest.mark.parametrize("flags,words", [
    (["--mqtt", "nonsense"], ["mqtt"]),
    (["--mqtt", "127.0.0.1:70000"], ["mqtt"]),
    (["--http", "127.0.0.1"], ["http"]),
    (["--threads", "x"], ["threads"]),
    (["--profile", "aws2"], ["profile"]),
    (["--auth", "perhaps"], ["auth"]),
    (["--no-such-flag"], ["no-such-flag"]),
    (["--config", "absent.toml"], ["absent.toml"]),
    (["extra"], ["extra"]),
])
def test_bad_flag_ends_with_2(tmp_path, flags, words):
    """Before anything is opened, naming it."""
    status, error = serve(tmp_path, *flags)
    assert status == 2, error
    assert all(word in error for word in words), error
    assert "panicked" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content,words", [
    ("mqtt = 5\n", ["bitts.toml", "1", "mqtt"]),
    ("http = \"127.0.0.1:0\"\nno-such-key = 1\n", ["bitts.toml", "2", "no-such-key"]),
    ("threads = \"many\"\n", ["bitts.toml", "1", "threads"]),
    ("[[[\n", ["bitts.toml", "1"]),
])
def test_bad_key_ends_with_2(tmp_path, content, words):
    """File, line and key."""
    (tmp_path / "bitts.toml").write_text(content)
    status, error = serve(tmp_path, "--config", "bitts.toml")
    assert status == 2, error
    assert all(word in error for word in words), error


def test_flags_win_over_environment_over_file(tmp_path):
    """product.md §3, seen by which of three bad values is complained about."""
    (tmp_path / "bitts.toml").write_text('mqtt = "from-the-file"\n')
    status, error = serve(tmp_path, "--config", "bitts.toml", "--mqtt", "from-the-flag",
                          environment={"BITTS_MQTT": "from-the-environment"})
    assert status == 2 and "from-the-flag" in error
    status, error = serve(tmp_path, environment={"BITTS_MQTT": "from-the-environment"})
    assert status == 2 and "from-the-environment" in error


@pytest.mark.parametrize("listener", ["mqtt", "http"])
def test_port_in_use_ends_with_1(own, tmp_path, listener):
    """One sentence."""
    taken = own().listeners[listener]
    other = "http" if listener == "mqtt" else "mqtt"
    status, error = serve(tmp_path, "--ephemeral", f"--{listener}", taken,
                          f"--{other}", "127.0.0.1:0")
    assert status == 1, error
    assert taken in error
    assert "panicked" not in error


def test_two_servers_side_by_side(own):
    first, second = own(), own()
    assert first.mqtt != second.mqtt
    both = [w.Wire(server.mqtt, "same") for server in (first, second)]
    assert Http(first.http).get("/connections/same").json()["connected"]
    assert all(lamp.is_alive() for lamp in both)


def test_listener_can_be_off(tmp_path):
    """`--http off`: MQTT alone."""
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [BINARY, "serve", "--ephemeral", "--mqtt", "127.0.0.1:0", "--http", "off",
         "--mqtts", "off", "--https", "off", "--ready-file", ready], cwd=tmp_path, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(ready.exists, "the ready file")
        assert not json.loads(ready.read_text()).get("http")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
