"""What ddtrace has finished: what is sent, in which order, by whom, and what the agent is told with it."""

import asyncio
import io
import json
import os
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import ClassVar

import pytest
from ddtrace.contrib.internal.asgi.middleware import TraceMiddleware
from ddtrace.internal.runtime import container
from ddtrace.internal.writer import writer as writers
from ddtrace.trace import TraceFilter, tracer
from ddtrace_writers import SELDOM_S, native, using
from failing_agents import writing_to_a_faulty_agent
from gates import GENEROUS, gate
from processes import python
from wire_server import Request, serve

import ddlwa
from benchmarks.faulty_agent import FaultyAgent
from ddlwa import patch
from ddlwa.worker import THREADS, Worker

LAMBDA = {**GENEROUS, "AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
MARGIN_S = 0.5
TIMEOUT_S = 10
_CONTEXT = b"x-amzn-lambda-context"


# -- an app, its requests, and the traces of others


def traced(handler=None):
    """Make an app that ddtrace traces; the handler is awaited, with the scope, before the response."""

    async def app(scope, receive, send):
        if handler is not None:
            await handler(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return TraceMiddleware(app)


def invocation(*, deadline_in_s=60.0):
    """Make the request of an invocation that has so much time left."""
    context = {"request_id": "id-1", "deadline": int((time.time() + deadline_in_s) * 1000)}
    return Request(path="/", headers=((_CONTEXT, json.dumps(context).encode()),))


READINESS = Request(path="/")


def trace(name):
    """Trace something that belongs to nothing else."""
    tracer.start_span(name, child_of=None).finish()


def trace_in_thread(name):
    thread = threading.Thread(target=trace, args=(name,))
    thread.start()
    thread.join()


def names(agent):
    """Give the span names of each payload with traces that the agent has read, taken or not."""
    return [
        [span.name for chunk in request.chunks for span in chunk]
        for request in agent.requests
        if request.traces
    ]


def taken(agent):
    """Give the span names that the agent has taken, in their order."""
    return [span.name for span in agent.spans()]


def delivery():
    return ddlwa.stats()["delivery"]


# -- agents and writers


@pytest.fixture(autouse=True)
def no_telemetry(monkeypatch):
    """Have ddtrace's exporter send traces only; the one of 3.19 takes 3 s to end otherwise."""
    monkeypatch.setattr(writers.config, "_telemetry_enabled", False)


@pytest.fixture
def faulty(agent):
    """Give an agent that can fail; ddtrace's writer sends to it."""
    with writing_to_a_faulty_agent() as faulty:
        yield faulty


class Recorder:
    """An HTTP server, on a port or a Unix socket, that keeps what is posted, each header included.

    Attributes:
        posts: Of each POST or PUT the path, the fields (names in lower case) and the body.
        content: What it answers.
        status: With which status.
    """

    def __init__(self, path=None):
        self.posts = []
        self.content = b'{"rate_by_service":{}}'
        self.status = 200
        handler = _handler_for(self)
        if path is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            self.url = f"http://127.0.0.1:{self._server.server_port}"
        else:
            self._server = socketserver.ThreadingUnixStreamServer(str(path), handler)
            self.url = f"unix://{path}"
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def traces(self):
        """Give what was posted to a path for traces: path and fields, but those that every client has."""
        clients_own = {"host", "user-agent", "content-length", "accept", "connection"}
        return [
            (path, {name: value for name, value in fields.items() if name not in clients_own})
            for path, fields, _ in self.posts
            if path.endswith("/traces")
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_for(recorder):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._answer(200, b'{"endpoints": ["/v0.4/traces", "/v0.5/traces"], "version": "7.70.0"}')

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            fields = {name.lower(): value for name, value in self.headers.items()}
            assert len(fields) == len(self.headers)
            recorder.posts.append((self.path, fields, body))
            self._answer(recorder.status, recorder.content)

        do_PUT = do_POST  # noqa: N815 - the handler's naming

        def _answer(self, status, content):
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    return Handler


@pytest.fixture
def recorder(agent):
    with Recorder() as recorder:
        yield recorder


# -- order


async def _by_thread(_):
    trace_in_thread("other")


async def _by_task(_):
    async def work():
        trace("other")

    await asyncio.create_task(work())


@pytest.mark.parametrize("finish", [_by_thread, _by_task, None], ids=["thread", "task", "before"])
def test_a_requests_trace_comes_first(finish, faulty):
    """In Lambda the agent gets a request's trace before any other that finished earlier, in one flush."""
    seen = []
    with gate(LAMBDA):
        if finish is None:
            trace("other")
        serve(traced(finish), invocation(), on_complete=lambda _: seen.extend(names(faulty)))
        assert delivery()["sent"] == 2
    assert seen == [["asgi.request"], ["other"]]
    assert taken(faulty) == ["asgi.request", "other"]


def test_the_trace_of_an_earlier_invocation_comes_later(faulty):
    """What an invocation could not deliver is sent by the next one, behind its own trace."""
    faulty.become("refused")
    with gate(LAMBDA):
        serve(traced(_by_thread), invocation())
        assert delivery()["retained_traces"] == 2
        faulty.become("healthy")
        serve(traced(lambda _: asyncio.sleep(0)), invocation())
        assert delivery()["retained_traces"] == 0
    assert taken(faulty) == ["asgi.request", "asgi.request", "other"]


def test_nothing_overtakes_a_request_that_is_open(faulty):
    """With `DDLWA_OPEN_SPANS=keep`, others wait for a request's trace; a late one comes behind the next's."""
    seen = []

    async def linger(scope, receive, send):
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        await send(start)
        # Complete by its length; ddtrace waits for a message that says so.
        await send({"type": "http.response.body", "body": b"ok", "more_body": True})
        await scope["test.thawed"].wait()
        await send({"type": "http.response.body", "body": b""})

    with gate({**LAMBDA, "DDLWA_OPEN_SPANS": "keep", "DDLWA_HOLD_TIMEOUT_MS": "10"}):
        trace("other")
        serve(TraceMiddleware(linger), invocation(), on_complete=lambda _: seen.append(names(faulty)))
        serve(traced(), invocation())
        assert delivery()["sent"] == 3
    assert seen == [[]]
    assert names(faulty) == [["asgi.request"], ["other", "asgi.request"]]


def test_nothing_overtakes_a_request_whose_child_is_open(faulty):
    """With `DDLWA_OPEN_SPANS=keep`, others wait as long as the request's trace is not complete."""
    seen = []

    async def leave_open(scope):
        span = tracer.start_span("child", child_of=tracer.current_span())

        async def finish():
            await scope["test.thawed"].wait()
            span.finish()

        scope["test.task"] = asyncio.create_task(finish())

    with gate({**LAMBDA, "DDLWA_OPEN_SPANS": "keep"}):
        trace("other")
        serve(traced(leave_open), invocation(), on_complete=lambda _: seen.append(names(faulty)))
        serve(traced(), invocation())
        assert delivery()["sent"] == 3
    assert seen == [[]]
    assert names(faulty)[0] == ["asgi.request"]
    assert sorted(taken(faulty)) == ["asgi.request", "asgi.request", "child", "other"]


def test_a_flush_of_the_apps_own_overtakes_nothing(faulty):
    """`tracer.flush()` while a request is served sends no other trace before it."""
    seen = []

    async def flush(_):
        trace("other")
        tracer.flush()
        seen.append(names(faulty))

    with gate(LAMBDA):
        serve(traced(flush), invocation())
        trace("later")
        tracer.flush()
    assert seen == [[]]
    assert names(faulty) == [["asgi.request"], ["other"], ["later"]]


class Ticking(writers.NativeWriter):
    """A writer that tells how often its thread has had its turn."""

    def __init__(self, *args, **options):
        self.ticked = threading.Semaphore(0)
        super().__init__(*args, **options)

    def periodic(self):
        super().periodic()
        self.ticked.release()


def test_ddtraces_own_thread(agent):
    """In Lambda ddtrace's periodic thread sends nothing by itself; elsewhere it does."""
    for env, sent in ((LAMBDA, []), (GENEROUS, [["work"]])):
        with (
            FaultyAgent() as faulty,
            using(Ticking(faulty.url, processing_interval=0.01)) as writer,
            gate(env),
        ):
            trace("work")
            assert writer.ticked.acquire(timeout=TIMEOUT_S)
            assert writer.ticked.acquire(timeout=TIMEOUT_S)
            assert names(faulty) == sent
            tracer.flush()
            assert names(faulty) == [["work"]]


def test_a_writer_that_is_not_the_tracers(recorder):
    """A writer that somebody else has made sends as stock ddtrace does, by its thread and at its end."""
    with using(Ticking(recorder.url, processing_interval=0.01)) as other:
        pass  # it has never run
    with gate(LAMBDA):
        spans = [tracer.start_span("work", child_of=None)]
        other.write(spans)
        assert other.ticked.acquire(timeout=TIMEOUT_S)
        assert other.ticked.acquire(timeout=TIMEOUT_S)
        assert len(recorder.traces()) == 1
        other.write(spans)
        other.write(None)
        other.stop()
        assert len(recorder.traces()) == 2
        spans[0].finish()
        tracer.flush()


# -- readiness checks


def test_a_readiness_check_leaves_no_trace(faulty):
    """In Lambda a request without the adapter's header is not traced, and counted; others' traces are."""
    with gate(LAMBDA):
        (exchange,) = serve(traced(_by_thread), READINESS)
        assert delivery()["dropped"]["readiness"] == 1
        serve(traced(), invocation())
        assert delivery()["dropped"]["readiness"] == 1
    assert exchange.status == 200
    assert taken(faulty) == ["other", "asgi.request"]


def test_readiness_checks_can_be_traced(faulty):
    """`DDLWA_TRACE_READINESS=true` keeps their traces."""
    with gate({**LAMBDA, "DDLWA_TRACE_READINESS": "true"}):
        serve(traced(), READINESS)
        assert delivery()["dropped"]["readiness"] == 0
    assert taken(faulty) == ["asgi.request"]


def test_a_malformed_header_is_no_readiness_check(faulty):
    """An invocation whose header makes no sense is traced, and the header is counted."""
    before = ddlwa.stats()["headers"]["malformed"]
    with gate(LAMBDA):
        serve(traced(), Request(path="/", headers=((_CONTEXT, b"{"),)))
        assert delivery()["dropped"]["readiness"] == 0
    assert ddlwa.stats()["headers"]["malformed"] == before + 1
    assert taken(faulty) == ["asgi.request"]


def test_mangum(faulty):
    """A request that Mangum has made of an event is traced, though it has no header of the adapter."""
    app = traced()

    async def mangum(scope, receive, send):
        await app({**scope, "aws.event": {}, "aws.context": None}, receive, send)

    seen = []
    with gate(LAMBDA):
        trace("other")
        serve(mangum, READINESS, on_complete=lambda _: seen.extend(names(faulty)))
        assert delivery()["dropped"]["readiness"] == 0
    assert seen == [["asgi.request"], ["other"]]


@pytest.mark.parametrize("request_", [READINESS, invocation(deadline_in_s=-60)], ids=["without", "with"])
def test_outside_lambda_headers_mean_nothing(request_, faulty):
    """Outside Lambda anybody may send the adapter's header, or not: each request is traced and delivered."""
    seen = []
    with gate():
        serve(traced(), request_, on_complete=lambda _: seen.extend(names(faulty)))
        assert delivery()["dropped"]["readiness"] == 0
    assert seen == [["asgi.request"]]


# -- deadlines


def test_the_deadline_limits_the_flush(faulty):
    """An agent that hangs keeps a response until the invocation's deadline less the margin, no longer."""
    faulty.become("hung")
    with gate(LAMBDA):
        begun_s = time.monotonic()
        serve(traced(), invocation(deadline_in_s=MARGIN_S + 0.06))
        took_s = time.monotonic() - begun_s
        assert delivery()["late"] == 1
        # It was not the whole budget that the agent had.
        assert delivery()["breaker"] == "closed"
        faulty.become("healthy")
        serve(traced(), invocation())
        stats = delivery()
        assert (stats["sent"], stats["retained_traces"]) == (2, 0)
    assert took_s < 5
    assert taken(faulty) == ["asgi.request"] * 2


def test_no_time_left(faulty):
    """Within the margin nothing is sent; the trace follows with the next invocation, behind that one's."""
    seen = []
    with gate(LAMBDA):
        late = invocation(deadline_in_s=MARGIN_S - 0.1)
        serve(traced(_by_thread), late, on_complete=lambda _: seen.append(names(faulty)))
        stats = delivery()
        assert (stats["retained_traces"], stats["late"], stats["failed"]) == (2, 0, 0)
        serve(traced(), invocation())
        assert delivery()["retained_traces"] == 0
    assert seen == [[]]
    assert names(faulty) == [["asgi.request"], ["asgi.request"], ["other"]]


# -- what the agent is told


def _posted(recorder, **options):
    """Give path and fields of the requests with which a trace is posted, by ddtrace and by ddlwa."""
    posted = []
    for gated in (False, True):
        recorder.posts.clear()
        with using(native(recorder.url + options.pop("prefix", ""), **options)):
            if gated:
                with gate():
                    trace("work")
                    tracer.flush()
                    assert delivery()["sent"] == 1
            else:
                trace("work")
                tracer.flush()
        posted.append(recorder.traces())
    return posted


@pytest.mark.parametrize("api", ["v0.4", "v0.5"])
@pytest.mark.parametrize("token", [None, "session"])
@pytest.mark.parametrize("prefix", ["", "/behind/a/proxy/"])
def test_headers(api, token, prefix, recorder):
    """Path and header fields are those of ddtrace's own exporter."""
    recorder.url += prefix
    (stock,), (ours,) = _posted(recorder, api_version=api, test_session_token=token)
    assert ours == stock
    assert ours[0] == f"{prefix.rstrip('/')}/{api}/traces"
    assert ours[1]["x-datadog-trace-count"] == "1"
    assert ours[1].get("x-datadog-test-session-token") == token


def test_headers_over_a_unix_socket(agent, tmp_path):
    """Over a Unix socket, too; the socket's path is not part of the request's."""
    with Recorder(tmp_path / "apm.socket") as recorder:
        (stock,), (ours,) = _posted(recorder)
    assert ours == stock
    assert ours[0] == "/v0.5/traces"


def test_headers_of_a_container(recorder, monkeypatch):
    """In a container its id is told, from where ddtrace has it."""
    info = container.CGroupInfo(container_id="c0ffee")
    monkeypatch.setattr(container, "get_container_info", lambda *_: info)
    _, (ours,) = _posted(recorder)
    assert ours[1]["datadog-container-id"] == "c0ffee"
    assert ours[1]["datadog-entity-id"] == "ci-c0ffee"


def test_a_token_that_is_set_later(recorder):
    """A test session token that is set after the first flush goes with the next."""
    with using(native(recorder.url)) as writer, gate():
        trace("work")
        tracer.flush()
        writer.set_test_session_token("session")
        trace("work")
        tracer.flush()
    tokens = [fields.get("x-datadog-test-session-token") for _, fields in recorder.traces()]
    assert tokens == [None, "session"]


# -- what the agent answers


@pytest.fixture
def rates(recorder):
    """Give a function that tells the sampling rates after each of some answers of the agent."""
    aggregator = tracer._span_aggregator
    sampler = aggregator.sampling_processor.sampler

    def after(*answers):
        sampler.update_rate_by_service_sample_rates({})
        found = []
        with using(native(recorder.url, response_callback=aggregator._agent_response_callback)):
            for answer in answers:
                recorder.content = answer
                trace("work")
                tracer.flush()
                found.append({key: one.sample_rate for key, one in sampler._agent_based_samplers.items()})
        return found

    yield after
    sampler.update_rate_by_service_sample_rates({})


def test_sampling_rates(rates, warnings_said):
    """The sampler gets the rates that the agent answers with, as from the exporter of ddtrace."""
    answers = [
        b'{"rate_by_service":{"service:,env:":0.5}}',
        b'{"rate_by_service":{"service:,env:":0.5}}',
        b'{"rate_by_service":{"service:,env:":0.25,"service:shop,env:prod":1}}',
    ]
    stock = rates(*answers)
    with gate():
        assert rates(*answers) == stock
    assert stock[0] == stock[1] != stock[2]
    assert warnings_said() == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"ok",
        b"null",
        b"[]",
        b"{}",
        b'{"rate_by_service":null}',
        b'{"rate_by_service":{"service:,env:":"x"}}',
        b"[" * 50_000,
    ],
    ids=lambda answer: answer[:24].decode() or "empty",
)
def test_an_odd_answer(answer, rates):
    """An answer that makes no sense leaves the rates alone, and the traces are delivered all the same."""
    with gate():
        before, after, last = rates(b'{"rate_by_service":{"service:,env:":0.5}}', answer, b"{}")
        assert before == after == last
        assert delivery()["sent"] == 3
        assert delivery()["failed"] == 0


def test_no_callback(recorder):
    """A writer without a sampler to tell takes any answer."""
    recorder.content = b'{"rate_by_service":{"service:,env:":0.5}}'
    with using(native(recorder.url)), gate():
        trace("work")
        tracer.flush()
        assert delivery()["sent"] == 1


@pytest.mark.parametrize("status", [404, 415])
def test_an_agent_without_v05(status, faulty):
    """404 and 415 make ddtrace go on with v0.4; what was on its way is counted as rejected, as it is lost."""
    faulty.become(f"status:{status}")
    with gate(LAMBDA):
        serve(traced(_by_thread), invocation())
        assert delivery()["dropped"]["rejected"] == 2
        faulty.become("healthy")
        serve(traced(_by_thread), invocation())
        assert delivery()["sent"] == 2
    assert {request.path for request in faulty.requests if request.accepted} == {"/v0.4/traces"}
    assert taken(faulty) == ["asgi.request", "other"]


@pytest.mark.parametrize("later", [[], ["later"]], ids=["", "another"])
def test_nothing_is_lost_by_a_downgrade(later, faulty):
    """What another has finished while the agent refuses v0.5 is delivered, or counted as lost."""
    writer = tracer._span_aggregator.writer
    with gate(LAMBDA):
        trace("other")
        writer._downgrade(404, writer._clients[0])  # as the answer to a flush has it done
        for name in later:
            trace(name)
        serve(traced(), invocation())
        stats = delivery()
        assert stats["sent"] + sum(stats["dropped"].values()) == len(["other", "asgi.request", *later])
    assert faulty.malformed == 0
    assert set(taken(faulty)) >= {"asgi.request", *later}


@pytest.mark.parametrize("api", ["v0.4", "v0.5"])
def test_an_agent_that_works_again(api, agent):
    """An agent that was left alone is asked with a payload without a trace, in either encoding."""
    with FaultyAgent("refused") as faulty, using(native(faulty.url, api_version=api)), gate(LAMBDA):
        for _ in range(3):
            serve(traced(), invocation())
        assert delivery()["breaker"] == "open"
        faulty.become("healthy")
        until_s = time.monotonic() + TIMEOUT_S
        served = 3
        while delivery()["breaker"] != "closed":
            assert time.monotonic() < until_s
            serve(traced(), invocation())
            served += 1
        serve(traced(), invocation())
    assert {request.path for request in faulty.requests} == {f"/{api}/traces"}
    assert (faulty.probes, faulty.malformed) == (1, 0)
    assert taken(faulty) == ["asgi.request"] * (served + 1)


# -- other writers


class Noting(writers.NativeWriter):
    """Notes on which threads it sends."""

    threads: ClassVar = []

    def _send_payload(self, *args, **options):
        self.threads.append(threading.current_thread().name)
        return super()._send_payload(*args, **options)


@pytest.fixture
def noting(monkeypatch):
    monkeypatch.setattr(Noting, "threads", [])
    return Noting


@pytest.mark.parametrize("option", ["compute_stats_enabled", "stats_opt_out"])
def test_stats(option, agent, noting):
    """Where ddtrace's exporter computes or marks stats, it sends, on ddlwa's thread, within the flush."""
    seen = []
    with (
        FaultyAgent() as faulty,
        using(noting(faulty.url, processing_interval=SELDOM_S, **{option: True})),
        gate(LAMBDA),
    ):
        serve(traced(_by_thread), invocation(), on_complete=lambda _: seen.extend(names(faulty)))
        assert delivery()["sent"] == 2
    assert seen == [["asgi.request"], ["other"]]
    assert {name.startswith(THREADS) for name in noting.threads} == {True}


@pytest.mark.parametrize("recreated", [False, True], ids=["", "recreated"])
def test_stats_and_an_agent_that_fails(recreated, agent, noting):
    """What ddtrace's exporter cannot send is retained, and follows later, from a later writer too."""
    with (
        FaultyAgent("status:503") as faulty,
        using(noting(faulty.url, processing_interval=SELDOM_S, compute_stats_enabled=True)),
        gate(LAMBDA),
    ):
        serve(traced(), invocation())
        assert delivery()["retained_traces"] == delivery()["failed"] == 1
        faulty.become("healthy")
        if recreated:
            aggregator = tracer._span_aggregator
            aggregator.writer = aggregator.writer.recreate()
        serve(traced(), invocation())
        assert delivery()["retained_traces"] == 0
        assert delivery()["sent"] == 2
    assert taken(faulty) == ["asgi.request"] * 2


def test_stats_and_an_agent_that_hangs(agent, noting):
    """The flush budget holds for ddtrace's exporter, too, which goes on by itself."""
    with (
        FaultyAgent("hung") as faulty,
        using(noting(faulty.url, processing_interval=SELDOM_S, compute_stats_enabled=True)),
        gate({**LAMBDA, "DDLWA_FLUSH_TIMEOUT_MS": "60"}),
    ):
        begun_s = time.monotonic()
        serve(traced(), invocation())
        took_s = time.monotonic() - begun_s
        assert delivery()["late"] == 1
        assert delivery()["breaker"] == "open"
        faulty.become("healthy")
        assert faulty.wait(lambda agent: agent.spans(), timeout_s=TIMEOUT_S)
    assert took_s < 5
    assert taken(faulty) == ["asgi.request"]


if hasattr(writers, "compute_agentless_intake_url"):  # since ddtrace 4.16

    def test_agentless(recorder, noting):
        """Without an agent ddtrace's exporter sends to the intake, on ddlwa's thread; retained on failure."""
        url = f"{recorder.url}/v1/input"
        recorder.content = b"{}"
        recorder.status = 403
        with using(noting(url, processing_interval=SELDOM_S, api_key="key")), gate(LAMBDA):
            serve(traced(), invocation())
            assert delivery()["retained_traces"] == 1
            recorder.status = 200
            recorder.posts.clear()
            serve(traced(), invocation())
            assert delivery()["retained_traces"] == 0
            assert delivery()["sent"] == 2
        assert [path for path, _, _ in recorder.posts] == ["/v1/input"] * 2
        assert {name.startswith(THREADS) for name in noting.threads} == {True}


def test_a_log_writer(agent):
    """Where traces are written to the log, each is at once, and there is nothing to flush."""
    out = io.StringIO()
    seen = []
    with using(writers.LogWriter(out)), gate(LAMBDA):
        serve(traced(_by_thread), invocation(), on_complete=lambda _: seen.append(out.getvalue()))
        tracer.flush()
        stats = delivery()
    lines = [json.loads(line) for line in seen[0].splitlines()]
    assert [line["traces"][0][0]["name"] for line in lines] == ["other", "asgi.request"]
    assert stats["sent"] == stats["failed"] == stats["retained_traces"] == stats["late"] == 0
    assert stats["breaker"] == "closed"


def test_a_log_writer_gets_no_readiness_check(agent):
    """What is not to be traced is not written to the log either, and counted."""
    out = io.StringIO()
    with using(writers.LogWriter(out)), gate(LAMBDA):
        serve(traced(), READINESS)
        serve(traced(), invocation())
        assert delivery()["dropped"]["readiness"] == 1
    [line] = out.getvalue().splitlines()
    assert json.loads(line)["traces"][0][0]["name"] == "asgi.request"


class Own(writers.TraceWriter):
    """A writer of the app's own."""

    def __init__(self):
        self.finished = []
        self.sent = []
        self.threads = []

    def recreate(self, *args, **options):
        return self

    def stop(self, timeout=None):
        pass

    def write(self, spans=None):
        self.finished += [span.name for span in spans]

    def flush_queue(self):
        self.threads.append(threading.current_thread().name)
        self.sent += self.finished
        self.finished.clear()


def test_a_writer_of_the_apps_own(agent):
    """A writer that is none of ddtrace's is flushed on ddlwa's thread before the response leaves."""
    writer = Own()
    seen = []
    with using(writer), gate(LAMBDA):
        serve(traced(_by_thread), invocation(), on_complete=lambda _: seen.extend(writer.sent))
        assert delivery()["failed"] == 0
        target = patch._installation.serving.buffer._foreign_target
        # Nobody asks it for what only ddtrace's own writer can do.
        target.unsupported(404)
        target.accepted(b"{}")
        with pytest.raises(NotImplementedError):
            target.request(target.probe())
    assert seen == ["other", "asgi.request"]
    assert {name.startswith(THREADS) for name in writer.threads} == {True}


def test_a_writer_of_the_apps_own_that_fails(agent, warnings_said):
    """What it raises reaches neither the app nor a later flush."""

    class Failing(Own):
        def flush_queue(self):
            if not self.sent:
                self.sent.append("tried")
                raise RuntimeError("not now")
            super().flush_queue()

    writer = Failing()
    with using(writer), gate(LAMBDA):
        (exchange,) = serve(traced(), invocation())
        assert exchange.status == 200
        assert delivery()["failed"] == 1
        serve(traced(), invocation())
    assert writer.sent == ["tried", "asgi.request", "asgi.request"]
    assert warnings_said() == ["sending traces failed: <class 'RuntimeError'>"]


if hasattr(writers, "AgentWriter"):  # until ddtrace 4

    def test_ddtraces_earlier_writer(agent):
        """The writer that ddtrace had before its native one is flushed on ddlwa's thread."""
        seen = []
        with (
            FaultyAgent() as faulty,
            using(writers.AgentWriter(faulty.url, processing_interval=SELDOM_S)),
            gate(LAMBDA),
        ):
            serve(traced(_by_thread), invocation(), on_complete=lambda _: seen.extend(names(faulty)))
        assert seen == [["other", "asgi.request"]]


def test_an_agent_reached_by_tls(agent):
    """An address that is neither http:// nor unix:// is left to ddtrace's exporter."""
    with using(native("https://127.0.0.1:1")), gate():
        assert patch._installation.serving.buffer.target().address is None


# -- encoders


def test_an_encoder_that_is_full(agent):
    """Traces that ddtrace has no room for are counted as lost; what has room is delivered."""

    def fill():
        for number in range(300):
            with tracer.start_span("other", child_of=None) as span:
                span.set_tag("text", f"{number} " * 30)

    async def handler(_):
        thread = threading.Thread(target=fill)
        thread.start()
        thread.join()

    with FaultyAgent() as faulty, using(native(faulty.url, buffer_size=20_000)), gate(LAMBDA):
        serve(traced(handler), invocation())
        lost = delivery()["dropped"]["full"]
        assert 0 < lost < 300
        assert delivery()["sent"] == 301 - lost
        serve(traced(), invocation())
        assert delivery()["dropped"]["full"] == lost
    assert taken(faulty).count("other") == 300 - lost
    assert taken(faulty).count("asgi.request") == 2


def test_a_trace_that_is_too_large(agent):
    """A request's trace that is larger than ddtrace allows is counted as lost, and the response leaves."""

    async def handler(_):
        tracer.current_span().set_tag("text", "x" * 3000)

    with (
        FaultyAgent() as faulty,
        using(native(faulty.url, max_payload_size=2000, api_version="v0.4")),
        gate(LAMBDA),
    ):
        (exchange,) = serve(traced(handler), invocation())
        assert exchange.status == 200
        assert delivery()["dropped"]["full"] == 1
        serve(traced(), invocation())
        assert delivery()["dropped"]["full"] == 1
    assert taken(faulty) == ["asgi.request"]


class Unable:
    """An encoder that cannot encode what it has taken."""

    def __init__(self):
        self._count = 0
        self.size = self.max_size = 0

    def __len__(self):
        return self._count

    def put(self, spans):
        self._count += 1

    def encode(self):
        self._count = 0
        raise ValueError("cannot encode")


def test_an_encoder_that_fails(faulty, warnings_said):
    """Traces that ddtrace cannot encode are counted as lost, and nothing else happens."""
    writer = tracer._span_aggregator.writer
    clients, writer._clients = writer._clients, [SimpleNamespace(ENDPOINT="v0.5/traces", encoder=Unable())]
    with gate():
        (exchange,) = serve(traced(), READINESS)
        assert exchange.status == 200
        assert delivery()["dropped"]["encoding"] == 1
        assert delivery()["failed"] == 0
        writer._clients = clients
        serve(traced(), READINESS)
    assert taken(faulty) == ["asgi.request"]
    assert warnings_said() == ["ddtrace cannot encode its traces", "1 traces are lost (encoding)"]


def test_the_keep_rate(faulty):
    """The share of traces that ddtrace has kept, which it tells the agent, is not changed by the order."""
    with gate(LAMBDA):
        for _ in range(3):
            serve(traced(_by_thread), invocation())
    rates = {span.metrics["_dd.tracer_kr"] for span in faulty.spans()}
    assert rates == {1.0}
    assert len(faulty.spans()) == 6


def test_a_writer_that_has_changed(faulty, warnings_said):
    """Where ddtrace's writer is not what it was, requests are served, and the process ends, all the same."""
    writer = tracer._span_aggregator.writer
    clients, writer._clients = writer._clients, []
    with gate():
        (exchange,) = serve(traced(), READINESS)
        assert exchange.status == 200
    writer._clients = clients
    assert warnings_said() == [
        "cannot prepare to deliver a trace",
        "cannot tell where a trace belongs",
        "cannot take the traces from ddtrace",
        "cannot deliver the last traces",
    ]


def test_what_ddlwas_threads_trace(faulty):
    """A library that is flushed on a thread of ddlwa, and traced by ddtrace, leaves no trace of that."""
    with gate(LAMBDA):
        worker, done = Worker("outlet"), threading.Event()
        worker.do(lambda: (trace("flush"), done.set()))
        assert done.wait(TIMEOUT_S)
        worker.stop()
        serve(traced(), invocation())
    assert taken(faulty) == ["asgi.request"]


# -- a writer that is replaced


class Filter(TraceFilter):
    def process_trace(self, trace):
        return trace


@pytest.mark.parametrize("fault", ["healthy", "refused"])
@pytest.mark.parametrize("env", [LAMBDA, GENEROUS], ids=["lambda", "elsewhere"])
def test_a_writer_that_is_replaced(env, fault, faulty):
    """`tracer.configure` makes another writer; what is finished before, in between and after is delivered."""
    processors = tracer._span_aggregator.user_processors
    faulty.become(fault)
    with gate(env):
        before = tracer._span_aggregator.writer
        trace("before")
        tracer.configure(trace_processors=[Filter()])
        assert tracer._span_aggregator.writer is not before
        trace("between")
        tracer.configure(trace_processors=processors)
        faulty.become("healthy")
        serve(traced(), invocation())
    # At the latest when ddlwa was taken out: an agent that refused may have been left alone till then.
    assert sorted(taken(faulty)) == ["asgi.request", "before", "between"]


@pytest.mark.parametrize("fault", ["healthy", "refused"])
def test_a_writer_that_is_replaced_by_one_of_another_encoding(fault, faulty):
    """What was encoded for the old one's path is sent there, and nothing is lost."""
    faulty.become(fault)
    with gate(LAMBDA):
        trace("before")
        aggregator = tracer._span_aggregator
        aggregator.writer = aggregator.writer.recreate(appsec_enabled=True)
        trace("after")
        faulty.become("healthy")
        serve(traced(), invocation())
        assert delivery()["sent"] == 3
    assert sorted(taken(faulty)) == ["after", "asgi.request", "before"]
    assert {request.path for request in faulty.requests if request.accepted} == {
        "/v0.4/traces",
        "/v0.5/traces",
    }
    assert faulty.malformed == 0


def test_llmobs_is_enabled_later():
    """`LLMObs.enable()` after `patch_all` may have the writer recreated: it is still ddlwa's to flush."""
    run = python(
        """
import warnings
warnings.simplefilter("ignore")  # LLMObs uses what is deprecated
import child, ddlwa
ddlwa.patch_all()
app = child.fastapi_app()
child.request(app)
from ddtrace.llmobs import LLMObs
LLMObs.enable(ml_app="shop", integrations_enabled=False, agentless_enabled=False)
child.agent.clear()
child.request(app)
stats = ddlwa.stats()["delivery"]
print("sent", stats["sent"], "failed", stats["failed"])
LLMObs.disable()
"""
    )
    assert [outcome["delivered"][0] for outcome in run.outcomes] == ["fastapi.request"] * 2
    assert [line for line in run.lines if line.startswith("sent")] == ["sent 2 failed 0"]


# -- a forked child


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_nothing_of_its_parents(faulty):
    """What is finished and not yet sent is the parent's: a forked child does not deliver it again."""
    with gate(LAMBDA):
        serving = patch._installation.serving
        trace("other")
        pid = os.fork()
        if pid == 0:  # pragma: no cover - coverage does not follow a fork that ends like this
            serving.exit()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        tracer.flush()
        assert taken(faulty) == ["other"]
        trace("lost")
        serving.forked()  # as it was called in the child
        tracer.flush()
    assert taken(faulty) == ["other"]
