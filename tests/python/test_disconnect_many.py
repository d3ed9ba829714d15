"""DeleteConnection further than AWS: only this session, held off, many at once, elsewhere."""

import json
import os
import pty
import subprocess
import time

import pytest

import wire as w
from rawhttp import Http
from server import BINARY, wait_until

MANY = "/bitts/v1/connections/disconnect"


@pytest.fixture
def http(fresh_server):
    return Http(fresh_server.http)


@pytest.fixture
def fleet(fresh_server, name):
    """Connects clients whose ids begin alike: (prefix, sockets)."""
    made = []

    def connect(count, **options):
        prefix = name("fleet")
        wires = [w.Wire(fresh_server.mqtt, f"{prefix}/{n}", **options) for n in range(count)]
        made.extend(wires)
        return prefix, wires

    yield connect
    for one in made:
        one.close()


def ask(http, status=200, **body):
    answer = http.post(MANY, json.dumps(body).encode())
    assert answer.status == status, answer.body
    return json.loads(answer.body)


def watch(http, operation, until="DONE"):
    def progress():
        answer = http.get(f"/bitts/v1/operations/{operation['operationId']}")
        told = json.loads(answer.body)
        return told if told["state"] == until else None
    return wait_until(progress, f"the operation is {until}")


def listed(http, prefix):
    answer = json.loads(http.get(f"/bitts/v1/connections?prefix={prefix}").body)
    return answer["connections"]


def test_only_the_session_that_was_seen(http, fleet):
    prefix, _ = fleet(1)
    path = f"/connections/{prefix}%2F0"
    session = listed(http, prefix)[0]["sessionIdentifier"]
    other = "00000000-0000-4000-8000-000000000000"
    refused = http.request("DELETE", path, headers=[f"x-bitts-if-session: {other}"])
    assert refused.status == 409
    assert refused.headers["x-amzn-errortype"] == "ConflictException"
    assert http.request("DELETE", path, headers=[f"x-bitts-if-session: {session}"]).status == 200


def test_a_client_is_held_off(http, fleet, fresh_server):
    prefix, _ = fleet(1)
    path = f"/connections/{prefix}%2F0"
    assert http.request("DELETE", path, headers=["x-bitts-hold-off: x"]).status == 400
    assert http.request("DELETE", path, headers=["x-bitts-hold-off: 86401"]).status == 400
    assert http.request("DELETE", path, headers=["x-bitts-hold-off: 60"]).status == 200
    for version, code in [(5, 0x89), (4, 3)]:
        again = w.Wire(fresh_server.mqtt, version=version)
        again.send(w.connect(f"{prefix}/0", version=version))
        assert again.read()[2][1] == code
    w.Wire(fresh_server.mqtt, f"{prefix}/1").close()


def test_a_dry_run_names_them_and_does_nothing(http, fleet):
    prefix, wires = fleet(5)
    told = ask(http, match={"prefix": prefix}, dryRun=True)
    assert told == {"matched": 5, "clientIds": [f"{prefix}/{n}" for n in range(5)]}
    wires[0].send(b"\xc0\x00")
    assert wires[0].read()[0] == w.PINGRESP


def test_everybody_that_is_selected_is_put_off(http, fleet):
    prefix, wires = fleet(20)
    _, others = fleet(1)
    operation = ask(http, match={"clientIdPattern": f"{prefix}/*"}, serverReference="b.example")
    done = watch(http, operation)
    assert (done["matched"], done["disconnected"], done["skipped"]) == (20, 20, 0)
    for one in wires:
        kind, _, body = one.read()
        assert (kind, body[0]) == (w.DISCONNECT, 0x9C)
        assert b"b.example" in body
    others[0].send(b"\xc0\x00")
    assert others[0].read()[0] == w.PINGRESP


def test_selectors_narrow(http, fleet):
    prefix, _ = fleet(2)
    fleet_311 = fleet(1, version=4)[0]
    for match, matched in [
        ({"prefix": prefix, "protocol": "MQTT3.1.1"}, 0),
        ({"prefix": fleet_311, "protocol": "MQTT3.1.1"}, 1),
        ({"prefix": prefix, "address": "127.0.0.0/8"}, 2),
        ({"prefix": prefix, "address": "192.0.2.0/24"}, 0),
        ({"prefix": prefix, "connected": False}, 0),
        ({"prefix": prefix, "principal": "nobody"}, 0),
    ]:
        assert ask(http, match=match, dryRun=True)["matched"] == matched, match


def test_a_pace_is_kept_and_an_operation_aborted(http, fleet):
    prefix, _ = fleet(30)
    begun = time.monotonic()
    operation = ask(http, match={"prefix": prefix}, ratePerSecond=2, jitter=0.5)
    path = f"/bitts/v1/operations/{operation['operationId']}"
    wait_until(lambda: json.loads(http.get(path).body)["disconnected"] >= 3, "three are gone")
    assert time.monotonic() - begun > 0.5
    assert http.request("DELETE", path).status == 200
    aborted = watch(http, operation, "ABORTED")
    assert aborted["remaining"] == 30 - aborted["disconnected"] > 0


def test_who_came_back_meanwhile_stays(http, fleet, fresh_server):
    prefix, _ = fleet(3)
    operation = ask(http, match={"prefix": prefix}, ratePerSecond=2)
    again = [w.Wire(fresh_server.mqtt, f"{prefix}/{n}") for n in range(3)]
    done = watch(http, operation)
    assert done["skipped"] >= 1
    assert done["skipped"] + done["disconnected"] == 3
    for one in again:
        one.close()


@pytest.mark.parametrize("body", [
    {}, {"match": {}}, {"match": {"prefix": "a*"}}, {"match": {"protocol": "x"}},
    {"match": {"prefix": ""}, "ratePerSecond": 0}, {"match": {"prefix": ""}, "jitter": 2},
    {"match": {"prefix": ""}, "holdOffSeconds": 90000}, {"match": {"prefix": ""}, "what": 1},
])
def test_what_is_not_understood_is_refused(http, body):
    ask(http, status=400, **body)


def test_an_operation_that_is_none(http):
    assert http.get("/bitts/v1/operations/x").status == 404


def test_the_command_says_what_it_did(fleet, fresh_server):
    prefix, wires = fleet(3)
    command = [BINARY, "connection", "delete", "--match", f"{prefix}/?", "--endpoint-url",
               fresh_server.endpoint, "--output", "json"]
    dry = json.loads(subprocess.run(command + ["--dry-run"], check=True,
                                    capture_output=True, text=True).stdout)
    assert dry["matched"] == 3
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (done["state"], done["disconnected"]) == ("DONE", 3)
    assert [one.read()[0] for one in wires] == [w.DISCONNECT] * 3


def test_the_command_shows_a_bar_on_a_terminal(fleet, fresh_server):
    """How many of how many, on standard error; the summary on standard output."""
    prefix, _ = fleet(10)
    ours, terminal = pty.openpty()
    command = [BINARY, "connection", "delete", "--match", f"{prefix}/*", "--rate", "20",
               "--endpoint-url", fresh_server.endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal) as running:
        os.close(terminal)
        shown = b""
        while (some := read_terminal(ours)):
            shown += some
        summary = running.stdout.read()
    os.close(ours)
    assert running.returncode == 0
    # Between nothing and all there was something to see.
    assert any(f" {done}/10 ".encode() in shown for done in range(1, 10)), shown
    assert json.loads(summary)["disconnected"] == 10


def read_terminal(ours):
    """What a program wrote to its terminal; nothing once it has ended."""
    try:
        return os.read(ours, 4096)
    except OSError:
        return b""
