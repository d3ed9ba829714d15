"""boto3, unmodified: the six operations, odd names, typed exceptions, paginators, retries."""

import json

import boto3
import botocore.exceptions
import pytest

from conftest import data_plane

ODD = ["a/b c", "ü~*()'!", "50%25", "#+x", "a+b", "a:b@c,d;e=f&g", "trail/", "a//b", "..", ".",
       "a/../b", "%2F", "日本", " "]


@pytest.mark.parametrize("odd", ODD)
def test_odd_client_ids(iot, device, name, odd):
    """data-plane-http §5: what boto3 encodes, the server decodes once."""
    client_id = f"{name('id')}{odd}" if odd not in (".", "..") else odd
    lamp = device(client_id, clean=False, expiry=60)
    lamp.subscribe("odd")
    assert iot.get_connection(clientId=client_id)["clientId"] == client_id
    assert len(iot.list_subscriptions(clientId=client_id)["subscriptions"]) == 1
    iot.delete_connection(clientId=client_id, cleanSession=True)
    assert lamp.ended() == (True, 0x98)


@pytest.mark.parametrize("odd", [odd for odd in ODD if not {"#", "+"} & set(odd)])
def test_odd_topics(iot, device, name, odd):
    topic = f"{name('t')}/{odd}"
    listener = device(name("listener"))
    listener.subscribe(topic)
    iot.publish(topic=topic, qos=1, retain=True, payload=b"odd")
    assert listener.message().topic == topic
    assert iot.get_retained_message(topic=topic)["topic"] == topic
    iot.publish(topic=topic, retain=True)


def test_publish_with_everything(iot, device, name):
    listener, topic = device(name("listener")), name("t")
    listener.subscribe(topic)
    answer = iot.publish(
        topic=topic, qos=1, payload=b"\x00\xffbinary", contentType="application/cbor",
        responseTopic="reply/here", messageExpiry=60, payloadFormatIndicator="UTF8_DATA",
        correlationData="Y29ycg==",
        userProperties=json.dumps([{"deviceName": "alpha"}, {"deviceName": "beta"}]))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    message = listener.message()
    assert message.payload == b"\x00\xffbinary"
    assert message.properties.ContentType == "application/cbor"
    assert message.properties.CorrelationData == b"corr"
    assert message.properties.UserProperty == [("deviceName", "alpha"), ("deviceName", "beta")]


def test_user_properties_as_a_list(iot, device, name):
    """§8: the right form for boto3."""
    listener, topic = device(name("listener")), name("t")
    listener.subscribe(topic)
    iot.publish(topic=topic, userProperties=[{"a": "1"}, {"b": "2"}])
    assert listener.message().properties.UserProperty == [("a", "1"), ("b", "2")]


def test_retained_message_with_user_properties(iot, name):
    topic = name("r")
    iot.publish(topic=topic, qos=1, retain=True, payload=b"kept", userProperties=[{"a": "1"}])
    answer = iot.get_retained_message(topic=topic)
    assert (answer["payload"], answer["qos"]) == (b"kept", 1)
    assert json.loads(answer["userProperties"]) == [{"a": "1"}]


def test_pages_of_retained_messages(fresh_iot):
    """§2: every topic once, in a stable order, with botocore's paginator."""
    topics = sorted(f"page/{number:03}" for number in range(250))
    for topic in topics:
        fresh_iot.publish(topic=topic, retain=True, payload=b"x")
    first = fresh_iot.list_retained_messages()
    assert len(first["retainedTopics"]) == 200 and first["nextToken"]
    for size in (7, 100, 200):
        pages = fresh_iot.get_paginator("list_retained_messages").paginate(
            PaginationConfig={"PageSize": size})
        seen = [one["topic"] for page in pages for one in page["retainedTopics"]]
        assert seen == topics
    entry = first["retainedTopics"][0]
    assert (entry["topic"], entry["payloadSize"], entry["qos"]) == ("page/000", 1, 0)


def test_typed_exceptions(iot, name):
    """H-15, as far as `--auth open` can answer them."""
    with pytest.raises(iot.exceptions.ResourceNotFoundException) as absent:
        iot.get_retained_message(topic=name("absent"))
    error = absent.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert error["Error"]["Code"] == "ResourceNotFoundException" and error["Error"]["Message"]
    assert error["ResponseMetadata"]["RequestId"]
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.publish(topic="a/+")
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.publish(topic="a", qos=2)
    with pytest.raises(iot.exceptions.InvalidRequestException):
        iot.list_retained_messages(maxResults=201)
    with pytest.raises(botocore.exceptions.ClientError) as large:
        iot.publish(topic="a", payload=b"x" * 131_073)
    assert large.value.response["Error"]["Code"] == "RequestEntityTooLargeException"


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_not_found_is_not_retried(server, name, mode):
    """§4: 404 is one attempt in every retry mode."""
    client = data_plane(server, retries={"mode": mode, "max_attempts": 4})
    with pytest.raises(client.exceptions.ResourceNotFoundException) as absent:
        client.delete_connection(clientId=name("nobody"))
    assert absent.value.response["ResponseMetadata"]["RetryAttempts"] == 0


def test_session_token_and_region_are_accepted(server, name):
    """§6: signed by a session's credentials, for another region."""
    client = boto3.client("iot-data", endpoint_url=server.endpoint, region_name="eu-central-1",
                          aws_access_key_id="ASIAEXAMPLE", aws_secret_access_key="SECRET",
                          aws_session_token="TOKEN//+=")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_connection(clientId=name("nobody"))


def test_request_identifier_is_boto3s(iot, device, name):
    lamp = device(name("lamp"))
    answer = iot.get_connection(clientId=lamp.client_id)["ResponseMetadata"]
    assert answer["RequestId"] == answer["HTTPHeaders"]["x-amzn-requestid"]
