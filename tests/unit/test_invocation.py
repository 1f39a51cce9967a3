"""LWA's two headers: what is read from them, and what is not."""

import copy
import dataclasses
import json
import logging
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddlwa import invocation, log
from ddlwa.invocation import Invocation, has_context, invocation_of

WARNING = (
    "the x-amzn-lambda-context or x-amzn-request-context header of a request is not what LWA sends; "
    "what is wrong in it is ignored"
)
MARKER = "s3cr3t-m4rk3r"

CONTEXT = {
    "request_id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    "deadline": 1_764_000_000_123,
    "invoked_function_arn": "arn:aws:lambda:eu-west-1:123456789012:function:shop:live",
    "xray_trace_id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    "client_context": None,
    "identity": None,
    "tenant_id": None,
    "env_config": {
        "function_name": "shop",
        "memory": 512,
        "version": "$LATEST",
        "log_stream": "2026/11/24/[$LATEST]0b3cdd2f6a1f4f5c8d8c0a3f1c9be0a7",
        "log_group": "/aws/lambda/shop",
    },
}
INVOCATION = Invocation(
    request_id="8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    deadline_s=1_764_000_000.123,
    function_arn="arn:aws:lambda:eu-west-1:123456789012:function:shop:live",
    xray_trace_id="Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    function_name="shop",
    memory_mb=512,
    version="$LATEST",
    log_stream="2026/11/24/[$LATEST]0b3cdd2f6a1f4f5c8d8c0a3f1c9be0a7",
    log_group="/aws/lambda/shop",
)

REST_API = {
    "accountId": "123456789012",
    "resourceId": "2gxmpl",
    "stage": "prod",
    "domainName": "70ixmpl4fl.execute-api.eu-west-1.amazonaws.com",
    "domainPrefix": "70ixmpl4fl",
    "requestId": "e4f4b9a0-2f0c-4e8a-8b6c-8f2a0c1b7d11",
    "protocol": "HTTP/1.1",
    "identity": {
        "cognitoIdentityPoolId": None,
        "accountId": None,
        "sourceIp": "203.0.113.7",
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) Größe",
        "user": None,
    },
    "resourcePath": "/items/{id}",
    "path": "/prod/items/1",
    "authorizer": {"claims": {"sub": "c0ffee", "scope": "read write"}, "principalId": "user|42"},
    "httpMethod": "GET",
    "requestTime": "24/Nov/2026:12:00:00 +0000",
    "requestTimeEpoch": 1_764_000_000_000,
    "apiId": "70ixmpl4fl",
}
HTTP_API = {
    "routeKey": "GET /items/{id}",
    "accountId": "123456789012",
    "stage": "$default",
    "requestId": "JKJaXmPLvHcESHA=",
    "authorizer": {"jwt": {"claims": {"sub": "c0ffee", "exp": "1764000600"}, "scopes": ["read"]}},
    "apiId": "r3pmxmplak",
    "domainName": "r3pmxmplak.execute-api.eu-west-1.amazonaws.com",
    "domainPrefix": "r3pmxmplak",
    "time": "24/Nov/2026:12:00:00 +0000",
    "timeEpoch": 1_764_000_000_000,
    "http": {
        "method": "GET",
        "path": "/items/1",
        "protocol": "HTTP/1.1",
        "sourceIp": "203.0.113.7",
        "userAgent": "curl/8.5.0",
    },
}
FUNCTION_URL = {
    **HTTP_API,
    "routeKey": "$default",
    "accountId": "anonymous",
    "requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    "authorizer": {"iam": {"accessKey": "AKIAEXAMPLE", "accountId": "123456789012", "cognitoIdentity": None}},
    "apiId": "6xmplurl",
    "domainName": "6xmplurl.lambda-url.eu-west-1.on.aws",
    "domainPrefix": "6xmplurl",
}
ALB = {
    "elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/49e9d65c"}
}
SOURCES = {"REST API": REST_API, "HTTP API": HTTP_API, "function URL": FUNCTION_URL, "load balancer": ALB}


