"""A request that does not end in time: what its trace says, and that it leaves, whatever the app is at."""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from ddtrace.contrib.internal.asgi.middleware import TraceMiddleware
from ddtrace.contrib.internal.aws_lambda.patch import TimeoutChannel
from ddtrace.internal.writer import writer as writers
from ddtrace.trace import tracer
from failing_agents import writing_to_a_faulty_agent
from gates import GENEROUS, gate
from wire_server import Request, serve

import ddlwa
from ddlwa import extension, patch
from ddlwa.tracer.timeout import time_out
from ddlwa.worker import THREADS

LAMBDA = {
    **GENEROUS,
    "AWS_LAMBDA_FUNCTION_NAME": "shop",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
    "DD_APM_FLUSH_DEADLINE_MILLISECONDS": "5000",
}
MARGIN_S = 5.0
# Long enough for a busy machine to have begun the request by then.
SOON_S = 0.4
TIMEOUT_S = 10
TAGS = {"error.type": "Impending Timeout", "error.message": "Datadog detected an Impending Timeout"}


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch):
    """Have ddtrace's exporter send traces only; the one of 3.19 takes 3 s to end otherwise."""
    monkeypatch.setattr(writers.config, "_telemetry_enabled", False)


@pytest.fixture
def faulty(agent):
    """Give an agent that can fail; ddtrace's writer sends to it."""
    with writing_to_a_faulty_agent() as faulty:
        yield faulty


@pytest.fixture
def sent(faulty):
    """Give what has all that was finished sent, and then gives the chunks that the agent has got."""

    def send():
        tracer.flush()
        return faulty.chunks()

    return send


def names(chunks):
    """Give the spans' names, chunk by chunk."""
    return [sorted(span.name for span in chunk) for chunk in chunks]


def errors(span):
    """Give what a span says of an error."""
    return {name: value for name, value in span.meta.items() if name.startswith("error.")}


@contextmanager
def request_span(*, children=()):
    """Open a request span and, each within the one before, its children; close them all in the end."""
    spans = [tracer.start_span("request", child_of=None)]
    for name in children:
        spans.append(tracer.start_span(name, child_of=spans[-1]))
    yield spans[0]
    for span in reversed(spans):
        span.set_tag("late", "yes")
        span.finish()


def in_thread(action, *args):
    """Do something on another thread, as the watchdog does."""
    failures = []

    def act():
        try:
            action(*args)
        except BaseException as error:  # noqa: BLE001 # pragma: no cover - so that the test fails
            failures.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join(TIMEOUT_S)
    assert failures == []


# -- what becomes of the spans


def test_marks_the_request_and_finishes_its_spans(sent):
    """The request span is marked, every open span is finished now, children first, and the trace is whole."""
    order = []
    with request_span(children=("child", "grandchild")) as span:
        tracer.start_span("done", child_of=span).finish()
        for one in tracer._span_aggregator._traces[span.trace_id].spans:
            one._on_finish_callbacks.append(lambda finished: order.append(finished.name))
        in_thread(time_out, span, None)
        ended_ns = time.time_ns()
        [chunk] = sent()
        time.sleep(0.02)
    assert order == ["grandchild", "child", "request"]
    assert names([chunk]) == [["child", "done", "grandchild", "request"]]
    spans = {one.name: one for one in chunk}
    assert {name: (one.error, errors(one)) for name, one in spans.items() if one.error} == {
        "request": (1, TAGS)
    }
    assert {name for name, one in spans.items() if one.meta.get("ddlwa.released_by") == "timeout"} == {*order}
    assert all(ended_ns - 50_000_000 < one.end <= ended_ns for one in chunk)


def test_as_ddtrace_marks_it(sent):
    """A request is marked as ddtrace marks an invocation of a function of datadog-lambda's."""
    with tracer.trace("request"), tracer.trace("child"):
        TimeoutChannel(None)._crash_flush(None, None)
    with request_span(children=("child",)) as span:
        in_thread(time_out, span, None)
    oracle, ours = ({one.name: one for one in chunk} for chunk in sent())
    for name in ("request", "child"):
        assert (ours[name].error, errors(ours[name])) == (oracle[name].error, errors(oracle[name]))
    assert errors(ours["request"]) == TAGS


def test_what_the_app_does_later_changes_nothing(sent):
    """The spans' own end, and tags of then, are not in the trace, which is not sent again."""
    with request_span(children=("child",)) as span:
        in_thread(time_out, span, None)
        in_thread(time_out, span, None)
    [chunk] = sent()
    assert names([chunk]) == [["child", "request"]]
    assert all("late" not in one.meta for one in chunk)


