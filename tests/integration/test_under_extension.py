"""Under the Datadog extension: traces come in the shape and order by which it puts them under `aws.lambda`.

What is not asked for, as it does not hold:

- An invocation without a span (its trace is dropped by a filter, or it does not reach the app) gives the
  extension nothing to pair it with. It comes only where nothing is left over from others, as that would be
  taken for its trace.
- In extension mode, a span that is still open when the app is done keeps the request's trace from being sent.
  That, too, comes only where nothing is left over.
"""

import asyncio
import json
import os
import queue
import random
import secrets
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from bottlecap import Bottlecap, problems
from ddtrace.internal.writer import writer as writers
from ddtrace.trace import TraceFilter, tracer
from ddtrace_writers import native, using
from failing_agents import writing_to_a_faulty_agent
from gates import GENEROUS, gate
from wire_server import Exchange, Request

import ddlwa

INVOCATIONS = int(os.environ.get("DDLWA_UNDER_EXTENSION_INVOCATIONS", "3000"))
SEED = os.environ.get("DDLWA_UNDER_EXTENSION_SEED") or secrets.token_hex(4)
LAMBDA = {
    **GENEROUS,
    "AWS_LAMBDA_FUNCTION_NAME": "shop",
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
    "AWS_LWA_LAMBDA_RUNTIME_API_PROXY": "127.0.0.1:9002",
}
# Those that are over at once: no time limit of ours has a part in what is to be expected.
FAULTS = ["refused", "closing", "resetting", "garbage", "half", "status:429", "status:500", "status:503"]
MOST_AT_ONCE = 8
_READINESS = 0  # the number of what is no invocation
_WIDE = 310  # spans of a trace that ddtrace sends in parts
_REQUEST = "fastapi.request"
_OURS = {"child", "other", "open", "after", "pool", "root", "task", "background", "deferred"}
_OFTEN_S = 0.02  # so that ddtrace's clock comes in between
_PATIENCE_S = 30


# -- what is asked for


@dataclass(frozen=True, eq=False)
class Late:
    """Something of an invocation that ends in a later one; two that look alike are two.

    Attributes:
        kind: A span of the request that is `open`; one that begins `after` its end, or in a thread of a
            `pool`; the `root` of another trace; a `background` task; a `task` of the event loop.
        number: Whose.
        until: The number of the invocation in which it ends.
        inside: While that one's request is served, not before.
    """

    kind: str
    number: int
    until: int
    inside: bool


@dataclass(frozen=True)
class Step:
    """One invocation, and what happens around it.

    Attributes:
        number: Its number.
        way: It is "traced", or its trace is "filtered", or it does not reach the app and is "bypassed".
        ending: How its response ends.
        children: How many spans its request has.
        in_thread: How many of them are in threads.
        before: How many traces of their own the request makes before its own spans.
        after: How many after them.
        flushes: It calls `tracer.flush()`.
        deferred: What it leaves to be done, each critical or not.
        late: What ends later.
        upstream: An upstream trace id, parent id and sampling priority.
        readiness: How many readiness checks come before it.
        fault: What the agent becomes before it.
        hurried: The next one may come before the app is done with this.
    """

    number: int
    way: str = "traced"
    ending: str = "json"
    children: int = 0
    in_thread: int = 0
    before: int = 0
    after: int = 0
    flushes: bool = False
    deferred: tuple[bool, ...] = ()
    late: tuple[Late, ...] = ()
    upstream: tuple[int, int, int] | None = None
    readiness: int = 0
    fault: str | None = None
    hurried: bool = False

    def plain(self):
        """Give the same without what needs nothing else to be left."""
        return Step(self.number, fault=self.fault, upstream=self.upstream)


def plan(rng, count, *, mode):
    """Make the steps; the same of the same random generator."""
    steps, fault = [], "healthy"
    for number in range(1, count + 1):
        change = None
        if rng.random() < (0.005 if fault == "healthy" else 0.3):
            change = rng.choice(FAULTS) if fault == "healthy" else "healthy"
            fault = change
        steps.append(_step(rng, number, steps[-1] if steps else None, mode=mode, fault=change))
    return steps


