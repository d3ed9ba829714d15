"""GetConnection, by the contract's numbers, with boto3 and paho."""

import time

import pytest

import wire as w
from server import wait_until


def seen_within(milliseconds, seconds=30):
    """Whether a timestamp in milliseconds is a moment of this test."""
    assert isinstance(milliseconds, int)
    return time.time() - seconds < milliseconds / 1000 < time.time() + 1


def state(iot, client_id, **options):
    answer = iot.get_connection(clientId=client_id, **options)
    answer.pop("ResponseMetadata")
    return answer


def test_gc_1_connected_persistent_mqtt5(iot, device, name):
    """GC-1"""
    lamp = device(name("lamp"), clean=False, expiry=3600, keep_alive=90)
    answer = state(iot, lamp.client_id)
    assert seen_within(answer.pop("connectedSince"))
    assert answer == {"connected": True, "cleanSession": False, "keepAliveDuration": 90,
                      "sessionExpiry": 3600, "clientId": lamp.client_id}


def test_gc_1_connected_persistent_mqtt311(iot, device, name):
    """GC-1: MQTT 3.1.1 with cleanSession=0."""
    lamp = device(name("lamp"), version=4, clean=False, keep_alive=45)
    answer = state(iot, lamp.client_id)
    assert (answer["connected"], answer["cleanSession"]) == (True, False)
    assert answer["keepAliveDuration"] == 45
    assert not {"disconnectedSince", "disconnectReason"} & answer.keys()


def test_connected_clean_session_has_no_expiry(iot, device, name, version):
    """§2: sessionExpiry is left out for clean sessions."""
    lamp = device(name("lamp"), version=version)
    answer = state(iot, lamp.client_id)
    assert (answer["connected"], answer["cleanSession"]) == (True, True)
    assert "sessionExpiry" not in answer


def test_gc_2_after_delete_connection_kept_the_session(iot, device, name):
    """GC-2"""
    lamp = device(name("lamp"), clean=False, expiry=3600)
    iot.delete_connection(clientId=lamp.client_id)
    answer = state(iot, lamp.client_id)
    assert seen_within(answer["disconnectedSince"])
    assert (answer["connected"], answer["cleanSession"]) == (False, False)
    assert answer["disconnectReason"] == "API_INITIATED_DISCONNECT"
    assert "connectedSince" not in answer


def test_gc_3_clean_session_is_remembered(iot, device, name, version):
    """GC-3: since and reason, for half an hour."""
    lamp = device(name("lamp"), version=version)
    iot.delete_connection(clientId=lamp.client_id)
    answer = state(iot, lamp.client_id)
    assert answer["connected"] is False
    assert seen_within(answer["disconnectedSince"])
    assert answer["disconnectReason"] == "API_INITIATED_DISCONNECT"


def test_gc_6_after_the_session_was_removed(iot, device, name, version):
    """GC-6: the information outlives the session, connected or offline (DC-5, DC-8)."""
    session = {"expiry": 3600} if version == 5 else {}
    lamp = device(name("lamp"), version=version, clean=False, **session)
    iot.delete_connection(clientId=lamp.client_id, cleanSession=True)
    answer = state(iot, lamp.client_id)
    assert (answer["connected"], answer["disconnectReason"]) == (False, "API_INITIATED_DISCONNECT")

    offline = device(name("lamp"), version=version, clean=False, **session)
    iot.delete_connection(clientId=offline.client_id)
    iot.delete_connection(clientId=offline.client_id, cleanSession=True)
    assert state(iot, offline.client_id)["connected"] is False


def test_gc_7_socket_addresses_on_request(iot, server, wire, name):
    """GC-7: and only on request."""
    client_id = name("lamp")
    lamp = wire(client_id=client_id)
    host, port = lamp.socket.getsockname()
    answer = state(iot, client_id, includeSocketInformation=True)
    assert (answer["sourceIp"], answer["sourcePort"]) == (host, port)
    assert (answer["targetIp"], answer["targetPort"]) == server.mqtt
    sockets = {"sourceIp", "sourcePort", "targetIp", "targetPort", "vpcEndpointId"}
    assert not sockets & state(iot, client_id).keys()
    assert not sockets & state(iot, client_id, includeSocketInformation=False).keys()


def test_gc_9_reserved_client_id_is_an_invalid_request(iot):
    """GC-9"""
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.get_connection(clientId="$x")


def test_unknown_client_is_not_found(iot, name):
    """§2: nothing is known."""
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_connection(clientId=name("nobody"))


def test_connected_again_says_nothing_of_the_disconnect(iot, device, name, version):
    """§2: disconnectedSince and disconnectReason only while disconnected."""
    client_id = name("lamp")
    device(client_id, version=version)
    iot.delete_connection(clientId=client_id)
    device(client_id, version=version)
    answer = state(iot, client_id)
    assert answer["connected"] is True
    assert not {"disconnectedSince", "disconnectReason"} & answer.keys()


@pytest.mark.parametrize("reason", ["client", "lost", "taken", "error"])
def test_disconnect_reason_is_the_last_one(iot, wire, name, http, reason):
    """§2: the words of the lifecycle events."""
    client_id = name("lamp")
    lamp = wire(client_id=client_id, properties=b"\x11\x00\x00\x0e\x10")
    if reason == "client":
        lamp.send(w.packet(w.DISCONNECT, 0, b""))
    elif reason == "error":
        lamp.send(w.connect(client_id))
    elif reason == "taken":
        other = wire(client_id=client_id, properties=b"\x11\x00\x00\x0e\x10")
        other.send(w.packet(w.DISCONNECT, 0, b""))
        other.rest()
    else:
        lamp.close()
    expected = {"client": "CLIENT_INITIATED_DISCONNECT", "lost": "CONNECTION_LOST",
                "taken": "CLIENT_INITIATED_DISCONNECT", "error": "CLIENT_ERROR"}[reason]
    wait_until(lambda: not state(iot, client_id)["connected"], "the end of the connection")
    assert state(iot, client_id)["disconnectReason"] == expected


def test_numbers_are_integers_on_the_wire(http, device, name):
    """data-plane-http §4: a float would break the Dart client."""
    lamp = device(name("lamp"), clean=False, expiry=3600)
    answer = http.get(f"/connections/{lamp.client_id}?includeSocketInformation=true")
    assert answer.headers["content-type"] == "application/json"
    for key in ("connectedSince", "keepAliveDuration", "sessionExpiry", "sourcePort"):
        assert type(answer.json()[key]) is int
    assert None not in answer.json().values()