def test_what_begins_later_is_a_part_of_its_own(sent):
    """A span that begins after that leaves when it ends, as a part of the same trace."""
    with request_span() as span:
        in_thread(time_out, span, None)
        with tracer.start_span("later", child_of=span) as later:
            assert names(sent()) == [["request"]]
    first, second = sent()
    assert names([second]) == [["later"]]
    assert second[0].trace_id == first[0].trace_id
    assert second[0].parent_id == first[0].span_id
    assert "ddlwa.released_by" not in second[0].meta
    assert later.finished


def test_a_trace_that_is_complete(sent):
    """A trace that has been handed on says nothing of a timeout."""
    with request_span() as span:
        span.finish()
        in_thread(time_out, span, None)
    [[one]] = sent()
    assert (one.error, errors(one)) == (0, {})


def test_only_the_requests_own_spans(sent):
    """A span around the server is not marked and stays open; one of an API Gateway is the request's."""
    with tracer.trace("server") as outer:
        gateway = tracer.start_span("aws.apigateway", child_of=outer)
        span = tracer.start_span("request", child_of=gateway)
        in_thread(time_out, span, outer)
        assert not outer.finished
    [chunk] = sent()
    marked = {one.name for one in chunk if errors(one) == TAGS and one.error}
    assert marked == {"aws.apigateway", "request"}
    assert names([chunk]) == [["aws.apigateway", "request", "server"]]


def test_a_span_that_begins_meanwhile(sent):
    """A span that another thread opens while the others are finished is finished, too: the trace is whole."""
    with request_span(children=("child",)) as span:
        (child,) = tracer._span_aggregator._traces[span.trace_id].spans[1:]
        child._on_finish_callbacks.append(lambda _: tracer.start_span("begun", child_of=span))
        in_thread(time_out, span, None)
        assert names(sent()) == [["begun", "child", "request"]]


def test_a_span_that_another_thread_is_just_finishing(sent):
    """The trace is waited for until the app's thread, which has to hand it on then, has done so."""
    closed = threading.Event()
    with request_span(children=("child",)) as span:
        (child,) = tracer._span_aggregator._traces[span.trace_id].spans[1:]
        begun = threading.Event()
        child._on_finish_callbacks.insert(0, lambda _: (begun.set(), closed.wait(TIMEOUT_S)))
        span._on_finish_callbacks.append(lambda _: closed.set())
        finishing = threading.Thread(target=child.finish)
        finishing.start()
        assert begun.wait(TIMEOUT_S)
        in_thread(time_out, span, None)
        assert names(sent()) == [["child", "request"]]
        finishing.join(TIMEOUT_S)


