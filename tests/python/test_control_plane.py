"""boto3's `iot` client, unmodified: every operation of the control plane, its pages and exceptions.

Contract control-plane-and-jobs §1 and §2.
"""

import datetime
import json
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

from control import ACCOUNT, allow, control_plane, document


@pytest.fixture(scope="module")
def plane(fresh_server):
    return control_plane(fresh_server.endpoint)


def refused(name, status, call, **members):
    """The exception by its name and status; its response."""
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**members)
    response = error.value.response
    assert response["Error"]["Code"] == name, response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    # botocore takes LimitExceeded of any service for throttling.
    assert response["ResponseMetadata"]["RetryAttempts"] == 0 or name.startswith("LimitExceeded")
    assert response["Error"]["Message"]
    return response


def certificate(plane, active=True):
    return plane.create_keys_and_certificate(setAsActive=active)


def test_describe_endpoint(plane, fresh_server):
    """§2: a host without a scheme, the one that the caller found this at."""
    host = fresh_server.endpoint.removeprefix("http://")
    for kind in ("iot:Data", "iot:Data-ATS", "iot:CredentialProvider", "iot:Jobs"):
        assert plane.describe_endpoint(endpointType=kind)["endpointAddress"] == host
    assert plane.describe_endpoint()["endpointAddress"] == host
    refused("InvalidRequestException", 400, plane.describe_endpoint, endpointType="iot:Else")


def test_things(plane, name):
    one = name("thing")
    made = plane.create_thing(thingName=one, attributePayload={"attributes": {"a": "1"}})
    assert made["thingArn"] == f"{ACCOUNT}thing/{one}" and len(made["thingId"]) == 36
    again = plane.create_thing(thingName=one, attributePayload={"attributes": {"a": "1"}})
    assert again["thingId"] == made["thingId"]
    exists = refused("ResourceAlreadyExistsException", 409, plane.create_thing, thingName=one)
    assert (exists["resourceId"], exists["resourceArn"]) == (one, made["thingArn"])
    plane.update_thing(thingName=one, attributePayload={"attributes": {"b": "2"}, "merge": True},
                       expectedVersion=1)
    thing = plane.describe_thing(thingName=one)
    assert (thing["attributes"], thing["version"]) == ({"a": "1", "b": "2"}, 2)
    assert (thing["defaultClientId"], thing["thingId"]) == (one, made["thingId"])
    refused("VersionConflictException", 409, plane.update_thing, thingName=one, expectedVersion=1)
    refused("VersionConflictException", 409, plane.delete_thing, thingName=one, expectedVersion=1)
    listed = plane.list_things(attributeName="b", attributeValue="2")["things"]
    assert [it["thingName"] for it in listed] == [one]
    plane.delete_thing(thingName=one, expectedVersion=2)
    refused("ResourceNotFoundException", 404, plane.describe_thing, thingName=one)
    refused("ResourceNotFoundException", 404, plane.delete_thing, thingName=one)
    refused("InvalidRequestException", 400, plane.create_thing, thingName="no spaces")


def test_typed_exceptions(plane, name):
    """The client's own exception classes."""
    with pytest.raises(plane.exceptions.ResourceNotFoundException):
        plane.describe_thing(thingName=name("none"))
    plane.create_policy(policyName=name("p"), policyDocument=allow("iot:Publish", "topic/a"))
    with pytest.raises(plane.exceptions.MalformedPolicyException):
        plane.create_policy(policyName=name("p"), policyDocument="{")


def test_certificates(plane, name):
    made = certificate(plane, active=False)
    one, arn = made["certificateId"], made["certificateArn"]
    assert arn == f"{ACCOUNT}cert/{one}" and len(one) == 64
    assert made["certificatePem"].startswith("-----BEGIN CERTIFICATE-----")
    assert made["keyPair"]["PrivateKey"].startswith("-----BEGIN PRIVATE KEY-----")
    assert made["keyPair"]["PublicKey"].startswith("-----BEGIN PUBLIC KEY-----")
    described = plane.describe_certificate(certificateId=one)["certificateDescription"]
    assert described["status"] == "INACTIVE"
    assert described["certificatePem"] == made["certificatePem"]
    assert (described["ownedBy"], described["certificateMode"]) == ("000000000000", "DEFAULT")
    assert isinstance(described["creationDate"], datetime.datetime)
    assert described["validity"]["notAfter"].year > described["creationDate"].year + 20
    plane.update_certificate(certificateId=one, newStatus="ACTIVE")
    assert one in [it["certificateId"] for it in plane.list_certificates()["certificates"]]
    refused("CertificateStateException", 406, plane.delete_certificate, certificateId=one)
    plane.update_certificate(certificateId=one, newStatus="REVOKED")
    policy = name("policy")
    plane.create_policy(policyName=policy, policyDocument=allow("iot:Publish", "topic/a"))
    plane.attach_policy(policyName=policy, target=arn)
    refused("DeleteConflictException", 409, plane.delete_certificate, certificateId=one)
    refused("DeleteConflictException", 409, plane.delete_policy, policyName=policy)
    plane.delete_certificate(certificateId=one, forceDelete=True)
    refused("ResourceNotFoundException", 404, plane.describe_certificate, certificateId=one)
    refused("ResourceNotFoundException", 404, plane.update_certificate, certificateId=one,
            newStatus="ACTIVE")
    plane.delete_policy(policyName=policy)


