"""What the adapters are compared on: requests and events, and the answers that the app gives."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from ddlwa.simulator import EventSource, HttpRequest
from ddlwa.simulator.events import pass_through

_JSON = ["content-type", "application/json"]
_PLAIN = ["content-type", "text/plain"]
_BINARY = ["content-type", "application/octet-stream"]
_BYTES = bytes(range(256))


def answer(*pieces, status=200, headers=(), **more):
    """Return what makes the app answer so."""
    encoded = [base64.b64encode(piece).decode() for piece in pieces]
    return {"status": status, "headers": list(headers), "pieces": encoded, **more}


def sized(body, *, status=200, headers=(), **more):
    """Return what makes the app answer with a body of known length."""
    return answer(body, status=status, headers=[*headers, ["content-length", str(len(body))]], **more)


def raw(data):
    """Return what makes the app's server send these very bytes and hang up."""
    return {"raw": base64.b64encode(data).decode()}


@dataclass(frozen=True)
class Case:
    """One invocation.

    Args:
        asks: A request, or an event as it is.
        source: What the request is sent to.
        stage: The API's stage.
        env: Variables of the function.
        answer: How the app answers; by default with what it was asked.
    """

    asks: HttpRequest | Any
    source: EventSource = EventSource.FUNCTION_URL
    stage: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    answer: dict[str, Any] | None = None


def get(path="/echo", *headers, **more):
    return HttpRequest(path=path, headers=headers, **more)


def post(body, *headers, method="POST", path="/echo"):
    return HttpRequest(method=method, path=path, headers=headers, body=body)


def answers(name, what, **more):
    """Return a case in which the app answers a GET so."""
    method = more.pop("method", "GET")
    return Case(HttpRequest(method=method, path=f"/{name}"), answer=what, **more)


_RICH = post(
    b'{"a": "\xc3\xa9"}',
    ("Content-Type", "application/json"),
    ("Content-Length", "11"),
    ("User-Agent", "curl/8"),
    ("Accept", "*/*"),
    ("X-Two", "a"),
    ("x-two", "b"),
    ("Cookie", "a=1; b=2"),
    ("cookie", "c=3"),
    ("x-datadog-trace-id", "1"),
    ("traceparent", "00-1-2-01"),
    ("x-amzn-lambda-context", "forged"),
    ("x-amzn-request-context", "forged"),
    ("x-amz-tenant-id", "forged"),
    path="/echo?q=1&q=2&z=%20y&empty=&flag",
)
_TARGETS = (
    "/echo",
    "/",
    "/?",
    "/a%20b/%2F/c%C3%A9?x=%20y&x=2&empty",
    "/q?=+%2B&a=b=c&%61=%7E~",
    "/a/./b/../c/%2e%2E/d",
    "/a/..",
    "/..//b//c/",
    "/tilde~and!$&'()*+,;=:@[]|^",
    '/quote"<>`{}',
    "/back\\slash",
    "/semi;colon?a=1;b=2&c=<d>'\"",
    "/percent%zz?%zz=%",
)
_IAM = {
    "iam": {
        "accessKey": "AKIA",
        "accountId": "1",
        "callerId": "2",
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": "arn",
        "userId": "3",
    }
}


def _v2(**more):
    context = {"http": {"method": "GET", "path": "/v2"}, **more.pop("context", {})}
    return {"version": "2.0", "rawPath": "/v2", "requestContext": context, "isBase64Encoded": False, **more}


def _v1(**more):
    context = {"httpMethod": "GET", **more.pop("context", {})}
    return {"httpMethod": "GET", "path": "/v1", "requestContext": context, **more}