def test_threads_that_trace_meanwhile(sent):
    """However many threads open and finish spans meanwhile, each span arrives once, the request's whole."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    rounds, begun, before = 30, Counter(), []
    try:
        for _ in range(rounds):
            stop = threading.Event()
            with request_span(children=("child",)) as span:
                own = []

                def work(span=span, stop=stop, own=own):
                    # ddtrace sends what is finished of a trace of 300 spans, and may then miscount the rest.
                    while not stop.is_set() and len(own) < 240:
                        # Before its #16523 ddtrace itself may fail to begin a span while a trace is sampled.
                        with suppress(RuntimeError), tracer.start_span("work", child_of=span) as one:
                            own.append(one.span_id)

                threads = [threading.Thread(target=work) for _ in range(3)]
                for thread in threads:
                    thread.start()
                while len(own) < 50:
                    time.sleep(0.001)
                before.append((span.span_id, own.copy()))
                in_thread(time_out, span, None)
                assert span.finished
                stop.set()
                for thread in threads:
                    thread.join(TIMEOUT_S)
            begun.update(own)
    finally:
        sys.setswitchinterval(interval_s)
    chunks = sent()
    arrived = Counter(span.span_id for chunk in chunks for span in chunk if span.name == "work")
    assert arrived == begun
    assert set(arrived.values()) == {1}
    where = {span.span_id: number for number, chunk in enumerate(chunks) for span in chunk}
    assert sum(one.name == "request" for chunk in chunks for one in chunk) == rounds
    for request_id, own in before:
        assert "child" in {one.name for one in chunks[where[request_id]]}
        assert all(span.duration > 0 for span in chunks[where[request_id]])
        assert {where[span_id] for span_id in own} == {where[request_id]}


# -- requests


def request(*, left_s):
    """Make the request of an invocation that is given up after so long."""
    context = {"request_id": "id-1", "deadline": int((time.time() + MARGIN_S + left_s) * 1000)}
    return Request(path="/", headers=((b"x-amzn-lambda-context", json.dumps(context).encode()),))


def traced(handler, *, before=()):
    """Make an app that ddtrace traces; the handler is awaited after these messages, within a span."""

    async def app(scope, receive, send):
        for message in before:
            await send(message)
        with tracer.trace("work"):
            await handler()
        if not before:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return TraceMiddleware(app)


class Waiting:
    """Code of an app that goes on only when its request's trace has arrived."""

    def __init__(self, agent):
        self.agent = agent
        self.arrived = []

    def here(self):
        return bool(self.agent.spans())

    def look(self):
        self.arrived += names(self.agent.chunks())

    async def blocking(self):
        assert self.agent.wait(lambda _: self.here(), timeout_s=TIMEOUT_S)
        self.look()

    async def busy(self):
        until_s = time.monotonic() + TIMEOUT_S
        while not self.here():
            assert time.monotonic() < until_s
        self.look()

    async def awaiting(self):
        until_s = time.monotonic() + TIMEOUT_S
        while not self.here():
            assert time.monotonic() < until_s
            await asyncio.sleep(0.005)
        self.look()

    async def in_thread(self):
        await asyncio.to_thread(lambda: asyncio.run(self.blocking()))

    async def tracing(self):
        until_s = time.monotonic() + TIMEOUT_S
        while not self.here():
            assert time.monotonic() < until_s
            with tracer.trace("short"):
                time.sleep(0.005)  # noqa: ASYNC251 - blocks on purpose
        self.look()


STREAM = (
    {"type": "http.response.start", "status": 200, "headers": []},
    {"type": "http.response.body", "body": b"first", "more_body": True},
)


@pytest.mark.parametrize("before", [(), STREAM], ids=["plain", "streaming"])
@pytest.mark.parametrize("way", ["blocking", "busy", "awaiting", "in_thread", "tracing"])
def test_leaves_while_the_app_is_at_it(way, before, faulty, warnings_said):
    """Before its deadline a request's trace is at the agent, whatever the app does; it can still answer."""
    with gate(LAMBDA):
        waiting = Waiting(faulty)
        limit_ns = time.time_ns() + SOON_S * 1e9
        (exchange,) = serve(traced(getattr(waiting, way), before=before), request(left_s=SOON_S))
        assert patch.serving().watchdog._until_s == {}
    assert exchange.status == 200
    whole, *begun_later = waiting.arrived
    assert {"asgi.request", "work"} <= set(whole) <= {"asgi.request", "work", "short"}
    assert all(chunk == ["short"] for chunk in begun_later)
    spans = Counter(span.name for span in faulty.spans())
    assert spans["asgi.request"] == spans["work"] == 1
    [root] = [span for span in faulty.spans() if span.name == "asgi.request"]
    assert (root.error, errors(root)) == (1, TAGS)
    assert -0.02 < (root.end - limit_ns) / 1e9 < MARGIN_S / 2
    assert len({span.span_id for span in faulty.spans()}) == len(faulty.spans())
    assert warnings_said() == []


@pytest.mark.parametrize("alone", [True, False])
def test_a_span_around_the_server(alone, faulty):
    """It is the request's if there is no other request: it is finished with it, for it could not be later."""
    waiting = Waiting(faulty)

    async def served(scope, receive, send):
        with tracer.trace("server"):
            await traced(waiting.blocking if alone else until_finished)(scope, receive, send)

    async def until_finished():
        span = tracer.current_span()._parent
        until_s = time.monotonic() + TIMEOUT_S
        while not span.finished:
            assert time.monotonic() < until_s
            time.sleep(0.01)  # noqa: ASYNC251 - blocks on purpose
        waiting.look()

    with gate(LAMBDA if alone else {**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "8", "DDLWA_MODE": "hold"}):
        serve(served, request(left_s=SOON_S))
    assert waiting.arrived == ([["asgi.request", "server", "work"]] if alone else [])
    assert names(faulty.chunks()) == [["asgi.request", "server", "work"]]
    marked = {span.name for span in faulty.spans() if errors(span) == TAGS}
    assert marked == ({"asgi.request", "server"} if alone else {"asgi.request"})