def test_certificate_of_elsewhere(plane, server):
    """RegisterCertificateWithoutCA: a certificate that nobody here signed."""
    pem = open(server.device.certificate).read()
    made = plane.register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
    assert made["certificateId"] == server.device.id
    exists = refused("ResourceAlreadyExistsException", 409,
                     plane.register_certificate_without_ca, certificatePem=pem)
    assert exists["resourceId"] == server.device.id
    described = plane.describe_certificate(certificateId=server.device.id)
    assert described["certificateDescription"]["certificateMode"] == "SNI_ONLY"
    for pem in ("x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        refused("CertificateValidationException", 400, plane.register_certificate_without_ca,
                certificatePem=pem)


def test_policies_and_versions(plane, name):
    policy = name("policy")
    text = allow("iot:Publish", "topic/1")
    made = plane.create_policy(policyName=policy, policyDocument=text)
    assert (made["policyDocument"], made["policyVersionId"]) == (text, "1")
    assert made["policyArn"] == f"{ACCOUNT}policy/{policy}"
    refused("ResourceAlreadyExistsException", 409, plane.create_policy, policyName=policy,
            policyDocument=text)
    for number in range(2, 6):
        made = plane.create_policy_version(
            policyName=policy, policyDocument=allow("iot:Publish", f"topic/{number}"),
            setAsDefault=number == 4)
        assert (made["policyVersionId"], made["isDefaultVersion"]) == (str(number), number == 4)
    refused("VersionsLimitExceededException", 409, plane.create_policy_version,
            policyName=policy, policyDocument=text)
    versions = plane.list_policy_versions(policyName=policy)["policyVersions"]
    assert [it["versionId"] for it in versions if it["isDefaultVersion"]] == ["4"]
    assert plane.get_policy(policyName=policy)["defaultVersionId"] == "4"
    plane.set_default_policy_version(policyName=policy, policyVersionId="2")
    second = plane.get_policy_version(policyName=policy, policyVersionId="2")
    assert second["isDefaultVersion"] and second["policyDocument"].endswith('topic/2"}]}')
    refused("DeleteConflictException", 409, plane.delete_policy_version, policyName=policy,
            policyVersionId="2")
    refused("DeleteConflictException", 409, plane.delete_policy, policyName=policy)
    for number in "1345":
        plane.delete_policy_version(policyName=policy, policyVersionId=number)
    plane.delete_policy(policyName=policy)
    refused("ResourceNotFoundException", 404, plane.get_policy, policyName=policy)


@pytest.mark.parametrize("text, place", [
    ('{"Version":"2012-10-17","Statement":[{"Effect":"Allow" "Action":"*"}]}', "line 1"),
    (document(("Allow", "iot:Publish", "topic/a")), "Statement[0].Resource[0]"),
    (document(("Allow", "*", "*")) + "x", "trailing"),
    (document(("Allow", "*", "arn:" + "x" * 2048)), "2048"),
])
def test_malformed_policy_names_the_place(plane, name, text, place):
    """policies §1."""
    response = refused("MalformedPolicyException", 400, plane.create_policy,
                       policyName=name("p"), policyDocument=text)
    assert place in response["Error"]["Message"]


