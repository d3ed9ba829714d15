"""Fixtures: a server for each worker, clients that end with their test, names nobody else uses."""

import itertools
import os

import boto3
import botocore.config
import pytest

from canary import Canary
from device import Device
from enforced import Enforced
from memory import ATTACK_BYTES, BEFORE_CONNECT_BYTES, Memory
from rawhttp import Http
from server import Server
from ways import WAYS
from wire import Wire

_numbers = itertools.count(1)
_worker = os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def server():
    running = Server()
    yield running
    assert running.stop() == 0, running.tail


@pytest.fixture(scope="module")
def fresh_server():
    """A server that only the tests of this module use."""
    running = Server()
    yield running
    assert running.stop() == 0, running.tail


@pytest.fixture(scope="session")
def enforced():
    """A server that asks who everybody is; at the end it has told no secret."""
    running = Enforced()
    yield running
    assert running.told() == []
    assert running.stop() == 0, running.tail


@pytest.fixture
def enforce():
    """Starts servers like `enforced` with flags of a test's own."""
    made = []

    def start(*flags):
        made.append(Enforced(*flags))
        return made[-1]

    yield start
    running = [one for one in made if one.is_running()]
    told = [it for one in running for it in one.told()]
    statuses = [one.stop() for one in running]
    assert (told, statuses) == ([], [0] * len(running))


@pytest.fixture
def name():
    """Makes Client Identifiers and topics that no other test uses: `name("lamp")`."""
    return lambda word: f"{word}-{_worker}-{next(_numbers)}"


def data_plane(server, endpoint=None, verify=None, **config):
    """An unmodified boto3 client."""
    return boto3.client(
        "iot-data", endpoint_url=endpoint or server.endpoint, region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="SECRETEXAMPLE", verify=verify,
        config=botocore.config.Config(**config))


@pytest.fixture(scope="session")
def iot(server):
    return data_plane(server)


@pytest.fixture(scope="module")
def fresh_iot(fresh_server):
    return data_plane(fresh_server)


@pytest.fixture(params=[4, 5], ids=["mqtt311", "mqtt5"])
def version(request):
    return request.param


@pytest.fixture
def device(server):
    """Connects paho clients; those still connected at the end are disconnected."""
    made = []

    def connect(client_id, **options):
        made.append(Device(options.pop("server", server), client_id, **options))
        return made[-1]

    yield connect
    for one in made:
        one.close()


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def way(request):
    """Each way to speak MQTT with the server."""
    return request.param


@pytest.fixture
def wire(server):
    """Opens sockets that speak MQTT byte by byte: `wire(way=…, client_id=…)`."""
    made = []

    def connect(way=WAYS["mqtt"], **options):
        to = options.pop("server", server)
        stream = way.open(to, options.get("seconds", 10.0))
        made.append(Wire(None, stream=stream, **options))
        return made[-1]

    yield connect
    for one in made:
        one.close()


@pytest.fixture
def http(server):
    return Http(server.http)


@pytest.fixture
def canary(server, request):
    """A client that goes on while a test does its worst: each round trip within a second."""
    limit = 3.0 if request.node.get_closest_marker("heavy") else 1.0
    bird = Canary(server.mqtt)
    yield bird
    worst, trips = bird.end()
    assert server.is_running(), server.log()[-4000:]
    assert trips > 0
    assert worst < limit, f"a round trip took {worst:.2f} s"


@pytest.fixture
def memory(server, request):
    """The server's memory stays within bounds, closer ones for what comes before CONNECT."""
    is_early = request.node.get_closest_marker("before_connect")
    watched = Memory(server)
    yield watched
    grown = watched.end()
    assert grown < (BEFORE_CONNECT_BYTES if is_early else ATTACK_BYTES), f"{grown >> 20} MiB more"


def pytest_configure(config):
    config.addinivalue_line("markers", "heavy: a load under which a round trip may take 3 s")
    config.addinivalue_line("markers", "before_connect: an attack by sockets without a CONNECT")
