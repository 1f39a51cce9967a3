"""Judge spans against the time in which the sandbox really ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddlwa.check.spans import title
from ddlwa.report.model import Fault, Finding, InvocationResult, OtherTrace, SpanResult
from ddlwa.report.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ddlwa.check.spans import Span
    from ddlwa.report.model import Window

# The simulator reads its clock a little after the stop, the app reads its own with two different clocks
# (Rust at a span's start, Python at its end); together microseconds, and a loaded machine makes them more.
TOLERANCE_NS = 1_000_000
# A process sees that it was frozen by the beats that its heart has missed, each time to within two beats.
LEDGER_TOLERANCE_NS = 20_000_000


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen of one invocation.

    Attributes:
        number: Position in the run, from 1.
        trace_id: The trace that the request was told to continue, low 64 bits.
        parent_id: The span in it that was named as the parent.
        status: HTTP status, or None without a response.
        error: Why there was no response.
        expected_status: What the status has to be, if that is known.
        started_ns: When the request was sent, epoch ns of the sandbox's clock.
        stopped_ns: When the sandbox was stopped, same clock.
        arrived: Ids of the spans of the request's trace that the agent had at the stop.
        request_spans: The spans of the request's trace that ever arrived.
        linked_spans: The spans of the traces linked to it.
    """

    number: int
    trace_id: int
    parent_id: int
    status: int | None
    error: str | None
    expected_status: int | None
    started_ns: int
    stopped_ns: int
    arrived: frozenset[int]
    request_spans: tuple[Span, ...]
    linked_spans: tuple[Span, ...]


def overlap_ns(start_ns: int, end_ns: int, *, timeline: Sequence[Window]) -> int:
    """Add up how much of an interval the sandbox was frozen.

    Args:
        start_ns: Epoch ns of the sandbox's clock.
        end_ns: Same clock.
        timeline: When it ran and when it was frozen.
    """
    return sum(
        max(0, min(end_ns, window.end_ns) - max(start_ns, window.start_ns))
        for window in timeline
        if window.frozen
    )


def judge(evidence: Evidence, *, timeline: Sequence[Window]) -> InvocationResult:
    """Judge one invocation.

    Args:
        evidence: What was seen of it.
        timeline: When the sandbox ran and when it was frozen, over the whole run.
    """
    # A span begun after the stop is work after the response, whichever trace it is in.
    after_stop_ns = evidence.stopped_ns + TOLERANCE_NS
    spans = tuple(
        _measure(span, timeline, delivered=span.span_id in evidence.arrived, background=background)
        for span, background in (
            *((span, span.start_ns > after_stop_ns) for span in evidence.request_spans),
            *((span, True) for span in evidence.linked_spans),
        )
    )
    in_time = [span for span in spans if not span.background]
    findings = [
        *_response_findings(evidence),
        *_delivery_findings(in_time),
        *_wholeness_findings(evidence),
        *(finding for span in spans for finding in _span_findings(span, timeline)),
    ]
    return InvocationResult(
        number=evidence.number,
        trace_id=evidence.trace_id,
        status=evidence.status,
        started_ns=evidence.started_ns,
        stopped_ns=evidence.stopped_ns,
        delivered=bool(in_time) and all(span.delivered for span in in_time),
        spans=tuple(sorted(spans, key=lambda span: span.start_ns)),
        findings=tuple(findings),
    )


def judge_other(spans: Sequence[Span], *, timeline: Sequence[Window]) -> OtherTrace | None:
    """Judge a trace that belongs to no invocation; None if nothing is wrong with it.

    Args:
        spans: The trace.
        timeline: When the sandbox ran and when it was frozen, over the whole run.
    """
    measured = tuple(_measure(span, timeline, delivered=False, background=True) for span in spans)
    findings = tuple(finding for span in measured for finding in _span_findings(span, timeline))
    return OtherTrace(spans=measured, findings=findings) if findings else None