def test_attachments(plane, name):
    arn = certificate(plane)["certificateArn"]
    policies = sorted(name("p") for _ in range(11))
    for one in policies:
        plane.create_policy(policyName=one, policyDocument=allow("iot:Publish", "topic/a"))
    for one in policies[:10]:
        plane.attach_policy(policyName=one, target=arn)
    refused("LimitExceededException", 410, plane.attach_policy, policyName=policies[10], target=arn)
    attached = plane.list_attached_policies(target=arn)["policies"]
    assert sorted(it["policyName"] for it in attached) == sorted(policies[:10])
    assert plane.list_targets_for_policy(policyName=policies[0])["targets"] == [arn]
    assert plane.list_principal_policies(principal=arn)["policies"] == attached
    assert plane.list_policy_principals(policyName=policies[0])["principals"] == [arn]
    plane.detach_policy(policyName=policies[0], target=arn)
    plane.detach_policy(policyName=policies[0], target=arn)
    plane.attach_principal_policy(policyName=policies[10], principal=arn)
    plane.detach_principal_policy(policyName=policies[10], principal=arn)
    assert plane.list_targets_for_policy(policyName=policies[0])["targets"] == []
    refused("ResourceNotFoundException", 404, plane.attach_policy, policyName=name("none"),
            target=arn)
    refused("ResourceNotFoundException", 404, plane.attach_policy, policyName=policies[0],
            target=f"{ACCOUNT}cert/{'0' * 64}")
    refused("InvalidRequestException", 400, plane.attach_policy, policyName=policies[0],
            target="arn:aws:iot:us-east-1:999999999999:cert/" + "0" * 64)


def test_thing_principals(plane, name):
    one, other = name("thing"), name("thing")
    arn = certificate(plane)["certificateArn"]
    for thing in (one, other):
        plane.create_thing(thingName=thing)
        plane.attach_thing_principal(thingName=thing, principal=arn)
    assert plane.list_thing_principals(thingName=one)["principals"] == [arn]
    assert plane.list_principal_things(principal=arn)["things"] == sorted([one, other])
    objects = plane.list_thing_principals_v2(thingName=one)["thingPrincipalObjects"]
    assert objects == [{"principal": arn, "thingPrincipalType": "NON_EXCLUSIVE_THING"}]
    refused("InvalidRequestException", 400, plane.delete_thing, thingName=one)
    for thing in (one, other):
        plane.detach_thing_principal(thingName=thing, principal=arn)
        plane.delete_thing(thingName=thing)
    plane.create_thing(thingName=one)
    plane.attach_thing_principal(thingName=one, principal=arn, thingPrincipalType="EXCLUSIVE_THING")
    objects = plane.list_principal_things_v2(principal=arn)["principalThingObjects"]
    assert objects == [{"thingName": one, "thingPrincipalType": "EXCLUSIVE_THING"}]
    refused("ResourceNotFoundException", 404, plane.attach_thing_principal, thingName=other,
            principal=arn)


def test_groups(plane, name):
    root, room, thing = name("root"), name("room"), name("thing")
    made = plane.create_thing_group(
        thingGroupName=root, tags=[{"Key": "k", "Value": "v"}],
        thingGroupProperties={"thingGroupDescription": "all", "attributePayload":
                              {"attributes": {"a": "1"}}})
    assert made["thingGroupArn"] == f"{ACCOUNT}thinggroup/{root}"
    plane.create_thing_group(thingGroupName=room, parentGroupName=root)
    plane.create_thing(thingName=thing)
    plane.add_thing_to_thing_group(thingGroupName=room, thingName=thing)
    described = plane.describe_thing_group(thingGroupName=room)
    assert described["thingGroupMetadata"]["parentGroupName"] == root
    assert described["thingGroupMetadata"]["rootToParentThingGroups"] == [
        {"groupName": root, "groupArn": made["thingGroupArn"]}]
    properties = plane.describe_thing_group(thingGroupName=root)["thingGroupProperties"]
    assert properties == {"thingGroupDescription": "all",
                          "attributePayload": {"attributes": {"a": "1"}}}
    assert plane.update_thing_group(thingGroupName=root, expectedVersion=1, thingGroupProperties={
        "thingGroupDescription": "some"})["version"] == 2
    refused("VersionConflictException", 409, plane.update_thing_group, thingGroupName=root,
            expectedVersion=1, thingGroupProperties={})
    assert plane.list_things_in_thing_group(thingGroupName=root)["things"] == []
    below = plane.list_things_in_thing_group(thingGroupName=root, recursive=True)
    assert below["things"] == [thing]
    groups = plane.list_thing_groups_for_thing(thingName=thing)["thingGroups"]
    assert [it["groupName"] for it in groups] == [room]
    below = plane.list_thing_groups(parentGroup=root)["thingGroups"]
    assert [it["groupName"] for it in below] == [room]
    refused("InvalidRequestException", 400, plane.delete_thing_group, thingGroupName=root)
    plane.update_thing_groups_for_thing(thingName=thing, thingGroupsToAdd=[root],
                                        thingGroupsToRemove=[room])
    assert plane.list_things_in_thing_group(thingGroupName=root)["things"] == [thing]
    plane.remove_thing_from_thing_group(thingGroupName=root, thingName=thing)
    for group in (room, root):
        plane.delete_thing_group(thingGroupName=group)
    refused("ResourceNotFoundException", 404, plane.describe_thing_group, thingGroupName=root)


