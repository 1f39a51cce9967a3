from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddlwa.check.spans import Span
from ddlwa.check.verdict import LEDGER_TOLERANCE_NS, TOLERANCE_NS, Evidence, judge, judge_other, overlap_ns
from ddlwa.report.model import Fault, Window

MS = 1_000_000
HOUR = 3_600_000_000_000
TRACE, CALLER = 11, 99
# It runs for 100 ms, is frozen for three hours, runs for 100 ms, is frozen again, and runs on.
TIMELINE = (
    Window(0, 100 * MS, frozen=False),
    Window(100 * MS, 100 * MS + 3 * HOUR, frozen=True),
    Window(100 * MS + 3 * HOUR, 200 * MS + 3 * HOUR, frozen=False),
    Window(200 * MS + 3 * HOUR, 200 * MS + 6 * HOUR, frozen=True),
    Window(200 * MS + 6 * HOUR, 300 * MS + 6 * HOUR, frozen=False),
)
STOP = 100 * MS
THAW = STOP + 3 * HOUR


def make_span(  # noqa: PLR0913 - a span has that many parts, all with defaults
    span_id=1, parent_id=CALLER, *, start=90 * MS, duration=5 * MS, name="fastapi.request", taken_off=0
):
    return Span(
        trace_id=TRACE,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        resource="GET /",
        error=False,
        start_ns=start,
        duration_ns=duration,
        taken_off_ns=taken_off,
    )


def judge_spans(*spans, arrived=None, linked=(), status=200, error=None, expected_status=None):
    evidence = Evidence(
        number=1,
        trace_id=TRACE,
        parent_id=CALLER,
        status=status,
        error=error,
        expected_status=expected_status,
        started_ns=80 * MS,
        stopped_ns=STOP,
        arrived=frozenset(span.span_id for span in spans) if arrived is None else frozenset(arrived),
        request_spans=spans,
        linked_spans=tuple(linked),
    )
    return judge(evidence, timeline=TIMELINE)


def faults(result):
    return [finding.fault for finding in result.findings]


def test_a_trace_that_ended_and_arrived_before_the_stop_is_right():
    """A whole trace, delivered in time, with no frozen time has no findings."""
    result = judge_spans(make_span(), make_span(2, 1, start=91 * MS, duration=MS))
    assert result.right
    assert result.delivered
    assert [span.frozen_ns for span in result.spans] == [0, 0]


def test_a_span_over_a_freeze_has_frozen_time():
    """The message says how long the span is, how much of it was frozen, and how much ran."""
    result = judge_spans(make_span(duration=20 * MS + 3 * HOUR))
    assert faults(result) == [Fault.FROZEN_TIME]
    assert result.spans[0].frozen_ns == 3 * HOUR
    message = result.findings[0].message
    assert "fastapi.request (GET /) records 3h 0m" in message
    assert "ran for 20 ms" in message
    assert "open when the response was complete" in message


def test_frozen_time_adds_up_over_freezes():
    """A span over two freezes has the time of both."""
    result = judge_spans(make_span(duration=120 * MS + 6 * HOUR))
    assert result.spans[0].frozen_ns == 6 * HOUR


@pytest.mark.parametrize(("beyond", "wrong"), [(0, False), (1, True)])
def test_the_tolerance_is_the_last_right_value(beyond, wrong):
    """A span may reach into a freeze by the tolerance and not by a nanosecond more."""
    result = judge_spans(make_span(duration=10 * MS + TOLERANCE_NS + beyond))
    assert (Fault.FROZEN_TIME in faults(result)) is wrong
    assert bool(result.spans[0].frozen_ns) is wrong


def test_a_span_that_starts_in_a_freeze_has_its_rest():
    """Only the part of a freeze that the span covers counts."""
    result = judge_spans(make_span(start=STOP + HOUR, duration=2 * HOUR + MS), arrived=())
    assert result.spans[0].frozen_ns == 2 * HOUR


def test_spans_that_arrive_after_the_stop_are_late():
    """The message counts the spans that were not there."""
    result = judge_spans(make_span(), make_span(2, 1), arrived={2})
    assert faults(result) == [Fault.LATE]
    assert not result.delivered
    assert "1 of 2 spans" in result.findings[0].message


def test_a_trace_that_never_arrives_is_lost():
    """Without any span the invocation is lost, and nothing else is said of its spans."""
    result = judge_spans()
    assert faults(result) == [Fault.LOST]
    assert not result.delivered


def test_spans_begun_after_the_stop_can_not_be_late():
    """Work after the response in the request's own trace does not count as delivered late."""
    result = judge_spans(make_span(), make_span(2, 1, start=THAW + MS, duration=MS), arrived={1})
    assert result.right
    assert result.delivered
    assert [span.background for span in result.spans] == [False, True]


def test_a_trace_with_nothing_but_late_work_is_lost():
    """Spans from after the stop do not stand in for the request's."""
    result = judge_spans(make_span(start=THAW + MS), arrived=())
    assert Fault.LOST in faults(result)


def test_a_linked_trace_that_ends_between_freezes_is_right():
    """A background task is judged for its duration only."""
    linked = make_span(7, 0, start=THAW + MS, duration=20 * MS)
    result = judge_spans(make_span(), linked=[linked])
    assert result.right
    assert result.spans[-1].background


