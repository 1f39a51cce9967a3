from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ddlwa.simulator import HttpRequest
from ddlwa.simulator.environment import Function
from ddlwa.simulator.events import (
    Arrival,
    EventSource,
    http_event,
    http_response,
    pass_through,
    source_of,
    streamed_http_response,
)

_FUNCTION = Function(name="shop", memory_mb=512, timeout_s=3)


_ARRIVAL = Arrival(request_id="id", trace_id="Root=1", now_ns=1_583_348_638_390_123_456, function=_FUNCTION)


def event_of(*, source=EventSource.FUNCTION_URL, **request):
    return http_event(HttpRequest(**request), _ARRIVAL, source=source)


def test_has_the_fields_of_payload_format_two():
    """The event has the documented fields, with the time of the request in both forms."""
    event = event_of(path="/a%20b?x=1&y", headers=(("User-Agent", "curl"), ("X", "1"), ("x", "2")))
    assert (event["version"], event["routeKey"]) == ("2.0", "$default")
    assert (event["rawPath"], event["rawQueryString"]) == ("/a%20b", "x=1&y")
    assert event["headers"]["x"] == "1,2"
    assert event["headers"]["x-amzn-trace-id"] == "Root=1"
    context = event["requestContext"]
    assert context["time"] == "04/Mar/2020:19:03:58 +0000"
    assert context["timeEpoch"] == 1_583_348_638_390
    assert context["http"]["userAgent"] == "curl"
    assert context["domainName"] == event["headers"]["host"]
    assert context["domainName"].startswith(context["domainPrefix"])
    assert "body" not in event
    assert "cookies" not in event


def test_splits_cookies():
    """Cookies are a list of their own and no header."""
    event = event_of(headers=(("Cookie", "a=1; b=2"), ("cookie", "c=3")))
    assert event["cookies"] == ["a=1", "b=2", "c=3"]
    assert "cookie" not in event["headers"]


@pytest.mark.parametrize(
    ("body", "text", "encoded"), [(b"a\xc3\xa9", "aé", False), (b"\xff\x00", "/wA=", True)]
)
def test_encodes_binary_bodies(body, text, encoded):
    """A body that is no text comes as base64, and says so."""
    event = event_of(method="POST", body=body)
    assert (event["body"], event["isBase64Encoded"]) == (text, encoded)


def test_reads_a_response():
    """A response has its status, lower-case headers, cookies and decoded body."""
    answer = {
        "statusCode": 201,
        "headers": {"X-A": "1"},
        "cookies": ["a=1"],
        "body": "/wA=",
        "isBase64Encoded": True,
    }
    response = http_response(json.dumps(answer).encode())
    assert response.status == 201
    assert response.headers == (("x-a", "1"), ("set-cookie", "a=1"))
    assert response.body == b"\xff\x00"


@pytest.mark.parametrize("payload", [b"", b"[]", b'"text"', b"{}", b'{"statusCode": "many"}', b"\xff"])
def test_refuses_what_is_no_response(payload):
    """A payload that is no response is an error that shows its begin."""
    with pytest.raises(ValueError, match="payload format"):
        http_response(payload)


RICH = {
    "method": "POST",
    "path": "/a%20b?x=%20y&x=2&z",
    "headers": (("X-Two", "1"), ("x-two", "2"), ("Cookie", "a=1; b=2"), ("User-Agent", "curl")),
    "body": b"text",
}


def test_an_http_api_has_a_stage_and_an_account():
    """An HTTP API's event is as a function URL's, with an account; a named stage begins the path."""
    event = event_of(source=EventSource.HTTP_API, **RICH)
    assert event["requestContext"]["accountId"] == _FUNCTION.account
    assert event["queryStringParameters"] == {"x": " y,2", "z": ""}
    assert ".execute-api." in event["requestContext"]["domainName"]
    assert event["rawPath"] == "/a%20b"
    staged = http_event(HttpRequest(path="/a"), replace(_ARRIVAL, stage="dev"), source=EventSource.HTTP_API)
    assert (staged["rawPath"], staged["requestContext"]["stage"]) == ("/dev/a", "dev")


def test_a_rest_api_has_single_and_multiple_values():
    """A REST API's event has the last value and all values of headers and decoded parameters."""
    event = event_of(source=EventSource.REST_API, **RICH)
    assert event["headers"]["X-Two"] == "2"
    assert event["multiValueHeaders"]["X-Two"] == ["1", "2"]
    assert event["queryStringParameters"] == {"x": "2", "z": ""}
    assert event["multiValueQueryStringParameters"] == {"x": [" y", "2"], "z": [""]}
    assert event["pathParameters"] == {"proxy": "a b"}
    assert event["requestContext"]["path"] == "/prod/a%20b"
    assert event["requestContext"]["identity"]["userAgent"] == "curl"
    assert (event["body"], event["isBase64Encoded"]) == ("text", False)


