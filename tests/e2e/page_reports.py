"""Reports whose pages a browser is to open."""

from __future__ import annotations

import dataclasses

from ddlwa.report.comparison import Compared, Comparison
from ddlwa.report.model import (
    Explained,
    Fault,
    Finding,
    InvocationResult,
    Mode,
    OtherTrace,
    Report,
    RouteResult,
    Run,
    SpanResult,
    TracedSpan,
    Window,
)

MS = 1_000_000
HOUR_NS = 3_600_000 * MS
EPOCH_NS = 1_796_000_000_000_000_000
CYCLE_NS = 3 * HOUR_NS + 40 * MS
# What an app may call its things; the page is to show them and nothing else.
HOSTILE = "/<script>alert(1)</script><!--\u2028\u202e&amp;'\"</title>"
PATHS = ("/", "/items/1", "/a/path/that/is/rather/long/for/a/phone?with=a&query=too", HOSTILE)


def make_span(number, start_ns, duration_ns, **changes):
    span = SpanResult(
        trace_id=1 << 63,
        span_id=number,
        parent_id=0,
        name="fastapi.request",
        resource="GET " + HOSTILE,
        error=False,
        start_ns=start_ns,
        duration_ns=duration_ns,
        frozen_ns=0,
        delivered=True,
        background=False,
    )
    return dataclasses.replace(span, **changes)


def make_invocation(number, *, wrong):
    """Serve for 12 ms, be frozen for 3 h, and run for 28 ms of the next invocation."""
    start_ns = EPOCH_NS + (number - 1) * CYCLE_NS
    frozen_ns = 3 * HOUR_NS if wrong else 0
    spans = (
        make_span(
            1,
            start_ns + 2 * MS,
            (12 * MS if wrong else 8 * MS) + frozen_ns,
            frozen_ns=frozen_ns,
            delivered=not wrong,
        ),
        make_span(2, start_ns + 3 * MS, 5 * MS, parent_id=1, name="db.query", delivered=not wrong),
        make_span(
            3,
            start_ns + 12 * MS + 3 * HOUR_NS,
            20 * MS,
            name="mail.send",
            delivered=False,
            background=True,
        ),
    )
    findings = (
        Finding(Fault.LATE, "2 of 2 spans arrived only after the thaw."),
        Finding(Fault.FROZEN_TIME, f"GET {HOSTILE} records 3h 0m."),
    )
    return InvocationResult(
        number=number,
        trace_id=1 << 63,
        status=200,
        started_ns=start_ns,
        stopped_ns=start_ns + 12 * MS,
        delivered=not wrong,
        spans=spans,
        findings=findings if wrong else (),
    )


def make_run(mode, *, count, wrong_every=0, others=()):
    """Make a run in which each so-and-so-many-th invocation is wrong; 0 for none."""
    timeline = [Window(EPOCH_NS - 500 * MS, EPOCH_NS + 12 * MS, frozen=False)]
    for _ in range(count):
        thaw_ns = timeline[-1].end_ns + 3 * HOUR_NS
        timeline += [
            Window(timeline[-1].end_ns, thaw_ns, frozen=True),
            Window(thaw_ns, thaw_ns + 40 * MS, frozen=False),
        ]
    invocations = [
        make_invocation(number, wrong=bool(wrong_every) and number % wrong_every == 0)
        for number in range(1, count + 1)
    ]
    return Run(
        mode=mode,
        routes=tuple(
            RouteResult("GET", path, tuple(invocations[n :: len(PATHS)])) for n, path in enumerate(PATHS)
        ),
        others=others,
        timeline=tuple(timeline),
        clock_jumped=True,
        elapsed_s=1.25,
    )


def make_report(*runs, **changes):
    report = Report(
        app="shop.main:app",
        version="0.1.0",
        ddtrace_version="4.16.0",
        adapter="built-in, buffered",
        freeze_ns=3 * HOUR_NS,
        runs=runs,
    )
    return dataclasses.replace(report, **changes)


def make_compared(*, count=40):
    """Compare plain ddtrace, wrong everywhere, with ddlwa, right everywhere."""
    return make_report(make_run(Mode.PLAIN, count=count, wrong_every=1), make_run(Mode.DDLWA, count=count))


def make_wrong(*, count=40):
    """Be wrong in each fourth invocation, slower than a baseline, and in a poller; with event sources."""
    poller = OtherTrace(
        spans=(make_span(9, EPOCH_NS, 9 * HOUR_NS, name="poll", frozen_ns=9 * HOUR_NS),),
        findings=(Finding(Fault.BACKGROUND_FROZEN_TIME, "poll records 9h 0m."),),
    )
    comparison = Comparison(
        baseline="baseline.json",
        thresholds=("p50:20%", "p95:5ms"),
        compared=(
            Compared(
                "GET /",
                "fastapi.request",
                "p50:20%",
                3 * MS,
                9 * MS,
                4 * MS,
                cause="db.query is new, and takes 6 ms",
            ),
            Compared("GET /items/1", "fastapi.request", "p95:5ms", 8 * MS, 9 * MS, 14 * MS, noisy=True),
        ),
        new=(f"GET {HOSTILE}",),
        gone=("GET /old",),
        notes=("Python 3.10 then, 3.11 now",),
        measurements=5,
    )
    traced = TracedSpan(
        trace_id=1,
        span_id=1,
        parent_id=7,
        name="fastapi.request",
        resource="POST /events",
        service="shop",
        start_ns=EPOCH_NS,
        duration_ns=3 * MS,
        error=True,
        tags={"http.url": HOSTILE, "cold_start": "true"},
    )
    child = dataclasses.replace(traced, span_id=2, parent_id=1, name="db.query", error=False, tags={})
    return make_report(
        make_run(Mode.DDLWA, count=count, wrong_every=4, others=(poller,)),
        comparison=comparison,
        explained=(
            Explained("SQS", "POST /events", 200, None, (traced, child)),
            Explained("SNS", "POST /events", None, "it was not over within 30 s", ()),
        ),
    )
