"""mosquitto's command-line clients: mosquitto_pub, mosquitto_sub, mosquitto_rr."""

import json
import subprocess

import pytest

from server import wait_until


@pytest.fixture
def start(server, name):
    """Starts a tool against the server; those still running at the end are killed."""
    running = []

    def run(tool, *words, version):
        host, port = server.mqtt
        running.append(subprocess.Popen(
            [tool, "-h", host, "-p", str(port), "-V", version, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(params=["311", "5"])
def mqtt(request):
    return request.param


def done(process, seconds=20):
    """What it wrote; its status must be 0."""
    output, error = process.communicate(timeout=seconds)
    assert process.returncode == 0, error
    return output


def subscribed(http, client_id):
    """Waits until a client has a subscription."""
    def found():
        answer = http.get(f"/connections/{client_id}/subscriptions")
        return answer.status == 200 and json.loads(answer.body)["subscriptions"]
    wait_until(found, f"{client_id} subscribes")


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_pub_and_sub(start, mqtt, http, name, qos):
    topic, client_id = name("t"), name("sub")
    subscriber = start("mosquitto_sub", "-i", client_id, "-t", topic, "-q", qos, "-C", "1",
                       "-F", "%t %q %p", version=mqtt)
    subscribed(http, client_id)
    done(start("mosquitto_pub", "-t", topic, "-q", qos, "-m", "hello", version=mqtt))
    assert done(subscriber) == f"{topic} {qos} hello\n"


def test_pub_of_many_lines(start, mqtt, device, name):
    """One connection, a message a line, QoS 2."""
    topic, listener = name("t"), device(name("listener"))
    listener.subscribe(topic, 2)
    publisher = start("mosquitto_pub", "-t", topic, "-q", "2", "-l", version=mqtt)
    publisher.stdin.write("".join(f"{number}\n" for number in range(200)))
    publisher.stdin.close()
    publisher.stdin = None
    done(publisher)
    assert [listener.payload() for _ in range(200)] == [str(number) for number in range(200)]


def test_retained_message_of_pub_is_seen_over_http(start, mqtt, iot, name):
    topic = name("t")
    done(start("mosquitto_pub", "-t", topic, "-r", "-q", "1", "-m", "kept", version=mqtt))
    assert iot.get_retained_message(topic=topic)["payload"] == b"kept"
    done(start("mosquitto_pub", "-t", topic, "-r", "-q", "1", "-n", version=mqtt))
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_retained_message(topic=topic)


def test_sub_of_a_persistent_session_gets_what_it_missed(start, mqtt, device, name):
    topic, client_id = name("t"), name("sub")
    session = ["-i", client_id, "-c", "-q", "1", "-t", topic]
    if mqtt == "5":
        session += ["-x", "60"]
    done(start("mosquitto_sub", *session, "-E", version=mqtt))
    device(name("s")).publish(topic, "missed")
    assert done(start("mosquitto_sub", *session, "-C", "1", version=mqtt)) == "missed\n"


def test_rr_asks_and_gets_its_answer(start, device, name):
    """mosquitto_rr is MQTT 5: Response Topic and Correlation Data."""
    requests, server = name("requests"), device(name("server"))
    server.subscribe(requests)
    asker = start("mosquitto_rr", "-t", requests, "-e", name("replies"), "-m", "ping", version="5")
    request = server.message()
    values = {}
    if hasattr(request.properties, "CorrelationData"):
        values["CorrelationData"] = request.properties.CorrelationData
    server.publish(request.properties.ResponseTopic, "pong", **values)
    assert done(asker) == "pong\n"


def test_sub_is_put_off(start, mqtt, http, name):
    """DC-1 against mosquitto_sub: it ends, or notices and reconnects; the server has closed."""
    client_id, ready = name("sub"), name("ready")
    subscriber = start("mosquitto_sub", "-i", client_id, "-t", ready, "-F", "%p", "-d",
                       version=mqtt)
    assert http.post(f"/topics/{ready}?retain=true", b"ready").status == 200
    while "ready" not in subscriber.stdout.readline():
        pass
    assert http.delete(f"/connections/{client_id}").status == 200
    if mqtt == "5":
        while "DISCONNECT" not in (line := subscriber.stdout.readline()):
            assert line
    else:
        while "sending CONNECT" not in (line := subscriber.stdout.readline()):
            assert line
    assert http.get(f"/connections/{client_id}").status == 200


def test_will_of_sub(start, mqtt, device, name):
    topic, watcher = name("will"), device(name("watcher"))
    watcher.subscribe(topic)
    ready = name("ready")
    subscriber = start("mosquitto_sub", "-t", ready, "--will-topic", topic, "--will-payload",
                       "gone", "--will-qos", "1", version=mqtt)
    watcher.publish(ready, "ready", retain=True)
    assert subscriber.stdout.readline() == "ready\n"
    subscriber.kill()
    assert watcher.payload() == "gone"