def _measure(span: Span, timeline: Sequence[Window], *, delivered: bool, background: bool) -> SpanResult:
    end_ns = span.start_ns + span.duration_ns + span.taken_off_ns
    frozen_ns = overlap_ns(span.start_ns, end_ns, timeline=timeline) - span.taken_off_ns
    tolerance_ns = TOLERANCE_NS
    if span.taken_off_ns:
        freezes = sum(
            window.frozen and window.start_ns < end_ns and window.end_ns > span.start_ns
            for window in timeline
        )
        tolerance_ns = LEDGER_TOLERANCE_NS * max(freezes, 1)
    return SpanResult(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        resource=span.resource,
        error=span.error,
        start_ns=span.start_ns,
        duration_ns=span.duration_ns,
        frozen_ns=frozen_ns if abs(frozen_ns) > tolerance_ns else 0,
        delivered=delivered,
        background=background,
    )


def _response_findings(evidence: Evidence) -> Iterator[Finding]:
    if evidence.status is None:
        reason = evidence.error or "no reason is known"
        yield Finding(Fault.NO_RESPONSE, f"The app gave no response: {reason}.")
    elif evidence.expected_status not in (None, evidence.status):
        yield Finding(
            Fault.WRONG_STATUS, f"The app answered {evidence.status} instead of {evidence.expected_status}."
        )


def _delivery_findings(in_time: Sequence[SpanResult]) -> Iterator[Finding]:
    late = [span for span in in_time if not span.delivered]
    if not in_time:
        yield Finding(
            Fault.LOST,
            "No span of the request ever arrived: one was never finished, so the whole trace was kept back; "
            "or the process ended before it was sent; or tracing is off in this app.",
        )
    elif late:
        yield Finding(
            Fault.LATE,
            f"{len(late)} of {_count(len(in_time))} arrived only after the thaw: when the response was "
            "complete they were unfinished, or finished and not yet sent.",
        )


def _wholeness_findings(evidence: Evidence) -> Iterator[Finding]:
    spans = evidence.request_spans
    if not spans:
        return
    roots = [span for span in spans if span.parent_id == evidence.parent_id]
    if len(roots) != 1:
        yield Finding(
            Fault.NOT_WHOLE,
            f"{len(roots)} spans are the request's root where one has to be: "
            + ("the app is traced twice." if roots else "the root was never finished or never sent."),
        )
    ids = {span.span_id for span in spans}
    orphans = [span for span in spans if span.parent_id not in ids and span.parent_id != evidence.parent_id]
    if orphans:
        yield Finding(
            Fault.NOT_WHOLE,
            f"The parent of {orphans[0].name} is missing (so for {_count(len(orphans))}): "
            "it was never finished or never sent.",
        )
    if len(ids) != len(spans):
        yield Finding(
            Fault.NOT_WHOLE, f"{_count(len(spans) - len(ids))} arrived more than once: they were sent again."
        )


def _span_findings(span: SpanResult, timeline: Sequence[Window]) -> Iterator[Finding]:
    named = title(span.name, span.resource)
    if span.duration_ns < 0:
        yield Finding(
            Fault.NEGATIVE_DURATION,
            f"{named} records {duration(span.duration_ns)}: its end was read from another clock "
            "than its start, or its clock went back.",
        )
    if span.frozen_ns < 0:
        yield Finding(
            Fault.CUT_SHORT,
            f"{named} records {duration(span.duration_ns)}: ddlwa took {duration(-span.frozen_ns)} "
            "too much off. The process was not frozen for that long, but did not get to run.",
        )
    if span.frozen_ns > 0:
        ran_ns = span.duration_ns - span.frozen_ns
        yield Finding(
            Fault.BACKGROUND_FROZEN_TIME if span.background else Fault.FROZEN_TIME,
            f"{named} records {duration(span.duration_ns)}: the sandbox ran for {duration(ran_ns)} of "
            f"that and was frozen for {duration(span.frozen_ns)}. "
            + (
                "It is work after the response that had not ended at the next freeze."
                if span.background
                else "It was still open when the response was complete."
            ),
        )
    early_ns = timeline[0].start_ns - span.start_ns
    over_ns = span.start_ns + span.duration_ns - timeline[-1].end_ns
    if max(early_ns, over_ns) > TOLERANCE_NS:
        early = early_ns > over_ns
        how = f"starts {duration(early_ns)} before" if early else f"ends {duration(over_ns)} after"
        yield Finding(Fault.OUTSIDE_RUN, f"{named} {how} the run: it does not follow the sandbox's clock.")


def _count(spans: int) -> str:
    return f"{spans} span" if spans == 1 else f"{spans} spans"
