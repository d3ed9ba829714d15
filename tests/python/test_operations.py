"""Every operation of the data plane, every exception that can occur, by boto3 and the AWS CLI.

`tests/operations.json` is the table; the AWS SDKs for JavaScript and Rust run it too.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request

import botocore.exceptions
import pytest

from conftest import data_plane
from server import ROOT

AWS = pathlib.Path(sys.executable).with_name("aws")
TABLE = json.loads((ROOT / "tests" / "operations.json").read_text())
OPERATIONS = TABLE["operations"]
# What these write goes to a file that the CLI wants named.
TO_A_FILE = ("GetThingShadow", "UpdateThingShadow", "DeleteThingShadow")
SPENT = {"retries": {"total_max_attempts": 1}}


def words(operation, separator):
    """`delete_connection` of `DeleteConnection`."""
    return separator.join(re.findall("[A-Z][a-z]*", operation)).lower()


def input_of(row):
    """The members of an input; its payload as bytes, whatever the table says it as."""
    given = dict(row)
    count, digits = given.pop("payloadBytes", None), given.pop("payloadHex", None)
    if count:
        given["payload"] = b"x" * count
    elif digits:
        given["payload"] = bytes.fromhex(digits)
    elif "payload" in given:
        given["payload"] = given["payload"].encode()
    return given


class Boto3:
    """Calls by boto3."""

    def __init__(self, endpoint, key):
        self.client = data_plane(None, endpoint, **SPENT)
        if key:
            self.client._request_signer._credentials.access_key = key.id
            self.client._request_signer._credentials.secret_key = key.secret

    def call(self, operation, given):
        """What it answers, or (exception, status)."""
        try:
            return getattr(self.client, words(operation, "_"))(**given)
        except botocore.exceptions.ClientError as error:
            kind = error.response["Error"]["Code"]
            assert isinstance(error, getattr(self.client.exceptions, kind)), kind
            return kind, error.response["ResponseMetadata"]["HTTPStatusCode"]


class Cli:
    """Calls by the AWS CLI."""

    def __init__(self, endpoint, key, folder):
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_IOT_DATA_PLANE": endpoint, "AWS_MAX_ATTEMPTS": "1",
            "AWS_ACCESS_KEY_ID": key.id if key else "AKIDEXAMPLE", "PYTHONUTF8": "1",
            "AWS_SECRET_ACCESS_KEY": key.secret if key else "SECRETEXAMPLE",
        }

    def call(self, operation, given):
        """The exception's name and no status, or what it answers."""
        flags = []
        for member, value in given.items():
            if member == "payload":
                (self.folder / "payload").write_bytes(value)
                value = f"fileb://{self.folder / 'payload'}"
            name = "--" + re.sub("([A-Z])", r"-\1", member).lower()
            flags += [name] if value is True else [name, str(value)]
        if operation in TO_A_FILE:
            flags.append(str(self.folder / "answer"))
        done = subprocess.run(
            [AWS, "iot-data", words(operation, "-"), *flags], env=self.environment,
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode:
            named = re.search(r"error occurred \((\w+)\) when calling the (\w+) operation",
                              done.stderr)
            assert named and named[2] == operation, done.stderr
            return named[1], None
        return json.loads(done.stdout) if done.stdout.strip() else {}


def clients(endpoint, folder, key=None):
    return {"boto3": Boto3(endpoint, key), "cli": Cli(endpoint, key, folder)}


@pytest.fixture(params=["boto3", "cli"])
def client(fresh_server, tmp_path, request):
    return clients(fresh_server.endpoint, tmp_path)[request.param]


def refused(answer, exception, status):
    assert answer[0] == exception
    assert answer[1] in (status, None)


@pytest.mark.parametrize("row", TABLE["refusals"],
                         ids=lambda row: f"{row['operation']}-{row['status']}")
def test_each_exception_is_its_class(client, row):
    """data-plane-http §3."""
    if row["exception"] == "ConflictException":
        assert isinstance(client.call("UpdateThingShadow",
                                      input_of(OPERATIONS["UpdateThingShadow"])), dict)
    refused(client.call(row["operation"], input_of(row["input"])), row["exception"], row["status"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_can_throttle(client, fresh_server, operation):
    """§10: the deterministic switch; the next call is served."""
    urllib.request.urlopen(urllib.request.Request(
        f"{fresh_server.endpoint}/bitts/v1/throttle?calls=1&operation={operation}", method="POST"))
    given = input_of(OPERATIONS[operation])
    refused(client.call(operation, given), "ThrottlingException", 429)
    again = client.call(operation, given)
    assert isinstance(again, dict) or again[0] == "ResourceNotFoundException"


@pytest.fixture(scope="module")
def powerless(enforced):
    return enforced.key(("Allow", "iot:Connect", "*"))


@pytest.mark.parametrize("which", ["boto3", "cli"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_can_be_forbidden(enforced, powerless, tmp_path, operation, which):
    """§3: 403 for every denied action, whatever its model lists."""
    client = clients(enforced.endpoint, tmp_path, powerless)[which]
    refused(client.call(operation, input_of(OPERATIONS[operation])), "ForbiddenException", 403)


@pytest.mark.parametrize("answer, exception, status", [
    (None, "GatewayTimeoutException", 504),
    (0x83, "InternalFailureException", 500),
])
def test_what_only_a_client_can_cause(client, fresh_server, wire, name, answer, exception, status):
    """DM-3, DM-14: a client that does not acknowledge, and one that refuses."""
    client_id = name("lamp")
    lamp = wire(server=fresh_server, client_id=client_id)
    asked = {"clientId": client_id, "topic": "t", "payload": b"x", "confirmation": True,
             "timeout": 10 if answer else 1}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(client.call, "SendDirectMessage", asked)
        _, _, body = lamp.read()
        if answer:
            lamp.send(b"\x40\x03" + body[3:5] + bytes([answer]))
        refused(sent.result(20), exception, status)


@pytest.mark.parametrize("odd", TABLE["clientIds"])
def test_the_cli_finds_odd_client_ids(fresh_server, device, tmp_path, odd):
    """§5"""
    cli = clients(fresh_server.endpoint, tmp_path)["cli"]
    lamp = device(odd, server=fresh_server)
    assert cli.call("GetConnection", {"clientId": odd})["clientId"] == odd
    assert cli.call("DeleteConnection", {"clientId": odd}) == {}
    assert lamp.ended() == (True, 0x98)


@pytest.mark.parametrize("odd", TABLE["topics"])
def test_the_cli_finds_odd_topics(fresh_server, tmp_path, odd):
    cli = clients(fresh_server.endpoint, tmp_path)["cli"]
    assert cli.call("Publish", {"topic": odd, "qos": 1, "retain": True, "payload": b"x"}) == {}
    assert cli.call("GetRetainedMessage", {"topic": odd})["topic"] == odd
    assert cli.call("Publish", {"topic": odd, "retain": True}) == {}


def test_the_cli_turns_pages(fresh_server, device, tmp_path, name):
    """LS-2, S-27: by its own pages, and by the tokens where it has none."""
    cli = clients(fresh_server.endpoint, tmp_path)["cli"]
    lamp, filters = device(name("lamp"), server=fresh_server), [f"f/{one:02}" for one in range(45)]
    for one in filters:
        lamp.subscribe(one)
    listed = cli.call("ListSubscriptions", {"clientId": lamp.client_id, "pageSize": 20})
    assert [one["topicFilter"] for one in listed["subscriptions"]] == filters
    thing = name("thing")
    for one in range(5):
        cli.call("UpdateThingShadow",
                 {"thingName": thing, "shadowName": f"s{one}", "payload": b'{"state":{}}'})
    seen, token = [], {}
    while True:
        page = cli.call("ListNamedShadowsForThing", {"thingName": thing, "pageSize": 2, **token})
        seen += page["results"]
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert seen == [f"s{one}" for one in range(5)]
