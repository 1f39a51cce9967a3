from __future__ import annotations

from dataclasses import replace

import pytest
from measured_samples import make_run, make_span

from ddlwa.check.parity import beside_plain
from ddlwa.report.model import Fault, Finding

TIMES = 3


def root(**changes):
    return replace(make_span("fastapi.request", 1), **changes)


def query(span_id=2, **changes):
    return replace(make_span("db.query", 1, span_id=span_id, parent_id=1), **changes)


def teardown(**changes):
    return replace(make_span("db.close", 1, span_id=9, parent_id=1), **changes)


def messages(plain, ddlwa):
    """Give what is found of a route's invocations, by the spans of each."""
    run = beside_plain(make_run({"/": plain}), make_run({"/": ddlwa}))
    for one in run.invocations:
        assert all(finding.fault is Fault.DIFFERENT for finding in one.findings)
    return [[finding.message for finding in one.findings] for one in run.invocations]


@pytest.mark.parametrize(
    ("plain", "ddlwa", "message"),
    [
        ([root(), query()], [root()], "db.query is recorded 0 times, by plain ddtrace once."),
        (
            [root(), query(), query(3)],
            [root(), query()],
            "db.query is recorded once, by plain ddtrace 2 times.",
        ),
        (
            [root()],
            [root(), query()],
            "db.query within fastapi.request is recorded once, by plain ddtrace 0 times.",
        ),
        (
            [root(), query(), teardown()],
            [root(), query(), teardown(parent_id=2)],
            "db.close within db.query is recorded once, by plain ddtrace 0 times.",
        ),
        (
            [root(resource="GET /", error=True)],
            [root(resource="GET /")],
            "fastapi.request (GET /), marked as failed, is recorded 0 times, by plain ddtrace once.",
        ),
    ],
)
def test_what_is_not_as_with_plain_ddtrace_is_named(plain, ddlwa, message):
    """A span that is missing, too many, elsewhere, or of another outcome."""
    assert messages([plain] * TIMES, [ddlwa] * TIMES) == [[message]] * TIMES


@pytest.mark.parametrize(
    ("plain", "ddlwa"),
    [
        ([root(), query()], [query(start_ns=5, duration_ns=8), root(duration_ns=9)]),
        # What plain ddtrace does only after the thaw is done before the freeze.
        ([root(), teardown(background=True)], [root(), teardown()]),
        # Work after the response has a trace of its own when the request's has left.
        ([root(), teardown(background=True)], [root(), teardown(trace_id=7, background=True)]),
        ([root()], [root(), teardown(trace_id=7, background=True)]),
        # ddlwa has been told to put the invocation's span around the request's.
        (
            [root(), query()],
            [make_span("aws.lambda", 1, span_id=8), root(parent_id=8), query(), teardown(parent_id=8)],
        ),
    ],
)
def test_times_and_what_ddlwa_is_there_for_may_differ(plain, ddlwa):
    """The same spans in the same places."""
    assert messages([plain] * TIMES, [ddlwa] * TIMES) == [[]] * TIMES


@pytest.mark.parametrize(
    ("plain", "ddlwa"),
    [
        ([[root(), query()]], [[root()]]),
        ([[root(), query()], [root(), query(), query(3)], [root()]], [[root(), teardown()]] * 3),
        ([[root()]] * 4, [[root()], [root()], [root(), query()], [root(), query()]]),
    ],
)
def test_an_app_that_does_not_do_the_same_each_time_is_not_judged(plain, ddlwa):
    """It was asked once; no two traces are alike; half of the invocations are as they should be."""
    assert messages(plain, ddlwa) == [[]] * len(ddlwa)


def test_each_pattern_of_plain_ddtrace_will_do():
    """A first invocation does more than the others; then most have to be like one of the two."""
    plain = [[root(), query()], [root()], [root()], [root()]]
    assert messages(plain, [[root(), query()]] * 3) == [[]] * 3
    wrong = [[root(), query()], *([[root(), teardown()]] * 3)]
    assert [len(found) for found in messages(plain, wrong)] == [0, 1, 1, 1]


@pytest.mark.parametrize("fault", [Fault.NO_RESPONSE, Fault.LOST, Fault.NOT_WHOLE])
def test_a_trace_that_is_not_all_there_is_not_compared(fault):
    """Plain ddtrace's is nothing to go by, and of ddlwa's enough has been said."""
    findings = (Finding(fault, "so it is"),)
    whole, part = {"/": [[root(), query()]] * TIMES}, {"/": [[root()]] * TIMES}
    broken = make_run(part, findings=findings)
    assert beside_plain(broken, make_run(whole)) == make_run(whole)
    assert beside_plain(make_run(whole), broken) == broken