def test_group_has_two_policies(plane, name):
    group = name("group")
    arn = plane.create_thing_group(thingGroupName=group)["thingGroupArn"]
    policies = [name("p") for _ in range(3)]
    for one in policies:
        plane.create_policy(policyName=one, policyDocument=allow("iot:Publish", "topic/a"))
    for one in policies[:2]:
        plane.attach_policy(policyName=one, target=arn)
    refused("LimitExceededException", 410, plane.attach_policy, policyName=policies[2], target=arn)
    below = plane.create_thing_group(thingGroupName=name("group"), parentGroupName=group)
    listed = plane.list_attached_policies(target=below["thingGroupArn"], recursive=True)["policies"]
    assert sorted(it["policyName"] for it in listed) == sorted(policies[:2])


def test_thing_types(plane, name):
    one, thing = name("type"), name("thing")
    made = plane.create_thing_type(thingTypeName=one, thingTypeProperties={
        "thingTypeDescription": "lamps", "searchableAttributes": ["floor"]})
    assert made["thingTypeArn"] == f"{ACCOUNT}thingtype/{one}"
    plane.create_thing(thingName=thing, thingTypeName=one)
    assert plane.describe_thing(thingName=thing)["thingTypeName"] == one
    assert [it["thingName"] for it in plane.list_things(thingTypeName=one)["things"]] == [thing]
    refused("InvalidRequestException", 400, plane.delete_thing_type, thingTypeName=one)
    plane.deprecate_thing_type(thingTypeName=one)
    described = plane.describe_thing_type(thingTypeName=one)
    assert described["thingTypeMetadata"]["deprecated"]
    assert described["thingTypeProperties"]["searchableAttributes"] == ["floor"]
    refused("InvalidRequestException", 400, plane.create_thing, thingName=name("t"),
            thingTypeName=one)
    refused("InvalidRequestException", 400, plane.delete_thing_type, thingTypeName=one)
    plane.update_thing(thingName=thing, removeThingType=True)
    plane.delete_thing_type(thingTypeName=one)
    refused("ResourceNotFoundException", 404, plane.describe_thing_type, thingTypeName=one)


def test_tags(plane, name):
    policy = name("p")
    arn = plane.create_policy(policyName=policy, policyDocument=allow("iot:Publish", "topic/a"),
                              tags=[{"Key": "a", "Value": "1"}])["policyArn"]
    plane.tag_resource(resourceArn=arn, tags=[{"Key": "b", "Value": "2"}])
    plane.untag_resource(resourceArn=arn, tagKeys=["a", "none"])
    assert plane.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "b", "Value": "2"}]
    refused("ResourceNotFoundException", 404, plane.list_tags_for_resource,
            resourceArn=f"{ACCOUNT}policy/{name('none')}")
    refused("LimitExceededException", 410, plane.tag_resource, resourceArn=arn,
            tags=[{"Key": f"k{number}", "Value": ""} for number in range(50)])


def test_authorizers(plane, name):
    one = name("auth").replace(":", "")
    members = {"authorizerFunctionArn": "http://127.0.0.1/authorize", "tokenKeyName": "token",
               "tokenSigningPublicKeys": {"first": "PEM"}}
    made = plane.create_authorizer(authorizerName=one, status="INACTIVE", **members)
    assert made["authorizerArn"] == f"{ACCOUNT}authorizer/{one}"
    described = plane.describe_authorizer(authorizerName=one)["authorizerDescription"]
    assert members.items() <= described.items() and described["status"] == "INACTIVE"
    plane.update_authorizer(authorizerName=one, status="ACTIVE")
    refused("DeleteConflictException", 409, plane.delete_authorizer, authorizerName=one)
    plane.set_default_authorizer(authorizerName=one)
    default = plane.describe_default_authorizer()["authorizerDescription"]
    assert default["authorizerName"] == one
    assert one in [it["authorizerName"] for it in plane.list_authorizers()["authorizers"]]
    plane.clear_default_authorizer()
    refused("ResourceNotFoundException", 404, plane.describe_default_authorizer)
    plane.update_authorizer(authorizerName=one, status="INACTIVE")
    plane.delete_authorizer(authorizerName=one)
    refused("InvalidRequestException", 400, plane.create_authorizer, authorizerName=one,
            authorizerFunctionArn="http://127.0.0.1/")


