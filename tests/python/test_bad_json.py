"""Text that is no good JSON, at every door that takes JSON: a clear refusal, and nothing happens.

`device-shadow.md` §4 names the codes of shadows; what is ours and the control plane answer 400.
"""

import base64
import json

import pytest

# A name, the text, and what shadows say to it.
DEEP = "JSON contains too many levels of nesting; maximum is 6"
LARGE = "The payload exceeds the maximum size allowed"
BAD = {
    "nothing": (b"", "Invalid JSON"),
    "cut": (b'{"state":{"desired":{"a":1}', "Invalid JSON"),
    "trailing": (b'{"state":{}} x', "Invalid JSON"),
    "two": (b'{"state":{}}{"state":{}}', "Invalid JSON"),
    "comma": (b'{"state":{"desired":{"a":1,}}}', "Invalid JSON"),
    "comment": (b'{"state":{}/* */}', "Invalid JSON"),
    "single-quotes": (b"{'state':{}}", "Invalid JSON"),
    "nan": (b'{"state":{"desired":{"a":NaN}}}', "Invalid JSON"),
    "infinity": (b'{"state":{"desired":{"a":-Infinity}}}', "Invalid JSON"),
    "no-double": (b'{"state":{"desired":{"a":1e999}}}', "Invalid JSON"),
    "leading-zero": (b'{"state":{"desired":{"a":01}}}', "Invalid JSON"),
    "hexadecimal": (b'{"state":{"desired":{"a":0x1}}}', "Invalid JSON"),
    "high-surrogate": (b'{"state":{"desired":{"a":"\\ud800"}}}', "Invalid JSON"),
    "low-surrogate": (b'{"state":{"desired":{"a":"\\udc00x"}}}', "Invalid JSON"),
    "swapped-surrogates": (b'{"state":{"desired":{"a":"\\udc00\\ud800"}}}', "Invalid JSON"),
    "control-character": (b'{"state":{"desired":{"a":"\x01"}}}', "Invalid JSON"),
    "byte-order-mark": (b'\xef\xbb\xbf{"state":{}}', "Invalid JSON"),
    "twice": (b'{"state":{"desired":{"a":1,"a":2}}}', "Invalid JSON"),
    "twice-escaped": (b'{"state":{"desired":{"a":1,"\\u0061":2}}}', "Invalid JSON"),
    "twice-at-the-top": (b'{"state":{},"state":{"desired":{"a":1}}}', "Invalid JSON"),
    "deep": (b'{"state":{"desired":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}}", DEEP),
    "deep-arrays": (b"[" * 100_000, DEEP),
    "large": (b'{"state":{"desired":{"a":"' + b"x" * 131_072 + b'"}}}', LARGE),
}
NOT_UTF8 = b'{"state":{"desired":{"a":"\xff\xc0\xaf"}}}'
ENCODING = "Unsupported documented encoding; supported encoding is UTF-8"
CODES = {LARGE: 413, ENCODING: 415}


def refusals():
    return [pytest.param(text, said, CODES.get(said, 400), id=name)
            for name, (text, said) in [*BAD.items(), ("not-utf8", (NOT_UTF8, ENCODING))]]


@pytest.mark.parametrize("text, said, code", refusals())
def test_a_shadow_is_not_updated_over_http(http, iot, name, text, said, code):
    thing = name("thing")
    answer = http.post(f"/things/{thing}/shadow", text)
    assert (answer.status, json.loads(answer.body)["message"]) == (code, said)
    with pytest.raises(iot.exceptions.ResourceNotFoundException):
        iot.get_thing_shadow(thingName=thing)


@pytest.mark.parametrize("text, said, code", refusals())
def test_a_shadow_is_not_updated_over_mqtt(device, name, version, text, said, code):
    """The connection goes on, and the request is rejected once."""
    thing = name("thing")
    lamp = device(name("lamp"), version=version)
    lamp.subscribe(f"$aws/things/{thing}/shadow/+/+")
    lamp.publish(f"$aws/things/{thing}/shadow/update", text)
    rejected = lamp.message()
    assert rejected.topic.endswith("/update/rejected")
    body = json.loads(rejected.payload)
    assert (body["code"], body["message"]) == (code, said)
    lamp.publish(f"$aws/things/{thing}/shadow/get", b"")
    assert lamp.message().topic.endswith("/get/rejected")


@pytest.mark.parametrize("text, said, code", refusals())
def test_publish_of_the_api_hands_it_on_and_it_is_rejected(
        http, device, name, text, said, code):
    if len(text) > 131_072:
        assert http.post("/topics/$aws/things/T/shadow/update", text).status == 413
        return
    thing, lamp = name("thing"), device(name("lamp"))
    lamp.subscribe(f"$aws/things/{thing}/shadow/update/+")
    assert http.post(f"/topics/$aws/things/{thing}/shadow/update?qos=1", text).status == 200
    assert json.loads(lamp.message().payload)["code"] == code


@pytest.mark.parametrize("text", [*(text for text, _ in BAD.values()), NOT_UTF8, b"\xff"],
                         ids=[*BAD, "not-utf8", "one-byte"])
def test_a_get_and_a_delete_pass_over_it(device, name, text):
    """What is no object with a client token is ignored there."""
    thing, lamp = name("thing"), device(name("lamp"))
    lamp.subscribe(f"$aws/things/{thing}/shadow/+/+")
    for operation in ("get", "delete"):
        lamp.publish(f"$aws/things/{thing}/shadow/{operation}", text[:100_000])
        body = json.loads(lamp.message().payload)
        assert (body["code"], "clientToken" in body) == (404, False)


# Doors that take an object, and one that they would take.
OURS = {
    "/bitts/v1/connections/disconnect": {"match": {"prefix": "nobody"}, "dryRun": True},
    "/bitts/v1/clock": {"advanceMillis": 0},
    "/policies/p": {"policyDocument": "{}"},
    "/things/t": {"attributePayload": {"attributes": {"a": "b"}}},
}


def spoilt(good):
    """Good text, made bad in each way: a name and the text."""
    text = json.dumps(good).encode()
    inner = json.dumps(next(iter(good))).encode()
    ways = {
        "cut": text[:-1], "trailing": text + b"x", "not-utf8": text[:-1] + b',"x":"\xff"}',
        "nan": text[:-1] + b',"x":NaN}', "surrogate": text[:-1] + b',"x":"\\ud800"}',
        "twice": text[:-1] + b"," + inner + b":" + json.dumps(next(iter(good.values()))).encode()
        + b"}",
        "deep": text[:-1] + b',"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        "an-array": b"[]", "a-number": b"1",
    }
    return ways.items()


@pytest.mark.parametrize("path, text", [
    pytest.param(path, text, id=f"{path}-{word}")
    for path, good in OURS.items() for word, text in spoilt(good)])
def test_paths_that_are_not_the_data_planes(http, path, text):
    answer = http.post(path, text)
    assert answer.status == 400, answer.body
    assert answer.error
    assert json.loads(answer.body)["message"]


@pytest.mark.parametrize("text", [
    b"{", b"[{]", b'[{"a":NaN}]', b'[{"a":"\\ud800"}]', b'[{"a":"\xff"}]', b"[" * 20_000,
    b'[{"a":1}]', b'[{"a":"b","a":"c"}]', b'[{"a":"b"}] x', b'["a"]',
], ids=range(10))
def test_user_properties(http, name, text):
    """data-plane-http §8"""
    header = f"x-amz-mqtt5-user-properties: {base64.b64encode(text).decode()}"
    answer = http.post(f"/topics/{name('t')}", b"x", headers=[header])
    assert (answer.status, answer.error) == (400, "InvalidRequestException")