def header(value):
    """Write JSON as serde_json does."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def scope(*contexts, requests=()):
    return {
        "type": "http",
        "headers": [
            (b"host", b"shop.example"),
            *((b"x-amzn-request-context", value) for value in requests),
            *((b"x-amzn-lambda-context", value) for value in contexts),
            (b"user-agent", b"curl/8.5.0"),
        ],
    }


def changed(path, value):
    """Give LWA's context with one field replaced."""
    context = copy.deepcopy(CONTEXT)
    *parents, last = path.split(".")
    place = context
    for parent in parents:
        place = place[parent]
    place[last] = value
    return context


def nested(depth):
    return '{"a":' * depth + "1" + "}" * depth


def malformed():
    return invocation.counts["malformed"]


@pytest.fixture(autouse=True)
def _counted_from_zero():
    invocation.counts.clear()


@contextmanager
def logged():
    """Give all that ddlwa logs meanwhile, formatted in full, as if it had not logged anything before."""
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    handler = Handler()
    log._said.clear()
    logger = logging.getLogger("ddlwa")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("request_context", SOURCES.values(), ids=SOURCES)
def test_what_lwa_sends(request_context, warnings_said):
    """All fields of both headers are read, whatever the event's source."""
    found = invocation_of(scope(header(CONTEXT), requests=[header(request_context)]))
    assert found == INVOCATION
    assert found.request_context == request_context
    assert (malformed(), warnings_said()) == (0, [])


def test_pass_through_event(warnings_said):
    """An event that is no HTTP request has an invocation, and the request context null."""
    found = invocation_of(scope(header(CONTEXT), requests=[b"null"]))
    assert found == INVOCATION
    assert found.request_context is None
    assert (malformed(), warnings_said()) == (0, [])


def test_caller_with_an_aws_sdk():
    """What a caller has sent along, its identity and the tenant are read."""
    client = {"client": {"appTitle": "Läden"}, "custom": {"a": "\u2028\x01"}, "environment": {}}
    identity = {"identityId": "eu-west-1:1", "identityPoolId": "eu-west-1:2"}
    context = {**CONTEXT, "client_context": client, "identity": identity, "tenant_id": "blue team/1"}
    found = invocation_of(scope(header(context)))
    assert (found.client_context, found.identity, found.tenant_id) == (client, identity, "blue team/1")
    assert malformed() == 0


@pytest.mark.parametrize("requests", [[], [header(HTTP_API)]], ids=["none", "request context"])
def test_readiness_check(requests, warnings_said):
    """A request without the context header, as the readiness check, belongs to no invocation."""
    assert invocation_of(scope(requests=requests)) is None
    assert not has_context(scope(requests=requests))
    assert (malformed(), warnings_said()) == (0, [])