def test_authorization(plane, name):
    """policies §5: the three words of authDecision, variables of the thing, groups' policies."""
    thing, group, own, deny, of_group = (name(word) for word in ("t", "g", "own", "deny", "of"))
    made = certificate(plane)
    arn = made["certificateArn"]
    for policy, text in (
            (own, allow("iot:Publish", "topic/${iot:Connection.Thing.ThingName}/*")),
            (deny, document(("Deny", "iot:*", f"{ACCOUNT}topic/{thing}/secret"))),
            (of_group, allow("iot:Subscribe", "topicfilter/all/*"))):
        plane.create_policy(policyName=policy, policyDocument=text)
    plane.attach_policy(policyName=own, target=arn)
    group_arn = plane.create_thing_group(thingGroupName=group)["thingGroupArn"]
    plane.attach_policy(policyName=of_group, target=group_arn)
    plane.create_thing(thingName=thing)
    plane.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
    plane.attach_thing_principal(thingName=thing, principal=arn)

    def decide(action, resource, client=thing, **more):
        answer = plane.test_authorization(principal=arn, clientId=client, authInfos=[
            {"actionType": action, "resources": [ACCOUNT + resource]}], **more)
        return answer["authResults"][0]

    allowed = decide("PUBLISH", f"topic/{thing}/a")
    assert allowed["authDecision"] == "ALLOWED"
    assert [it["policyName"] for it in allowed["allowed"]["policies"]] == [own]
    assert decide("SUBSCRIBE", "topicfilter/all/#")["authDecision"] == "ALLOWED"
    other = decide("PUBLISH", f"topic/{thing}/a", client="other")
    assert other["authDecision"] == "IMPLICIT_DENY"
    assert other["missingContextValues"] == ["iot:Connection.Thing.ThingName"]
    assert decide("SUBSCRIBE", "topicfilter/all/#", client="other")["authDecision"] == \
        "IMPLICIT_DENY"
    denied = decide("PUBLISH", f"topic/{thing}/secret", policyNamesToAdd=[deny])
    assert denied["authDecision"] == "EXPLICIT_DENY"
    assert denied["denied"]["explicitDeny"]["policies"][0]["policyName"] == deny
    skipped = decide("PUBLISH", f"topic/{thing}/a", policyNamesToSkip=[own])
    assert skipped["authDecision"] == "IMPLICIT_DENY"
    effective = plane.get_effective_policies(principal=arn, thingName=thing)["effectivePolicies"]
    assert sorted(it["policyName"] for it in effective) == sorted([own, of_group])
    assert all(json.loads(it["policyDocument"]) for it in effective)


def test_pages(plane, name):
    """§2: every item once, with botocore's paginators, in both dialects."""
    prefix = name("page")
    things = [f"{prefix}-{number:02}" for number in range(23)]
    for thing in things:
        plane.create_thing(thingName=thing)
        plane.create_policy(policyName=thing, policyDocument=allow("iot:Publish", "topic/a"))
    for size in (1, 7, 250):
        for operation, member, key in (("list_things", "things", "thingName"),
                                       ("list_policies", "policies", "policyName")):
            pages = plane.get_paginator(operation).paginate(PaginationConfig={"PageSize": size})
            seen = [it[key] for page in pages for it in page[member]]
            assert [it for it in seen if it.startswith(prefix)] == things
            assert len(seen) == len(set(seen))
    refused("InvalidRequestException", 400, plane.list_things, nextToken="%")


@pytest.mark.parametrize("origin, status", [
    (None, 200), ("{own}", 200), ("http://evil.example", 403), ("null", 403), ("", 403)])
def test_a_page_of_another_origin_is_refused(fresh_server, origin, status):
    """A browser's request without a signature, as it comes while anybody is let in."""
    request = urllib.request.Request(
        f"{fresh_server.endpoint}/bitts/v1/credentials", data=b"{}", method="POST",
        headers={} if origin is None else {"Origin": origin.format(own=fresh_server.endpoint)})
    try:
        assert urllib.request.urlopen(request).status == status
    except urllib.error.HTTPError as refusal:
        assert (refusal.code, refusal.headers["x-amzn-ErrorType"]) == (
            status, "AccessDeniedException")
