"""A registry that cannot be read lets nobody in: the server does not start and says where.

What cannot be parsed, loaded or reached stops the start or the change; it never widens anything.
"""

import json
import shutil
import subprocess
from concurrent import futures

import pytest

from control import control_plane, document
from enforced import Enforced, TEMPORARY, knock, line, sign, unsigned
from server import BINARY
from ways import Way

ADMIN = ["accessKey", "AKIAADMIN", {"secret": "SecretOfTheAdmin", "isAdmin": True, "isActive": True}]


def policy(text):
    return ["policy", "p", {"versions": {"1": {"document": text}}, "defaultVersion": 1,
                            "lastVersion": 1}]


def lines():
    return [b"bitts registry 1\n", line(ADMIN), line(policy(document(("Allow", "iot:*", "*")))),
            line(["attachment", "anonymous\np", {}])]


def start(folder):
    """Starts the server on a folder's data; for those that end at once."""
    ready = folder / "ready.json"
    done = subprocess.run(
        [BINARY, "serve", "--data-dir", folder / "data", "--auth", "enforce", "--mqtt",
         "127.0.0.1:0", "--http", "127.0.0.1:0", "--mqtts", "off", "--https", "off",
         "--ready-file", ready], cwd=folder, capture_output=True, text=True, timeout=20)
    assert not ready.exists()
    return done


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def place_of(number):
    """Where a line begins."""
    return sum(len(one) for one in lines()[:number])


