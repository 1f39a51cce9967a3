"""The spans of an invocation around its request span: whose they are, when they end, what they say."""

import asyncio
import json
import logging
import os
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from types import SimpleNamespace
from typing import NamedTuple

import ddtrace
import opentelemetry.trace
import pytest
from ddtrace.contrib.internal.asgi.middleware import TraceMiddleware
from ddtrace.internal.writer import writer as writers
from ddtrace.trace import tracer
from failing_agents import writing_to_a_faulty_agent
from gates import GENEROUS, gate
from lambda_cases import CASES, FROM_EVENT, FROM_HEADERS, REQUEST_ID, Adapted
from processes import python
from wire_server import Request, serve

from benchmarks.faulty_agent import FaultyAgent
from ddlwa import extension, patch, settings
from ddlwa.coldstart import WARM
from ddlwa.replacements import Replacements
from ddlwa.tracer import correct_durations
from ddlwa.tracer.lambda_span import LambdaSpan, Library

LAMBDA = {
    **GENEROUS,
    "AWS_LAMBDA_FUNCTION_NAME": "shop",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
    "DDLWA_LAMBDA_SPAN": "true",
}
TIMEOUT_S = 10
# What ddtrace says of each process, service or trace.
_OF_DDTRACE = {"_dd.base_service", "_dd.p.dm", "_dd.p.tid", "_dd.svc_src", "_dd.tags.process"}
_OF_DDTRACE |= {"language", "process_id", "runtime-id", "_dd.tracer_kr", "_dd.parent_id"}
_OF_DDTRACE |= {"_sampling_priority_v1", "_dd.limit_psr", "_dd.rule_psr", "_dd.agent_psr"}
# What datadog-lambda has in its metrics only.
_BESIDES = {"account_id", "executedversion", "memorysize", "region"}

# datadog-lambda as it is used: around a handler. It patches whatever can be patched, and has its own process.
_ORACLE = """
import json, os, warnings
from types import SimpleNamespace
warnings.simplefilter("ignore")
from datadog_lambda import __version__
from datadog_lambda.wrapper import datadog_lambda_wrapper
from ddtrace.trace import TraceFilter, tracer

class Keep(TraceFilter):
    def process_trace(self, trace):
        spans.extend(
            {
                "name": span.name, "service": span.service, "resource": span.resource, "type": span.span_type,
                "error": span.error, "start": span.start_ns, "duration": span.duration_ns,
                "id": span.span_id, "parent": span.parent_id,
                "meta": span.get_tags(), "metrics": span.get_metrics(),
            }
            for span in trace
        )
        return None

tracer.configure(trace_processors=[Keep()])
with open(os.environ["CASES"]) as file:
    cases = json.load(file)
told = {}
for name, case in cases.items():
    spans = []
    handler = datadog_lambda_wrapper(lambda event, context: {"statusCode": case["status"]})
    handler(case["event"], SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000, **case["context"]))
    told[name] = spans
print("outcome", json.dumps({"version": __version__, "told": told}), flush=True)
os._exit(0)  # so that nothing is sent at the end of the process
"""


# -- an app, its requests, its agent


def answering(status, *, then=None):
    """Make an app that ddtrace traces; awaits what is given once its response is complete."""

    async def app(scope, receive, send):
        await receive()
        with tracer.trace("work"):
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
            if then is not None:
                await then(receive)

    return TraceMiddleware(app)


def request_of(case, *, headers=(), deadline_in_s=60.0):
    """Make the request that the adapter makes of a case; its time has not run out."""
    request = Adapted(case).request
    deadline_ms = int((time.time() + deadline_in_s) * 1000)
    return Request(
        path=request.target,
        method=request.method,
        headers=tuple(
            (name.encode(), value.replace("1764000030000", str(deadline_ms)).encode())
            for name, value in (*request.headers, *headers)
            if name not in {"content-length", "transfer-encoding"}
        ),
        body=request.body,
    )


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch):
    """Have ddtrace's exporter send traces only; the one of 3.19 takes 3 s to end otherwise."""
    monkeypatch.setattr(writers.config, "_telemetry_enabled", False)


