"""Runs of known durations, for tests of what is compared with a baseline."""

from __future__ import annotations

import itertools

from ddlwa.report.model import InvocationResult, Mode, Report, RouteResult, Run, SpanResult

MS = 1_000_000


def make_span(name, ran_ns, *, span_id=1, parent_id=0, start_ns=0, frozen_ns=0):  # noqa: PLR0913  # each matters
    return SpanResult(
        trace_id=1,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        resource=name,
        error=False,
        start_ns=start_ns,
        duration_ns=ran_ns + frozen_ns,
        frozen_ns=frozen_ns,
        delivered=True,
        background=False,
    )


def make_invocation(spans, *, number=1, findings=()):
    return InvocationResult(
        number=number,
        trace_id=1,
        status=200,
        started_ns=0,
        stopped_ns=1,
        delivered=True,
        spans=tuple(spans),
        findings=tuple(findings),
    )


def make_run(routes, *, findings=()):
    """Make a run of the spans of each invocation, by path; one route after the other."""
    numbers = itertools.count(1)
    return Run(
        mode=Mode.DDLWA,
        routes=tuple(
            RouteResult(
                "GET",
                path,
                tuple(make_invocation(some, number=next(numbers), findings=findings) for some in invocations),
            )
            for path, invocations in routes.items()
        ),
        others=(),
        timeline=(),
        clock_jumped=True,
        elapsed_s=1.0,
    )


def make_report(run, *, app="main:app"):
    return Report(
        app=app,
        version="0.1.0",
        ddtrace_version="4.16.0",
        adapter="built-in, buffered",
        freeze_ns=1,
        runs=(run,),
    )


def steady(ran_ns, *, count=20, name="fastapi.request"):
    """Give the spans of invocations that all take the same time."""
    return [[make_span(name, ran_ns)] for _ in range(count)]