def test_an_app_that_fails_later(faulty):
    """An exception after that passes through, and the trace has been sent, once."""
    waiting = Waiting(faulty)

    async def fail():
        await waiting.blocking()
        raise ValueError("on purpose")

    with gate(LAMBDA):
        (exchange,) = serve(traced(fail), request(left_s=SOON_S))
    assert isinstance(exchange.error, ValueError)
    assert names(faulty.chunks()) == [["asgi.request", "work"]]
    [root] = [span for span in faulty.spans() if span.name == "asgi.request"]
    assert errors(root) == TAGS


def test_a_request_that_ends_in_time(faulty):
    """A request that is over before is watched no longer, and its trace says nothing of a timeout."""
    with gate(LAMBDA):
        watchdog = patch.serving().watchdog
        (exchange,) = serve(traced(lambda: asyncio.sleep(0.01)), request(left_s=SOON_S))
        assert watchdog._until_s == {}
        ends_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < ends_s and watchdog._looks_s < time.monotonic() + SOON_S:
            time.sleep(0.01)
    assert exchange.status == 200
    assert names(faulty.chunks()) == [["asgi.request", "work"]]
    assert [span.error for span in faulty.spans()] == [0, 0]


def test_requests_at_once(faulty):
    """Of several requests those time out whose time is over; the others are as ever."""

    async def end():
        await asyncio.sleep(0.01)

    async def wait():
        both = partial(faulty.wait, lambda _: sum(span.error for span in faulty.spans()) == 2)
        assert await asyncio.to_thread(both, timeout_s=TIMEOUT_S)

    handlers = {"/slow-1": wait, "/slow-2": wait, "/quick": end, "/patient": wait}
    left_s = {"/slow-1": SOON_S, "/slow-2": 2 * SOON_S, "/quick": SOON_S, "/patient": 60}

    async def app(scope, receive, send):
        await handlers[scope["path"]]()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    requests = [Request(path=path, headers=request(left_s=left).headers) for path, left in left_s.items()]
    with gate({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "8", "DDLWA_MODE": "hold"}):
        exchanges = serve(TraceMiddleware(app), *requests)
    assert [exchange.status for exchange in exchanges] == [200] * 4
    spans = {span.resource.removeprefix("GET "): span for span in faulty.spans()}
    assert len(spans) == len(faulty.spans()) == 4
    assert {path: span.error for path, span in spans.items()} == {
        "/slow-1": 1,
        "/slow-2": 1,
        "/quick": 0,
        "/patient": 0,
    }


@pytest.mark.parametrize("header", [(), ((b"x-amzn-lambda-context", b'{"request_id": "a", "deadline": 1}'),)])
def test_requests_without_a_deadline(header, faulty):
    """A readiness check, and an invocation whose deadline has passed before, are not watched."""
    seen = []

    async def look():
        seen.append(dict(patch.serving().watchdog._until_s))

    with gate(LAMBDA):
        serve(traced(look), Request(path="/", headers=header))
    assert seen == [{}]
    assert all(span.error == 0 for span in faulty.spans())


def test_no_thread_before_the_first_invocation(faulty):
    """Neither patching nor a readiness check starts the watchdog's thread; taking ddlwa out ends it."""

    def threads():
        return [thread for thread in threading.enumerate() if thread.name == f"{THREADS}-watchdog"]

    async def nothing():
        pass

    with gate(LAMBDA):
        serve(traced(nothing), Request(path="/"))
        assert threads() == []
        serve(traced(nothing), request(left_s=60))
        [thread] = threads()
    thread.join(TIMEOUT_S)
    assert threads() == []


def test_an_app_that_is_not_traced(faulty):
    """Where there is no request span what else is finished is delivered."""
    waiting = Waiting(faulty)

    async def app(scope, receive, send):
        tracer.start_span("other", child_of=None).finish()
        await waiting.blocking()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    with gate(LAMBDA):
        serving = patch.serving()
        serve(lambda *asgi: serving.serve(app, *asgi), request(left_s=SOON_S))
    assert waiting.arrived == [["other"]]


class Registered:
    """An extension without Lambda behind it, that takes every request."""

    def __init__(self, *_, **__):
        pass

    def start(self):
        pass

    def takes(self, _):
        return True

    def ended(self, _):
        pass

    def step_down(self):
        pass