@pytest.fixture
def faulty(agent):
    """Give an agent that can fail; ddtrace's writer sends to it."""
    with writing_to_a_faulty_agent() as faulty:
        yield faulty


@contextmanager
def warm(env=LAMBDA):
    """Install the gate, and have datadog-lambda loaded, as after the first response."""
    with gate(env):
        library = patch.serving().library
        library.load_soon()
        library.loading.join(TIMEOUT_S)
        assert library.functions is not None
        yield library


class Tree(NamedTuple):
    """The spans of one request's trace."""

    inferred: list
    function: object
    request: object

    @classmethod
    def of(cls, chunk):
        """Take apart a chunk that has to be a whole trace, and in order."""
        names = [span.name for span in chunk]
        at = names.index("aws.lambda")
        assert names.count("aws.lambda") == 1
        function, request = chunk[at], chunk[names.index("asgi.request")]
        assert request.parent_id == function.span_id
        for parent, child in pairwise(chunk[: at + 1]):
            assert child.parent_id == parent.span_id
        assert {span.trace_id for span in chunk} == {function.trace_id}
        return cls(chunk[:at], function, request)


def only_tree(faulty):
    """Give the tree of the only trace that the agent has got."""
    (chunk,) = faulty.chunks()
    return Tree.of(chunk)


async def until(condition):
    """Let the event loop go on until something is true of it."""
    async with asyncio.timeout(TIMEOUT_S) if sys.version_info >= (3, 11) else nullcontext():
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)


def nothing_is_open():
    return not tracer._span_aggregator._traces


# -- the oracle


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    """Give datadog-lambda's spans of each case, and whether it tells all that is told today."""
    cases = {
        name: {
            "event": case.event,
            "status": case.status,
            "context": {
                "aws_request_id": REQUEST_ID,
                "invoked_function_arn": case.invoked_arn,
                "function_name": case.name,
                "function_version": case.version,
                "memory_limit_in_mb": 512,
                "client_context": None,
            },
        }
        for name, case in CASES.items()
    }
    path = tmp_path_factory.mktemp("oracle") / "cases.json"
    path.write_text(json.dumps(cases))
    env = {
        "CASES": str(path),
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "DD_COLD_START_TRACING": "false",
        "DD_FLUSH_TO_LOG": "true",
        "DD_SERVICE": "shop",
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:1",
    }
    (outcome,) = python(_ORACLE, env=env).outcomes
    version = tuple(int(part) for part in outcome["version"].split(".")[:2])
    return outcome["told"], version >= (8, 130)


@pytest.fixture(scope="module")
def ours(agent):
    """Give the chunk that the agent gets of each case's request."""
    chunks = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writers.config, "_telemetry_enabled", False)
        patched.setattr(ddtrace.config, "service", "shop")  # as ddtrace finds it in Lambda
        patched.setenv("DD_SERVICE", "shop")
        with writing_to_a_faulty_agent() as faulty, warm():
            for name, case in CASES.items():
                faulty.clear()
                serve(answering(case.status), request_of(case))
                (chunks[name],) = faulty.chunks()
    return chunks


def said(span):
    """Give what a span says besides what ddtrace says of every one."""
    if not isinstance(span, dict):
        span = {
            name: getattr(span, name) for name in ("name", "service", "resource", "type", "meta", "metrics")
        }
    told = {name: span[name] for name in ("name", "service", "resource", "type")}
    told |= {**span["meta"], **span["metrics"]}
    return {name: value for name, value in told.items() if name not in _OF_DDTRACE}


# What the adapter, or the HTTP client in it, has changed before the app sees it; a password; a name that the
# process has not been told.
_PATH = {"endpoint", "http.route", "http.url", "resource", "resource_names"}
_HOST = {"_dd.top_level", "http.url", "service"}
_CHANGED = {
    "alb base path": _PATH,
    "alb dot segments": _PATH,
    "alb health check": _HOST,
    "alb multi-value health check": _HOST,
    "alb no host": _HOST,
    "alb password": _HOST,
    "function in capitals": {"resource"},
    "rest base path": _PATH,
}
# datadog-lambda fails on these, and makes no span at all.
_FAILS = {"step function as payload"}