def test_malformed_is_told_from_a_readiness_check():
    """A request with a malformed context header is none of the readiness check's."""
    assert invocation_of(scope(b"{")) is None
    assert has_context(scope(b"{"))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(header(CONTEXT) + b"}", id="more after it"),
        pytest.param(header(CONTEXT) + b"," + header(CONTEXT), id="two joined by a proxy"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(json.dumps(CONTEXT).encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + header(CONTEXT), id="byte order mark"),
        pytest.param(header(changed("invoked_function_arn", "é")).replace(b"\xc3", b""), id="cut character"),
        pytest.param(header(CONTEXT).replace(b"shop", b"\xed\xa0\x80"), id="surrogate in UTF-8"),
        pytest.param(header(CONTEXT).replace(b"shop", b"\\ud800"), id="escaped half of a surrogate pair"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'"x"', id="string"),
        pytest.param(b"1", id="number"),
        pytest.param(b"{}", id="empty object"),
        pytest.param(header(CONTEXT).replace(b'"x', b'"request_id":"y","x'), id="duplicate name"),
        pytest.param(header(CONTEXT).replace(b'"shop"', b'"shop","version":"1"'), id="duplicate name inside"),
        pytest.param(header(changed("request_id", None)), id="no request id"),
        pytest.param(header(changed("request_id", "")), id="request id empty"),
        pytest.param(header(changed("request_id", 1)), id="request id a number"),
        pytest.param(header(changed("request_id", ["x"])), id="request id an array"),
        pytest.param(header(changed("request_id", "a\nb")), id="request id of two lines"),
        pytest.param(header(changed("request_id", "a\0b")), id="request id with a control character"),
        pytest.param(header(changed("request_id", "a\x7fb")), id="request id with a delete character"),
        pytest.param(header(changed("request_id", "ä")), id="request id not ASCII"),
        pytest.param(header(changed("request_id", "x" * 1025)), id="request id too long"),
        pytest.param(header(CONTEXT).replace(b"-e9f4", b"\n"), id="line end in a string"),
        pytest.param(header(changed("deadline", None)), id="no deadline"),
        pytest.param(header(changed("deadline", "1764000000123")), id="deadline a string"),
        pytest.param(header(CONTEXT).replace(b"1764000000123", b"true"), id="deadline a boolean"),
        pytest.param(header(changed("deadline", 1.5)), id="deadline a fraction"),
        pytest.param(header(changed("deadline", 0)), id="deadline zero"),
        pytest.param(header(changed("deadline", -1)), id="deadline negative"),
        pytest.param(header(changed("deadline", 253_402_300_800_000)), id="deadline after the year 9999"),
        pytest.param(header(changed("deadline", 10**400)), id="deadline larger than a float"),
        pytest.param(header(CONTEXT).replace(b"1764000000123", b"9" * 5000), id="deadline of 5000 digits"),
        pytest.param(header(changed("deadline", float("nan"))), id="NaN"),
        pytest.param(header(changed("deadline", float("inf"))), id="Infinity"),
        pytest.param(header(changed("deadline", float("-inf"))), id="-Infinity"),
        pytest.param(header(CONTEXT).replace(b"1764000000123", b"1e999"), id="infinity in digits"),
        pytest.param(header(CONTEXT).replace(b'"identity":null', b'"identity":NaN'), id="NaN elsewhere"),
        pytest.param(header({**CONTEXT, "more": "x" * 16_384}), id="oversized"),
        pytest.param(b"[" * 10_000, id="deep"),
        pytest.param(b'{"a":' * 2_000 + b"1" + b"}" * 2_000, id="deep and closed"),
        pytest.param(b'{"request_id":"x","deadline":1,"a":' + nested(128).encode() + b"}", id="too deep"),
        pytest.param(json.dumps(CONTEXT), id="not bytes"),
        pytest.param(None, id="nothing"),
    ],
)
def test_malformed_context(value, warnings_said):
    """A context header that LWA does not send means no invocation, one more on the counter, one warning."""
    for times in (1, 2):
        assert invocation_of(scope(value, requests=[header(HTTP_API)])) is None
        assert (malformed(), warnings_said()) == (times, [WARNING])


@pytest.mark.parametrize(
    "twice",
    [
        pytest.param(scope(header(CONTEXT), header(CONTEXT), requests=[b"null"]), id="context"),
        pytest.param(scope(header(CONTEXT), b"", requests=[b"null"]), id="context, one empty"),
        pytest.param(scope(header(CONTEXT), requests=[b"null", b"null"]), id="request context"),
        pytest.param(scope(b"{", b"{", requests=[b"{", b"{"]), id="both, malformed"),
    ],
)
def test_duplicated_header(twice, warnings_said):
    """LWA overwrites what a client sent, so where a header is there twice somebody else has spoken."""
    assert invocation_of(twice) is None
    assert (malformed(), warnings_said()) == (1, [WARNING])