def _step(rng, number, previous, *, mode, fault):
    way = rng.choices(["traced", "filtered", "bypassed"], [94, 4, 2 if mode == "hold" else 0])[0]
    if way != "traced":
        return Step(number, way=way, fault=fault)
    late = _late(rng, number, mode=mode)
    kinds = {one.kind for one in late}
    alone = mode == "extension" and "open" in kinds
    ending = rng.choices(["json", "empty", "stream", "error"], [6, 1, 2, 1])[0]
    deferred = tuple(rng.random() < 0.5 for _ in range(rng.choices([0, 1, 2], [8, 1, 1])[0]))
    return Step(
        number,
        ending="json" if "background" in kinds else ending,
        children=_WIDE if not alone and rng.random() < 0.004 else rng.choice([0, 1, 3]),
        in_thread=rng.choices([0, 1], [4, 1])[0],
        before=0 if alone else rng.choices([0, 1, 2], [6, 2, 1])[0],
        after=0 if alone else rng.choices([0, 1, 2], [6, 2, 1])[0],
        flushes=not alone and rng.random() < 0.1,
        deferred=() if alone else deferred,
        late=late,
        upstream=_upstream(rng, number, None if mode == "several" else previous),
        readiness=0 if alone else rng.choices([0, 1, 3], [12, 1, 1])[0],
        fault=fault,
        hurried=rng.random() < 0.5,
    )


def _late(rng, number, *, mode):
    if mode == "several":
        kinds = rng.choices([[], ["root"], ["background"]], [4, 1, 1])[0]
    else:
        kinds = rng.choices(
            [[], ["open"], ["open", "open"], ["after"], ["pool"], ["root"], ["task"], ["background"]]
            + (
                [
                    ["root", "background"],
                    ["open", "after", "root"],
                    ["after", "background"],
                    ["task", "background"],
                    ["pool", "background"],
                ]
                if mode == "hold"
                else []
            ),
            [12, *[1] * (12 if mode == "hold" else 7)],
        )[0]
    return tuple(
        Late(kind, number, number + rng.choice([1, 1, 2, 5]), inside=rng.random() < 0.5) for kind in kinds
    )


def _upstream(rng, number, previous):
    if rng.random() < 0.5:
        return None
    trace_id, priority = rng.getrandbits(63) or 1, rng.choice([-1, 0, 1, 2])
    if previous and previous.upstream and {late.kind for late in previous.late} <= {"background", "root"}:
        # Two invocations of the same caller, each by a span of its own.
        trace_id = rng.choice([trace_id, previous.upstream[0]])
    return trace_id, 10**6 + number, priority


# -- the app


class Filter(TraceFilter):
    """Drops traces, as Datadog advises for what is not to be traced."""

    def process_trace(self, trace):
        return None if any(span.get_tag("test.filtered") for span in trace) else trace


def build(run):
    """Make the app."""
    # To be imported once ddtrace has patched them.
    from fastapi import FastAPI  # noqa: PLC0415
    from fastapi.responses import JSONResponse, Response, StreamingResponse  # noqa: PLC0415
    from starlette.background import BackgroundTask, BackgroundTasks  # noqa: PLC0415

    app = FastAPI()

    async def parts():
        for _ in range(3):
            yield b"part"

    @app.get("/")
    async def ready():
        tracer.current_root_span().set_tag("test.number", _READINESS)
        run.trace("other", -run.readiness)
        return {"ok": True}

    @app.get("/{number}")
    async def handle(number: int):
        work = await run.handle(run.steps[number])
        ending = run.steps[number].ending
        if ending == "error":
            raise RuntimeError("as asked for")
        if ending == "empty":
            return Response(status_code=204)
        if ending == "stream":
            return StreamingResponse(parts())
        background = None
        if work and number % 2:  # ddtrace gives a trace of its own to those that are added
            background = BackgroundTask(work)
        elif work:
            background = BackgroundTasks()
            background.add_task(work)
        return JSONResponse({"number": number}, background=background)

    return app


def begin(kind, number, parent=None):
    return tracer.start_span(kind, resource=str(number), child_of=parent)