def differing(ours, theirs, *, is_whole):
    """Give the names of what the two spans do not both say; an older datadog-lambda says less."""
    ours, theirs = said(ours), said(theirs)
    names = ours.keys() | theirs.keys() if is_whole else theirs.keys()
    return {name for name in names if ours.get(name) != theirs.get(name)} - _BESIDES


def may_differ(name):
    """Give the tags in which a case is known to differ, and why."""
    from_event = Adapted(CASES[name]).invocation.request_context is None
    known = (FROM_EVENT if from_event else FROM_HEADERS).get(name)
    tags = set() if known is None else {*known.ours, *(known.theirs or ())}
    arn = {"dd_resource_key"} if "function_trigger.event_source_arn" in tags else set()
    return tags | arn | _CHANGED.get(name, set())


@pytest.mark.parametrize("name", CASES)
def test_as_datadog_lambda(oracle, ours, name):
    """The spans of an invocation are those that datadog-lambda makes of the event itself."""
    all_told, is_whole = oracle
    told, tree, known = all_told[name], Tree.of(ours[name]), may_differ(name)
    if name in _FAILS or not (told or is_whole):
        assert (told, tree.inferred) == ([], [])
        return
    spans = [*tree.inferred, tree.function]
    assert [span.name for span in spans] == [their["name"] for their in told]
    for span, their in zip(spans, told, strict=True):
        assert differing(span, their, is_whole=is_whole) <= known
        assert span.error == their["error"] or not is_whole
        if span.name not in {"aws.lambda", "aws.alb"}:
            assert span.start == their["start"]
    assert not (is_whole and name in _CHANGED) or any(
        differing(*both, is_whole=is_whole) for both in zip(spans, told, strict=True)
    )
    assert not any("s3cr3t" in text for span in spans for text in (*span.meta.values(), span.service))


@pytest.mark.parametrize("name", CASES)
def test_a_trace_is_whole(ours, name):
    """The inferred spans are around the one of the invocation, and that around the request's."""
    chunk = ours[name]
    inferred, function, request = Tree.of(chunk)
    assert chunk[0].parent_id not in {span.span_id for span in chunk}
    # What ddtrace says of a trace it says in the first span.
    assert ["_sampling_priority_v1" in span.metrics for span in chunk] == [True] + [False] * (len(chunk) - 1)
    assert "_dd.p.tid" in chunk[0].meta
    assert function.start <= request.start <= request.end <= function.end
    for outer, inner in zip(inferred, chunk[1:], strict=False):
        assert outer.start <= inner.start
        is_async = outer.meta["_inferred_span.synchronicity"] == "async"
        # In seconds datadog-lambda's times are precise to about 240 ns.
        assert abs(outer.end - inner.start) < 1000 if is_async else inner.end <= outer.end


# -- the trace that it is in


_UPSTREAM = {
    "x-datadog-trace-id": "1234",
    "x-datadog-parent-id": "5678",
    "x-datadog-sampling-priority": "2",
}


def test_continues_the_upstreams_trace(faulty):
    """The outermost span is the child of the upstream's; the sampling decision is its."""
    with warm():
        serve(answering(200), request_of(CASES["http"], headers=_UPSTREAM.items()))
        (chunk,) = faulty.chunks()
    [inferred], function, _ = Tree.of(chunk)
    assert (inferred.trace_id, inferred.parent_id) == (1234, 5678)
    assert [span.metrics.get("_sampling_priority_v1") for span in chunk] == [2, None, None, None]
    assert function.parent_id == inferred.span_id
    assert nothing_is_open()


def test_continues_the_trace_of_an_event(faulty):
    """The same goes for a message; its inferred span is the child of the sender's."""
    case = CASES["sqs"]
    event = json.loads(json.dumps(case.event))
    attribute = {"dataType": "String", "stringValue": json.dumps(_UPSTREAM)}
    event["Records"][0]["messageAttributes"] = {"_datadog": attribute}
    with warm():
        serve(answering(200), request_of(type(case)(event=event)))
    [inferred], _, _ = only_tree(faulty)
    assert (inferred.name, inferred.trace_id, inferred.parent_id) == ("aws.sqs", 1234, 5678)


