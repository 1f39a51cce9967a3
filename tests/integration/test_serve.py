"""How each request is served, by mode, with the work that comes after it."""

import asyncio
import json
import os
import socket
import time
from typing import ClassVar

import pytest
from ddtrace.contrib.internal.asgi.middleware import TraceMiddleware
from ddtrace.trace import tracer as dd
from endings import BARE
from gates import GENEROUS, gate
from wire_server import Request, serve

import ddlwa
from ddlwa import extension, patch
from ddlwa.errors import DdlwaError
from ddlwa.request_trace import RequestTrace, note_begin

LAMBDA = {**GENEROUS, "AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
EXTENSION = {**LAMBDA, "DDLWA_MODE": "extension"}


def request(request_id="id-1", *, deadline_in_s=60):
    context = {"request_id": request_id, "deadline": int((time.time() + deadline_in_s) * 1000)}
    return Request(path="/json", headers=((b"x-amzn-lambda-context", json.dumps(context).encode()),))


class Registered:
    """An extension that notes what it is told, without Lambda behind it."""

    made: ClassVar = []
    refuses = None

    def __init__(self, api, *, finish, ledger, margin_s):
        self.api, self.finish, self.margin_s = api, finish, margin_s
        self.taken = []
        self.calls = []
        self.made.append(self)

    def start(self):
        if self.refuses is not None:
            raise extension.RefusedError(self.refuses)

    def takes(self, request_id):
        self.calls.append(("takes", request_id))
        return True

    def ended(self, request_id):
        self.calls.append(("ended", request_id))

    def step_down(self):
        self.calls.append("step_down")


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(Registered, "made", [])
    monkeypatch.setattr(extension, "Extension", Registered)
    return Registered


def test_extension_mode_holds_nothing(registered, agent, app_behind, warnings_said):
    """An invocation's request is the extension's from its beginning to its end; nothing is flushed in it."""
    agent.clear()
    with gate(EXTENSION):
        (exchange,) = serve(app_behind(BARE), request())
        [made] = registered.made
        assert (made.api, made.margin_s) == ("127.0.0.1:1", 0.5)
        assert made.calls == [("takes", "id-1"), ("ended", "id-1")]
        assert agent.spans() == []
        made.finish(10)
        assert "fastapi.request" in {span.name for span in agent.spans()}
    assert exchange.status == 200
    assert made.calls[-1] == "step_down"
    assert warnings_said() == []


def test_extension_mode_holds_what_is_no_invocation(registered, agent, app_behind):
    """A request whose header makes no sense, or one that the extension does not take, is held."""
    agent.clear()
    with gate(EXTENSION):
        serve(app_behind(BARE), Request(path="/json", headers=((b"x-amzn-lambda-context", b"?"),)))
        assert len(agent.chunks()) == 1
        registered.made[0].takes = lambda _: False
        serve(app_behind(BARE), request())
        assert len(agent.chunks()) == 2


@pytest.fixture
def refused(registered, monkeypatch):
    monkeypatch.setattr(Registered, "refuses", "status 403, Extension.RegistrationClosed")


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"AWS_LAMBDA_RUNTIME_API": ""}, "AWS_LAMBDA_RUNTIME_API is not set"),
        ({"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}, "SnapStart"),
        ({}, "Extension.RegistrationClosed"),
    ],
)
def test_extension_mode_that_cannot_be_had(env, reason, refused, app_behind, warnings_said):
    """Where there can be no extension, responses are held, with one warning that says why."""
    with gate({**EXTENSION, **env}):
        assert patch._installation.serving.extension is None
        assert serve(app_behind(BARE), request())[0].status == 200
    [warning] = warnings_said()
    assert reason in warning
    assert "responses are held instead" in warning


def test_strict_refuses_another_mode(refused):
    """With `strict` a mode that cannot be had is an error, and nothing stays patched."""
    with pytest.raises(DdlwaError, match="status 403"), gate(EXTENSION, strict=True):
        pass  # pragma: no cover
    assert patch._installation is None


