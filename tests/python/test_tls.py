"""HTTPS and MQTT over TLS as tools use them: boto3, the AWS CLI, curl, mosquitto's tools, ssl."""

import http.client
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys

import pytest

import wire as w
from conftest import data_plane
from ways import WAYS, Way

AWS = pathlib.Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def secure_iot(server):
    return data_plane(server, server.https_endpoint, verify=str(server.ca))


def test_boto3_over_https(secure_iot, device, name):
    """The operations, with the development CA as `verify`."""
    topic, lamp = name("t"), device(name("lamp"), way=WAYS["mqtts-certificate"])
    lamp.subscribe(topic)
    secure_iot.publish(topic=topic, qos=1, retain=True, payload=b"hello")
    assert lamp.payload() == "hello"
    assert secure_iot.get_retained_message(topic=topic)["payload"] == b"hello"
    pages = secure_iot.get_paginator("list_retained_messages").paginate()
    assert topic in [one["topic"] for page in pages for one in page["retainedTopics"]]
    assert secure_iot.get_connection(clientId=lamp.client_id)["connected"]
    listed = secure_iot.list_subscriptions(clientId=lamp.client_id)["subscriptions"]
    assert [one["topicFilter"] for one in listed] == [topic]
    secure_iot.delete_connection(clientId=lamp.client_id)
    assert lamp.ended() == (True, 0x98)
    with pytest.raises(secure_iot.exceptions.ResourceNotFoundException):
        secure_iot.delete_connection(clientId=lamp.client_id)


def test_boto3_does_not_trust_the_development_ca_by_itself(server):
    from botocore.exceptions import SSLError
    stranger = data_plane(server, server.https_endpoint, retries={"total_max_attempts": 1})
    with pytest.raises(SSLError):
        stranger.get_connection(clientId="x")


def test_aws_cli_over_https(server, device, name, tmp_path):
    lamp = device(name("lamp"), way=WAYS["wss"])
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_IOT_DATA_PLANE": server.https_endpoint, "AWS_CA_BUNDLE": str(server.ca),
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "SECRETEXAMPLE",
    }
    done = subprocess.run([AWS, "iot-data", "delete-connection", "--client-id", lamp.client_id],
                          env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert lamp.ended() == (True, 0x98)


@pytest.mark.parametrize("tls", ["--tlsv1.2 --tls-max 1.2", "--tlsv1.3"])
def test_curl_with_a_device_certificate(server, device, name, tls):
    """contract §1: HTTPS with X.509; curl offers `http/1.1` and `h2` by ALPN."""
    topic, lamp = name("t"), device(name("lamp"))
    lamp.subscribe(topic)
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--cacert", server.ca, "--cert",
         server.device.certificate, "--key", server.device.key, *tls.split(), "--data", "hello",
         "--write-out", "%{http_code} %{http_version}",
         f"{server.https_endpoint}/topics/{topic}?qos=1"],
        capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("200 1.1")
    assert lamp.payload() == "hello"


@pytest.mark.parametrize("alpn", ["x-amzn-http-ca", "http/1.1", ""])
def test_http_by_alpn(server, name, alpn):
    way = Way("https", tls=True, certificate=True, alpn=alpn)
    connection = http.client.HTTPSConnection(*way.address(server), context=way.context(server),
                                             timeout=10)
    connection.request("GET", f"/connections/{name('nobody')}")
    answer = connection.getresponse()
    assert answer.status == 404
    assert json.loads(answer.read())["message"]
    assert connection.sock.selected_alpn_protocol() == (alpn or None)
    connection.close()


@pytest.mark.parametrize("listener,offered,chosen", [
    ("mqtts", ["x-amzn-mqtt-ca"], "x-amzn-mqtt-ca"), ("mqtts", ["mqtt"], "mqtt"),
    ("mqtts", [], None), ("https", ["x-amzn-mqtt-ca", "http/1.1"], "x-amzn-mqtt-ca"),
    ("https", ["h2", "http/1.1"], "http/1.1"), ("https", ["mqtt"], "mqtt")])
def test_alpn(server, listener, offered, chosen):
    """B-18: port 8883 takes `x-amzn-mqtt-ca` and none."""
    context = ssl.create_default_context(cafile=server.ca)
    if offered:
        context.set_alpn_protocols(offered)
    host, port = server.addresses[listener]
    with socket.create_connection((host, port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=host) as stream:
            assert stream.selected_alpn_protocol() == chosen


@pytest.mark.parametrize("listener", ["mqtts", "https"])
def test_alpn_without_overlap_ends_the_handshake(server, listener):
    context = ssl.create_default_context(cafile=server.ca)
    context.set_alpn_protocols(["smtp"])
    host, port = server.addresses[listener]
    with socket.create_connection((host, port), timeout=10) as plain:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname=host)


@pytest.mark.parametrize("listener", ["mqtts", "https"])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_versions(server, listener, version):
    context = ssl.create_default_context(cafile=server.ca)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    host, port = server.addresses[listener]
    for server_name in (host, "localhost"):
        with socket.create_connection((host, port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=server_name) as stream:
                assert stream.version() == version.replace("_", ".")


@pytest.mark.parametrize("listener", ["mqtts", "https"])
def test_connection_resumes_its_tls_session(server, wire, name, listener):
    """A device that comes back need not send its certificate again."""
    way = Way(listener, tls=True, certificate=True, alpn="x-amzn-mqtt-ca")
    context = way.context(server)
    host, port = way.address(server)

    def open_with(session):
        plain = socket.create_connection((host, port), timeout=10)
        stream = context.wrap_socket(plain, server_hostname=host, session=session)
        lamp = w.Wire(None, name("lamp"), stream=stream)
        assert lamp.is_alive()
        return lamp

    first = open_with(None)
    session = first.socket.session
    first.close()
    second = open_with(session)
    assert second.socket.session_reused
    second.close()


def mosquitto(tool, server, listener, *words):
    host, port = server.addresses[listener]
    return [tool, "-h", host, "-p", str(port), "--cafile", server.ca, *words]


@pytest.mark.parametrize("listener,words", [
    ("mqtts", []), ("mqtts", ["certificate"]), ("https", ["certificate", "--tls-alpn",
                                                          "x-amzn-mqtt-ca"]),
    ("https", ["--tls-alpn", "mqtt", "--tls-version", "tlsv1.2"])])
@pytest.mark.parametrize("mqtt", ["311", "5"])
def test_mosquitto_over_tls(server, http, device, name, listener, words, mqtt):
    certificate = ["--cert", server.device.certificate, "--key", server.device.key]
    words = [*certificate, *words[1:]] if words[:1] == ["certificate"] else words
    topic, listening = name("t"), device(name("listening"))
    listening.subscribe(topic, 2)
    done = subprocess.run(
        mosquitto("mosquitto_pub", server, listener, *words, "-V", mqtt, "-q", "2", "-t", topic,
                  "-r", "-m", "hello"), capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert listening.payload() == "hello"
    done = subprocess.run(
        mosquitto("mosquitto_sub", server, listener, *words, "-V", mqtt, "-q", "2", "-t", topic,
                  "-C", "1"), capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