def test_a_queue_that_is_called_like_the_service(faulty, monkeypatch):
    """The span of the invocation is no entry to a service where the one around it is of the same."""
    monkeypatch.setattr(ddtrace.config, "service", "orders")
    monkeypatch.setenv("DD_SERVICE", "orders")
    with warm():
        serve(answering(200), request_of(CASES["sqs"]))
    [inferred], function, _ = only_tree(faulty)
    assert (inferred.service, function.service) == ("orders", "orders")
    assert ["_dd.top_level" in span.metrics for span in (inferred, function)] == [True, False]


def test_nothing_stays_active(agent):
    """After a request nothing of it is active where the server goes on, however the app ends."""

    async def failing(scope, receive, send):
        raise ValueError("no")

    async def cancelled(scope, receive, send):
        raise asyncio.CancelledError

    active = []

    def noting(app):
        async def noted(scope, receive, send):
            try:
                await app(scope, receive, send)
            finally:
                active.append(tracer.context_provider.active())

        return noted

    with gate(LAMBDA):
        for app in (answering(200), TraceMiddleware(failing), TraceMiddleware(cancelled)):
            serve(noting(app), request_of(CASES["url"], headers=_UPSTREAM.items()))
    assert active == [None, None, None]
    assert nothing_is_open()


def test_an_abandoned_request(agent):
    """A request whose coroutine is thrown away does nothing in a context that is not its own."""

    class Never:
        def __await__(self):
            yield

    async def forever(scope, receive, send):
        await Never()

    scope = {"type": "http", "method": "GET", "path": "/", "headers": Adapted(CASES["url"]).headers}
    with gate(LAMBDA):
        served = TraceMiddleware(forever)(scope, None, None)
        served.send(None)
        with tracer.start_span("another", child_of=None, activate=True) as another:
            served.close()
            assert tracer.current_span() is another
    tracer._span_aggregator._traces.clear()


# -- when it ends


def test_it_leaves_with_the_response(faulty):
    """When the response is released, the whole trace is with the agent, although the app goes on."""
    at_the_release = []

    async def wait(receive):
        receiving = asyncio.ensure_future(receive())
        await until(lambda: serving.delivery.stats()["sent"])
        at_the_release.extend(faulty.chunks())
        receiving.cancel()

    with warm():
        serving = patch.serving()
        serve(answering(200, then=wait), request_of(CASES["url"]))
        assert faulty.chunks() == at_the_release
    (chunk,) = at_the_release
    spans = {span.name: span for span in chunk}
    assert [*spans] == ["aws.lambda.url", "aws.lambda", "asgi.request", "work"]
    # It is not one of the spans that were cut off.
    cut_off = {name for name, span in spans.items() if "ddlwa.released_by" in span.meta}
    assert cut_off == {"work"}
    assert spans["aws.lambda"].end <= spans["aws.lambda.url"].end


def test_it_leaves_when_open_spans_are_kept(faulty):
    """With DDLWA_OPEN_SPANS=keep its end is the release all the same; the trace waits for the others."""
    released_ns = []

    async def wait(receive):
        receiving = asyncio.ensure_future(receive())
        await until(lambda: not serving.ledger.in_flight)
        released_ns.append(time.time_ns())
        assert faulty.chunks() == []
        receiving.cancel()

    with warm({**LAMBDA, "DDLWA_OPEN_SPANS": "keep"}):
        serving = patch.serving()
        serve(answering(200, then=wait), request_of(CASES["url"]))
        serving.delivery.flush_blocking(timeout_s=TIMEOUT_S)
    (chunk,) = faulty.chunks()
    spans = {span.name: span for span in chunk}
    assert [*spans] == ["aws.lambda.url", "aws.lambda", "asgi.request", "work"]
    assert spans["aws.lambda"].end <= released_ns[0] <= spans["work"].end


class Registered:
    """An extension that notes when a request ends, without Lambda behind it."""

    def __init__(self, api, *, finish, ledger, margin_s):
        pass

    def start(self):
        pass

    def takes(self, request_id):
        return True

    def ended(self, request_id):
        assert nothing_is_open()

    def step_down(self):
        pass


