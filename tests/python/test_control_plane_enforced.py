"""Who may use the control plane, and that what it answered is kept.

A data directory with its first administrator's key, `--auth enforce`, boto3 and `bitts` itself.
"""

import json
import os
import ssl
import stat
import urllib.error
import urllib.request

import pytest

from control import ACCOUNT, Durable, allow, bitts, control_plane, document
from enforced import sign
from test_control_plane import refused


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def admin(data_dir):
    """The first administrator's key."""
    made = bitts("credential", "create", "--admin", "--data-dir", data_dir, "--output", "json")
    return made["accessKeyId"], made["secretAccessKey"]


@pytest.fixture
def serve(data_dir):
    """Starts a server on the data directory; ends those that run."""
    made = []

    def start(*flags):
        made.append(Durable(data_dir, "--auth", "enforce", *flags))
        return made[-1]

    yield start
    for one in made:
        if one.is_running():
            assert one.stop() == 0, one.tail


def environment(server, key):
    return {**os.environ, "AWS_ENDPOINT_URL": server.endpoint, "AWS_ACCESS_KEY_ID": key[0],
            "AWS_SECRET_ACCESS_KEY": key[1], "AWS_DEFAULT_REGION": "us-east-1"}


def test_only_known_keys_come_in(admin, serve):
    server = serve()
    control_plane(server.endpoint, *admin).create_thing(thingName="t")
    for key, secret, error in ((admin[0], "wrong", "InvalidSignatureException"),
                               ("AKIAUNKNOWN", admin[1], "ForbiddenException")):
        plane = control_plane(server.endpoint, key, secret)
        refused(error, 403, plane.describe_thing, thingName="t")
        refused(error, 403, plane.describe_thing, thingName="none")
    with pytest.raises(urllib.error.HTTPError) as unsigned:
        urllib.request.urlopen(f"{server.endpoint}/things/t")
    assert unsigned.value.code == 403


def test_a_key_may_do_what_its_policies_say(admin, serve):
    """Permission comes before existence: a denied name is denied alike whether it is there."""
    server = serve()
    root = control_plane(server.endpoint, *admin)
    root.create_thing(thingName="mine")
    root.create_thing(thingName="other")
    root.create_policy(policyName="limited", policyDocument=document(
        ("Allow", ["iot:DescribeThing", "iot:UpdateThing"], f"{ACCOUNT}thing/mine")))
    made = bitts("credential", "create", "--user", "ann", "--policy", "limited", "--output", "json",
                 env=environment(server, admin))
    plane = control_plane(server.endpoint, made["accessKeyId"], made["secretAccessKey"])
    plane.describe_thing(thingName="mine")
    for name in ("other", "none"):
        response = refused("AccessDeniedException", 403, plane.describe_thing, thingName=name)
        assert "iot:DescribeThing" in response["Error"]["Message"]
    refused("AccessDeniedException", 403, plane.list_things)
    # The last policy goes: the key does not become one that may do everything.
    root.detach_policy(policyName="limited", target=f"accesskey/{made['accessKeyId']}")
    refused("AccessDeniedException", 403, plane.describe_thing, thingName="mine")
    bitts("credential", "update", made["accessKeyId"], "inactive", env=environment(server, admin))
    refused("ForbiddenException", 403, plane.describe_thing, thingName="mine")


def test_a_device_may_not_use_the_control_plane(admin, serve, tmp_path):
    """Whatever its policy says: a device with iot:* on * writes no policies."""
    server = serve()
    root = control_plane(server.endpoint, *admin)
    root.create_policy(policyName="all", policyDocument=allow("iot:*", "*"))
    made = root.create_keys_and_certificate(setAsActive=True)
    root.attach_policy(policyName="all", target=made["certificateArn"])
    (tmp_path / "d.pem").write_text(made["certificatePem"])
    (tmp_path / "d.key").write_text(made["keyPair"]["PrivateKey"])
    context = ssl.create_default_context(cafile=server.data_dir / "pki" / "ca.pem")
    context.load_cert_chain(tmp_path / "d.pem", tmp_path / "d.key")
    url = f"https://localhost:{server.https[1]}"
    topic = urllib.request.Request(f"{url}/topics/a?qos=1", data=b"x", method="POST")
    assert urllib.request.urlopen(topic, context=context).status == 200
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{url}/things", context=context)
    assert error.value.code == 403


def test_what_was_answered_survives_sigkill(admin, serve, data_dir):
    server = serve()
    plane = control_plane(server.endpoint, *admin)
    made = plane.create_keys_and_certificate(setAsActive=True)
    plane.create_policy(policyName="p", policyDocument=allow("iot:Publish", "topic/a"))
    plane.create_policy_version(policyName="p", policyDocument=allow("iot:Publish", "topic/b"),
                                setAsDefault=True)
    plane.attach_policy(policyName="p", target=made["certificateArn"])
    for number in range(50):
        plane.create_thing(thingName=f"t{number}")
    plane.delete_thing(thingName="t7")
    server.kill()
    with open(data_dir / "registry.log", "ab") as log:
        log.write(b"00000000 [[\"thing\",\"torn\"")
    server = serve()
    plane = control_plane(server.endpoint, *admin)
    things = {it["thingName"] for it in plane.list_things()["things"]}
    assert things == {f"t{number}" for number in range(50)} - {"t7"}
    assert plane.get_policy(policyName="p")["defaultVersionId"] == "2"
    targets = plane.list_targets_for_policy(policyName="p")["targets"]
    assert targets == [made["certificateArn"]]
    assert "torn last line" in server.log()
    text = (data_dir / "registry.log").read_text()
    assert "PRIVATE KEY" not in text and "torn" not in text


