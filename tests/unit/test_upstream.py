"""What an event says of the trace that its invocation continues, and what it only seems to say."""

import asyncio
import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddlwa.invocation import Invocation
from ddlwa.upstream import (
    EVENT_BYTES,
    Ahead,
    Where,
    context_of,
    context_of_event,
    decode_event,
    where,
)

CONTEXT = {
    "x-datadog-trace-id": "1234567890123456789",
    "x-datadog-parent-id": "987654321",
    "x-datadog-sampling-priority": "1",
    "x-datadog-tags": "_dd.p.tid=6745e0a000000000,_dd.p.dm=-0",
}
W3C = {
    "traceparent": "00-6745e0a000000000112210f47de98115-000000003ade68b1-01",
    "tracestate": "dd=s:1;p:000000003ade68b1;t.dm:-0",
}
FROM_XRAY = {
    "x-datadog-trace-id": str(0x1234567890ABCDEF),
    "x-datadog-parent-id": str(0x123456789ABCDEF),
    "x-datadog-sampling-priority": "1",
}
XRAY = "Root=1-654321ab-000000001234567890abcdef;Parent=0123456789abcdef;Sampled=1"
STATE = {
    "Execution": {"Id": "arn:aws:states:eu-west-1:123456789012:execution:shop:7", "RedriveCount": 0},
    "StateMachine": {"Id": "arn:aws:states:eu-west-1:123456789012:stateMachine:shop"},
    "State": {"Name": "pay", "EnteredTime": "2026-11-24T12:00:00.000Z", "RetryCount": 0},
}


def base64_of(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def sqs(**record):
    return {"Records": [{"eventSource": "aws:sqs", "body": "{}", "messageAttributes": {}, **record}]}


def string(value):
    return {"_datadog": {"dataType": "String", "stringValue": json.dumps(value)}}


def sns(value):
    return {"_datadog": {"Type": "Binary", "Value": base64_of(value)}}


def kinesis(data):
    return {"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": data}}]}


def bridge(carrier, **fields):
    return {"detail-type": "Paid", "source": "shop", "detail": {"_datadog": carrier}, **fields}


def operation(number, result):
    return {"Name": f"_datadog_{number}", "StepDetails": {"Result": result}}


def durable(operations):
    return {"DurableExecutionArn": "arn", "InitialExecutionState": {"Operations": operations}}


