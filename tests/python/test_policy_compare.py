"""What another version of a policy would change, before it is in force."""

import json
import os
import subprocess

import pytest

import wire as w
from enforced import Enforced
from server import BINARY

ARN = "arn:aws:iot:us-east-1:000000000000:"


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": action, "Resource": resource}
        for action, resource in statements]})


ALL = document(("iot:*", "*"))
LESS = document(("iot:Connect", "*"), ("iot:Publish", f"{ARN}topic/a"))


@pytest.fixture(scope="module")
def server():
    running = Enforced()
    running.plane.create_policy(policyName="devices", policyDocument=ALL)
    running.plane.attach_policy(policyName="devices", target="anonymous")
    lamp = w.Wire(running.mqtt, "lamp")
    for topic in ("a", "b"):
        lamp.send(w.publish(topic, b"x", qos=1))
        assert lamp.read()[0] == w.PUBACK
    lamp.send(w.subscribe("a/#"))
    assert lamp.read()[0] == w.SUBACK
    yield running
    lamp.close()
    assert running.stop() == 0, running.tail


def compare(server, text, name="devices"):
    return server.ours("POST", "/bitts/v1/policy/compare",
                       {"policyName": name, "policyDocument": text})


def test_the_same_document_changes_nothing(server):
    told = compare(server, ALL)
    assert told["compared"] >= 4 and told["different"] == 0 and told["differences"] == []


def test_what_would_be_denied_is_listed(server):
    told = compare(server, LESS)
    of_lamp = [one for one in told["differences"] if one["clientId"] == "lamp"]
    changes = {(one["action"], one["resource"], one["after"]) for one in of_lamp}
    assert changes == {("iot:Publish", f"{ARN}topic/b", "IMPLICIT_DENY"),
                       ("iot:Subscribe", f"{ARN}topicfilter/a/#", "IMPLICIT_DENY")}
    assert {one["before"] for one in of_lamp} == {"ALLOWED"}


def test_nothing_is_changed_by_it(server):
    compare(server, document(("iot:Connect", "*")))
    with_policy = w.Wire(server.mqtt, "another")
    with_policy.send(w.publish("b", b"x", qos=1))
    assert with_policy.read()[0] == w.PUBACK
    with_policy.close()


def test_a_policy_that_decides_for_nobody(server):
    assert compare(server, LESS, name="unused") == {
        "compared": 0, "different": 0, "differences": []}


def test_the_command_lists_it_too(server, tmp_path):
    candidate = tmp_path / "candidate.json"
    candidate.write_text(LESS)
    told = subprocess.run(
        [BINARY, "policy", "check", "--candidate", candidate, "--policy", "devices",
         "--endpoint-url", server.endpoint, "--output", "json"],
        env={**os.environ, "AWS_ACCESS_KEY_ID": server.admin.id,
             "AWS_SECRET_ACCESS_KEY": server.admin.secret, "AWS_REGION": "us-east-1"},
        check=True, capture_output=True, text=True)
    assert json.loads(told.stdout)["different"] >= 2
