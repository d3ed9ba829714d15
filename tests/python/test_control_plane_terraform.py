"""The calls that Terraform's provider makes for its resources: create, read, update, delete.

Each `read_…` asks what the provider asks on every refresh and takes the members that it keeps; a
refresh after an apply has to give what was applied, and one after a destroy has to find nothing.
"""

import pathlib

import pytest

from control import ACCOUNT, allow, control_plane
from enforced import Authority


@pytest.fixture(scope="module")
def plane(fresh_server):
    return control_plane(fresh_server.endpoint)


def absent(plane, call, **members):
    with pytest.raises(plane.exceptions.ResourceNotFoundException):
        call(**members)


def test_aws_iot_thing(plane, name):
    def read():
        found = plane.describe_thing(thingName=one)
        return found["attributes"], found.get("thingTypeName"), found["version"]

    one, kind = name("thing"), name("type")
    plane.create_thing_type(thingTypeName=kind)
    plane.create_thing(thingName=one, thingTypeName=kind,
                       attributePayload={"attributes": {"a": "1"}})
    assert read() == ({"a": "1"}, kind, 1)
    # An attribute is taken away by merging it with an empty value.
    plane.update_thing(thingName=one, attributePayload={"attributes": {"a": "", "b": "2"},
                                                        "merge": True})
    plane.update_thing(thingName=one, removeThingType=True)
    assert read() == ({"b": "2"}, None, 3)
    plane.delete_thing(thingName=one)
    absent(plane, plane.describe_thing, thingName=one)


def test_aws_iot_thing_type(plane, name):
    def read():
        found = plane.describe_thing_type(thingTypeName=one)
        tags = plane.list_tags_for_resource(resourceArn=found["thingTypeArn"])["tags"]
        return found["thingTypeProperties"], found["thingTypeMetadata"]["deprecated"], tags

    one = name("type")
    properties = {"thingTypeDescription": "d", "searchableAttributes": ["x"]}
    plane.create_thing_type(thingTypeName=one, thingTypeProperties=properties,
                            tags=[{"Key": "k", "Value": "v"}])
    assert read() == (properties, False, [{"Key": "k", "Value": "v"}])
    plane.deprecate_thing_type(thingTypeName=one, undoDeprecate=False)
    assert read()[1]
    plane.deprecate_thing_type(thingTypeName=one, undoDeprecate=True)
    assert not read()[1]
    plane.deprecate_thing_type(thingTypeName=one)
    plane.delete_thing_type(thingTypeName=one)
    absent(plane, plane.describe_thing_type, thingTypeName=one)


def test_aws_iot_thing_group(plane, name):
    def read():
        found = plane.describe_thing_group(thingGroupName=one)
        tags = plane.list_tags_for_resource(resourceArn=found["thingGroupArn"])["tags"]
        metadata = found["thingGroupMetadata"]
        return (found["thingGroupProperties"], metadata.get("parentGroupName"), found["version"],
                tags)

    one, parent = name("group"), name("parent")
    plane.create_thing_group(thingGroupName=parent)
    properties = {"thingGroupDescription": "d", "attributePayload": {"attributes": {"a": "1"}}}
    plane.create_thing_group(thingGroupName=one, parentGroupName=parent,
                             thingGroupProperties=properties, tags=[{"Key": "k", "Value": "v"}])
    assert read() == (properties, parent, 1, [{"Key": "k", "Value": "v"}])
    changed = {"thingGroupDescription": "e", "attributePayload": {"attributes": {"b": "2"}}}
    version = read()[2]
    plane.update_thing_group(thingGroupName=one, expectedVersion=version,
                             thingGroupProperties=changed)
    arn = f"{ACCOUNT}thinggroup/{one}"
    plane.untag_resource(resourceArn=arn, tagKeys=["k"])
    plane.tag_resource(resourceArn=arn, tags=[{"Key": "k2", "Value": "v2"}])
    assert read() == (changed, parent, 2, [{"Key": "k2", "Value": "v2"}])
    for group in (one, parent):
        plane.delete_thing_group(thingGroupName=group)
    absent(plane, plane.describe_thing_group, thingGroupName=one)


