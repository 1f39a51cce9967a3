from __future__ import annotations

import pytest

from ddlwa.report.model import Fault, Finding, InvocationResult, Mode
from ddlwa.testing import Span, Trace, assert_delivered, assert_no_frozen_time, assert_right, assert_whole

HOUR_NS = 3_600_000_000_000
ALL = {assert_no_frozen_time, assert_delivered, assert_whole, assert_right}
FAILING = {
    Fault.NO_RESPONSE: {assert_right},
    Fault.WRONG_STATUS: {assert_right},
    Fault.LOST: ALL,
    Fault.LATE: {assert_delivered, assert_right},
    Fault.NOT_WHOLE: {assert_whole, assert_right},
    Fault.DIFFERENT: {assert_right},
    Fault.FROZEN_TIME: {assert_no_frozen_time, assert_right},
    Fault.BACKGROUND_FROZEN_TIME: {assert_no_frozen_time, assert_right},
    Fault.CUT_SHORT: {assert_no_frozen_time, assert_right},
    Fault.NEGATIVE_DURATION: {assert_no_frozen_time, assert_right},
    Fault.OUTSIDE_RUN: {assert_no_frozen_time, assert_right},
}


def make_span(span_id=1, parent_id=0, **changes):
    fields = {
        "trace_id": 7,
        "span_id": span_id,
        "parent_id": parent_id,
        "name": "fastapi.request",
        "resource": "GET /",
        "service": "shop",
        "start_ns": 0,
        "duration_ns": 5_000_000,
        "error": False,
        "tags": {},
        "frozen_ns": 0,
        "delivered": True,
        "background": False,
    }
    return Span(**{**fields, **changes})


def make_trace(*faults, mode=Mode.DDLWA, frozen=True, spans=()):
    result = InvocationResult(
        number=1,
        trace_id=7,
        status=200,
        started_ns=0,
        stopped_ns=1,
        delivered=not faults,
        spans=(),
        findings=tuple(Finding(fault, f"It is {fault.value}.") for fault in faults),
    )
    return Trace(request="GET /", mode=mode, frozen=frozen, spans=spans, result=result)


def fails(check, trace):
    try:
        check(trace)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_fails_its_assertions(fault):
    """A fault fails the assertion that is about it and the one about everything, and no other."""
    assert {check for check in ALL if fails(check, make_trace(fault))} == FAILING[fault]


def test_a_right_trace_passes():
    """Without a finding every assertion holds."""
    assert [check for check in ALL if fails(check, make_trace())] == []


def test_without_a_freeze_times_cannot_be_right():
    """A test that forgot to freeze is told so instead of passing."""
    trace = make_trace(frozen=False)
    assert {check for check in ALL if fails(check, trace)} == {assert_no_frozen_time, assert_right}
    with pytest.raises(AssertionError, match=r'^GET /: the sandbox was not frozen .*sandbox.freeze\("3h"\)'):
        assert_no_frozen_time(trace)


def test_the_message_tells_what_is_wrong_and_what_to_do():
    """Each finding has its line, each kind its advice, and the spans stand below."""
    spans = (
        make_span(duration_ns=3 * HOUR_NS, frozen_ns=3 * HOUR_NS, delivered=False),
        make_span(2, 1, name="mail", resource="send", background=True),
    )
    trace = make_trace(Fault.FROZEN_TIME, Fault.BACKGROUND_FROZEN_TIME, Fault.LATE, spans=spans)
    with pytest.raises(AssertionError) as raised:
        assert_no_frozen_time(trace)
    lines = str(raised.value).splitlines()
    assert lines[:3] == [
        "GET /: recorded times are wrong",
        "- frozen time: It is frozen time.",
        "- frozen background: It is frozen background.",
    ]
    assert lines[3].startswith("What to do: See what the app logs")
    assert lines[4].startswith("What to do: Let it be done before the freeze")
    assert lines[5:] == [
        "What to do: See what the app printed: sandbox.output().",
        "GET /: 2 spans",
        "  fastapi.request  GET /  3h 0m  (3h 0m of it frozen, not delivered before the freeze)",
        "  mail  send  5.0 ms  (work after the response)",
    ]


def test_with_plain_ddtrace_the_advice_is_ddlwa():
    """What is wrong without ddlwa is right with it: nothing else is to be said."""
    with pytest.raises(AssertionError, match="What to do: Here plain ddtrace traces the app") as raised:
        assert_right(make_trace(Fault.LATE, Fault.FROZEN_TIME, mode=Mode.PLAIN))
    assert str(raised.value).count("What to do") == 1


def test_the_root_is_the_first_without_a_parent():
    """It is the request's, whatever work after the response has begun."""
    background = make_span(3, 0, background=True)
    root, child = make_span(1, 99), make_span(2, 1, name="child")
    trace = make_trace(spans=(background, root, child))
    assert trace.root is root
    assert trace.named("child") == (child,)
    assert make_trace().root is None