def test_in_extension_mode_it_ends_with_the_app(faulty, monkeypatch):
    """A response that is not held has left long before."""
    monkeypatch.setattr(extension, "Extension", Registered)
    ended_ns = []

    async def go_on(receive):
        await asyncio.sleep(0)
        ended_ns.append(time.time_ns())

    with warm({**LAMBDA, "DDLWA_MODE": "extension"}):
        serve(answering(200, then=go_on), request_of(CASES["url"]))
        patch.serving().flush_blocking(TIMEOUT_S)
    _, function, _ = only_tree(faulty)
    assert function.end >= ended_ns[0]


def test_a_timeout(faulty):
    """An invocation that runs out of time is told as that, and leaves whole."""
    margin_s, soon_s = 5.0, 0.1
    env = {**LAMBDA, "DD_APM_FLUSH_DEADLINE_MILLISECONDS": str(int(margin_s * 1000))}

    async def app(scope, receive, send):
        assert faulty.wait(FaultyAgent.chunks, timeout_s=TIMEOUT_S)

    with warm(env):
        serve(TraceMiddleware(app), request_of(CASES["url"], deadline_in_s=margin_s + soon_s))
    [inferred], function, request = only_tree(faulty)
    for span in (inferred, function, request):
        assert (span.error, span.meta["error.type"]) == (1, "Impending Timeout")
    assert function.meta["request_id"] == REQUEST_ID
    assert nothing_is_open()


# -- what it says


@pytest.mark.parametrize(
    ("status", "codes", "error"),
    [
        (200, "", 0),
        (404, "", 0),
        (500, "", 1),
        (599, "", 1),
        (404, "404", 1),
        (404, "500,401-404", 1),
        (404, "405-499", 0),
    ],
)
def test_statuses(faulty, status, codes, error):
    """A 5xx response is an error of the invocation, and so is one that the adapter takes for one."""
    with warm({**LAMBDA, "AWS_LWA_ERROR_STATUS_CODES": codes} if codes else LAMBDA):
        for name in ("url", "sqs"):
            serve(answering(status), request_of(CASES[name]))
    with_status, without = (Tree.of(chunk) for chunk in faulty.chunks())
    assert (with_status.function.error, without.function.error) == (error, error)
    for span in (with_status.function, *with_status.inferred):
        assert span.meta["http.status_code"] == str(status)
    # What has sent a message knows of no status.
    assert "http.status_code" not in without.function.meta
    # datadog-lambda does not mark these.
    assert [span.error for tree in (with_status, without) for span in tree.inferred] == [0, 0]


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("", set()),
        ("500,502-504,422", {500, 502, 503, 504, 422}),
        (" 500 , 502-503", {500, 502, 503}),
        ("+500,0502", {500, 502}),
        ("500 - 502,500-502-504,-500,500-,5xx,65536,500-65536,\u0665\u0660\u0660", set()),
        ("504-502", set()),
        ("998-65535", {998, 999}),
        ("404,,501", {404, 501}),
    ],
)
def test_error_statuses_are_read_as_the_adapter_reads_them(text, statuses):
    """A part of the list that the adapter does not understand counts for nothing, the others do."""
    assert settings.load({"AWS_LWA_ERROR_STATUS_CODES": text}).error_statuses == statuses


def test_an_exception(faulty):
    """An exception is told in the span of the invocation, too, whatever the server makes of it."""

    async def app(scope, receive, send):
        raise ValueError("out of stock")

    with warm():
        (exchange,) = serve(TraceMiddleware(app), request_of(CASES["url"]))
    assert isinstance(exchange.error, ValueError)
    [inferred], function, _ = only_tree(faulty)
    assert function.error == 1
    assert function.meta["error.type"] == "builtins.ValueError"
    assert function.meta["error.message"] == "out of stock"
    assert "out of stock" in function.meta["error.stack"]
    assert (function.meta["http.status_code"], inferred.meta["http.status_code"]) == ("500", "500")


def test_no_response(faulty):
    """An app that ends without a response has failed, as API Gateway says."""

    async def app(scope, receive, send):
        pass

    with warm():
        serve(TraceMiddleware(app), request_of(CASES["url"]))
    _, function, _ = only_tree(faulty)
    assert (function.error, function.meta["http.status_code"]) == (1, "502")