async def in_thread(function, *args):
    """Have it done by a thread that knows nothing of the request."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()

    def work():
        function(*args)
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work).start()
    await done.wait()


class Run:
    """Invocations being served, and what came of them.

    Attributes:
        steps: Those asked for so far, by number.
        made: The traces, or late parts of them, that are to arrive some time, each by its kind and number.
        arrived: How often each did.
        rules: The extension, by either form of its rule.
        expected: By rule, the request ids of those whose request is to be paired.
        judged: Counts what was looked at.
        events: What happened last.
    """

    def __init__(self, agent, *, mode):
        self.agent = agent
        self.mode = mode
        self.steps = {}
        self.made = Counter()
        self.arrived = Counter()
        self.rules = {"unlinks": Bottlecap(), "keeps": Bottlecap(unlinks=False)}
        self.expected = {"unlinks": set(), "keeps": set()}
        self.excused = set()
        self.owners = {}
        self.requests = {}
        self.readiness = 0
        self.judged = Counter()
        self.events = deque(maxlen=20)
        self._read = 0
        self._held = {}
        self._serving = {}
        self._pool = ThreadPoolExecutor(64)
        self.app = build(self)

    # what the app does

    async def handle(self, step):
        """Do what a request is to do; give what is to be done in the background, if anything."""
        request = tracer.current_root_span()
        request.set_tag("test.number", step.number)
        if step.way == "filtered":
            request.set_tag("test.filtered", "true")
        for _ in range(step.before):
            self.trace("other", step.number)
        work = None
        for late in step.late:
            work = self._hold(late, request) or work
        spans = [begin("child", step.number, request) for _ in range(step.children)]
        for span in reversed(spans):
            span.finish()
        for _ in range(step.in_thread):
            await in_thread(lambda: begin("child", step.number, request).finish())
        await self._end_due(step.number, inside=True)
        for _ in range(step.after):
            self.trace("other", step.number)
        if step.flushes:
            tracer.flush()
        for critical in step.deferred:
            self.made["deferred", step.number] += 1
            ddlwa.defer(self._work, step.number, critical=critical)
        return work

    def trace(self, kind, number):
        """Make a trace of its own."""
        self.made[kind, number] += 1
        begin(kind, number).finish()

    async def _work(self, number):
        with tracer.trace("deferred", resource=str(number)):
            await asyncio.sleep(0)

    def _hold(self, late, request):
        """Begin something, and keep what ends it; give what is to be done in the background."""
        work = None
        number, kind = late.number, late.kind
        if kind == "open":
            span = begin(kind, number, request)
            end = self._ending(span.finish)
        elif kind == "after":
            end = self._ending(lambda: begin(kind, number, request).finish())
        elif kind == "root":
            span = begin(kind, number)
            end = self._ending(lambda: (begin(kind, number, span).finish(), span.finish()))
        elif kind == "pool":
            go = threading.Event()
            future = self._pool.submit(self._in_pool, go, number)

            async def end():
                go.set()
                await asyncio.wrap_future(future)
        else:
            go = asyncio.Event()

            async def work():
                await go.wait()
                with tracer.trace(kind, resource=str(number)):
                    await asyncio.sleep(0)

            done = None if kind == "background" else asyncio.create_task(work())

            async def end():
                go.set()
                await (done or self._serving[number])

        self._held[late] = end
        return work if kind == "background" else None

    def _in_pool(self, go, number):
        go.wait(_PATIENCE_S)
        with tracer.trace("pool", resource=str(number)):
            pass

    def _ending(self, function):
        async def end():
            await in_thread(function)

        return end

    async def _end_due(self, number, *, inside):
        for late in [one for one in self._held if one.until <= number and one.inside <= inside]:
            await self._end(late)

    async def _end(self, late):
        end = self._held.pop(late, None)
        if end is None:
            return  # another request was quicker
        if late.kind != "open":
            self.made[late.kind, late.number] += 1
        await end()

    # what comes of it

    def feed(self):
        """Hand on what the agent has taken since; give the names of the traces."""
        requests = self.agent.requests
        names = []
        for request in requests[self._read :]:
            if request.accepted:
                names += [self._note(chunk) for chunk in request.chunks]
                for rule in self.rules.values():
                    rule.take(request.chunks)
        self._read = len(requests)
        return names

    def _note(self, chunk):
        name = name_of(chunk)
        kind, number = name
        self.arrived[name] += 1
        if kind == "request":
            self.requests[_id(number)] = chunk[0].trace_id
        if number != _READINESS:
            self.owners.update({(span.trace_id, span.span_id): _id(number) for span in chunk})
        return name

    def loose(self):
        """Say whether something is finished, and has not arrived."""
        return bool(self.made - self.arrived)

    def is_well(self):
        return self.agent.fault == "healthy" and ddlwa.stats()["delivery"]["breaker"] == "closed"

    # invocations

    async def ready(self):
        """Be the adapter that looks whether the app is ready."""
        self.readiness += 1
        await Exchange(Request(path="/"), on_complete=lambda _: None).serve(self.app)

    async def carry_out(self, step, adapter):
        """Have an invocation, one at a time."""
        if step.fault:
            await asyncio.to_thread(self.agent.become, step.fault)
        for _ in range(step.readiness):
            await self.ready()
        delicate = step.way != "traced" or (
            self.mode == "extension" and any(late.kind == "open" for late in step.late)
        )
        await self._end_due(step.number, inside=delicate)
        self.feed()
        if delicate and self.loose():
            step = step.plain()
        self.steps[step.number] = step
        self.events.append(step)
        well, waited_for = self._next(step)
        if step.way != "bypassed":
            await adapter(self, step)
        names = self.feed()
        for rule in self.rules.values():
            rule.report(_id(step.number))
        self._judge_window(step, names, well=well, waited_for=waited_for)

    def _next(self, step):
        waited_for = self.rules["keeps"].is_waited_for()
        for rule in self.rules.values():
            rule.next(_id(step.number), parent_id=step.upstream[1] if step.upstream else 0)
        if step.way == "traced":
            self.made["request", step.number] += 1
            if step.children == _WIDE:
                self.made["child", step.number] += 1
        return self.is_well(), waited_for

    def _judge_window(self, step, names, *, well, waited_for):
        """What comes in an invocation: its request's trace first; nothing if it has none."""
        whole = step.way == "traced" and not (
            self.mode == "extension" and any(late.kind == "open" for late in step.late)
        )
        self.events.append(names)
        if not whole:
            self.judged["without"] += 1
            assert names == [], f"{names} came in {step}"
        elif well:
            self.judged["paired"] += 1
            self.judged["with leftovers"] += any(number != step.number for _, number in names)
            assert names, f"nothing came in {step}"
            self.expected["unlinks"].add(_id(step.number))
            if not waited_for:
                self.expected["keeps"].add(_id(step.number))
        else:
            self.judged["with a fault"] += 1
        if names:
            own = {("request", step.number), ("child", step.number)}
            assert names[0] in own, f"{names} came in {step}"
        else:
            self.excused.add(_id(step.number))

    def serve(self, step):
        """Begin to serve a request; give what is set when its response is complete."""
        complete = asyncio.Event()
        self._serving[step.number] = asyncio.create_task(self._serve(step, complete))
        return complete

    async def _serve(self, step, complete):
        exchange = Exchange(request_of(step), on_complete=lambda _: complete.set())
        await exchange.serve(self.app)
        status, error = {"error": (500, RuntimeError), "empty": (204, type(None))}.get(
            step.ending, (200, type(None))
        )
        assert exchange.status == status
        assert isinstance(exchange.error, error)

    async def hold(self, step):
        """Have a request served in hold mode: the next may come as soon as the response is complete."""
        await self.serve(step).wait()
        if not step.hurried and all(late.kind != "background" for late in step.late):
            await self._serving[step.number]

    async def extend(self, step, events):
        """Have a request served in extension mode: the next comes when all is done."""
        events.invoke(_id(step.number))
        await self.serve(step).wait()
        for late in [one for one in self._held if one.kind == "background"]:
            await self._end(late)
        await asyncio.to_thread(events.wait_until_asked)

    async def settle(self, have):
        """End everything, and have invocations until all has arrived."""
        await asyncio.to_thread(self.agent.become, "healthy")
        for late in list(self._held):
            await self._end(late)
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            await have(Step(max(self.steps, default=0) + 1))
            if not self.loose() or time.monotonic() > until_s:
                break
            await asyncio.sleep(0.01)
        await asyncio.gather(*self._serving.values())
        self._pool.shutdown()

    def judge(self):
        """All in all: everything has come, once, and hangs where the extension's rule wants it to."""
        assert self.arrived == self.made
        stats = ddlwa.stats()["delivery"]
        assert stats["retained_traces"] == 0
        assert stats["dropped"] == {**dict.fromkeys(stats["dropped"], 0), "readiness": self.readiness}
        for name, rule in self.rules.items():
            requests = {request_id: self.requests[request_id] for request_id in self.expected[name]}
            excused = set() if name == "unlinks" and self.mode != "several" else self.excused
            found = problems(rule, requests=requests, owners=self.owners, excused=excused)
            assert found == [], f"{len(found)} problems where it {name}, at first {found[:5]}"


