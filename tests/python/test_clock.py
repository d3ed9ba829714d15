"""`--test-clock`: what takes an hour on AWS takes milliseconds here."""

import json
import time

import pytest

import wire as w
from conftest import data_plane
from rawhttp import Http
from server import Server
from test_serve import serve


@pytest.fixture(scope="module")
def clocked():
    running = Server("--test-clock")
    yield running
    assert running.stop() == 0, running.tail


@pytest.fixture
def advance(clocked):
    http = Http(clocked.http)

    def move(**by):
        answer = http.post("/bitts/v1/clock", json.dumps(by).encode())
        assert answer.status == 200, answer.body
        return json.loads(answer.body)["unixMillis"]

    return move


@pytest.fixture
def iot(clocked):
    return data_plane(clocked)


def test_time_goes_on_from_where_it_was_moved_to(advance):
    before = advance()
    assert abs(before - time.time() * 1000) < 5_000 or before > time.time() * 1000
    assert 3_600_000 <= advance(advanceSeconds=3600) - before < 3_605_000
    assert 3_600_007 <= advance(advanceMillis=7) - before < 3_605_007


def test_a_session_expires_after_its_hour(advance, iot, clocked, name):
    begun = time.monotonic()
    client_id = name("lamp")
    lamp = w.Wire(clocked.mqtt, client_id, properties=b"\x11\x00\x00\x0e\x10")
    lamp.send(b"\xe0\x00")
    lamp.close()
    while iot.get_connection(clientId=client_id)["connected"]:
        pass
    advance(advanceSeconds=3590)
    assert iot.list_subscriptions(clientId=client_id)["subscriptions"] == []
    advance(advanceSeconds=10)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.list_subscriptions(clientId=client_id)
    assert time.monotonic() - begun < 5


def test_a_disconnect_is_remembered_for_thirty_minutes(advance, iot, clocked, name):
    client_id = name("lamp")
    lamp = w.Wire(clocked.mqtt, client_id)
    iot.delete_connection(clientId=client_id)
    assert lamp.read()[0] == w.DISCONNECT
    advance(advanceSeconds=1790)
    assert not iot.get_connection(clientId=client_id)["connected"]
    advance(advanceSeconds=11)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_connection(clientId=client_id)


def test_keep_alive_runs_out(advance, clocked, name):
    lamp = w.Wire(clocked.mqtt, name("lamp"), keep_alive=60)
    advance(advanceSeconds=89)
    lamp.send(b"\xc0\x00")
    assert lamp.read()[0] == w.PINGRESP
    advance(advanceSeconds=91)
    kind, _, body = lamp.read()
    assert (kind, body[0]) == (w.DISCONNECT, 0x8D)


def test_a_will_waits_for_its_delay(advance, iot, clocked, name, device):
    topic = name("will")
    watcher = device(name("watcher"), server=clocked, keep_alive=0)
    watcher.subscribe(topic)
    will = {"topic": topic, "payload": "gone", "WillDelayInterval": 1800}
    lamp = device(name("lamp"), server=clocked, will=will, expiry=3600, keep_alive=0)
    lamp.vanish()
    while iot.get_connection(clientId=lamp.client_id)["connected"]:
        pass
    advance(advanceSeconds=1790)
    watcher.publish(topic, "not yet")
    assert watcher.payload() == "not yet"
    advance(advanceSeconds=11)
    assert watcher.payload() == "gone"


def test_a_message_is_too_old_after_its_expiry(advance, clocked, name, device):
    """B-10: what waited tells how long it still counts, and what is too old is not there."""
    topic, client_id = name("t"), name("lamp")
    lamp = device(client_id, server=clocked, clean=False, expiry=86_400, keep_alive=0)
    lamp.subscribe(topic)
    lamp.disconnect()
    other = device(name("other"), server=clocked, keep_alive=0)
    other.publish(topic, "short", MessageExpiryInterval=600)
    other.publish(topic, "long", MessageExpiryInterval=7200)
    advance(advanceSeconds=3600)
    lamp = device(client_id, server=clocked, clean=False, expiry=60, keep_alive=0)
    message = lamp.message()
    assert message.payload == b"long"
    assert 3590 <= message.properties.MessageExpiryInterval <= 3600


@pytest.mark.parametrize("body", [b"", b"{", b'{"advanceSeconds":-1}', b'{"advanceYears":1}',
                                  b'{"advanceSeconds":1,"advanceMillis":1}',
                                  b'{"advanceSeconds":99999999999}'])
def test_what_is_not_understood_is_refused(clocked, body):
    assert Http(clocked.http).post("/bitts/v1/clock", body).status == 400


def test_without_the_setting_the_clock_does_not_move(http):
    assert http.post("/bitts/v1/clock", b'{"advanceSeconds":1}').status == 404


def test_never_where_somebody_is_asked_who_they_are(tmp_path):
    status, error = serve(tmp_path, "--test-clock", "--auth", "enforce")
    assert status == 2
    assert "test-clock" in error and "enforce" in error