def test_invoked_asynchronously(faulty):
    """What API Gateway does not wait for ends when the invocation begins."""
    headers = [("x-amz-invocation-type", "Event")]
    with warm():
        for name in ("rest", "http"):
            serve(answering(200), request_of(CASES[name], headers=headers))
    rest, http = (Tree.of(chunk) for chunk in faulty.chunks())
    assert abs(rest.inferred[0].end - rest.function.start) < 1000
    # There a client could say so, and datadog-lambda does not believe it.
    assert http.inferred[0].end >= http.function.end


def test_no_inferred_span_wanted(faulty, monkeypatch):
    """DD_TRACE_MANAGED_SERVICES=false is for the inferred spans only."""
    monkeypatch.setenv("DD_TRACE_MANAGED_SERVICES", "false")
    with warm():
        serve(answering(200), request_of(CASES["url"]))
    inferred, function, _ = only_tree(faulty)
    assert (inferred, "datadog_lambda" in function.meta) == ([], True)


@pytest.mark.parametrize(
    "change",
    [{"timeEpoch": None}, {"timeEpoch": 1e300}, {"timeEpoch": "soon"}, {"http": {"path": 1, "method": []}}],
    ids=str,
)
def test_guarantee_6_a_malformed_event_costs_no_trace(faulty, change):
    """Where no span can be inferred, the others leave, and nothing stays open."""
    case = CASES["http"]
    event = json.loads(json.dumps(case.event))
    event["requestContext"] |= change
    with warm():
        serve(answering(200), request_of(type(case)(event=event)))
    inferred, function, _ = only_tree(faulty)
    assert [span.name for span in inferred] in ([], ["aws.httpapi"])
    assert function.meta["request_id"] == REQUEST_ID
    assert nothing_is_open()


def test_a_clock_that_is_ahead(faulty):
    """An event from the future has begun with the invocation."""
    case = CASES["url"]
    event = json.loads(json.dumps(case.event))
    event["requestContext"]["timeEpoch"] = int((time.time() + 3600) * 1000)
    with warm():
        serve(answering(200), request_of(type(case)(event=event)))
    [inferred], function, _ = only_tree(faulty)
    assert inferred.start == function.start
    assert inferred.duration >= function.duration


def test_frozen_time_outside_counts():
    """What an inferred span tells of went on while the process was frozen."""

    class Ledger:
        def latest_ns(self):
            return time.time_ns()

        def frozen_ns(self, start_ns, end_ns):
            return end_ns - start_ns

    replacements = Replacements()
    correct_durations(Ledger(), replacements)
    try:
        with tracer.start_span("inferred", child_of=None) as inferred:
            inferred.set_tag("_inferred_span.tag_source", "self")
            inferred.start_ns -= 10_000_000_000
    finally:
        replacements.undo()
    assert inferred.duration_ns > 9_000_000_000
    assert inferred.get_metric("ddlwa.frozen_ms") is None


# -- where it is not to be had


def test_the_first_invocation(faulty, monkeypatch):
    """Before the first response nothing of datadog-lambda is there: the tags are our own."""
    monkeypatch.setattr(ddtrace.config, "service", "shop")  # as ddtrace finds it in Lambda
    with gate(LAMBDA):
        library = patch.serving().library
        assert (library.functions, library.loading) == (None, None)
        serve(answering(200), request_of(CASES["url"]))
        first = only_tree(faulty)
        library.loading.join(TIMEOUT_S)
        serve(answering(200), request_of(CASES["url"]))
    second = Tree.of(faulty.chunks()[1])
    assert (first.inferred, len(second.inferred)) == ([], 1)
    only_then = {"datadog_lambda", "dd_trace", "span.name"}
    before, after = said(first.function), said(second.function)
    assert (before.pop("cold_start"), after.pop("cold_start")) == ("true", "false")
    assert before == {name: value for name, value in after.items() if name not in only_then}
    assert only_then <= after.keys()