def test_strict_leaves_an_earlier_patch_alone(agent):
    """A strict call that fails does not undo what an earlier call has done."""
    with gate():
        with pytest.raises(DdlwaError, match="reddis"):
            ddlwa.patch_all(strict=True, reddis=False)
        assert patch._installation is not None


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_no_extension(registered, agent):
    """What only the parent has, the extension and its threads, a forked child does without."""
    with gate(EXTENSION):
        serving = patch._installation.serving
        pid = os.fork()
        if pid == 0:  # pragma: no cover - coverage does not follow a fork that ends like this
            os._exit(0 if serving.extension is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert serving.extension is not None
        serving.forked()
        assert serving.extension is None


async def deferring(scope, receive, send):
    """Answer, and leave critical work that is traced."""

    async def work():
        await asyncio.sleep(0)

    with dd.trace("request") as span:
        ddlwa.defer(work, critical=True)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % span.span_id})


def test_critical_work_is_delivered_with_its_request(agent):
    """In hold mode critical work has its span, linked to where it comes from, before the response leaves."""
    agent.clear()
    with gate(LAMBDA):
        serving = patch._installation.serving
        (exchange,) = serve(lambda *asgi: serving.serve(deferring, *asgi), request())
        spans = {span.name: span for span in agent.spans()}
    assert exchange.status == 200
    assert spans["ddlwa.work"].resource.endswith("work")
    assert spans["ddlwa.work"].trace_id != spans["request"].trace_id
    assert spans["ddlwa.work"].error == 0


def test_critical_work_has_until_the_deadline(agent):
    """Critical work does not hold a response past the invocation's deadline less the margin."""
    before = ddlwa.stats()["work"]["timed_out"]
    with gate(LAMBDA):
        serving = patch._installation.serving

        async def app(scope, receive, send):
            ddlwa.defer(asyncio.sleep, 60, critical=True)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        begun = time.monotonic()
        serve(lambda *asgi: serving.serve(app, *asgi), request(deadline_in_s=0.6))
        assert time.monotonic() - begun < 10
    assert ddlwa.stats()["work"]["timed_out"] == before + 1


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize("mode", [LAMBDA, EXTENSION], ids=["hold", "extension"])
def test_metrics(mode, reachable, registered, warnings_said, monkeypatch):
    """With `DDLWA_METRICS=true` each outcome is sent after its request; a failure costs one warning."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        # A datagram cannot be sent to port 0.
        port = str(server.getsockname()[1] if reachable else 0)
        env = {"DDLWA_METRICS": "true", "DD_AGENT_HOST": "127.0.0.1", "DD_DOGSTATSD_PORT": port}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with gate({**mode, "DDLWA_METRICS": "true"}):
            serving = patch._installation.serving
            serve(lambda *asgi: serving.serve(deferring, *asgi), request())
        if reachable:
            assert b"|c|#outcome:completed" in server.recv(1024)
    assert warnings_said() == ([] if reachable else ["cannot send metrics"])


def test_an_event_outside_any_gate(agent):
    """The signs of ddtrace that a request has begun mean nothing where none is held."""
    with gate():
        note_begin()
        with dd.trace("work"):
            pass


def test_a_timeout_before_the_trace_has_begun(agent):
    """A request whose span has not begun has nothing to end."""
    agent.clear()
    with gate(LAMBDA):
        RequestTrace(patch.serving(), {"type": "http", "headers": []}).time_out()
    assert agent.spans() == []


def test_two_requests_of_one_upstream_trace(agent):
    """Their trace comes first as long as one of the two is served."""
    seen = []

    async def app(scope, receive, send):
        requests = patch.serving().buffer.requests
        while requests != {77: 2} and not seen:  # noqa: ASYNC110 - nobody says when
            await asyncio.sleep(0.001)
        if scope["path"] == "/first":
            while requests == {77: 2}:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.001)
        seen.append(dict(requests))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    upstream = ((b"x-datadog-trace-id", b"77"), (b"x-datadog-parent-id", b"7"))
    with gate(LAMBDA):
        both = [Request(path=path, headers=(*request().headers, *upstream)) for path in ("/first", "/second")]
        serve(TraceMiddleware(app), *both)
        assert patch.serving().buffer.requests == {}
    assert seen == [{77: 2}, {77: 1}]
