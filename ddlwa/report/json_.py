"""Render a report as JSON, for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddlwa.report.comparison import Comparison
    from ddlwa.report.model import (
        Explained,
        Finding,
        InvocationResult,
        OtherTrace,
        Report,
        RouteResult,
        Run,
        SpanResult,
        TracedSpan,
    )

SCHEMA_VERSION = 1


def render(report: Report) -> str:
    """Write the report as one JSON object; times are epoch ns of the sandbox's clock, ids decimal strings.

    Args:
        report: What the check found.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "app": report.app,
        "ddlwa_version": report.version,
        "ddtrace_version": report.ddtrace_version,
        "adapter": report.adapter,
        "freeze_ns": report.freeze_ns,
        "right": report.right,
        "runs": [_run(run) for run in report.runs],
        "explained": [_explained(one) for one in report.explained],
        "comparison": None if report.comparison is None else _comparison(report.comparison),
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # a lone surrogate can't be written otherwise


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "baseline": comparison.baseline,
        "thresholds": list(comparison.thresholds),
        "measurements": comparison.measurements,
        "compared": [
            {
                "route": one.route,
                "span": one.span,
                "threshold": one.threshold,
                "before_ns": one.before_ns,
                "now_ns": one.now_ns,
                "limit_ns": one.limit_ns,
                "machine": round(one.machine, 3),
                "noisy": one.noisy,
                "slower": one.slower,
                "cause": one.cause or None,
            }
            for one in comparison.compared
        ],
        "new": list(comparison.new),
        "gone": list(comparison.gone),
        "notes": list(comparison.notes),
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "mode": run.mode.value,
        "right": run.right,
        "clock_jumped": run.clock_jumped,
        "elapsed_s": round(run.elapsed_s, 3),
        "routes": [_route(route) for route in run.routes],
        "others": [_other(trace) for trace in run.others],
        "timeline": [
            {"start_ns": window.start_ns, "end_ns": window.end_ns, "frozen": window.frozen}
            for window in run.timeline
        ],
    }


def _route(route: RouteResult) -> dict[str, Any]:
    return {
        "method": route.method,
        "path": route.path,
        "right": route.right,
        "statuses": list(route.statuses),
        "delivered": route.delivered,
        "longest_ns": route.longest_ns,
        "faults": [fault.value for fault in route.faults],
        "invocations": [_invocation(invocation) for invocation in route.invocations],
    }


def _invocation(invocation: InvocationResult) -> dict[str, Any]:
    return {
        "number": invocation.number,
        "trace_id": str(invocation.trace_id),
        "right": invocation.right,
        "status": invocation.status,
        "started_ns": invocation.started_ns,
        "stopped_ns": invocation.stopped_ns,
        "delivered": invocation.delivered,
        "spans": [_span(span) for span in invocation.spans],
        "findings": [_finding(finding) for finding in invocation.findings],
    }


def _other(trace: OtherTrace) -> dict[str, Any]:
    return {
        "spans": [_span(span) for span in trace.spans],
        "findings": [_finding(finding) for finding in trace.findings],
    }


def _identity(span: SpanResult | TracedSpan) -> dict[str, Any]:
    # Ids as strings: JavaScript's numbers, which read this in a browser, hold 53 bits.
    return {
        "trace_id": str(span.trace_id),
        "span_id": str(span.span_id),
        "parent_id": str(span.parent_id),
        "name": span.name,
        "resource": span.resource,
        "error": span.error,
    }


def _span(span: SpanResult) -> dict[str, Any]:
    return {
        **_identity(span),
        "start_ns": span.start_ns,
        "duration_ns": span.duration_ns,
        "frozen_ns": span.frozen_ns,
        "delivered": span.delivered,
        "background": span.background,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {"fault": finding.fault.value, "message": finding.message}


def _explained(one: Explained) -> dict[str, Any]:
    return {
        "source": one.source,
        "request": one.request,
        "status": one.status,
        "error": one.error,
        "spans": [_traced_span(span) for span in one.spans],
    }


def _traced_span(span: TracedSpan) -> dict[str, Any]:
    return {
        **_identity(span),
        "service": span.service,
        "start_ns": span.start_ns,
        "duration_ns": span.duration_ns,
        "tags": dict(sorted(span.tags.items())),
    }
