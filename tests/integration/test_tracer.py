"""What ddlwa asks of ddtrace's internals, each by itself."""

import asyncio
import sys
import time

import pytest
from ddtrace.trace import tracer as dd
from gates import gate

from ddlwa import tracer
from ddlwa.replacements import Replacements
from ddlwa.request import current


def test_spans_around_the_request_span_are_finished_too(agent):
    """Spans that ddtrace itself opens around the request span, such as inferred ones, are the request's."""
    with dd.trace("server") as outer, dd.trace("inferred") as inferred, dd.trace("request") as request:
        child = dd.start_span("child", child_of=request)
        other = dd.start_span("other", child_of=outer)
        tracer.finish_open_spans(request, outer, "budget")
        assert [span.finished for span in (child, request, inferred)] == [True, True, True]
        assert [span.finished for span in (other, outer)] == [False, False]
        assert [span.get_tag("ddlwa.released_by") for span in (child, request, inferred, other)] == [
            "budget",
            "budget",
            "budget",
            None,
        ]
        other.finish()


def test_a_trace_that_has_left_has_no_open_spans(agent):
    """A request whose trace has been sent already has nothing to finish."""
    with dd.trace("request") as request:
        pass
    tracer.finish_open_spans(request, None, "budget")
    assert request.get_tag("ddlwa.released_by") is None


@pytest.mark.parametrize("missing", ["_span_aggregator", "_parent", "_use_sync_mode"])
def test_guarantee_6_probe_names_what_is_missing(missing, monkeypatch):
    """A ddtrace without one of the internals is refused by its name."""
    owner = {"_span_aggregator": dd, "_parent": tracer.Span, "_use_sync_mode": tracer.writers}[missing]
    assert tracer.probe() is None
    if missing == "_parent":
        monkeypatch.setattr(tracer, "Span", object)
    else:
        monkeypatch.delattr(owner, missing)
    reason = tracer.probe()
    assert reason is not None
    assert {"_span_aggregator": "_traces"}.get(missing, missing) in reason


def test_guarantee_6_probe_refuses_another_middleware(monkeypatch):
    """A middleware that is called in another way is refused."""

    class Other:
        def __call__(self, scope):
            pass

    monkeypatch.setattr(tracer, "TraceMiddleware", Other)
    assert "TraceMiddleware.__call__" in tracer.probe()


def test_background_task_outside_a_request(agent):
    """A background task that runs by itself, in a test or a script, is not touched."""
    import starlette.background as background  # noqa: PLC0415, PLR0402 - not before the agent fixture has patched

    done = []
    with gate():
        assert current.get() is None
        asyncio.run(background.BackgroundTask(done.append, 1)())
    assert done == [1]


def test_starlette_imported_after_unpatch(agent, monkeypatch):
    """An import of Starlette after `unpatch()` is left alone."""
    monkeypatch.delitem(sys.modules, "starlette.background", raising=False)
    with gate():
        pass
    import starlette.background as fresh  # noqa: PLC0415 - the import is what is tested

    assert fresh.BackgroundTask.__call__.__module__ == "starlette.background"


def test_frozen_time_is_taken_off(agent):
    """A span that straddles a freeze loses it, and says how much that was; one after it does not."""

    class Ledger:
        def latest_ns(self):
            return time.time_ns() - 1_000_000

        def frozen_ns(self, start_ns, end_ns):
            return min(end_ns - start_ns, 5_000_000)

    replacements = Replacements()
    before = dd.start_span("before")
    before.start_ns -= 10_000_000_000
    tracer.correct_durations(Ledger(), replacements)
    try:
        before.finish()
        with dd.trace("after") as after:
            pass
    finally:
        replacements.undo()
    assert 9.9e9 < before.duration_ns < 10e9 + 5e9
    assert before.get_metric("ddlwa.frozen_ms") == 5.0
    assert after.get_metric("ddlwa.frozen_ms") is None
    with dd.trace("undone") as undone:
        undone.start_ns -= 10_000_000_000
    assert undone.get_metric("ddlwa.frozen_ms") is None


def test_no_frozen_time(agent):
    """A span that ended before the freeze, as far as it counts, is left as it is."""

    class Ledger:
        def latest_ns(self):
            return 2**63

        def frozen_ns(self, start_ns, end_ns):
            return 0

    replacements = Replacements()
    tracer.correct_durations(Ledger(), replacements)
    try:
        with dd.trace("work") as span:
            pass
    finally:
        replacements.undo()
    assert span.get_metric("ddlwa.frozen_ms") is None
