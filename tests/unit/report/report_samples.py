"""Reports to render in tests."""

from __future__ import annotations

from ddlwa.report.comparison import Compared, Comparison
from ddlwa.report.model import (
    Fault,
    Finding,
    InvocationResult,
    Mode,
    OtherTrace,
    Report,
    RouteResult,
    Run,
    SpanResult,
    Window,
)

HOUR_NS = 3_600_000_000_000


def make_span(*, duration_ns: int = 4_200_000, frozen_ns: int = 0, delivered: bool = True) -> SpanResult:
    return SpanResult(
        trace_id=1 << 63,
        span_id=2,
        parent_id=3,
        name="fastapi.request",
        resource="GET /items/{item_id}",
        error=False,
        start_ns=1_000,
        duration_ns=duration_ns,
        frozen_ns=frozen_ns,
        delivered=delivered,
        background=False,
    )


def make_invocation(number: int, *, status: int | None = 200, wrong: bool = False) -> InvocationResult:
    findings = (
        Finding(Fault.LATE, "1 of 1 span arrived only after the thaw."),
        Finding(Fault.FROZEN_TIME, "fastapi.request records 3h 0m."),
    )
    frozen_ns = 3 * HOUR_NS if wrong else 0
    return InvocationResult(
        number=number,
        trace_id=1 << 63,
        status=status,
        started_ns=1_000,
        stopped_ns=2_000,
        delivered=not wrong,
        spans=(make_span(duration_ns=frozen_ns + 4_200_000, frozen_ns=frozen_ns, delivered=not wrong),),
        findings=findings if wrong else (),
    )


def make_run(mode: Mode, *, wrong: bool = False, others: tuple[OtherTrace, ...] = ()) -> Run:
    paths = ("/", "/items/1", "/a/path/that/is/rather/long/for/one/column?with=a&query=too")
    return Run(
        mode=mode,
        routes=tuple(
            RouteResult("GET", path, tuple(make_invocation(3 * n + row + 1, wrong=wrong) for n in range(2)))
            for row, path in enumerate(paths)
        ),
        others=others,
        timeline=(Window(0, 2_000, frozen=False), Window(2_000, 3 * HOUR_NS, frozen=True)),
        clock_jumped=True,
        elapsed_s=1.25,
    )


def make_compared(*, slower: bool = False, route: str = "GET /items/1", span: str = "db.query") -> Compared:
    return Compared(
        route=route,
        span=span,
        threshold="p50:20%",
        before_ns=5_000_000,
        now_ns=8_000_000 if slower else 5_500_000,
        limit_ns=6_000_000,
        cause="db.query comes 8 times where it came 1: 3.0 ms more" if slower else "",
    )


def make_comparison(*compared: Compared, measurements: int = 1) -> Comparison:
    return Comparison(
        baseline="baseline.json",
        thresholds=("p50:20%",),
        compared=compared,
        new=("GET /new",),
        gone=("GET /old",),
        notes=("ddtrace was 4.15.0, is 4.16.0",),
        measurements=measurements,
    )


def make_report(*runs: Run, comparison: Comparison | None = None) -> Report:
    return Report(
        comparison=comparison,
        app="shop.main:app",
        version="0.1.0",
        ddtrace_version="4.16.0",
        adapter="built-in, buffered",
        freeze_ns=3 * HOUR_NS,
        runs=runs,
    )
