"""The result of a check as plain data: what every rendering reads."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ddlwa.report.comparison import Comparison


class Mode(enum.Enum):
    """What traced the app."""

    PLAIN = "plain"
    DDLWA = "ddlwa"

    @property
    def label(self) -> str:
        """Name the mode in a heading."""
        return "plain ddtrace" if self is Mode.PLAIN else "ddlwa"


class Fault(enum.Enum):
    """What can be wrong with an invocation or its spans."""

    NO_RESPONSE = "no response"
    WRONG_STATUS = "wrong status"
    LOST = "lost"
    LATE = "late"
    NOT_WHOLE = "not whole"
    DIFFERENT = "different"
    FROZEN_TIME = "frozen time"
    BACKGROUND_FROZEN_TIME = "frozen background"
    CUT_SHORT = "cut short"
    NEGATIVE_DURATION = "negative duration"
    OUTSIDE_RUN = "outside the run"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        fault: Its kind.
        message: What, by how much, and the likely cause.
    """

    fault: Fault
    message: str


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the sandbox's wall clock in which it ran, or was frozen; bounds in epoch ns."""

    start_ns: int
    end_ns: int
    frozen: bool


@dataclass(frozen=True, slots=True)
class SpanResult:
    """A span as the agent received it.

    Attributes:
        trace_id: Low 64 bits.
        span_id: 64 bits.
        parent_id: 64 bits; 0 for none.
        name: Operation name, such as `fastapi.request`.
        resource: Such as `GET /items/{item_id}`.
        error: Whether it is marked as failed.
        start_ns: In epoch ns of the sandbox's clock.
        duration_ns: As recorded.
        frozen_ns: How much of the duration the sandbox was frozen; negative where too much was taken off.
        delivered: Whether it had reached the agent when the sandbox was stopped after its invocation.
        background: Whether it is work after the response: a linked trace, or begun after the stop.
    """

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    resource: str
    error: bool
    start_ns: int
    duration_ns: int
    frozen_ns: int
    delivered: bool
    background: bool