DAMAGED = {
    "a bit of a row": (1, 40), "a bit of a checksum": (1, 3), "a bit of a later row": (2, 60),
    "the space": (2, 8), "the end of a line": (1, -1),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damage_stops_the_start_and_is_named(tmp_path, what):
    """Its file and its byte; nothing on disk changes."""
    number, at = DAMAGED[what]
    whole = lines()
    whole[number] = flipped(whole[number], at % len(whole[number]))
    data = b"".join(whole)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "registry.log"
    path.write_bytes(data)
    done = start(tmp_path)
    assert done.returncode == 1
    assert f"registry.log: damaged at byte {place_of(number)}" in done.stderr
    assert "SecretOfTheAdmin" not in done.stderr
    assert path.read_bytes() == data


UNREADABLE = {
    "another version": b"bitts registry 2\n" + b"".join(lines()[1:]),
    "no header": b"".join(lines()[1:]),
    "something else": b"\x7fELF" + bytes(100),
    "a policy that is no policy": lines()[0] + line(policy("{")) + line(ADMIN),
    "a policy with an unknown effect": lines()[0] + line(policy(
        document(("Perhaps", "iot:*", "*")))) + line(ADMIN),
    "a policy with an unknown variable": lines()[0] + line(policy(
        document(("Allow", "iot:*", "arn:aws:iot:*:*:topic/${iot:ClientId")))) + line(ADMIN),
    "a default version that is not there": lines()[0] + line(
        ["policy", "p", {"versions": {}, "defaultVersion": 7, "lastVersion": 7}]) + line(ADMIN),
    "a table that nobody knows": lines()[0] + line(["door", "open", {}]) + line(ADMIN),
    "a row of another form": lines()[0] + line(["accessKey", "AKIA", "open"]) + line(ADMIN),
    "a status that nobody knows": lines()[0] + line(
        ["certificate", "ab" * 32, {"status": "WHATEVER"}]) + line(ADMIN),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_registry_that_is_not_understood_stops_the_start(tmp_path, what):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "registry.log"
    path.write_bytes(UNREADABLE[what])
    done = start(tmp_path)
    assert done.returncode == 1
    assert "registry.log" in done.stderr and "panicked" not in done.stderr
    assert path.read_bytes() == UNREADABLE[what]


@pytest.mark.parametrize("place", ["registry.log", "registry.lock", "audit.log"])
def test_folder_in_the_place_of_a_file_stops_the_start(tmp_path, place):
    (tmp_path / "data" / place).mkdir(parents=True)
    done = start(tmp_path)
    assert done.returncode == 1
    assert place in done.stderr


class Prepared(Enforced):
    """A server whose registry holds these rows beside its administrator's."""

    ROWS = b""

    def prepare(self, folder):
        super().prepare(folder)
        with open(self.data_dir / "registry.log", "ab") as log:
            log.write(self.ROWS)


class Torn(Prepared):
    """The last line is cut off in its middle: a change that nobody was told of."""

    ROWS = lines()[2] + lines()[3][:-9]


def test_torn_last_line_is_a_change_that_was_not_made():
    """Here it would have let everybody in."""
    server = Torn()
    assert "torn last line" in server.log()
    assert knock(server, Way("mqtt"), "lamp")[1] == 0x87
    assert server.send(unsigned(server, "POST", "/topics/a", b"x")).status == 403
    assert server.send(sign(server, server.admin, "POST", "/topics/a", b"x")).status == 200
    assert server.stop() == 0


class Empty(Enforced):
    """Somebody took the registry away."""

    def prepare(self, folder):
        super().prepare(folder)
        (self.data_dir / "registry.log").unlink()


def test_registry_that_is_gone_lets_nobody_in():
    server = Empty()
    assert knock(server, Way("mqtt"), "lamp")[1] == 0x87
    assert knock(server, Way("mqtt"), "lamp", username="ann", password="x")[1] == 0x86
    for key in (server.admin, (TEMPORARY.id, TEMPORARY.secret)):
        for path in ("/connections/a", "/metrics", "/things", "/bitts/v1/credentials"):
            answer = server.send(sign(server, key, "GET", path))
            assert (answer.status, answer.error) == (403, "ForbiddenException"), path
    assert server.stop() == 0


def test_refused_change_changes_nothing(enforced, name):
    """A malformed policy says where; the version in force decides on."""
    key = enforced.key(("Allow", "iot:Publish", "*"))
    attached = enforced.ours("GET", "/bitts/v1/credentials?maxResults=250")["credentials"]
    word = next(it for it in attached if it["credentialId"] == key.id)["policyNames"][0]
    plane = enforced.plane
    for text, place in ((document(("Allow", "iot:*", "*"))[:-1], "line"), ("{}", "Version"),
                        (document(("Allow", "iot:*", "everything")), "Resource"),
                        (json.dumps({"Version": "2012-10-17", "Statement": {
                            "Effect": "Allow", "Action": "*", "Resource": "*",
                            "Principal": "*"}}), "Principal")):
        with pytest.raises(plane.exceptions.MalformedPolicyException) as refused:
            plane.create_policy_version(policyName=word, policyDocument=text, setAsDefault=True)
        assert place in refused.value.response["Error"]["Message"]
    assert enforced.send(sign(enforced, key, "POST", "/topics/a", b"x")).status == 200
    assert enforced.send(sign(enforced, key, "GET", "/connections/a")).status == 403
    assert [it["versionId"] for it in plane.list_policy_versions(policyName=word)[
        "policyVersions"]] == ["1"]


# Looking after the directory

def store(*words):
    done = subprocess.run([BINARY, "store", *words], capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_store_check_backup_and_repair_are_of_the_registry_too(enforce, tmp_path):
    """The copy of a server that runs lets in who it let in; a damaged line is named, and passed."""
    server = enforce()
    key = server.key(("Allow", "iot:*", "*"))
    server.plane.create_thing(thingName="lamp")
    copy = tmp_path / "copy"
    status, said = store("backup", "--data-dir", server.data_dir, "--to", copy)
    assert status == 0 and said["copiedBytes"] > (copy / "registry.log").stat().st_size > 0
    assert (copy / "registry.log").stat().st_mode & 0o777 == 0o600
    status, said = store("check", "--data-dir", copy)
    assert (status, said["tornBytes"], said["damages"]) == (0, 0, [])
    assert said["registryRows"] >= 5

    with open(copy / "registry.log", "ab") as log:
        log.write(b"00000000 torn")
    assert store("check", "--data-dir", copy)[1]["tornBytes"] == 13
    text = (copy / "registry.log").read_bytes()
    place = text.index(b'"lamp"')
    (copy / "registry.log").write_bytes(text[:place] + b'"lump"' + text[place + 6:])
    status, why = store("check", "--data-dir", copy)
    assert status == 1 and "registry.log" in why
    assert f"byte {text.rindex(bytes([10]), 0, place) + 1}" in why

    saved = tmp_path / "saved"
    status, said = store("repair", "--data-dir", copy, "--to", saved)
    [damage] = said["damages"]
    assert status == 0 and damage["file"].endswith("registry.log")
    shutil.copytree(server.pki, saved / "pki")
    server.kill()
    shutil.rmtree(server.data_dir)
    shutil.copytree(saved, server.data_dir)
    server.restart()
    assert server.plane.list_things()["things"] == []
    assert control_plane(server.endpoint, *key).list_policies()["policies"]


def test_audit_log_begins_another_file_and_keeps_every_change(enforce, tmp_path):
    config = tmp_path / "bitts.toml"
    config.write_text("[limits]\naudit-bytes-max = \"4KiB\"\naudit-files-max = 100\n")
    server = enforce("--config", str(config))
    with futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: server.plane.create_thing(thingName=f"thing-{n}"), range(100)))
    server.kill()
    files = sorted(server.data_dir.glob("audit.log*"))
    assert len(files) > 4 and all(it.stat().st_size <= 4096 for it in files)
    assert all(it.stat().st_mode & 0o777 == 0o600 for it in files)
    lines = [json.loads(line) for it in files for line in it.read_text().splitlines()]
    made = [it["with"]["thingName"] for it in lines if it["action"] == "iot:CreateThing"]
    assert sorted(made) == sorted(f"thing-{n}" for n in range(100))
    server.restart()