def test_damage_is_refused_with_its_place(admin, serve, data_dir):
    server = serve()
    control_plane(server.endpoint, *admin).create_thing(thingName="t")
    server.kill()
    path = data_dir / "registry.log"
    text = bytearray(path.read_bytes())
    offset = text.index(b"\n") + 1
    text[offset + 20] ^= 1
    path.write_bytes(text)
    with pytest.raises(AssertionError) as ended:
        serve()
    assert f"registry.log: damaged at byte {offset}" in str(ended.value)
    assert path.read_bytes() == text


def test_audit_log_names_who_and_what_but_no_secret(admin, serve, data_dir):
    server = serve()
    plane = control_plane(server.endpoint, *admin)
    plane.create_thing(thingName="t")
    plane.describe_thing(thingName="t")
    plane.create_policy(policyName="p", policyDocument=allow("iot:Publish", "topic/a"))
    refused("ResourceNotFoundException", 404, plane.attach_policy, policyName="p",
            target="user/none")
    made = bitts("credential", "create", "--user", "ann", "--password-stdin", "--output", "json",
                 env=environment(server, admin), stdin="hidden-password\n")
    assert made == {"credentialId": "user/ann", "userName": "ann"}
    path = data_dir / "audit.log"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    done = [(it["action"], it["outcome"]) for it in entries]
    assert done == [
        ("bitts:CreateCredential", "done"), ("iot:CreateThing", "done"),
        ("iot:CreatePolicy", "done"), ("iot:AttachPolicy", "ResourceNotFoundException"),
        ("bitts:CreateCredential", "done")]
    assert entries[1]["principal"] == f"accesskey/{admin[0]}"
    assert entries[1]["with"] == {"thingName": "t"}
    assert entries[3]["with"] == {"policyName": "p", "target": "user/none"}
    for text in (path.read_text(), server.log()):
        assert admin[1] not in text and "hidden-password" not in text
    assert "hidden-password" not in (data_dir / "registry.log").read_text()


def test_commands(admin, serve, data_dir, tmp_path):
    """bitts thing, certificate, policy, credential: a device made, checked, and taken away."""
    server = serve()
    env = environment(server, admin)

    def run(*words, **more):
        return bitts(*words, "--output", "json", env=env, **more)

    assert run("thing", "create", "lamp", "--attribute", "floor=2")["thingName"] == "lamp"
    (tmp_path / "p.json").write_text(
        allow("iot:Publish", "topic/${iot:Connection.Thing.ThingName}/*"))
    run("policy", "create", "own", tmp_path / "p.json")
    made = run("certificate", "create", "lamp", "--register", "--out", tmp_path,
               "--pki-dir", data_dir / "pki")
    one = made["certificateId"]
    run("certificate", "attach", one, "--policy", "own", "--thing", "lamp")
    assert run("certificate", "describe", one)["certificateDescription"]["status"] == "ACTIVE"
    assert [it["principal"] for it in run("thing", "principals", "lamp")["thingPrincipalObjects"]] \
        == [f"{ACCOUNT}cert/{one}"]
    check = ("policy", "check", "iot:Publish", f"{ACCOUNT}topic/lamp/a", "--principal", one)
    allowed = run(*check, "--client-id", "lamp")
    assert (allowed["decision"], allowed["decidedBy"]["policyName"]) == ("ALLOWED", "own")
    missing = run(*check, "--client-id", "else")
    assert (missing["decision"], missing["missingContextValues"]) == (
        "IMPLICIT_DENY", ["iot:Connection.Thing.ThingName"])
    (tmp_path / "deny.json").write_text(document(("Deny", "*", "*")))
    tried = run(*check, "--client-id", "lamp", "--candidate", tmp_path / "deny.json")
    assert (tried["decision"], tried["decidedBy"]["policyName"]) == ("EXPLICIT_DENY", "candidate")
    assert "DeleteConflict" in run("policy", "delete", "own", status=1)
    run("certificate", "update", one, "inactive")
    run("thing", "detach", "lamp", one)
    run("certificate", "delete", one, "--force")
    run("thing", "delete", "lamp")
    run("policy", "delete", "own")
    assert run("thing", "list") == {"things": []}
    assert "another process uses it" in bitts(
        "credential", "create", "--admin", "--data-dir", data_dir, status=1)


def test_key_without_a_policy_may_do_nothing_where_that_is_asked_for(enforce):
    """Our switch beside `policies.md` §5: the administrator's keys may do everything all the same."""
    server = enforce("--keys-without-policies", "nothing")
    key = server.key()
    denied = server.send(sign(server, key, "GET", "/retainedMessage"))
    assert (denied.status, denied.error) == (403, "ForbiddenException")
    policy = server.policy(("Allow", "iot:ListRetainedMessages", "*"))
    server.plane.attach_policy(policyName=policy, target=f"accesskey/{key.id}")
    assert server.send(sign(server, key, "GET", "/retainedMessage")).status == 200