@dataclass(frozen=True, slots=True)
class InvocationResult:
    """One invocation and what became of its trace.

    Attributes:
        number: Position in the run, from 1.
        trace_id: Low 64 bits of the trace that the request was told to continue.
        status: HTTP status, or None without a response.
        started_ns: When the request was sent, epoch ns of the sandbox's clock.
        stopped_ns: When the sandbox was stopped, same clock.
        delivered: Whether the request's trace had reached the agent by then.
        spans: All that ever arrived, in order of their start.
        findings: What is wrong; empty if nothing is.
    """

    number: int
    trace_id: int
    status: int | None
    started_ns: int
    stopped_ns: int
    delivered: bool
    spans: tuple[SpanResult, ...]
    findings: tuple[Finding, ...]

    @property
    def right(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class RouteResult:
    """The invocations of one route.

    Attributes:
        method: HTTP method.
        path: As requested, with its query.
        invocations: At least one.
    """

    method: str
    path: str
    invocations: tuple[InvocationResult, ...]

    @property
    def label(self) -> str:
        """Name the route as `--route` takes it."""
        return f"{self.method} {self.path}"

    @property
    def right(self) -> bool:
        """Say whether nothing is wrong with any invocation."""
        return all(invocation.right for invocation in self.invocations)

    @property
    def statuses(self) -> tuple[int | None, ...]:
        """List the different statuses in the order of their first appearance."""
        return tuple(dict.fromkeys(invocation.status for invocation in self.invocations))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """List the different faults in the order in which `Fault` names them."""
        return _distinct(finding for invocation in self.invocations for finding in invocation.findings)

    @property
    def delivered(self) -> int:
        """Count the invocations whose trace was delivered before the freeze."""
        return sum(invocation.delivered for invocation in self.invocations)

    @property
    def span_counts(self) -> tuple[int, int]:
        """Find the lowest and the highest number of spans that an invocation has."""
        counts = [len(invocation.spans) for invocation in self.invocations]
        return min(counts), max(counts)

    @property
    def longest_ns(self) -> int | None:
        """Find the longest recorded duration, or None without a span."""
        return _longest(span for invocation in self.invocations for span in invocation.spans)


@dataclass(frozen=True, slots=True)
class OtherTrace:
    """A trace of no invocation (startup, a poller) with something wrong."""

    spans: tuple[SpanResult, ...]
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """List the different faults in the order in which `Fault` names them."""
        return _distinct(self.findings)

    @property
    def longest_ns(self) -> int | None:
        """Find the longest recorded duration, or None without a span."""
        return _longest(self.spans)


@dataclass(frozen=True, slots=True)
class Run:
    """One pass over the requests, from the start of the sandbox to its shutdown.

    Attributes:
        mode: What traced the app.
        routes: In the order of their first invocation.
        others: Wrong traces that belong to no invocation.
        timeline: When the sandbox ran and when it was frozen.
        clock_jumped: False if the freezes were short and real, because this platform's clock can't be moved.
        elapsed_s: Real seconds that the run took.
    """

    mode: Mode
    routes: tuple[RouteResult, ...]
    others: tuple[OtherTrace, ...]
    timeline: tuple[Window, ...]
    clock_jumped: bool
    elapsed_s: float

    @property
    def invocations(self) -> tuple[InvocationResult, ...]:
        """List all invocations, by route."""
        return tuple(invocation for route in self.routes for invocation in route.invocations)

    @property
    def right(self) -> bool:
        """Say whether nothing is wrong anywhere."""
        return not self.others and all(route.right for route in self.routes)

    @property
    def spans(self) -> tuple[SpanResult, ...]:
        """List all spans: those of invocations, then those of others."""
        traces = (*(one.spans for one in self.invocations), *(other.spans for other in self.others))
        return tuple(span for spans in traces for span in spans)

    @property
    def right_invocations(self) -> int:
        """Count the invocations with which nothing is wrong."""
        return sum(invocation.right for invocation in self.invocations)

    @property
    def delivered(self) -> int:
        """Count the invocations whose trace was delivered before the freeze."""
        return sum(route.delivered for route in self.routes)

    @property
    def frozen_spans(self) -> int:
        """Count the spans that record frozen time."""
        return sum(span.frozen_ns > 0 for span in self.spans)

    @property
    def longest_ns(self) -> int | None:
        """Find the longest recorded duration, or None without a span."""
        return _longest(self.spans)


@dataclass(frozen=True, slots=True)
class TracedSpan:
    """A span as it arrived at the trace agent; ids are 64 bits, times are epoch ns of the sandbox's clock.

    Attributes:
        error: Whether it is marked as failed.
        tags: All of them, numbers too as text.
    """

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    resource: str
    service: str
    start_ns: int
    duration_ns: int
    error: bool
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Explained:
    """What one invocation of an event source leaves at the trace agent.

    Attributes:
        source: The event source's name.
        request: What the app was asked, as `GET /items/1`.
        status: HTTP status; None without a response, and for an event that is no HTTP request's.
        error: Why the invocation failed, or None.
        spans: Those of its traces, in order of their start.
    """

    source: str
    request: str
    status: int | None
    error: str | None
    spans: tuple[TracedSpan, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a check found.

    Attributes:
        app: The import string that was checked.
        version: ddlwa's.
        ddtrace_version: ddtrace's.
        adapter: The adapter between Lambda and the app, with its version and mode.
        freeze_ns: How long each freeze was meant to last.
        runs: One, or plain first and ddlwa second.
        explained: One invocation of each event source, if that was asked for.
        comparison: With a baseline, if there is one.
    """

    app: str
    version: str
    ddtrace_version: str
    adapter: str
    freeze_ns: int
    runs: tuple[Run, ...]
    explained: tuple[Explained, ...] = ()
    comparison: Comparison | None = None

    @property
    def judged(self) -> Run:
        """Pick the run that decides: ddlwa's if there is one."""
        return self.runs[-1]

    @property
    def right(self) -> bool:
        """Say whether the check passed."""
        return self.judged.right and not (self.comparison and self.comparison.slower)


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that could not be made.

    Attributes:
        app: The import string that was to be checked.
        reason: Why not.
        output: What the app printed.
    """

    app: str
    reason: str
    output: str


def _distinct(findings: Iterable[Finding]) -> tuple[Fault, ...]:
    found = {finding.fault for finding in findings}
    return tuple(fault for fault in Fault if fault in found)


def _longest(spans: Iterable[SpanResult]) -> int | None:
    return max((span.duration_ns for span in spans), default=None)