@pytest.mark.parametrize(
    ("path", "attribute", "empty"),
    [
        ("invoked_function_arn", "function_arn", ""),
        ("xray_trace_id", "xray_trace_id", None),
        ("client_context", "client_context", None),
        ("identity", "identity", None),
        ("tenant_id", "tenant_id", None),
        ("env_config.function_name", "function_name", ""),
        ("env_config.memory", "memory_mb", 0),
        ("env_config.version", "version", ""),
        ("env_config.log_stream", "log_stream", ""),
        ("env_config.log_group", "log_group", ""),
    ],
)
@pytest.mark.parametrize(
    "value",
    [True, -1, 2**31, 1.5, [], ["x"], "a\nb", "a\x1b[31m", "\u202e", "x" * 1025],
    ids=["true", "negative", "huge", "fraction", "array", "list", "lines", "escape", "bidi", "long"],
)
def test_malformed_optional_part(path, attribute, empty, value, warnings_said):
    """An optional part that is malformed is empty, and costs the invocation nothing else."""
    found = invocation_of(scope(header(changed(path, value))))
    assert found == dataclasses.replace(INVOCATION, **{attribute: empty})
    assert (malformed(), warnings_said()) == (1, [WARNING])


@pytest.mark.parametrize("value", ["x", [], 1, False])
def test_malformed_env_config(value, warnings_said):
    """An env_config that is no object leaves its fields empty."""
    found = invocation_of(scope(header({**CONTEXT, "env_config": value})))
    assert (found.request_id, found.deadline_s) == (INVOCATION.request_id, INVOCATION.deadline_s)
    assert (found.function_name, found.memory_mb, found.log_group) == ("", 0, "")
    assert (malformed(), warnings_said()) == (1, [WARNING])


def test_several_malformed_parts_are_one_malformed_header():
    """The counter counts headers, not what is wrong in them."""
    context = {**changed("env_config.memory", "x"), "identity": 1, "tenant_id": 2}
    assert invocation_of(scope(header(context))) is not None
    assert malformed() == 1


@pytest.mark.parametrize(
    "context",
    [
        {"request_id": "id-1", "deadline": 1_764_000_000_123},
        {**dict.fromkeys(CONTEXT), "request_id": "id-1", "deadline": 1_764_000_000_123},
        {"request_id": "id-1", "deadline": 1_764_000_000_123, "env_config": {}, "new": [1]},
    ],
    ids=["absent", "null", "of another version"],
)
def test_absent_parts(context, warnings_said):
    """What an older or newer adapter leaves out or adds is no fault."""
    assert invocation_of(scope(header(context))) == Invocation(
        request_id="id-1", deadline_s=1_764_000_000.123
    )
    assert (malformed(), warnings_said()) == (0, [])


def test_request_id_and_deadline_at_their_limits():
    """The limits themselves are within them."""
    context = {**CONTEXT, "request_id": "x" * 1024, "deadline": 253_402_300_799_999}
    found = invocation_of(scope(header(context)))
    assert (len(found.request_id), found.deadline_s) == (1024, 253_402_300_799.999)
    assert invocation_of(scope(header(changed("deadline", 1)))).deadline_s == 0.001
    largest = header(CONTEXT) + b" " * (16_384 - len(header(CONTEXT)))
    assert invocation_of(scope(largest)) == INVOCATION
    assert malformed() == 0


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"0", id="number"),
        pytest.param(b'"null"', id="string"),
        pytest.param(b'{"elb":{},"elb":{}}', id="duplicate name"),
        pytest.param(b'{"timeEpoch":NaN}', id="NaN"),
        pytest.param(b'{"timeEpoch":-Infinity}', id="-Infinity"),
        pytest.param(b'{"timeEpoch":1e999}', id="infinity in digits"),
        pytest.param(b'{"path":"a\nb"}', id="line end in a string"),
        pytest.param(b'{"path":"\\udc00"}', id="escaped half of a surrogate pair"),
        pytest.param(b"[" * 10_000, id="deep"),
        pytest.param(nested(129).encode(), id="too deep"),
        pytest.param(header({"path": "x" * 65_536}), id="oversized"),
    ],
)
def test_malformed_request_context(value, warnings_said):
    """A malformed request context is found when it is asked for, counts once, and costs nothing else."""
    found = invocation_of(scope(header(CONTEXT), requests=[value]))
    assert found == INVOCATION
    assert malformed() == 0
    assert [found.request_context, found.request_context] == [None, None]
    assert (malformed(), warnings_said()) == (1, [WARNING])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(nested(128).encode(), id="deep"),
        pytest.param(header({"path": "[{" * 500, "scopes": [[], {}] * 100}), id="broad"),
        pytest.param(header({"path": "x" * (65_536 - len('{"path":""}'))}), id="large"),
        pytest.param(header({"path": "\\ud800 \x01 \N{GRINNING FACE}", "weight": 0.5}), id="escapes"),
        pytest.param(b'{"path":"\\ud83d\\ude00"}', id="escaped surrogate pair"),
    ],
)
def test_unusual_request_context(value):
    """What LWA could send is accepted, however unusual."""
    found = invocation_of(scope(header(CONTEXT), requests=[value]))
    assert found.request_context == json.loads(value)
    assert malformed() == 0


