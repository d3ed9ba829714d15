"""`aws iot`, unmodified: the way from nothing to a device that may publish, and back."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from control import ACCOUNT, allow

AWS = pathlib.Path(sys.executable).with_name("aws")


@pytest.fixture
def aws(server, tmp_path):
    """Runs `aws iot WORDS…`: its output, parsed; or its standard error where it is refused."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL_IOT": server.endpoint, "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "SECRETEXAMPLE",
        "AWS_EC2_METADATA_DISABLED": "true",
    }

    def run(*words, status=0):
        done = subprocess.run([AWS, "iot", *words], env=environment, cwd=tmp_path,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert (done.returncode == 0) == (status == 0), done.stderr
        if status:
            return done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    return run


def test_from_nothing_to_a_device_and_back(aws, name, tmp_path):
    thing, policy, group, kind = (name(word) for word in ("thing", "policy", "group", "type"))
    assert ":" in aws("describe-endpoint", "--endpoint-type", "iot:Data-ATS")["endpointAddress"]
    aws("create-thing-type", "--thing-type-name", kind)
    made = aws("create-thing", "--thing-name", thing, "--thing-type-name", kind,
               "--attribute-payload", '{"attributes":{"floor":"2"}}')
    assert made["thingArn"] == f"{ACCOUNT}thing/{thing}"
    (tmp_path / "policy.json").write_text(allow("iot:Publish", "topic/a"))
    aws("create-policy", "--policy-name", policy, "--policy-document", "file://policy.json")
    made = aws("create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile",
               "d.pem", "--private-key-outfile", "d.key", "--public-key-outfile", "d.pub")
    arn, one = made["certificateArn"], made["certificateId"]
    assert "BEGIN PRIVATE KEY" in (tmp_path / "d.key").read_text()
    aws("attach-policy", "--policy-name", policy, "--target", arn)
    aws("attach-thing-principal", "--thing-name", thing, "--principal", arn)
    assert aws("list-attached-policies", "--target", arn)["policies"][0]["policyName"] == policy
    assert aws("list-targets-for-policy", "--policy-name", policy)["targets"] == [arn]
    assert aws("list-thing-principals", "--thing-name", thing)["principals"] == [arn]
    aws("create-thing-group", "--thing-group-name", group)
    aws("add-thing-to-thing-group", "--thing-group-name", group, "--thing-name", thing)
    assert aws("list-things-in-thing-group", "--thing-group-name", group)["things"] == [thing]
    tested = aws("test-authorization", "--principal", arn, "--auth-infos",
                 f"actionType=PUBLISH,resources={ACCOUNT}topic/a")
    assert tested["authResults"][0]["authDecision"] == "ALLOWED"

    assert "InvalidRequestException" in aws("delete-thing", "--thing-name", thing, status=1)
    assert "CertificateStateException" in aws("delete-certificate", "--certificate-id", one,
                                              status=1)
    assert "DeleteConflictException" in aws("delete-policy", "--policy-name", policy, status=1)
    aws("detach-thing-principal", "--thing-name", thing, "--principal", arn)
    aws("detach-policy", "--policy-name", policy, "--target", arn)
    aws("update-certificate", "--certificate-id", one, "--new-status", "INACTIVE")
    aws("delete-certificate", "--certificate-id", one)
    aws("delete-thing", "--thing-name", thing)
    aws("delete-thing-group", "--thing-group-name", group)
    aws("delete-policy", "--policy-name", policy)
    assert "ResourceNotFoundException" in aws("describe-thing", "--thing-name", thing, status=1)


def test_lists_page_through(aws, name):
    prefix = name("page")
    for number in range(5):
        aws("create-thing", "--thing-name", f"{prefix}-{number}")
    listed = aws("list-things", "--page-size", "2")["things"]
    seen = [it["thingName"] for it in listed if it["thingName"].startswith(prefix)]
    assert seen == [f"{prefix}-{number}" for number in range(5)]