def test_aws_iot_certificate_policy_and_attachments(plane, name):
    thing, policy = name("thing"), name("policy")
    made = plane.create_keys_and_certificate(setAsActive=True)
    one, arn = made["certificateId"], made["certificateArn"]

    def read():
        found = plane.describe_certificate(certificateId=one)["certificateDescription"]
        return found["certificateArn"], found["status"] == "ACTIVE", found["certificatePem"]

    assert read() == (arn, True, made["certificatePem"])
    first, second = (allow("iot:Publish", f"topic/{topic}") for topic in "ab")
    plane.create_policy(policyName=policy, policyDocument=first)

    def read_policy():
        found = plane.get_policy(policyName=policy)
        plane.list_tags_for_resource(resourceArn=found["policyArn"])
        return found["defaultVersionId"], found["policyDocument"]

    assert read_policy() == ("1", first)
    plane.attach_policy(policyName=policy, target=arn)
    pages = plane.get_paginator("list_attached_policies").paginate(target=arn)
    assert [it["policyName"] for page in pages for it in page["policies"]] == [policy]
    plane.create_thing(thingName=thing)
    plane.attach_thing_principal(thingName=thing, principal=arn)
    assert arn in plane.list_thing_principals(thingName=thing)["principals"]

    # Every update is a version; at five the oldest that is not the default goes.
    for number in range(2, 8):
        versions = plane.list_policy_versions(policyName=policy)["policyVersions"]
        if len(versions) == 5:
            oldest = min((it for it in versions if not it["isDefaultVersion"]),
                         key=lambda it: int(it["versionId"]))
            plane.delete_policy_version(policyName=policy, policyVersionId=oldest["versionId"])
        plane.create_policy_version(policyName=policy, policyDocument=second, setAsDefault=True)
        assert read_policy() == (str(number), second)
    plane.update_certificate(certificateId=one, newStatus="INACTIVE")
    assert not read()[1]

    plane.detach_thing_principal(thingName=thing, principal=arn)
    plane.detach_policy(policyName=policy, target=arn)
    assert plane.list_attached_policies(target=arn)["policies"] == []
    for version in plane.list_policy_versions(policyName=policy)["policyVersions"]:
        if not version["isDefaultVersion"]:
            plane.delete_policy_version(policyName=policy, policyVersionId=version["versionId"])
    plane.delete_policy(policyName=policy)
    plane.update_certificate(certificateId=one, newStatus="INACTIVE")
    plane.delete_certificate(certificateId=one, forceDelete=True)
    absent(plane, plane.describe_certificate, certificateId=one)
    absent(plane, plane.get_policy, policyName=policy)
    plane.delete_thing(thingName=thing)
    absent(plane, plane.list_thing_principals, thingName=thing)


def test_aws_iot_authorizer(plane, name):
    one = name("authorizer")
    members = {"authorizerFunctionArn": "https://example.org/", "signingDisabled": True,
               "enableCachingForHttp": False}
    plane.create_authorizer(authorizerName=one, status="ACTIVE", **members)
    found = plane.describe_authorizer(authorizerName=one)["authorizerDescription"]
    assert members.items() <= found.items()
    plane.list_tags_for_resource(resourceArn=found["authorizerArn"])
    # An active one is made inactive before it is deleted.
    plane.update_authorizer(authorizerName=one, status="INACTIVE")
    plane.delete_authorizer(authorizerName=one)
    absent(plane, plane.describe_authorizer, authorizerName=one)


def test_aws_iot_thing_group_membership(plane, name):
    thing, group = name("thing"), name("group")
    plane.create_thing(thingName=thing)
    plane.create_thing_group(thingGroupName=group)

    def is_member():
        pages = plane.get_paginator("list_thing_groups_for_thing").paginate(thingName=thing)
        return group in [it["groupName"] for page in pages for it in page["thingGroups"]]

    assert not is_member()
    plane.add_thing_to_thing_group(thingName=thing, thingGroupName=group,
                                   overrideDynamicGroups=False)
    assert is_member()
    plane.remove_thing_from_thing_group(thingName=thing, thingGroupName=group)
    assert not is_member()
    plane.delete_thing(thingName=thing)
    absent(plane, plane.list_thing_groups_for_thing, thingName=thing)