def test_a_linked_trace_over_a_freeze_is_told_from_the_request():
    """A background task that straddles a freeze has a fault of its own."""
    linked = make_span(7, 0, start=THAW + 90 * MS, duration=20 * MS + 3 * HOUR)
    result = judge_spans(make_span(), linked=[linked])
    assert faults(result) == [Fault.BACKGROUND_FROZEN_TIME]
    assert "work after the response" in result.findings[0].message


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ((make_span(), make_span(2)), "2 spans are the request's root"),
        ((make_span(2, 1),), "0 spans are the request's root"),
        ((make_span(), make_span(2, 5, name="db.query")), "parent of db.query is missing"),
        ((make_span(), make_span()), "1 span arrived more than once"),
    ],
)
def test_a_trace_with_a_hole_is_not_whole(spans, said):
    """One root, no missing parent, nothing twice: whatever else is found is said."""
    result = judge_spans(*spans)
    assert set(faults(result)) == {Fault.NOT_WHOLE}
    assert any(said in finding.message for finding in result.findings)


def test_a_negative_duration_is_wrong():
    """A clock that went back is found."""
    result = judge_spans(make_span(duration=-5 * MS))
    assert faults(result) == [Fault.NEGATIVE_DURATION]
    assert "-5.0 ms" in result.findings[0].message


@pytest.mark.parametrize(
    ("start", "duration", "said"),
    [
        (-2 * HOUR, MS, "starts 2h 0m before the run"),
        (250 * MS + 6 * HOUR, HOUR + 50 * MS, "ends 1h 0m after the run"),
    ],
)
def test_a_span_outside_the_run_is_wrong(start, duration, said):
    """A span that follows another clock than the sandbox's is found."""
    result = judge_spans(make_span(start=start, duration=duration))
    assert faults(result)[-1] is Fault.OUTSIDE_RUN
    assert said in result.findings[-1].message


def test_an_invocation_without_a_response_says_why():
    """The simulator's reason is in the message."""
    result = judge_spans(make_span(), status=None, error="connection reset")
    assert faults(result) == [Fault.NO_RESPONSE]
    assert "connection reset" in result.findings[0].message


@pytest.mark.parametrize(("expected", "wrong"), [(None, False), (200, False), (201, True)])
def test_a_status_counts_only_where_one_is_expected(expected, wrong):
    """The demo knows its statuses; of any other app none is wrong."""
    assert (faults(judge_spans(make_span(), expected_status=expected)) == [Fault.WRONG_STATUS]) is wrong


def test_other_traces_count_only_if_they_are_wrong():
    """A trace of no invocation is left out, unless it has frozen time."""
    assert judge_other([make_span()], timeline=TIMELINE) is None
    other = judge_other([make_span(duration=3 * HOUR)], timeline=TIMELINE)
    assert other is not None
    assert other.faults == (Fault.BACKGROUND_FROZEN_TIME,)


@st.composite
def timelines(draw):
    """Windows without gaps, running and frozen in turn."""
    bounds, windows = draw(st.integers(0, 10**18)), []
    for frozen in [False, *draw(st.lists(st.booleans(), max_size=12))]:
        end = bounds + draw(st.integers(1, 10**13))
        windows.append(Window(bounds, end, frozen=frozen))
        bounds = end
    return tuple(windows)


@given(timeline=timelines(), data=st.data())
def test_running_and_frozen_time_add_up_to_the_span(timeline, data):
    """Of a span within the run, the frozen time and the time of the running windows are the duration."""
    first, last = timeline[0].start_ns, timeline[-1].end_ns
    start = data.draw(st.integers(first, last))
    end = data.draw(st.integers(start, last))
    opposite = tuple(Window(w.start_ns, w.end_ns, frozen=not w.frozen) for w in timeline)
    frozen = overlap_ns(start, end, timeline=timeline)
    assert 0 <= frozen <= end - start
    assert frozen + overlap_ns(start, end, timeline=opposite) == end - start


@given(timeline=timelines(), data=st.data())
def test_a_span_within_a_running_window_has_no_frozen_time(timeline, data):
    """No span that began and ended while the sandbox ran is ever called frozen."""
    window = data.draw(st.sampled_from([window for window in timeline if not window.frozen]))
    start = data.draw(st.integers(window.start_ns, window.end_ns))
    end = data.draw(st.integers(start, window.end_ns))
    span = make_span(start=start, duration=end - start)
    assert judge_other([span], timeline=timeline) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (0, []),
        (LEDGER_TOLERANCE_NS, []),
        (-LEDGER_TOLERANCE_NS, []),
        (LEDGER_TOLERANCE_NS + 1, [Fault.CUT_SHORT]),
        (-LEDGER_TOLERANCE_NS - 1, [Fault.FROZEN_TIME]),
    ],
)
def test_frozen_time_that_was_taken_off(error, expected):
    """A span that outlived a freeze is right when the freeze was taken off, to within the ledger's beats."""
    taken_off = 3 * HOUR + error
    result = judge_spans(make_span(duration=30 * MS - error, taken_off=taken_off))
    assert faults(result) == expected
    assert result.spans[0].frozen_ns == (-error if expected else 0)
