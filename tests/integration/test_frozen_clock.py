"""The fixture `frozen_clock`: ddtrace's spans on freezegun's clock, in process."""

import asyncio
import datetime as dt
import subprocess
import sys
import threading
import time

import freezegun.api
import pytest
from ddtrace.internal import core
from ddtrace.internal.utils.time import Time
from ddtrace.trace import tracer

from ddlwa.testing import ddtrace_clock
from ddlwa.testing.clock import frozen_clock as freeze
from ddlwa.testing.errors import FixtureError

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def listeners(monkeypatch):
    """Keep book of who listens to the start of spans."""
    listening = []

    def on(event, listener):
        listening.append(listener)
        return real_on(event, listener)

    def reset(event, listener):
        listening.remove(listener)
        return real_reset(event, listener)

    real_on, real_reset = core.on, core.reset_listeners
    monkeypatch.setattr(core, "on", on)
    monkeypatch.setattr(core, "reset_listeners", reset)
    return listening


def test_spans_follow_the_clock_to_the_nanosecond(frozen_clock, agent):
    """A span starts at the clock's time, and lasts exactly as long as the clock was moved."""
    begun_ns = frozen_clock.now_ns
    with tracer.trace("outer") as outer:
        frozen_clock.tick("3h")
        with tracer.trace("inner") as inner:
            frozen_clock.tick("1.000001s")
        frozen_clock.tick("250ms")
    assert (outer.start_ns, outer.duration_ns) == (begun_ns, 3 * HOUR_NS + 1_250_001_000)
    assert (inner.start_ns, inner.duration_ns) == (begun_ns + 3 * HOUR_NS, 1_000_001_000)


def test_spans_of_threads_follow_too(frozen_clock):
    """In a thread freezegun shows the real time; a span there is on the frozen clock all the same."""
    spans = []

    def work():
        with tracer.trace("in.thread") as span:
            frozen_clock.tick("2h")
        spans.append(span)

    begun_ns = frozen_clock.now_ns
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert [(span.start_ns, span.duration_ns) for span in spans] == [(begun_ns, 2 * HOUR_NS)]


def test_spans_of_asyncio_follow_and_its_timers_go_on(frozen_clock):
    """A coroutine sleeps in real time; its spans last as long as the clock was moved meanwhile."""

    async def work():
        with tracer.trace("in.task") as span:
            await asyncio.sleep(0.01)
            frozen_clock.tick("3h")
        return span

    async def main():
        return await asyncio.wait_for(asyncio.gather(work(), work()), 10)

    assert sorted(span.duration_ns for span in asyncio.run(main())) == [3 * HOUR_NS, 6 * HOUR_NS]


def test_a_span_lasts_no_time_while_the_clock_stands(frozen_clock):
    """Real work takes no time on a clock that nobody moves."""
    with tracer.trace("busy") as span:
        for _ in range(10_000):
            pass
    assert span.duration_ns == 0


def test_code_under_test_sees_the_same_clock(frozen_clock):
    """Python's own clocks show what the fixture says."""
    frozen_clock.move_to("2030-01-01 12:00")
    assert frozen_clock.now_ns == time.time_ns() == 1_893_499_200 * 10**9
    assert dt.datetime.now(dt.timezone.utc).year == 2030
    frozen_clock.tick(dt.timedelta(days=1))
    assert frozen_clock.now_ns == (1_893_499_200 + 86_400) * 10**9


def test_a_clock_within_the_clock_is_followed(frozen_clock):
    """Where the test freezes time once more, spans are on that clock as long as it is in force."""
    with freezegun.freeze_time("2031-01-01"), tracer.trace("nested") as span:
        pass
    assert span.start_ns == 1_924_992_000 * 10**9
    with tracer.trace("after") as after:
        pass
    assert after.start_ns == frozen_clock.now_ns != span.start_ns


@pytest.mark.parametrize("duration", ["3 hours", "0s", "0.0005ms"])
def test_a_duration_that_the_clock_cannot_move_by_is_refused(frozen_clock, duration):
    """What is no duration, or none of whole microseconds, is a ValueError, and the clock stands."""
    before_ns = frozen_clock.now_ns
    with pytest.raises(ValueError, match=r"duration|microseconds"):
        frozen_clock.tick(duration)
    assert frozen_clock.now_ns == before_ns


def test_everything_is_as_before_afterwards(listeners):
    """The clock of ddtrace, its listeners and Python's clocks are the very ones that were there."""
    before = (vars(Time)["time_ns"], time.time_ns, time.time, time.monotonic, dt.datetime)
    processors = list(tracer._span_aggregator.user_processors)

    def fail_in_between():
        with freeze():
            assert len(listeners) == 1
            assert vars(Time)["time_ns"] is not before[0]
            raise LookupError

    with pytest.raises(LookupError):
        fail_in_between()
    assert (vars(Time)["time_ns"], time.time_ns, time.time, time.monotonic, dt.datetime) == before
    assert listeners == []
    assert tracer._span_aggregator.user_processors == processors
    with tracer.trace("real") as span:
        pass
    assert abs(span.start_ns - time.time_ns()) < HOUR_NS


def test_the_probe_is_not_sent(agent):
    """No trace of the throw-away span arrives, and the clock stands where it stood."""
    with freeze() as clock:
        assert abs(clock.now_ns - freezegun.api.real_time_ns()) < HOUR_NS
        with tracer.trace("sent"):
            clock.tick("1s")
    tracer.flush()
    names = {span.name for span in agent.spans()}
    assert "sent" in names
    assert "ddlwa.probe" not in names


def test_a_ddtrace_whose_start_does_not_follow_is_refused(monkeypatch):
    """Without the event of a span's start the fixture says what it measured, and undoes what it did."""
    monkeypatch.setattr(ddtrace_clock, "_SPAN_START", "trace.renamed")
    # ddtrace 3.19 reads both ends there, 4.16 the end only.
    monkeypatch.setattr(ddtrace_clock, "Time", type("Time", (), {"time_ns": time.time_ns}))
    with pytest.raises(FixtureError, match=r"ddtrace \d+\.\d+.* span started at \d+ ns while"), freeze():
        pytest.fail("a clock was given")
    assert time.time_ns is freezegun.api.real_time_ns


def test_a_ddtrace_whose_finish_does_not_follow_is_refused(monkeypatch):
    """Without the class attribute that the end is read from the fixture says what it measured."""
    monkeypatch.setattr(ddtrace_clock, "Time", type("Time", (), {"time_ns": time.time_ns}))
    with pytest.raises(FixtureError, match=r"over 3 h of that clock lasted -?\d+ ns instead of"), freeze():
        pytest.fail("a clock was given")
    assert time.time_ns is freezegun.api.real_time_ns


def test_a_ddtrace_without_the_parts_is_refused(monkeypatch):
    """What the probe needs and does not find is named."""
    monkeypatch.delattr(tracer, "_span_aggregator")
    with pytest.raises(FixtureError, match=r"AttributeError.*_span_aggregator"), freeze():
        pytest.fail("a clock was given")


def test_the_tracing_of_a_process_without_the_fixture_is_untouched():
    """To import what the fixture is made of changes neither clock."""
    code = (
        "import time; before = time.time_ns\n"
        "from ddtrace.internal.utils.time import Time; stock = vars(Time)['time_ns']\n"
        "import ddlwa.testing.clock\n"
        "assert time.time_ns is before and vars(Time)['time_ns'] is stock\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
