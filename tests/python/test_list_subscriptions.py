"""ListSubscriptions, by the contract's numbers, with boto3 and paho."""

import pytest


def filters(iot, client_id, **options):
    answer = iot.list_subscriptions(clientId=client_id, **options)
    return [(one["topicFilter"], one["qos"]) for one in answer["subscriptions"]]


def test_ls_1_no_subscriptions(iot, http, device, name, version):
    """LS-1"""
    lamp = device(name("lamp"), version=version)
    assert http.get(f"/connections/{lamp.client_id}/subscriptions").json() == {"subscriptions": []}


@pytest.fixture
def many(device, name):
    lamp = device(name("lamp"))
    for number in range(45):
        assert lamp.subscribe(f"many/{number:02}", qos=number % 2) == number % 2
    return lamp, [(f"many/{number:02}", number % 2) for number in range(45)]


def test_ls_2_pages_of_twenty(iot, many):
    """LS-2: 20, 20, 5; in the order of the filters' bytes."""
    lamp, expected = many
    first = iot.list_subscriptions(clientId=lamp.client_id)
    second = iot.list_subscriptions(clientId=lamp.client_id, nextToken=first["nextToken"])
    third = iot.list_subscriptions(clientId=lamp.client_id, nextToken=second["nextToken"])
    pages = [page["subscriptions"] for page in (first, second, third)]
    assert [len(page) for page in pages] == [20, 20, 5]
    assert "nextToken" not in third
    assert [(one["topicFilter"], one["qos"]) for page in pages for one in page] == expected


@pytest.mark.parametrize("size", [1, 7, 45, 200])
def test_ls_2_paginator_sees_each_once(iot, many, size):
    """LS-2, with botocore's paginator."""
    lamp, expected = many
    pages = iot.get_paginator("list_subscriptions").paginate(
        clientId=lamp.client_id, PaginationConfig={"PageSize": size})
    seen = [(one["topicFilter"], one["qos"]) for page in pages for one in page["subscriptions"]]
    assert seen == expected


@pytest.mark.parametrize("query", ["maxResults=201", "maxResults=0", "maxResults=-1",
                                   "maxResults=x", "maxResults=1.5", "nextToken=nonsense"])
def test_ls_3_bad_page_is_an_invalid_request(http, device, name, query):
    """LS-3"""
    lamp = device(name("lamp"))
    answer = http.get(f"/connections/{lamp.client_id}/subscriptions?{query}")
    assert (answer.status, answer.error) == (400, "InvalidRequestException")


def test_ls_3_boto3_raises_its_exception(iot, device, name):
    """LS-3: boto3 does send 201."""
    lamp = device(name("lamp"))
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.list_subscriptions(clientId=lamp.client_id, maxResults=201)


def test_ls_4_offline_session_has_the_same_list(iot, device, name, version):
    """LS-4"""
    session = {"expiry": 3600} if version == 5 else {}
    lamp = device(name("lamp"), version=version, clean=False, **session)
    for topic in ("b/+", "a/#", "$share/group/c"):
        lamp.subscribe(topic)
    before = filters(iot, lamp.client_id)
    assert before == [("$share/group/c", 1), ("a/#", 1), ("b/+", 1)]
    lamp.disconnect()
    assert filters(iot, lamp.client_id) == before


def test_ls_5_unknown_client_is_not_found(iot, name):
    """LS-5"""
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.list_subscriptions(clientId=name("nobody"))


@pytest.mark.parametrize("persistent", [False, True])
def test_ls_5_and_ls_7_session_that_is_gone_is_not_found(iot, device, name, version, persistent):
    """LS-5, LS-7: a clean session after its end, a persistent one after DC-5."""
    session = {"expiry": 3600} if persistent and version == 5 else {}
    lamp = device(name("lamp"), version=version, clean=not persistent, **session)
    lamp.subscribe("a/b")
    iot.delete_connection(clientId=lamp.client_id, cleanSession=persistent)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.list_subscriptions(clientId=lamp.client_id)


def test_ls_6_subscribing_again_replaces_the_qos(iot, device, name, version):
    """LS-6"""
    lamp = device(name("lamp"), version=version)
    lamp.subscribe("a/b", qos=0)
    lamp.subscribe("a/b", qos=1)
    assert filters(iot, lamp.client_id) == [("a/b", 1)]


def test_unsubscribed_filter_is_not_listed(iot, device, name, version):
    lamp = device(name("lamp"), version=version)
    lamp.subscribe("a/b")
    lamp.subscribe("a/c")
    lamp.unsubscribe("a/b")
    assert filters(iot, lamp.client_id) == [("a/c", 1)]


def test_reserved_client_id_is_an_invalid_request(iot):
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.list_subscriptions(clientId="$x")