OLDER = {**CONTEXT, "x-datadog-parent-id": "1"}
EVENTS = {
    "SQS": sqs(messageAttributes=string(CONTEXT)),
    "SQS, binary": sqs(
        messageAttributes={"_datadog": {"dataType": "Binary", "binaryValue": base64_of(CONTEXT)}}
    ),
    "SQS, a body of its own": sqs(body='{"_datadog": 7}', messageAttributes=string(CONTEXT)),
    "SQS, the first of two": {
        "Records": [
            *sqs(messageAttributes=string(CONTEXT))["Records"],
            *sqs(messageAttributes=string(OLDER))["Records"],
        ]
    },
    "SNS": {"Records": [{"EventSource": "aws:sns", "Sns": {"MessageAttributes": sns(CONTEXT)}}]},
    "SNS, string": {
        "Records": [
            {
                "EventSource": "aws:sns",
                "Sns": {"MessageAttributes": {"_datadog": {"Type": "String", "Value": json.dumps(CONTEXT)}}},
            }
        ]
    },
    "SNS by SQS": sqs(
        body=json.dumps({"Type": "Notification", "TopicArn": "arn", "MessageAttributes": sns(CONTEXT)})
    ),
    "EventBridge": bridge(CONTEXT),
    "EventBridge by SQS": sqs(body=json.dumps(bridge(CONTEXT)), messageAttributes=string(OLDER)),
    "Kinesis": kinesis(base64_of({"_datadog": CONTEXT, "order": 7})),
    "headers of a direct invocation": {
        "headers": {"X-Datadog-" + k[10:].title(): v for k, v in CONTEXT.items()}
    },
    "several values": {"multiValueHeaders": {k: [v, "0"] for k, v in CONTEXT.items()}},
    "empty headers, several values": {"headers": {}, "multiValueHeaders": CONTEXT},
    "AppSync": {"request": {"headers": CONTEXT}},
    "durable execution": durable([operation(9, OLDER), {"Name": "pay"}, operation(10, json.dumps(CONTEXT))]),
    "durable execution by id": durable({"a": operation(0, CONTEXT)}),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_event_that_carries_a_context(event):
    """A context is found where Datadog's tracers put it for each kind of event."""
    assert context_of_event(event) == CONTEXT


NOTHING = {
    "no object": [CONTEXT],
    "a context alone": CONTEXT,
    "no records": {"Records": []},
    "record of nothing": {"Records": [None]},
    "S3": {"Records": [{"eventSource": "aws:s3", "messageAttributes": string(CONTEXT)}]},
    "a source that is no text": {"Records": [{"eventSource": ["aws:sqs"]}]},
    "schedule": bridge(CONTEXT, source="aws.events"),
    "RDS": {"detail-type": "Backup", "detail": {"EventCategories": [], "_datadog": CONTEXT}},
    "numbers": sqs(
        messageAttributes={"_datadog": {"dataType": "Number", "stringValue": json.dumps(CONTEXT)}}
    ),
    "no JSON": sqs(messageAttributes={"_datadog": {"dataType": "String", "stringValue": "{"}}),
    "no base64": kinesis("a"),
    "no ASCII": kinesis("é"),
    "no text": kinesis(7),
    "too deep": kinesis(base64.b64encode(b"[" * 200_000).decode()),
    "too long": kinesis(base64_of({"_datadog": CONTEXT, "more": "x" * EVENT_BYTES})),
    "long headers": {"headers": {**CONTEXT, "x-datadog-parent-id": "0" * 8192 + "7"}},
    "only part of it": bridge({"x-datadog-trace-id": "1", "x-datadog-parent-id": "2"}),
    "numbers for texts": bridge({**CONTEXT, "x-datadog-trace-id": 7}),
    "zero": bridge({**CONTEXT, "x-datadog-trace-id": "0"}),
    "too large": bridge({**CONTEXT, "x-datadog-parent-id": str(1 << 64)}),
    "other digits": bridge({**CONTEXT, "x-datadog-trace-id": "\u0667"}),
    "SNS by SQS without one": sqs(
        body=json.dumps({"Type": "Notification", "TopicArn": "arn", "Message": "_datadog"})
    ),
    "headers of nothing": {"headers": None, "multiValueHeaders": None},
    "headers without values": {"multiValueHeaders": {name: [] for name in CONTEXT}},
    "durable execution without history": durable(None),
    "durable execution without checkpoint": durable([{"Name": "_datadog_x"}, {"Name": 7}, 7]),
    "state machine without a state": {**STATE, "State": "pay"},
    "state machine without ids": {**STATE, "Execution": {"Id": {}}},
    "state machine with odd counts": {**STATE, "State": {**STATE["State"], "RetryCount": 10**5000}},
    "state machine with another's trace": {
        **STATE,
        "Execution": {"Id": "arn", "Input": {"_datadog": {"x-datadog-trace-id": "?"}}},
    },
}


@pytest.mark.parametrize("event", NOTHING.values(), ids=NOTHING)
def test_event_that_carries_none(event):
    """Where there is no whole context, or not where it belongs, there is none."""
    assert context_of_event(event) is None


def test_awstraceheader():
    """A message without attributes of Datadog's may have its ids in X-Ray's header."""
    assert context_of_event(sqs(attributes={"AWSTraceHeader": XRAY})) == FROM_XRAY
    assert context_of_event(sqs(attributes={"AWSTraceHeader": XRAY}, messageAttributes=string({}))) is None


def test_step_functions():
    """The ids of a state machine's spans are made of its execution, its state and the retries."""
    made = context_of_event(STATE)
    assert made == {
        "x-datadog-trace-id": made["x-datadog-trace-id"],
        "x-datadog-parent-id": made["x-datadog-parent-id"],
        "x-datadog-sampling-priority": "1",
        "x-datadog-tags": made["x-datadog-tags"],
    }
    assert re.fullmatch(r"_dd\.p\.tid=[0-9a-f]{16}", made["x-datadog-tags"])
    assert context_of_event({"Payload": STATE}) == made
    assert context_of_event({"Payload": {**STATE, "State": {**STATE["State"], "RetryCount": 1}}}) != made
    v1 = {**STATE, "serverless-version": "v1", "RootExecutionId": STATE["Execution"]["Id"]}
    assert context_of_event({"_datadog": v1}) == made
    assert context_of_event(bridge(v1)) == made
    assert context_of_event(sqs(messageAttributes=string(v1))) == made


def test_step_functions_that_a_traced_client_has_started():
    """A state machine that continues a trace hands that one on, its own span the parent."""
    parent = context_of_event(STATE)["x-datadog-parent-id"]
    expected = {
        "x-datadog-trace-id": CONTEXT["x-datadog-trace-id"],
        "x-datadog-parent-id": parent,
        "x-datadog-sampling-priority": "1",
    }
    tid = {"x-datadog-tags": "_dd.p.tid=6745e0a000000000"}
    started = {**STATE, "Execution": {**STATE["Execution"], "Input": {"_datadog": CONTEXT}}}
    assert context_of_event(started) == {**expected, **tid}
    v1 = {**STATE, "serverless-version": "v1", **CONTEXT}
    assert context_of_event({"_datadog": v1}) == {**expected, **tid}
    assert context_of_event({"_datadog": {**v1, "x-datadog-tags": "_dd.p.dm=-0"}}) == expected


B3 = {"x-b3-traceid": "6745e0a000000000112210f47de98115", "x-b3-spanid": "000000003ade68b1"}


@pytest.mark.parametrize(
    ("carrier", "expected"),
    [
        (W3C, W3C),
        ({**CONTEXT, **W3C, "baggage": "user=7"}, {**CONTEXT, **W3C, "baggage": "user=7"}),
        ({"baggage": "user=7"}, None),
        ({**CONTEXT, "traceparent": "?", "tracestate": "dd=s:1"}, CONTEXT),
        ({**W3C, "tracestate": "a=\n"}, {"traceparent": W3C["traceparent"]}),
        ({"b3": "112210f47de98115-000000003ade68b1-1"}, {"b3": "112210f47de98115-000000003ade68b1-1"}),
        ({"b3": "0000000000000000-000000003ade68b1-1"}, None),
        ({**B3, "x-b3-sampled": "0"}, {**B3, "x-b3-sampled": "0"}),
        ({**B3, "x-b3-flags": "1"}, {**B3, "x-b3-flags": "1"}),
        (B3, None),
        ({**CONTEXT, "authorization": "Bearer", 7: "7"}, CONTEXT),
    ],
)
def test_styles(carrier, expected):
    """Of a carrier is taken what is whole in any style of propagation, and nothing that is none's."""
    assert context_of_event({"headers": carrier}) == expected


def rest_api(injected, **authorizer):
    return {"requestId": "r-1", "authorizer": {"_datadog": base64_of(injected), **authorizer}}


def http_api(injected, **fields):
    answer = {"lambda": {"_datadog": base64_of(injected)}}
    return {"requestId": "r-1", "routeKey": "GET /", "authorizer": answer, **fields}


ANSWERED = {**CONTEXT, "x-datadog-authorizing-requestid": "r-1", "x-datadog-parent-span-finish-time": 17}


@pytest.mark.parametrize(
    "request_context",
    [
        rest_api(ANSWERED),
        rest_api(CONTEXT, integrationLatency=30),
        http_api(ANSWERED),
        {**rest_api(ANSWERED), "routeKey": "$connect", "messageDirection": "IN"},
    ],
)
def test_authorizer(request_context):
    """The answer of a traced authorizer carries the context of its span."""
    assert context_of(request_context, None) == CONTEXT


@pytest.mark.parametrize(
    "request_context",
    [
        rest_api({**ANSWERED, "x-datadog-authorizing-requestid": "r-0"}, integrationLatency=0),
        rest_api(CONTEXT, integrationLatency="30"),
        {**http_api(ANSWERED), "authorizer": rest_api(ANSWERED)["authorizer"]},
        http_api(ANSWERED, messageDirection="IN"),
        {"requestId": "r-1", "authorizer": {"_datadog": "?"}},
        {"requestId": "r-1", "authorizer": {"principalId": "user"}},
        {},
        None,
    ],
)
def test_authorizer_without_a_context(request_context):
    """An answer from API Gateway's cache is of another request, and one without Datadog's part of none."""
    assert context_of(request_context, None) is None


def test_xray():
    """X-Ray's header counts where a tracer of Datadog's has made its trace id; X-Ray's own ids do not."""
    assert context_of(None, XRAY) == FROM_XRAY
    assert context_of(None, f"{XRAY};Lineage=1:2") == FROM_XRAY
    assert context_of(None, XRAY.replace("=1;", "=0;").replace("Sampled=1", "Sampled=0")) == {
        **FROM_XRAY,
        "x-datadog-sampling-priority": "0",
    }
    for other in (
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "Root=1-5759e988-000000000000000000000000;Parent=53995c3f42cd8ad8;Sampled=1",
        "Root=1-5759e988-000000001234567890abcdef;Sampled=1",
        f"{XRAY}1",
        "",
    ):
        assert context_of(None, other) is None


def test_client_context():
    """A traced caller of Invoke has put its context beside the event; an authorizer's comes first."""
    custom = {"custom": {**CONTEXT, "user": "7"}}
    assert context_of(None, None, client_context=custom) == CONTEXT
    assert context_of(None, XRAY, client_context={"custom": {"_datadog": CONTEXT}}) == CONTEXT
    assert context_of(rest_api(ANSWERED), None, client_context={"custom": W3C}) == CONTEXT
    assert context_of(None, None, client_context={}) is None


def scope(request_context):
    named = [] if request_context is None else [(b"x-amzn-request-context", request_context)]
    return {"headers": [(b"host", b"shop"), *named, (b"user-agent", b"curl")]}


@pytest.mark.parametrize(
    ("request_context", "fields", "expected"),
    [
        (None, {}, Where.NOWHERE),
        (b'{"requestId":"r-1"}', {}, Where.NOWHERE),
        (b'{"authorizer":{"_datadog":""}}', {}, Where.CONTEXT),
        (b"{}", {"xray_trace_id": XRAY}, Where.CONTEXT),
        (b"{}", {"xray_trace_id": "Root=1-5759e988-bd862e3fe1be46a994272793"}, Where.NOWHERE),
        (b"{}", {"client_context": {}}, Where.CONTEXT),
        (b"null", {}, Where.EVENT),
        (b"{", {}, Where.NOWHERE),
    ],
)
def test_where(request_context, fields, expected):
    """Most invocations tell of no trace; only a pass-through event is in a body."""
    invocation = Invocation(request_id="i", deadline_s=1, **fields)
    assert where(scope(request_context), invocation) is expected


BATCH = json.dumps(EVENTS["SQS, the first of two"]).encode()


@pytest.mark.parametrize(
    ("body", "complete", "expected"),
    [
        (b'{"detail": {}}', True, {"detail": {}}),
        (b'{"detail": {}}', False, None),
        (b"{", True, None),
        (BATCH, True, {"Records": [json.loads(BATCH)["Records"][0]]}),
        (BATCH[:-9], False, {"Records": [json.loads(BATCH)["Records"][0]]}),
        (BATCH[:40], False, None),
        (b'{"Records":[{"a":' + b"[" * 200_000, False, None),
        (b'{"Records": []}', True, {"Records": []}),
        (b"\xff", True, None),
    ],
)
def test_decode_event(body, complete, expected):
    """Of a batch the first record is decoded, whatever follows; of anything else all, if it is all there."""
    assert decode_event(body, complete=complete) == expected


class Server:
    """Gives messages, and then what a server gives for ever; or raises what is no message."""

    def __init__(self, *messages):
        self.messages = list(messages)

    async def receive(self):
        message = self.messages.pop(0) if self.messages else {"type": "http.disconnect"}
        if isinstance(message, BaseException):
            raise message
        return message


def body(content):
    return {"type": "http.request", "body": content, "more_body": False}


def part(content):
    return {**body(content), "more_body": True}


DISCONNECT = {"type": "http.disconnect"}
READ = {
    "one message": ([body(b"ab")], (b"ab", True)),
    "several": ([part(b"a"), part(b""), body(b"b")], (b"ab", True)),
    "without fields": ([{"type": "http.request"}], (b"", True)),
    "as long as may be": ([part(b"abcd"), body(b"")], (b"abcd", True)),
    "too long": ([part(b"abc"), part(b"de"), body(b"f")], (b"abcd", False)),
    "too long at once": ([body(b"abcde")], (b"abcd", False)),
    "broken off": ([part(b"a"), DISCONNECT], (b"a", False)),
}


@pytest.mark.parametrize(("messages", "expected"), READ.values(), ids=READ)
def test_a_body_that_is_read_ahead_is_replayed(messages, expected):
    """The app gets the very messages of the server, in their order, then what the server gives further on."""

    async def run():
        ahead = Ahead(Server(*messages).receive)
        assert await ahead.read(limit_bytes=4) == expected
        got = [await ahead.receive() for _ in messages]
        assert all(one is given for one, given in zip(got, messages, strict=True))
        assert await ahead.receive() == DISCONNECT

    asyncio.run(run())


def test_no_more_is_read_ahead_than_is_wanted():
    """What comes after a limit is exceeded stays with the server."""
    server = Server(part(b"abc"), part(b"de"), body(b"f"))
    assert asyncio.run(Ahead(server.receive).read(limit_bytes=4)) == (b"abcd", False)
    assert server.messages == [body(b"f")]


def test_an_error_while_reading_ahead_is_the_apps():
    """An error of the server's reaches the app, once, after what came before it."""
    error = OSError("gone")

    async def run():
        ahead = Ahead(Server(part(b"a"), error).receive)
        assert await ahead.read(limit_bytes=4) == (b"a", False)
        assert await ahead.receive() == part(b"a")
        with pytest.raises(OSError, match="gone") as caught:
            await ahead.receive()
        assert caught.value is error
        assert await ahead.receive() == DISCONNECT

    asyncio.run(run())


def test_a_cancellation_while_reading_ahead_is_the_callers():
    """A cancellation is not kept back, and takes nothing that came before from the app."""

    async def run():
        came, never = asyncio.Event(), asyncio.Event()
        messages = [part(b"a")]

        async def receive():
            if not messages:
                came.set()
                await never.wait()
            return messages.pop()

        ahead = Ahead(receive)
        task = asyncio.create_task(ahead.read(limit_bytes=4))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ahead.receive() == part(b"a")

    asyncio.run(run())


def test_a_message_that_is_none_is_the_apps_too():
    """What no server sends is kept for the app all the same, whatever becomes of looking at it."""

    async def run():
        ahead = Ahead(Server({}).receive)
        with pytest.raises(KeyError):
            await ahead.read(limit_bytes=4)
        assert await ahead.receive() == {}

    asyncio.run(run())


REAL = [*EVENTS.values(), STATE, {"_datadog": {**STATE, **CONTEXT, "serverless-version": "v1"}}]


def inside(value):
    """Give the keys and the texts of a JSON value, at any depth."""
    if isinstance(value, (dict, list)):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from inside(inner)
    elif isinstance(value, str):
        yield value


KNOWN = st.sampled_from(
    sorted(
        {*inside([REAL, rest_api(ANSWERED), http_api(ANSWERED), W3C, B3]), "b3", "baggage", "custom", XRAY}
    )
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | KNOWN


def encoded(value):
    text = st.builds(json.dumps, value)
    return text | st.builds(lambda text: base64.b64encode(text.encode()).decode(), text)


JSON = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KNOWN | st.text(max_size=4), inner, max_size=6)
        | st.builds(lambda inner: {**CONTEXT, "_datadog": inner}, inner)
        | encoded(inner)
    ),
    max_leaves=20,
)