def name_of(chunk):
    """Say what a trace, or a part of one, is: its kind, and whose it is."""
    names = {(span.name, int(span.resource)) for span in chunk if span.name in _OURS}
    of_requests = [("request", int(span.metrics["test.number"])) for span in chunk if span.name == _REQUEST]
    assert len({number for _, number in [*names, *of_requests]}) == 1, f"mixed: {[*names, *of_requests]}"
    (name,) = of_requests or names
    return name


def request_of(step):
    """Make the request that the adapter makes of an invocation."""
    context = {"request_id": _id(step.number), "deadline": int((time.time() + 60) * 1000)}
    headers = [(b"x-amzn-lambda-context", json.dumps(context).encode())]
    names = "x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority"
    headers += zip(map(str.encode, names), (b"%d" % value for value in step.upstream or ()), strict=False)
    return Request(path=f"/{step.number}", headers=tuple(headers))


def _id(number):
    return f"id-{number}"


# -- what is around


class Events:
    """Lambda's Extensions API for the one extension that ddlwa is."""

    def __init__(self):
        self._events = queue.Queue()
        self._asked = queue.Queue()
        events = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self._answer(200, {})

            def do_GET(self):
                events._asked.put("next")
                event = events._events.get()
                self._answer(200 if event else 403, event)

            def _answer(self, status, content):
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Lambda-Extension-Identifier", "the one")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_port}"

    def invoke(self, request_id):
        deadline_ms = int((time.time() + 60) * 1000)
        self._events.put({"eventType": "INVOKE", "requestId": request_id, "deadlineMs": deadline_ms})

    def wait_until_asked(self):
        self._asked.get(timeout=_PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._events.put(None)  # refused: the extension's thread ends
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def faulty(agent, monkeypatch):
    """Give an agent that can fail; ddtrace's writer sends to it, and what is marked is filtered."""
    # The exporter of ddtrace 3.19 takes 3 s to end otherwise.
    monkeypatch.setattr(writers.config, "_telemetry_enabled", False)
    aggregator = tracer._span_aggregator
    monkeypatch.setattr(aggregator, "user_processors", [Filter()])
    with writing_to_a_faulty_agent() as faulty:
        yield faulty


@contextmanager
def told(run, mode, count):
    """Say with a failure how it is to be repeated, and what happened last."""
    repeat = f"DDLWA_UNDER_EXTENSION_SEED={SEED} DDLWA_UNDER_EXTENSION_INVOCATIONS={INVOCATIONS}"
    print(f"{repeat} {mode}: {count}")  # noqa: T201 - to repeat it
    try:
        yield random.Random(f"{SEED} {mode}")  # noqa: S311 - a test's chance, to be repeated
    except Exception as error:
        last = "\n".join(map(str, run.events))
        raise AssertionError(f"seed {SEED}, {mode}: {error!r}\nthe last events:\n{last}") from error


# -- one at a time


def test_hold_mode(faulty):
    """In hold mode each request's trace is the first after its `next`, whatever else is finished meanwhile.

    With an agent that is well its whole tree hangs under the invocation's `aws.lambda` span, by either form
    of the extension's rule; nothing of another invocation does; nothing arrives twice, or never; a readiness
    check sends no trace of its own. Where a report does not end a pairing, that is so for each invocation
    before which none waits for a span.
    """
    run = Run(faulty, mode="hold")
    count = INVOCATIONS * 2 // 3

    async def main(steps):
        for step in steps:
            await run.carry_out(step, Run.hold)
        await run.settle(lambda step: run.carry_out(step, Run.hold))

    with told(run, "hold", count) as rng, gate(LAMBDA):
        asyncio.run(main(plan(rng, count, mode="hold")))
        run.judge()
    assert_worth(run, count)


def test_extension_mode(faulty):
    """In extension mode the same holds of what has arrived when ddlwa asks Lambda for the next event.

    Where a span of the request is still open when its app is done, its trace comes later, after another's.
    """
    run = Run(faulty, mode="extension")
    count = INVOCATIONS // 3

    async def main(steps, events):
        async def extend(run, step):
            await run.extend(step, events)

        await asyncio.to_thread(events.wait_until_asked)
        for step in steps:
            await run.carry_out(step, extend)
        await run.settle(lambda step: run.carry_out(step, extend))

    with Events() as events, told(run, "extension", count) as rng:
        env = {**LAMBDA, "DDLWA_MODE": "extension", "AWS_LAMBDA_RUNTIME_API": events.address}
        with gate(env):
            asyncio.run(main(plan(rng, count, mode="extension"), events))
            run.judge()
    assert_worth(run, count)


def assert_worth(run, count):
    """The run has seen enough of everything to say something."""
    if count >= 500:
        assert run.judged["paired"] > count / 4
        assert run.judged["with leftovers"] > count / 20
        assert run.judged["without"] > count / 100


# -- several at once


def test_several_at_once(faulty):
    """Of several invocations at once, the first trace that comes is the request's of one of them.

    So no leftover and no readiness check is taken for one of them, if what came before had arrived. Each
    request's trace arrives once, as one tree. More does not hold: with all of them the extension pairs that
    first trace, and hangs it under the oldest that has the same upstream parent, whosever it is; and what is
    left over may come after the `next` of an invocation that begins meanwhile.
    """
    run = Run(faulty, mode="several")
    count = INVOCATIONS // 5
    env = {**LAMBDA, "DDLWA_MODE": "hold", "AWS_LAMBDA_MAX_CONCURRENCY": str(MOST_AT_ONCE)}

    async def main(rng):
        steps = [step for step in plan(rng, count, mode="several") if step.way == "traced"]
        while steps:
            size = rng.randint(2, MOST_AT_ONCE)
            await _at_once(run, steps[:size])
            steps = steps[size:]
        await run.settle(lambda step: _at_once(run, [step]))

    with (
        using(native(faulty.url, processing_interval=_OFTEN_S)),
        told(run, "several", count) as rng,
        gate(env),
    ):
        asyncio.run(main(rng))
        run.judge()


async def _at_once(run, steps):
    for _ in range(max(step.readiness for step in steps)):
        await run.ready()
    for step in steps:
        await run._end_due(step.number, inside=False)
    await asyncio.to_thread(tracer.flush)
    run.feed()
    for step in steps:
        run.steps[step.number] = step
        run.events.append(step)
        run._next(step)
    complete = [run.serve(step) for step in steps]
    await asyncio.gather(*(one.wait() for one in complete))
    numbers = {step.number for step in steps}
    names = await _fed_until(run, {("request", number) for number in numbers})
    await asyncio.to_thread(tracer.flush)  # waits until nothing is on its way
    names += run.feed()
    run.events.append(names)
    kind, number = names[0]
    assert kind in {"request", "child"}
    assert number in numbers
    for rule in run.rules.values():
        assert {rule.invocations[_id(one)].trace_id for one in numbers} == {run.requests[_id(number)]}
        for one in numbers:
            rule.report(_id(one))
    run.excused |= {_id(one) for one in numbers}


async def _fed_until(run, wanted):
    """Wait until the agent has taken traces; give the names of all that it has taken since the last look."""
    names = []

    def there(_):
        names.extend(run.feed())
        return wanted <= set(names)

    come = await asyncio.to_thread(run.agent.wait, there, timeout_s=_PATIENCE_S)
    assert come, f"{wanted} did not come: {ddlwa.stats()}"
    return names