def test_not_at_a_readiness_check(faulty):
    """Neither does it begin such a span, nor load what makes it."""
    with gate({**LAMBDA, "DDLWA_TRACE_READINESS": "true"}):
        serve(answering(200), Request(path="/"))
        assert patch.serving().library.loading is None
    assert [span.name for span in faulty.spans()] == ["asgi.request", "work"]


def test_off_by_default(faulty):
    """Nobody who has not asked for it has it."""
    with gate({name: value for name, value in LAMBDA.items() if name != "DDLWA_LAMBDA_SPAN"}):
        assert patch.serving().library is None
        serve(answering(200), request_of(CASES["url"]))
    assert [span.name for span in faulty.spans()] == ["asgi.request", "work"]


def test_under_the_extension(faulty, warnings_said):
    """The Datadog extension makes these spans itself: not twice, and one warning."""
    with gate({**LAMBDA, "AWS_LWA_LAMBDA_RUNTIME_API_PROXY": "127.0.0.1:9002"}):
        serve(answering(200), request_of(CASES["url"]))
    assert [span.name for span in faulty.spans()] == ["asgi.request", "work"]
    [warning] = warnings_said()
    assert warning.startswith("DDLWA_LAMBDA_SPAN has no effect")


def test_within_another_span(faulty):
    """Where the invocation is traced already, as by datadog-lambda, it is not traced again."""
    app = answering(200)

    async def traced(scope, receive, send):
        with tracer.trace("aws.lambda"):
            await app(scope, receive, send)

    with warm():
        serve(traced, request_of(CASES["url"]))
        patch.serving().delivery.flush_blocking(timeout_s=TIMEOUT_S)
    assert sorted(span.name for span in faulty.spans()) == ["asgi.request", "aws.lambda", "work"]


def test_ddtraces_own_inferred_span(faulty, monkeypatch):
    """Where ddtrace makes one of the proxy's headers, there is no other."""
    monkeypatch.setattr(ddtrace.config, "_inferred_proxy_services_enabled", True)
    headers = {
        "x-dd-proxy": "aws-apigateway",
        "x-dd-proxy-request-time-ms": "1764000000000",
        "x-dd-proxy-path": "/",
        "x-dd-proxy-httpmethod": "GET",
        "x-dd-proxy-domain-name": "shop.example",
        "x-dd-proxy-stage": "prod",
    }
    with warm():
        serve(answering(200), request_of(CASES["http"], headers=headers.items()))
    (chunk,) = faulty.chunks()
    assert [span.name for span in chunk] == ["aws.lambda", "aws.apigateway", "asgi.request", "work"]


def test_tracing_is_off(agent, monkeypatch):
    """With DD_TRACE_ENABLED=false nothing is kept."""
    with warm():
        monkeypatch.setattr(tracer, "enabled", False)
        (exchange,) = serve(answering(200), request_of(CASES["url"]))
    assert exchange.complete
    assert nothing_is_open()


def fail(*_, **__):
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("activate_distributed_headers", ([], "cannot begin the span of an invocation")),
        ("request_tags", (["aws.lambda"], "cannot tell all of an invocation in its span")),
    ],
)
def test_guarantee_6_a_span_that_fails_breaks_nothing(faulty, monkeypatch, warnings_said, name, outcome):
    """Whatever goes wrong in making these spans, the response and its trace leave."""
    with warm():
        monkeypatch.setattr(f"ddlwa.tracer.lambda_span.{name}", fail)
        (exchange,) = serve(answering(200), request_of(CASES["url"]))
    assert exchange.complete
    (chunk,) = faulty.chunks()
    assert ([span.name for span in chunk if span.name not in {"asgi.request", "work"}], *warnings_said()) == (
        outcome
    )


def test_guarantee_6_a_library_that_fails_breaks_nothing(faulty, monkeypatch, warnings_said):
    """What it has begun before it fails is not in the trace, which leaves."""
    with warm() as library:
        monkeypatch.setattr(library.functions, "create_function_execution_span", fail)
        serve(answering(200), request_of(CASES["url"]))
    inferred, function, _ = only_tree(faulty)
    assert (inferred, function.meta["request_id"]) == ([], REQUEST_ID)
    assert warnings_said() == ["cannot tell all of an invocation in its span"]
    assert nothing_is_open()


# -- what makes it


