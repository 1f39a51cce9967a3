import threading

import ddtrace
import pytest
from ddtrace.contrib.internal.asgi.middleware import TraceMiddleware
from ddtrace.internal.writer import writer as writers
from ddtrace.trace import tracer
from ddtrace_writers import native
from endings import BARE
from gates import GENEROUS, gate
from starlette.background import BackgroundTask
from wire_server import Request, serve

import ddlwa
from ddlwa.delivery import Delivery

JSON = Request(path="/json")
LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "shop"}


def replaced():
    """Give everything that the gate replaces."""
    return {
        "middleware": vars(TraceMiddleware)["__call__"],
        "task": vars(BackgroundTask)["__call__"],
        **{
            name: vars(writers.NativeWriter)[name]
            for name in ("write", "flush_queue", "periodic", "on_shutdown")
        },
        "log": vars(writers.LogWriter)["write"],
        "sync": vars(writers)["_use_sync_mode"],
        "mode": vars(tracer._span_aggregator.writer)["_sync_mode"],
    }


@pytest.fixture
def stock(agent):
    """Give what is in the gate's places in stock ddtrace, and find it there again after the test."""
    before = replaced()
    yield before
    assert replaced() == before


def ended_by(app, agent, request=JSON):
    """Serve a request; give the names of the spans delivered when its response was complete."""
    delivered = []
    agent.clear()
    serve(app, request, on_complete=lambda _: delivered.extend(span.name for span in agent.spans()))
    tracer.flush()
    return delivered


def test_unpatch_restores_exactly(stock):
    """Each replaced attribute is the very object that it was before."""
    with gate():
        installed = replaced()
    assert {name for name in stock if installed[name] is not stock[name]} == set(stock) - {"mode"}
    assert all(replaced()[name] is stock[name] for name in stock)


def test_patch_all_is_idempotent(stock, agent, app_behind):
    """A second call changes nothing, and one `unpatch` undoes both."""
    with gate():
        installed = replaced()
        ddlwa.patch_all()
        assert replaced() == installed
        assert "fastapi.request" in ended_by(app_behind(BARE), agent)


def test_unpatch_without_a_patch_does_nothing(stock):
    """It may be called at any time."""
    ddlwa.unpatch()
    ddlwa.unpatch()


def test_patching_again_after_unpatch_works(stock, agent, app_behind):
    """A gate that was taken out can be installed again."""
    for _ in range(2):
        with gate():
            assert "fastapi.request" in ended_by(app_behind(BARE), agent)
        assert ended_by(app_behind(BARE), agent) == []


def test_unpatch_leaves_somebody_elses_wrapper_in_place(stock, agent, app_behind, monkeypatch, warnings_said):
    """A wrapper around ours stays, ours is idle under it, and a warning says so."""
    calls = []

    def wrap(call):
        async def wrapper(self, scope, receive, send):
            calls.append(scope["path"])
            return await call(self, scope, receive, send)

        return wrapper

    with monkeypatch.context() as patch:
        with gate():
            theirs = wrap(TraceMiddleware.__call__)
            patch.setattr(TraceMiddleware, "__call__", theirs)
        assert vars(TraceMiddleware)["__call__"] is theirs
        assert ended_by(app_behind(BARE), agent) == []
        assert calls == ["/json"]
        (warning,) = warnings_said()
        assert "was replaced by somebody else since; ddlwa's part stays there and is idle" in warning
        patch.undo()
    # What monkeypatch found was the gate's; the stock one is put back by hand.
    TraceMiddleware.__call__ = stock["middleware"]


def test_an_unknown_integration_is_named(stock, warnings_said):
    """A name that ddtrace does not know is a warning, and the rest is done."""
    with gate(reddis=False):
        assert replaced() != stock
    (warning,) = warnings_said()
    assert warning == f"ddtrace {ddtrace.__version__} has no integration named 'reddis'"


def test_strict_raises_for_an_unknown_integration(stock):
    """With `strict` the same is an error."""
    with (
        pytest.raises(ddlwa.UnsupportedError, match="has no integration named 'reddis'"),
        gate(strict=True, reddis=False),
    ):
        pass  # pragma: no cover
    ddlwa.unpatch()


