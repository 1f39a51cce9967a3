from __future__ import annotations

import base64
import json

import pytest
from simulator_support import Playground, run

from ddlwa.simulator import FreezeMoment, HttpRequest


@pytest.fixture
def invoke(tmp_path):
    """Return a function that sends requests through one sandbox and returns the invocations."""
    playground = Playground(tmp_path / "notes")

    def send(*requests, moment=FreezeMoment.ADVERSARIAL, **options):
        async def scenario():
            async with playground.sandbox(moment=moment, **options) as sandbox:
                return [await sandbox.invoke(request) for request in requests]

        return run(scenario())

    yield send
    assert playground.processes() == []


def echoed(invocation):
    return json.loads(invocation.response.body)


def headers_of(invocation):
    return dict(echoed(invocation)["headers"])


def test_adds_the_headers_of_an_invocation(invoke):
    """The app gets the Lambda context, the request context and the trace header, in LWA's shapes."""
    (invocation,) = invoke(HttpRequest(path="/echo?q=1"), function_name="shop", memory_mb=1024, timeout_s=7)
    headers = headers_of(invocation)
    context = json.loads(headers["x-amzn-lambda-context"])
    assert context == {
        "request_id": invocation.request_id,
        "deadline": invocation.started_ns // 1_000_000 + 7000,
        "invoked_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:shop",
        "xray_trace_id": headers["x-amzn-trace-id"],
        "client_context": None,
        "identity": None,
        "tenant_id": None,
        "env_config": {
            "function_name": "shop",
            "memory": 1024,
            "version": "$LATEST",
            "log_stream": context["env_config"]["log_stream"],
            "log_group": "/aws/lambda/shop",
        },
    }
    request_context = json.loads(headers["x-amzn-request-context"])
    assert request_context["requestId"] == invocation.request_id
    assert request_context["timeEpoch"] == invocation.started_ns // 1_000_000
    assert request_context["http"]["method"] == "GET"
    assert request_context["http"]["path"] == "/echo"
    assert request_context["domainName"] == headers["host"]


def test_passes_the_clients_headers_and_adds_none_of_its_own(invoke):
    """Trace headers and the public host come through; a client cannot set the adapter's headers."""
    client = (
        ("x-datadog-trace-id", "1"),
        ("traceparent", "00-1-2-01"),
        ("X-Two", "a"),
        ("x-two", "b"),
        ("Cookie", "a=1; b=2"),
        ("host", "shop.example"),
        ("x-amzn-lambda-context", "forged"),
    )
    bare, full = invoke(HttpRequest(path="/echo"), HttpRequest(path="/echo", headers=client))
    assert set(headers_of(bare)) == {
        "content-length",
        "host",
        "x-amzn-lambda-context",
        "x-amzn-request-context",
        "x-amzn-trace-id",
        "x-forwarded-for",
        "x-forwarded-port",
        "x-forwarded-proto",
    }
    headers = headers_of(full)
    assert headers["x-datadog-trace-id"] == "1"
    assert headers["traceparent"] == "00-1-2-01"
    assert headers["x-two"] == "a,b"
    assert headers["cookie"] == "a=1;b=2"
    assert headers["host"] == "shop.example"
    assert json.loads(headers["x-amzn-lambda-context"])["request_id"] == full.request_id


@pytest.mark.parametrize("target", ["/a%20b/%2F?x=%20y&x=2&empty", "/?", "/%C3%A9?q=+%2B"])
def test_keeps_path_and_query_as_they_are(invoke, target):
    """Path and query string reach the app with the very percent-encoding that the client sent."""
    (invocation,) = invoke(HttpRequest(path=target))
    path, _, query = target.partition("?")
    assert echoed(invocation)["target"] == f"{path}?{query}"


@pytest.mark.parametrize("body", [b"", b'{"a": 1}', "é".encode(), bytes(range(256)), b"x" * 3_000_000])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET", "OPTIONS"])
def test_keeps_method_and_body(invoke, method, body):
    """Text and binary bodies reach the app unchanged, with any method."""
    request = HttpRequest(
        method=method, path="/echo", headers=(("content-length", str(len(body))),), body=body
    )
    (invocation,) = invoke(request)
    assert echoed(invocation)["method"] == method
    assert bytes.fromhex(echoed(invocation)["body"]) == body


def test_keeps_the_response(invoke):
    """Binary and encoded bodies, cookies and redirects come back as the app sent them."""
    binary, encoded, cookies, redirect, after = invoke(
        *(HttpRequest(path=path) for path in ("/binary", "/encoded", "/cookies", "/redirect", "/echo"))
    )
    assert binary.response.body == bytes(range(256))
    assert encoded.response.body == b"\x1f\x8bz"
    assert ("content-encoding", "gzip") in encoded.response.headers
    assert [value for name, value in cookies.response.headers if name == "set-cookie"] == ["a=1", "b=2"]
    assert ("x-two", "1") in cookies.response.headers  # LWA posts the first value only
    assert redirect.response.status == 302
    assert ("location", "/chunked") in redirect.response.headers
    assert "cookie" not in headers_of(after)


def test_drops_only_transfer_encoding(invoke):
    """Of the app's response headers the adapter removes transfer-encoding, and nothing else."""
    chunked, plain = invoke(HttpRequest(path="/chunked"), HttpRequest(path="/length"))
    assert {name for name, _ in chunked.response.headers} == {"date", "server"}
    assert {name for name, _ in plain.response.headers} == {"date", "server", "content-length"}


def test_request_ids_differ(invoke):
    """Each invocation has a request id of its own."""
    invocations = invoke(*[HttpRequest(path="/length")] * 5)
    assert len({invocation.request_id for invocation in invocations}) == 5


def test_credentials_stay_out_of_the_url(invoke):
    """A client's authorization header is passed on as it is."""
    value = "Basic " + base64.b64encode(b"a:b").decode()
    (invocation,) = invoke(HttpRequest(path="/echo", headers=(("authorization", value),)))
    assert headers_of(invocation)["authorization"] == value