def test_request_context_is_decoded_once():
    """The request context is decoded when first asked for, and kept."""
    found = invocation_of(scope(header(CONTEXT), requests=[header(HTTP_API)]))
    assert found.request_context is found.request_context


def test_invocation_without_request_context():
    """An invocation that is made by hand, or of one header, has no request context."""
    assert INVOCATION.request_context is None
    assert invocation_of(scope(header(CONTEXT))).request_context is None


def test_frozen():
    """An invocation cannot be changed, nor does it take further attributes."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        INVOCATION.request_id = "x"
    assert not hasattr(INVOCATION, "__dict__")


def test_repr_keeps_the_clients_data():
    """What belongs to a client or to its event is not shown where somebody logs an invocation."""
    context = {**CONTEXT, "client_context": {"a": MARKER}, "identity": {"identityId": MARKER}}
    found = invocation_of(scope(header(context), requests=[header({"path": MARKER})]))
    assert found.request_context == {"path": MARKER}
    assert MARKER not in repr(found)


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        (1_764_000_000.0, 123),
        (1_763_999_970.1, 30_023),
        (1_764_000_000.123, 0),
        (1_764_000_001.0, 0),
        (9e18, 0),
    ],
)
def test_remaining_time(now_s, expected):
    """The remaining time is the deadline's distance, and never negative."""
    assert INVOCATION.remaining_time_ms(now_s) == expected


def test_remaining_time_by_the_clock():
    """Without a time the clock's is taken."""
    before_s = time.time()
    remaining_ms = Invocation(request_id="x", deadline_s=before_s + 60).remaining_time_ms()
    elapsed_ms = (time.time() - before_s) * 1000
    assert 60_000 - elapsed_ms - 1 <= remaining_ms <= 60_000


ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(sorted(CONTEXT)), inner),
    ).map(lambda value: json.dumps(value).encode()),
)


@given(context=ANYTHING, request_context=ANYTHING)
def test_anything(context, request_context):
    """No header whatever makes a request fail, and what is no context is counted once."""
    invocation.counts.clear()
    with logged() as lines:
        found = invocation_of(scope(context, requests=[request_context]))
        assert malformed() in ({1} if found is None else {0, 1})
        invocation.counts.clear()
        other = invocation_of(scope(header(CONTEXT), requests=[request_context]))
        assert other == INVOCATION
        assert malformed() == 0
        decoded = other.request_context
        assert malformed() in ({0} if decoded else {0, 1})
    assert decoded is None or isinstance(decoded, dict)
    assert lines in ([], [WARNING])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"x-amzn-lambda-context", b"x-amzn-request-context", b"host"]) | st.binary(),
            st.sampled_from([header(CONTEXT), header(ALB), b"null"]) | st.binary(),
        ),
        max_size=5,
    )
)
def test_any_list_of_headers(headers):
    """Only one sound context header, and at most one request context, make an invocation."""
    invocation.counts.clear()
    contexts = [value for name, value in headers if name == b"x-amzn-lambda-context"]
    requests = [value for name, value in headers if name == b"x-amzn-request-context"]
    sound = contexts == [header(CONTEXT)] and len(requests) <= 1
    assert invocation_of({"headers": headers}) == (INVOCATION if sound else None)
    assert has_context({"headers": headers}) is bool(contexts)
    assert malformed() == (bool(contexts) and not sound)