def test_aws_iot_certificate_of_somebody_elses_key(plane, tmp_path):
    """`csr`; `certificate_pem` with and without `ca_pem`."""
    authority = Authority(tmp_path / "ca")
    csr = authority.sign(None)
    words = pathlib.Path(csr.certificate).with_suffix(".csr").read_text()
    made = plane.create_certificate_from_csr(certificateSigningRequest=words, setAsActive=False)
    lone = plane.register_certificate_without_ca(certificatePem=csr.pem, status="INACTIVE")
    registered = authority_of(plane, authority, setAsActive=True)
    device = authority.sign(None)
    signed = plane.register_certificate(certificatePem=device.pem, caCertificatePem=authority.pem,
                                        setAsActive=False)
    for one in (made, lone, signed):
        read = lambda: plane.describe_certificate(certificateId=one["certificateId"])
        assert read()["certificateDescription"]["status"] == "INACTIVE"
        plane.update_certificate(certificateId=one["certificateId"], newStatus="ACTIVE")
        assert read()["certificateDescription"]["status"] == "ACTIVE"
        plane.update_certificate(certificateId=one["certificateId"], newStatus="INACTIVE")
        plane.delete_certificate(certificateId=one["certificateId"], forceDelete=True)
        absent(plane, read)
    plane.update_ca_certificate(certificateId=registered["certificateId"], newStatus="INACTIVE")
    plane.delete_ca_certificate(certificateId=registered["certificateId"])


def authority_of(plane, authority, **members):
    """`aws_iot_registration_code` (data), a proof, RegisterCACertificate."""
    code = plane.get_registration_code()["registrationCode"]
    proof = authority.sign(None, subject=f"/CN={code}").pem
    return plane.register_ca_certificate(caCertificate=authority.pem,
                                         verificationCertificate=proof, **members)


def test_aws_iot_ca_certificate(plane, tmp_path):
    authority = Authority(tmp_path / "ca")
    made = authority_of(plane, authority, setAsActive=True, allowAutoRegistration=True,
                        certificateMode="DEFAULT", tags=[{"Key": "k", "Value": "v"}])
    one, arn = made["certificateId"], made["certificateArn"]

    def read():
        found = plane.describe_ca_certificate(certificateId=one)["certificateDescription"]
        tags = plane.list_tags_for_resource(resourceArn=arn)["tags"]
        assert (found["certificateArn"], found["certificatePem"]) == (arn, authority.pem)
        assert found["validity"]["notBefore"] < found["validity"]["notAfter"]
        assert found["certificateMode"] == "DEFAULT" and found["generationId"]
        return found["status"], found["autoRegistrationStatus"], tags

    assert read() == ("ACTIVE", "ENABLE", [{"Key": "k", "Value": "v"}])
    plane.update_ca_certificate(certificateId=one, newStatus="ACTIVE",
                                newAutoRegistrationStatus="DISABLE")
    plane.tag_resource(resourceArn=arn, tags=[{"Key": "k", "Value": "w"}])
    assert read() == ("ACTIVE", "DISABLE", [{"Key": "k", "Value": "w"}])
    plane.update_ca_certificate(certificateId=one, newStatus="INACTIVE")
    plane.delete_ca_certificate(certificateId=one)
    absent(plane, plane.describe_ca_certificate, certificateId=one)


@pytest.mark.parametrize("kind", [None, "iot:Data-ATS", "iot:Data"])
def test_aws_iot_endpoint(plane, kind):
    """A data source: what the server is reached at."""
    asked = {"endpointType": kind} if kind else {}
    endpoint = plane.describe_endpoint(**asked)["endpointAddress"]
    assert plane.meta.endpoint_url.endswith(endpoint)


def test_aws_iot_thing_principal_attachment_of_one_thing_alone(plane, name):
    """`thing_principal_type`, which the provider reads by the second version of the list."""
    thing = name("thing")
    arn = plane.create_keys_and_certificate(setAsActive=True)["certificateArn"]
    plane.create_thing(thingName=thing)
    for kind in ("EXCLUSIVE_THING", "NON_EXCLUSIVE_THING"):
        plane.attach_thing_principal(thingName=thing, principal=arn, thingPrincipalType=kind)
        pages = plane.get_paginator("list_thing_principals_v2").paginate(thingName=thing)
        held = [it for page in pages for it in page["thingPrincipalObjects"]]
        assert held == [{"principal": arn, "thingPrincipalType": kind}]
        plane.detach_thing_principal(thingName=thing, principal=arn)
    assert plane.list_thing_principals(thingName=thing)["principals"] == []