def process():
    """Give what datadog-lambda would change in a process that imports it."""
    return {
        "environment": dict(os.environ),
        "modules": {name for name in sys.modules if name.partition(".")[0] == "datadog_lambda"},
        "imports": [vars(finder).get("find_spec") for finder in sys.meta_path if hasattr(finder, "__dict__")],
        "tags": dict(tracer._tags),
        "provider": opentelemetry.trace._TRACER_PROVIDER,
        "level": logging.getLogger("datadog_lambda").level,
        "threads": {thread.name for thread in threading.enumerate()},
    }


def test_loading_changes_nothing(agent, monkeypatch):
    """Neither does making spans; an app's own import of datadog-lambda will have its usual effects."""
    monkeypatch.setenv("DD_TRACE_OTEL_ENABLED", "true")
    monkeypatch.setenv("DD_TRACE_COMPUTE_STATS", "true")
    before = process()
    library = Library()
    library._load()
    assert library.functions.tracer is not tracer
    case = Adapted(CASES["url"])
    scope = {"method": "GET", "headers": case.headers}
    span = LambdaSpan(case.invocation, scope, start=WARM, library=library, error_statuses=frozenset())
    span.span = span._begun(None)
    span.finish(None, event=None)
    tracer.context_provider.activate(None)
    after = process()
    assert after.pop("threads") <= before.pop("threads")
    assert after == before
    assert nothing_is_open()


def test_told_once(agent):
    """Where a timeout has told of it already, nothing is told again; of no span there is nothing to tell."""
    library = Library()
    library._load()
    case = Adapted(CASES["url"])
    scope = {"method": "GET", "headers": case.headers}
    span = LambdaSpan(case.invocation, scope, start=WARM, library=library, error_statuses=frozenset())
    span.tell(None, event=None)
    made_ns = time.time_ns()
    span.span = function = span._begun(None)
    assert function.start_ns <= made_ns  # before the body of a request has been read
    span.tell(None, event=None)
    span.tell(None, event=None)
    assert [one.name for one in tracer._span_aggregator._traces[function.trace_id].spans] == [
        "aws.lambda.url",
        "aws.lambda",
    ]
    span.finish(None, event=None)
    tracer.context_provider.activate(None)
    assert nothing_is_open()


def test_an_app_that_has_datadog_lambda(agent):
    """What the app has imported stays its own, as it is."""
    code = """
import warnings
warnings.simplefilter("ignore")
import datadog_lambda.metric, datadog_lambda.tracing
warnings.simplefilter("error")
from ddlwa.tracer.lambda_span import Library
library = Library()
library._load()
print(library.functions.config is datadog_lambda.tracing.config)
print(library.functions is not datadog_lambda.tracing)
print(datadog_lambda.tracing.tracer is not library.functions.tracer)
"""
    assert python(code, env={"DD_FLUSH_TO_LOG": "true"}).lines == ["True", "True", "True"]


def test_datadog_lambda_is_not_there(faulty, monkeypatch, warnings_said):
    """Without it there is no inferred span, and one warning that says what is missing."""
    monkeypatch.setitem(sys.modules, "datadog_lambda", None)
    with gate(LAMBDA):
        for _ in range(2):
            serve(answering(200), request_of(CASES["url"]))
            patch.serving().library.loading.join(TIMEOUT_S)
    assert [Tree.of(chunk).inferred for chunk in faulty.chunks()] == [[], []]
    assert warnings_said() == ["there will be no inferred spans: DDLWA_LAMBDA_SPAN needs datadog-lambda"]


def test_datadog_lambda_is_broken(monkeypatch, warnings_said):
    """A package that is not what it was is none."""
    monkeypatch.setitem(sys.modules, "datadog_lambda", SimpleNamespace(__path__=[]))
    library = Library()
    library._load()
    assert library.functions is None
    assert warnings_said() == ["datadog-lambda cannot be loaded"]


def test_no_thread_to_be_had(monkeypatch, warnings_said):
    """Where no thread can be started, it is tried once."""

    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    library = Library()
    library.load_soon()
    library.load_soon()
    assert library.functions is None
    assert warnings_said() == ["no thread can be started; there will be no inferred spans"]