@given(data=st.data())
def test_damaged_header(data):
    """A sound header with some bytes changed is counted as malformed or is sound, and is never logged."""
    invocation.counts.clear()
    raw = bytearray(header({**CONTEXT, "invoked_function_arn": MARKER, "client_context": {"a": MARKER}}))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(start + 3, len(raw))))
        raw[start:end] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"]", b"\\u", b"e9", b"-"])
        )
    with logged() as lines:
        found = invocation_of(scope(bytes(raw)))
    assert malformed() in ({1} if found is None else {0, 1})
    assert lines == [WARNING] * malformed()
    if found is not None:
        assert found.request_id
        assert 0 < found.deadline_s < 253_402_300_800
        assert isinstance(found.client_context, dict | None)


NO_TEXT = [
    1,
    True,
    0.5,
    [],
    {},
    [MARKER],
    {MARKER: 1},
    f"{MARKER}\n",
    f"\x1b{MARKER}",
    f"ä{MARKER}",
    MARKER * 100,
]
NO_OBJECT = [1, False, [], [MARKER], MARKER, ""]
NO_NUMBER = [True, -1, 1.0, [], {}, MARKER, "1", 10**15]
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=100)
REQUIRED = {"request_id": (TEXT.filter(bool), NO_TEXT), "deadline": (st.integers(1, 10**14), NO_NUMBER)}
OPTIONAL = {
    "invoked_function_arn": ("function_arn", "", TEXT, NO_TEXT),
    "xray_trace_id": ("xray_trace_id", None, TEXT, NO_TEXT),
    "tenant_id": ("tenant_id", None, TEXT, NO_TEXT),
    "client_context": ("client_context", None, st.dictionaries(TEXT, TEXT, max_size=3), NO_OBJECT),
    "identity": ("identity", None, st.dictionaries(TEXT, TEXT, max_size=3), NO_OBJECT),
}
CONFIG = {
    "function_name": ("function_name", "", TEXT, NO_TEXT),
    "version": ("version", "", TEXT, NO_TEXT),
    "log_stream": ("log_stream", "", TEXT, NO_TEXT),
    "log_group": ("log_group", "", TEXT, NO_TEXT),
    "memory": ("memory_mb", 0, st.integers(1, 10_240), NO_NUMBER),
}


@st.composite
def mutations(draw):
    """A context, each field sound, malformed, null or absent, with what is to become of it."""
    expected, faults = {}, []

    def value(sound, unsound):
        if not draw(st.integers(0, 11)):
            faults.append(True)
            return draw(st.sampled_from(unsound)), False
        return draw(sound), True

    def fill(table, place):
        for name, (attribute, empty, sound, unsound) in table.items():
            expected[attribute] = empty
            if (kind := draw(st.sampled_from(["given", "given", "null", "absent"]))) == "null":
                place[name] = None
            elif kind == "given":
                place[name], is_sound = value(sound, unsound)
                expected[attribute] = place[name] if is_sound else empty

    context, config = {}, {}
    context["request_id"], has_id = value(*REQUIRED["request_id"])
    context["deadline"], has_deadline = value(*REQUIRED["deadline"])
    fill(OPTIONAL, context)
    fill(CONFIG, config)
    context["env_config"] = config
    if not (has_id and has_deadline):
        return context, None, 1
    known = {"request_id": context["request_id"], "deadline_s": context["deadline"] / 1000}
    return context, Invocation(**known, **expected), len(faults[:1])


@given(case=mutations(), escaped=st.booleans())
def test_mutated_context(case, escaped):
    """Each malformed field costs itself only, or the invocation if it needs it; no value is ever logged."""
    context, expected, count = case
    invocation.counts.clear()
    raw = json.dumps(context).encode() if escaped else header(context)
    with logged() as lines:
        assert invocation_of(scope(raw)) == expected
    assert malformed() == count
    assert lines == [WARNING] * count