def changes(event):
    """Give an event with something else in one place of it, at any depth."""

    def paths(value, path=()):
        yield path
        pairs = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, inner in pairs:
            yield from paths(inner, (*path, key))

    def replaced(value, path, other):
        if not path:
            return other
        copy = value.copy()
        copy[path[0]] = replaced(copy[path[0]], path[1:], other)
        return copy

    return st.builds(
        lambda path, other: replaced(event, path, other), st.sampled_from(list(paths(event))), JSON
    )


COMPLETE = (set(list(CONTEXT)[:3]), {"traceparent"}, {"b3"}, {*B3, "x-b3-sampled"}, {*B3, "x-b3-flags"})


def check(headers):
    """A context is whole in some style, has nothing of none, and each value could be a header's."""
    if headers is None:
        return
    names = headers.keys()
    assert any(names >= style for style in COMPLETE)
    assert names <= {*CONTEXT, *W3C, *B3, "b3", "baggage", "x-b3-sampled", "x-b3-flags", "x-datadog-origin"}
    assert all(type(value) is str and value.isascii() and value.isprintable() for value in headers.values())
    for name in ("x-datadog-trace-id", "x-datadog-parent-id"):
        assert 0 < int(headers.get(name, 1)) < 1 << 64


@given(JSON | st.one_of(map(changes, REAL)))
def test_any_event_gives_a_sound_context_or_none(event):
    """Whatever JSON an event is, nothing is raised, and what comes of it is well-formed."""
    check(context_of_event(event))


@given(
    JSON | changes(rest_api(ANSWERED)) | changes(http_api(ANSWERED)),
    JSON | changes({"custom": CONTEXT}),
    st.text() | st.just(XRAY) | st.none(),
)
def test_any_invocation_gives_a_sound_context_or_none(request_context, client_context, xray_trace_id):
    """The same for what LWA says of an invocation."""
    check(context_of(request_context, xray_trace_id, client_context=client_context))


@given(st.binary() | st.builds(lambda event: json.dumps(event).encode(), JSON), st.booleans())
def test_any_body_is_decoded_or_not(raw, complete):
    """Whatever the bytes of a body, decoding raises nothing."""
    check(context_of_event(decode_event(raw, complete=complete)))