@pytest.mark.parametrize("answered", [True, False])
def test_extension_mode(answered, faulty, monkeypatch):
    """Where nothing is held, a response that has left is no timeout though the app goes on."""
    monkeypatch.setattr(extension, "Extension", Registered)
    called = threading.Event()

    async def app(scope, receive, send):
        child = tracer.start_span("child", child_of=tracer.current_span())
        watchdog = patch.serving().watchdog
        flush = watchdog._then
        watchdog._then = lambda: (flush(), called.set())
        if not answered:
            assert called.wait(TIMEOUT_S)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        if answered:
            assert called.wait(TIMEOUT_S)
        child.finish()

    with gate({**LAMBDA, "DDLWA_MODE": "extension"}):
        (exchange,) = serve(TraceMiddleware(app), request(left_s=SOON_S))
    assert exchange.status == 200
    assert names(faulty.chunks()) == [["asgi.request", "child"]]
    assert {span.error for span in faulty.spans()} == ({0} if answered else {0, 1})
    assert any("ddlwa.released_by" in span.meta for span in faulty.spans()) is not answered


# -- the agent


def test_an_agent_that_has_failed_before(faulty):
    """An agent that is left alone is tried all the same: there is no other time."""
    waiting = Waiting(faulty)
    with gate({**LAMBDA, "DDLWA_FLUSH_TIMEOUT_MS": "200"}):
        delivery = patch.serving().delivery
        faulty.become("refused")
        for _ in range(4):
            serve(traced(lambda: asyncio.sleep(0)), request(left_s=60))
        assert ddlwa.stats()["delivery"]["breaker"] == "open"
        delivery._breaker._until_s = time.monotonic() + 60
        faulty.become("healthy")
        serve(traced(waiting.blocking), request(left_s=SOON_S))
    assert waiting.arrived[0] == ["asgi.request", "work"]
    roots = [span for span in faulty.spans() if span.name == "asgi.request"]
    assert [span.error for span in roots] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize("fault", ["refused", "hung", "mute", "status:500"])
def test_an_agent_that_fails(fault, faulty, warnings_said):
    """With an agent that takes nothing the app is not held up, and the trace is retained."""
    faulty.become(fault)
    called = threading.Event()

    async def wait():
        watchdog = patch.serving().watchdog
        flush = watchdog._then
        watchdog._then = lambda: (flush(), called.set())
        assert called.wait(TIMEOUT_S)

    with gate({**LAMBDA, "DD_APM_FLUSH_DEADLINE_MILLISECONDS": "300", "DDLWA_FLUSH_TIMEOUT_MS": "200"}):
        context = {"request_id": "id-1", "deadline": int((time.time() + 0.3 + SOON_S) * 1000)}
        header = (b"x-amzn-lambda-context", json.dumps(context).encode())
        begun_s = time.monotonic()
        (exchange,) = serve(traced(wait), Request(path="/", headers=(header,)))
        assert time.monotonic() - begun_s < SOON_S + 0.3 + 1
        faulty.become("healthy")
    assert exchange.status == 200
    assert "cannot end a request that times out" not in warnings_said()
    roots = [span for span in faulty.spans() if span.name == "asgi.request"]
    assert [span.error for span in roots] == [1]


@pytest.mark.parametrize("fault", ["slow:0", "slow:50", "hung"])
def test_a_flush_that_the_blocked_loop_was_at(fault, faulty):
    """What the loop was about to deliver when it was blocked does not keep the watchdog's flush waiting.

    An answer that came meanwhile counts: nothing is sent twice if the agent is not too slow for that.
    """
    waiting = Waiting(faulty)
    waiting.here = lambda: any(span.name == "work" for span in faulty.spans())

    async def block():
        faulty.become(fault)
        tracer.start_span("first", child_of=None).finish()
        flushing = asyncio.ensure_future(patch.serving().delivery.flush())
        await asyncio.sleep(0)
        assert faulty.wait(lambda agent: agent.requests, timeout_s=TIMEOUT_S)
        if fault == "hung":
            faulty.become("healthy")
        await waiting.blocking()
        await flushing

    with gate({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "8", "DDLWA_MODE": "hold"}):
        serve(traced(lambda: asyncio.sleep(0)), request(left_s=60))  # so that there is a connection
        assert names(faulty.chunks()) == [["asgi.request", "work"]]
        faulty.clear()
        (exchange,) = serve(traced(block), request(left_s=2 * SOON_S))
        repeated = ddlwa.stats()["delivery"]["repeated"]
    assert exchange.status == 200
    assert Counter(span.name for span in faulty.spans()) == {"asgi.request": 1, "work": 1, "first": 1}
    assert repeated == (fault == "hung")