CASES = {
    **{f"rich {source.value}": Case(_RICH, source=source) for source in EventSource},
    **{f"bare {source.value}": Case(get(), source=source) for source in EventSource},
    **{
        f"target {target} {source.value}": Case(get(target), source=source)
        for target in _TARGETS
        for source in (EventSource.FUNCTION_URL, EventSource.REST_API, EventSource.ALB_MULTI_VALUE)
    },
    **{
        f"binary request {source.value}": Case(
            post(_BYTES, ("content-type", "application/octet-stream")), source=source
        )
        for source in EventSource
    },
    **{
        f"{method} {name} body": Case(post(body, method=method))
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        for name, body in (("no", b""), ("small", b"ab"))
    },
    "HEAD": Case(HttpRequest(method="HEAD", path="/echo")),
    "empty with content-length": Case(get("/echo", ("content-length", "0"))),
    "large request": Case(post(b"x" * 3_000_000)),
    "form": Case(post(b"a=1&b=2", ("content-type", "application/x-www-form-urlencoded"))),
    "own host": Case(get("/echo", ("host", "shop.example"))),
    "named stage http-api": Case(get(), source=EventSource.HTTP_API, stage="prod"),
    "named stage rest-api": Case(get(), source=EventSource.REST_API, stage="dev"),
    "header beyond ascii": Case(get("/echo", ("x-name", "é"))),
    "cookie beyond ascii": Case(_v2(cookies=["a=é"])),
    "iam authorizer": Case(_v2(context={"authorizer": _IAM, "timeEpoch": 5, "unknown": 1})),
    "jwt authorizer": Case(_v2(context={"authorizer": {"jwt": {"claims": {"a": "b"}, "scopes": ["s"]}}})),
    "v1 authorizer": Case(_v1(context={"authorizer": {"claims": {"a": "b"}, "principalId": "me"}})),
    "v1 poor": Case(_v1()),
    "v1 nulls": Case(
        _v1(headers=None, multiValueHeaders=None, body=None, queryStringParameters=None, isBase64Encoded=None)
    ),
    "v1 single-value query": Case(_v1(queryStringParameters={"a": "b c"})),
    "v1 without path": Case(_v1(path=None)),
    "v2 poor": Case(_v2()),
    "v2 without query": Case(_v2(rawQueryString=None)),
    "v2 list header": Case(_v2(headers={"X-A": ["1", "2"], "x-b": "3"})),
    "v2 bad body": Case(_v2(body="?", isBase64Encoded=True)),
    "sqs": Case(pass_through.sqs("one", "two")),
    "sns": Case(pass_through.sns("é")),
    "s3": Case(pass_through.s3("a+b.txt")),
    "eventbridge": Case(pass_through.eventbridge({"id": 1})),
    "dynamodb": Case(pass_through.dynamodb({"id": {"N": "1"}})),
    "kinesis": Case(pass_through.kinesis(b"\xff")),
    "event null": Case(None),
    "event list": Case([1, "a"]),
    "event empty": Case({}),
    "pass-through answers json": Case(
        {"a": 1}, env={"AWS_LWA_PASS_THROUGH_PATH": "/pt-json"}, answer=sized(b'{"b": [1]}', headers=[_JSON])
    ),
    "pass-through answers text": Case(
        {"a": 1}, env={"AWS_LWA_PASS_THROUGH_PATH": "/pt-text"}, answer=sized(b"no json", headers=[_PLAIN])
    ),
    "pass-through answers binary": Case(
        {"a": 1}, env={"AWS_LWA_PASS_THROUGH_PATH": "/pt-bin"}, answer=sized(b"{}", headers=[_BINARY])
    ),
    "pass-through answers 500": Case(
        {"a": 1}, env={"AWS_LWA_PASS_THROUGH_PATH": "/pt-500"}, answer=sized(b"{}", status=500)
    ),
    "base path": Case(get("/shop/items?a=1"), env={"AWS_LWA_REMOVE_BASE_PATH": "/shop"}),
    "base path twice": Case(get("/shop/shop/items"), env={"AWS_LWA_REMOVE_BASE_PATH": "/shop"}),
    "base path alone": Case(get("/shop"), env={"AWS_LWA_REMOVE_BASE_PATH": "/shop"}),
    "base path elsewhere": Case(get("/a/shop"), env={"AWS_LWA_REMOVE_BASE_PATH": "/shop"}),
    "base path is a stage": Case(
        get("/items"), source=EventSource.HTTP_API, stage="prod", env={"AWS_LWA_REMOVE_BASE_PATH": "/prod"}
    ),
    "authorization source": Case(
        get("/echo", ("x-token", "t"), ("authorization", "o")),
        env={"AWS_LWA_AUTHORIZATION_SOURCE": "X-Token"},
    ),
    "authorization source absent": Case(
        get("/echo", ("authorization", "o")), env={"AWS_LWA_AUTHORIZATION_SOURCE": "X-Token"}
    ),
    "error status": answers(
        "error-status", sized(b"no", status=503), env={"AWS_LWA_ERROR_STATUS_CODES": "500-599,404, x"}
    ),
    "error status of a list": answers(
        "error-status-404", sized(b"no", status=404), env={"AWS_LWA_ERROR_STATUS_CODES": "500-599,404, x"}
    ),
    "compression": Case(
        get("/compression", ("accept-encoding", "gzip")),
        env={"AWS_LWA_ENABLE_COMPRESSION": "true"},
        answer=sized(b"a" * 1000, headers=[_PLAIN]),
    ),
    "no error status": answers(
        "no-error-status", sized(b"no", status=400), env={"AWS_LWA_ERROR_STATUS_CODES": "500-599,404, x"}
    ),
    **{
        f"cookies {source.value}": answers(
            f"cookies-{source.value}",
            sized(
                b"a",
                headers=[
                    ["set-cookie", "a=1"],
                    ["Set-Cookie", "b=2"],
                    ["x-two", "1"],
                    ["X-Two", "2"],
                    ["x-one", "1, 2"],
                ],
            ),
            source=source,
        )
        for source in EventSource
    },
    **{
        f"binary {source.value}": answers(
            f"binary-{source.value}", sized(_BYTES, headers=[_BINARY]), source=source
        )
        for source in EventSource
    },
    **{
        f"status {status}": answers(f"status-{status}", sized(b"ab", status=status))
        for status in (201, 400, 404, 418, 500, 503, 599)
    },
    **{
        f"status {status} to a load balancer": answers(
            f"lb-{status}", sized(b"ab", status=status), source=EventSource.ALB
        )
        for status in (200, 413, 418, 422, 599)
    },
    "no content": answers("204", answer(status=204)),
    "not modified": answers("304", answer(status=304, headers=[["etag", '"a"']])),
    "redirect": answers("redirect", sized(b"", status=302, headers=[["location", "/echo"]])),
    "empty": answers("empty", sized(b"")),
    "empty with a type": answers("empty-typed", sized(b"", headers=[_PLAIN])),
    "empty binary": answers("empty-binary", sized(b"", headers=[_BINARY])),
    "chunked nothing": answers("chunked-nothing", answer()),
    "chunked": answers("chunked", answer(b"a", b"b", headers=[_PLAIN])),
    "chunked by name": answers("chunked-named", answer(b"a", headers=[["transfer-encoding", "chunked"]])),
    "slowly": answers(
        "slowly", answer(*[b"tick\n"] * 5, headers=[["content-type", "text/event-stream"]], pause_s=0.02)
    ),
    "HEAD of a body": answers("head", sized(b"", headers=[["x-a", "1"]]), method="HEAD"),
    "large": answers("large", sized(b"x" * 3_000_000, headers=[_PLAIN])),
    "large chunked": answers("large-chunked", answer(*[b"x" * 300_000] * 10, headers=[_BINARY])),
    "gzip": answers("gzip", sized(b"\x1f\x8bz", headers=[_PLAIN, ["content-encoding", "gzip"]])),
    "identity": answers("identity", sized(b"a", headers=[_PLAIN, ["content-encoding", "identity"]])),
    **{
        f"type {content_type}": answers(
            f"type-{number}", sized("é<".encode(), headers=[["content-type", content_type]])
        )
        for number, content_type in enumerate(
            (
                "text/html; charset=utf-8",
                "TEXT/PLAIN",
                "textual/x",
                "application/json",
                "application/json-seq",
                "application/problem+json",
                "application/problem+json; charset=utf-8",
                "image/svg+xml",
                "application/yaml",
                "application/x-www-form-urlencoded",
                "application/graphql",
                "image/png",
                "text/plain; charset=iso-8859-1",
                'text/plain; charset="utf-16"',
                "text/plain; charset=nonsense",
                "nonsense",
                "",
            )
        )
    },
    "text that is none": answers("bad-text", sized(b"a\xff\xfe\xc3(", headers=[_PLAIN])),
    "latin-1": answers(
        "latin-1", sized(b"caf\xe9 \x80", headers=[["content-type", "text/plain; charset=latin1"]])
    ),
    "shift-jis": answers(
        "sjis", sized("日本".encode("shift-jis"), headers=[["content-type", "text/plain; charset=shift_jis"]])
    ),
    "byte order mark": answers("bom", sized(b"\xef\xbb\xbfa", headers=[_PLAIN])),
    "utf-16 mark": answers("bom16", sized(b"\xff\xfea\x00", headers=[_PLAIN])),
    "forced text": answers(
        "forced", sized(b"a", headers=[_BINARY, ["x-lambda-http-content-encoding", "text"]])
    ),
    "no type": answers("untyped", sized(b"a\xff")),
    "header in utf-8": answers("utf8-header", sized(b"a", headers=[["x-name", "\xc3\xa9"]])),
    "connection: close": answers("close", sized(b"a", headers=[["connection", "close"]])),
    "trailing newline header": answers("spaces", sized(b"a", headers=[["x-a", "  b  "], ["x-empty", ""]])),
    "error before the end": answers(
        "raise", answer(b"part", headers=[["content-length", "100"], _PLAIN], end="raise")
    ),
    "error before the end, chunked": answers("raise-chunked", answer(b"part", headers=[_PLAIN], end="raise")),
    "exception after the response": answers("raise-after", sized(b"a", end="raise-after")),
    "garbage": answers("garbage", raw(b"this is not HTTP\r\n\r\n")),
    "nothing at all": answers("nothing", raw(b"")),
    "half a head": answers("half", raw(b"HTTP/1.1 200 OK\r\ncontent-le")),
    "bad status": answers("bad-status", raw(b"HTTP/1.1 9999 Odd\r\ncontent-length: 1\r\n\r\na")),
    "bad length": answers("bad-length", raw(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\na")),
    "two lengths": answers(
        "two-lengths", raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
    ),
    "bad chunk": answers("bad-chunk", raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")),
    "truncated chunk": answers(
        "truncated-chunk", raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab")
    ),
    "until the end of the connection": answers(
        "eof", raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nabc")
    ),
    "http/1.0": answers("http10", raw(b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na")),
    "interim response": answers(
        "interim",
        raw(b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"),
    ),
    "many headers": answers(
        "many", sized(b"a", headers=[[f"x-{number}", "v" * 100] for number in range(90)])
    ),
}