def test_a_rest_api_says_null_for_what_is_not_there():
    """Without query, path and body the fields are there, as null."""
    event = event_of(source=EventSource.REST_API)
    absent = (
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "pathParameters",
        "stageVariables",
        "body",
    )
    assert [event[name] for name in absent] == [None] * len(absent)
    assert event["resource"] == "/"


def test_a_load_balancer_keeps_the_encoding():
    """A load balancer does not decode parameters, and has the last value of each or lists of all."""
    single = event_of(source=EventSource.ALB, **RICH)
    assert single["queryStringParameters"] == {"x": "2", "z": ""}
    assert single["headers"]["x-two"] == "2"
    assert "multiValueHeaders" not in single
    several = event_of(source=EventSource.ALB_MULTI_VALUE, **RICH)
    assert several["multiValueQueryStringParameters"] == {"x": ["%20y", "2"], "z": [""]}
    assert several["multiValueHeaders"]["x-two"] == ["1", "2"]
    assert "headers" not in several
    assert several["requestContext"]["elb"]["targetGroupArn"].startswith("arn:aws:elasticloadbalancing:")


@pytest.mark.parametrize("source", EventSource)
def test_an_event_tells_its_source(source):
    """Every event is recognised as what it was made as."""
    assert source_of(event_of(source=source, **RICH)) is source


@pytest.mark.parametrize(
    "event",
    [
        *(None, [], "text", {}, {"requestContext": None}, {"requestContext": {}}, {"httpMethod": "GET"}),
        *(pass_through.sqs("a"), pass_through.sns("a"), pass_through.s3("a"), pass_through.eventbridge({})),
        *(pass_through.dynamodb({"id": {"N": "1"}}), pass_through.kinesis(b"a")),
    ],
)
def test_other_events_have_no_http_source(event):
    """What is no HTTP request's event passes through."""
    assert source_of(event) is None


def test_samples_carry_what_they_are_given():
    """The samples' payloads are where consumers look for them."""
    assert [one["body"] for one in pass_through.sqs("a", "b")["Records"]] == ["a", "b"]
    assert pass_through.sns("a")["Records"][0]["Sns"]["Message"] == "a"
    assert pass_through.s3("k", bucket="b")["Records"][0]["s3"]["object"]["key"] == "k"
    assert pass_through.eventbridge({"id": 1}, detail_type="T")["detail-type"] == "T"
    image = {"id": {"N": "1"}, "name": {"S": "a"}}
    assert pass_through.dynamodb(image)["Records"][0]["dynamodb"]["Keys"] == {"id": {"N": "1"}}
    assert pass_through.kinesis(b"\xff")["Records"][0]["kinesis"]["data"] == "/w=="
    assert (
        pass_through.s3("k", now_ms=1_583_348_638_390)["Records"][0]["eventTime"]
        == "2020-03-04T19:03:58.390Z"
    )


@pytest.mark.parametrize(
    ("source", "headers"),
    [
        (EventSource.FUNCTION_URL, (("x-a", "1"), ("set-cookie", "c=1"))),
        (EventSource.HTTP_API, (("x-a", "1"), ("set-cookie", "c=1"))),
        (EventSource.REST_API, (("x-a", "1"), ("x-b", "2"), ("x-b", "3"))),
        (EventSource.ALB, (("x-a", "1"),)),
        (EventSource.ALB_MULTI_VALUE, (("x-a", "1"), ("x-b", "2"), ("x-b", "3"))),
    ],
)
def test_each_source_reads_its_own_fields(source, headers):
    """Which of the header fields counts depends on the source, and none is counted twice."""
    answer = {
        "statusCode": 200,
        "headers": {"X-A": "1"},
        "multiValueHeaders": {"x-a": ["1"], "x-b": ["2", "3"]},
        "cookies": ["c=1"],
    }
    assert http_response(json.dumps(answer).encode(), source=source).headers == headers


def test_reads_a_streamed_response():
    """A streamed response has its head before eight NUL bytes, and its body after them."""
    head = b'{"statusCode": 201, "headers": {"x-a": ["1", "2"]}, "cookies": ["c=1"]}'
    response = streamed_http_response(head + b"\0" * 9)
    assert response.status == 201
    assert response.headers == (("x-a", "1"), ("x-a", "2"), ("set-cookie", "c=1"))
    assert response.body == b"\0"


@pytest.mark.parametrize("payload", [b"", b"{}", b"\0" * 8, b"[]" + b"\0" * 8, b"no json" + b"\0" * 8])
def test_refuses_a_stream_without_a_head(payload):
    """A stream without JSON and NUL bytes is an error that shows its begin."""
    with pytest.raises(ValueError, match="not a streamed HTTP response"):
        streamed_http_response(payload)