@pytest.mark.parametrize(
    ("env", "installed"),
    [
        ({}, False),
        ({"DDLWA_ENABLED": "false"}, False),
        ({"DDLWA_ENABLED": "true"}, True),
        (LAMBDA, True),
        ({**LAMBDA, "DDLWA_ENABLED": "false"}, False),
        ({**LAMBDA, "DDLWA_MODE": "off"}, False),
        ({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "10"}, False),
        ({**LAMBDA, "AWS_LAMBDA_MAX_CONCURRENCY": "1"}, True),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_the_environment_says_whether_the_gate_is_installed(env, installed, stock, agent, app_behind):
    """In Lambda it is, unless switched off or not frozen there; elsewhere only when asked for."""
    with gate(env):
        assert (replaced() != stock) is installed
        assert bool(ended_by(app_behind(BARE), agent)) is installed


def test_guarantee_6_a_failing_patch_leaves_stock_ddtrace(stock, monkeypatch, warnings_said):
    """What was replaced before the failure is put back, and one warning says why."""
    shut_down = writers.NativeWriter.on_shutdown
    monkeypatch.delattr(writers.NativeWriter, "on_shutdown")
    monkeypatch.setattr(writers.periodic.PeriodicService, "on_shutdown", shut_down)
    flush, middleware = writers.NativeWriter.flush_queue, TraceMiddleware.__call__
    with gate():
        assert writers.NativeWriter.flush_queue is flush
        assert TraceMiddleware.__call__ is middleware
    monkeypatch.undo()
    (warning,) = warnings_said()
    assert warning == "patching ddtrace failed (KeyError('on_shutdown')); it is left as it is"


def test_guarantee_6_an_untried_version_leaves_stock_ddtrace(stock, monkeypatch, warnings_said):
    """A ddtrace that nobody has tried is not patched, and one warning says so; strict raises that."""
    monkeypatch.setattr(ddtrace, "__version__", "5.0.0")
    with gate():
        assert replaced() == stock
    (warning,) = warnings_said()
    assert warning == "ddtrace 5.0.0 is not one of >=3.19,<5; ddtrace is left as it is"
    with pytest.raises(ddlwa.UnsupportedError, match=r"ddtrace 5\.0\.0 is not one of"), gate(strict=True):
        pass  # pragma: no cover


def test_guarantee_6_a_middleware_of_another_shape_leaves_stock_ddtrace(stock, monkeypatch, warnings_said):
    """A ddtrace whose middleware is called otherwise is not patched."""

    async def __call__(self, scope):  # noqa: N807 - it is one
        """Take less than ASGI gives."""

    monkeypatch.setattr(TraceMiddleware, "__call__", __call__)
    with gate():
        assert TraceMiddleware.__call__ is __call__
    monkeypatch.undo()
    (warning,) = warnings_said()
    assert warning.startswith("ddtrace's TraceMiddleware.__call__ does not take (scope, receive, send)")


@pytest.mark.parametrize("path", ["/json", "/sub/json", "/starlette/class"])
def test_a_mounted_app_has_no_gate_of_its_own(path, agent, app_behind, monkeypatch):
    """However deep the app, a request is flushed once."""
    flushes = []
    flush = Delivery.flush

    async def counting(self, **options):
        flushes.append(options)
        await flush(self, **options)

    app = app_behind(BARE)
    with gate():
        monkeypatch.setattr(Delivery, "flush", counting)
        serve(app, Request(path=path))
    assert len(flushes) == 1


@pytest.fixture
def synchronous(agent):
    """Give ddtrace the writer that it has beside the Datadog extension; say which threads send."""
    aggregator = tracer._span_aggregator
    asynchronous = aggregator.writer
    writer = native(agent.url, sync_mode=True)
    senders = []
    send = writer._send_payload

    def sending(*args, **kwargs):
        senders.append(threading.current_thread())
        return send(*args, **kwargs)

    writer._send_payload = sending
    aggregator.writer = writer
    yield senders
    aggregator.writer = asynchronous


def test_synchronous_mode_is_taken_off(synchronous, agent, app_behind):
    """With the gate ddtrace itself sends nothing; without it, it does so again, on the event loop."""
    app = app_behind(BARE)
    ended_by(app, agent)
    assert set(synchronous) == {threading.main_thread()}
    synchronous.clear()
    with gate():
        agent.clear()
        serve(app, JSON)
        assert synchronous == []
        assert "fastapi.request" in {span.name for span in agent.spans()}
    synchronous.clear()
    serve(app, JSON)
    assert set(synchronous) == {threading.main_thread()}


def test_a_writer_made_later_is_not_synchronous_either(agent, stock):
    """A writer that ddtrace makes after a fork, or in `configure`, does not send by itself."""
    with gate({**GENEROUS, **LAMBDA}):
        assert writers._use_sync_mode() is False
