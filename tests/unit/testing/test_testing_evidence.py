from __future__ import annotations

import pytest

from ddlwa.check.session import TraceContext
from ddlwa.report.model import Fault, Mode, Window
from ddlwa.simulator import HttpResponse, Invocation
from ddlwa.testing.evidence import Delivered, find_context, make_trace

MS = 1_000_000
HOUR = 3_600_000_000_000
TIMELINE = (
    Window(0, 100 * MS, frozen=False),
    Window(100 * MS, 100 * MS + 3 * HOUR, frozen=True),
    Window(100 * MS + 3 * HOUR, 200 * MS + 3 * HOUR, frozen=False),
)
OK = HttpResponse(status=200, headers=(), body=b"")


def raw(trace_id, span_id, parent_id, *, start=60, duration=10 * MS, **more):
    return {
        "trace_id": trace_id,
        "span_id": span_id,
        "parent_id": parent_id,
        "name": "fastapi.request",
        "resource": "GET /",
        "start": start * MS,
        "duration": duration,
        "meta": {"span.kind": "server"},
        **more,
    }


def invoked(*, context=None, arrived=(), response=OK, error=None):
    invocation = Invocation(
        request_id="1",
        request=None,
        event={},
        payload=None if error else b"{}",
        response=response,
        error=error,
        started_ns=50 * MS,
        responded_ns=100 * MS,
        frozen_ns=100 * MS,
    )
    return Delivered(
        invocation=invocation, label="GET /", number=1, context=context, arrived=frozenset(arrived)
    )


def judged(one, *spans):
    received = {}
    for span in spans:
        received.setdefault(span["trace_id"], []).append(span)
    return make_trace(one, received, timeline=TIMELINE, mode=Mode.DDLWA, frozen=True)


def faults(trace):
    return [finding.fault for finding in trace.findings]


def test_a_trace_is_known_by_what_the_request_was_told():
    """Spans of that trace are the request's, those linked to it are its work after the response."""
    link = {"span_links": [{"trace_id": 7}]}
    trace = judged(
        invoked(context=TraceContext(7, 5), arrived=[1]),
        raw(7, 1, 5, metrics={"http.size": 3}),
        raw(8, 2, 0, start=70, **link),
        raw(9, 3, 0),
    )
    assert faults(trace) == []
    assert [(span.span_id, span.background) for span in trace.spans] == [(1, False), (2, True)]
    assert trace.delivered
    assert trace.root is not None
    assert trace.root.tags == {"span.kind": "server", "http.size": "3"}


def test_frozen_time_and_delivery_come_from_the_verdict():
    """The span says how much of it was frozen, and that it came late."""
    trace = judged(invoked(context=TraceContext(7, 5)), raw(7, 1, 5, duration=50 * MS + 3 * HOUR))
    assert faults(trace) == [Fault.LATE, Fault.FROZEN_TIME]
    [span] = trace.spans
    assert (span.frozen_ns, span.ran_ns, span.delivered) == (3 * HOUR, 50 * MS, False)


def test_a_trace_that_nobody_announced_is_known_by_its_time():
    """It is that of the first server span within the invocation, and its root's parent is upstream."""
    received = {
        6: [raw(6, 1, 0, start=10)],
        7: [raw(7, 2, 99, start=55, meta={}), raw(7, 3, 2)],
        8: [raw(8, 4, 0, start=52, meta={})],
        9: [raw(9, 5, 0, start=150)],
    }
    assert find_context(invoked(), received) == TraceContext(7, 99)


def test_spans_that_are_each_others_parents_end_the_search():
    """What no tracer should send does not hang the test."""
    assert find_context(invoked(), {7: [raw(7, 1, 2), raw(7, 2, 1)]}) == TraceContext(7, 2)


def test_no_trace_at_all_is_lost():
    """Nothing arrived that could be the request's."""
    assert find_context(invoked(), {}) is None
    trace = judged(invoked(), raw(9, 5, 0, start=150))
    assert faults(trace) == [Fault.LOST]
    assert trace.spans == ()


@pytest.mark.parametrize(
    ("error", "expected"), [(None, []), ("it exited", [Fault.NO_RESPONSE])], ids=["answered", "failed"]
)
def test_an_event_needs_an_answer_and_no_status(error, expected):
    """A function's payload is an answer, an error is none."""
    one = invoked(context=TraceContext(7, 5), arrived=[1], response=None, error=error)
    assert faults(judged(one, raw(7, 1, 5))) == expected
