"""The trace of one invocation, as it arrived at the trace agent and as it was judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddlwa.report.model import TracedSpan
from ddlwa.report.units import duration

if TYPE_CHECKING:
    from ddlwa.report.model import Finding, InvocationResult, Mode

__all__ = ["Span", "Trace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span(TracedSpan):
    """A span as it arrived; ids are 64 bits, times are epoch ns of the sandbox's clock.

    Attributes:
        frozen_ns: How much of the duration the sandbox was frozen; negative where too much was taken off.
        delivered: Whether it had reached the agent before the freeze.
        background: Whether it is work after the response.
    """

    frozen_ns: int
    delivered: bool
    background: bool

    @property
    def ran_ns(self) -> int:
        """How much of the duration the sandbox really ran."""
        return self.duration_ns - self.frozen_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What an invocation left at the trace agent.

    Attributes:
        request: What was asked, such as ``GET /items/1`` or ``event``.
        mode: What traced the app.
        frozen: Whether the test froze the sandbox after this invocation.
        spans: The request's and those of work after its response, in order of their start.
        result: The verdict of the check.
    """

    request: str
    mode: Mode
    frozen: bool
    spans: tuple[Span, ...]
    result: InvocationResult

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong; empty if nothing is."""
        return self.result.findings

    @property
    def delivered(self) -> bool:
        """Whether the request's spans had all reached the agent before the freeze."""
        return self.result.delivered

    @property
    def root(self) -> Span | None:
        """The request's span that has no parent in the trace; None if there is none."""
        ids = {span.span_id for span in self.spans}
        return next((s for s in self.spans if not s.background and s.parent_id not in ids), None)

    def named(self, name: str) -> tuple[Span, ...]:
        """Give the spans with this operation name, such as ``fastapi.request``.

        Args:
            name: The whole name.
        """
        return tuple(span for span in self.spans if span.name == name)

    def __str__(self) -> str:
        count = len(self.spans)
        lines = [f"{self.request}: {count} {'span' if count == 1 else 'spans'}"]
        for span in self.spans:
            notes = [
                *(["work after the response"] if span.background else []),
                *([f"{duration(span.frozen_ns)} of it frozen"] if span.frozen_ns else []),
                *([] if span.delivered or span.background else ["not delivered before the freeze"]),
            ]
            title = f"  {span.name}  {span.resource}  {duration(span.duration_ns)}"
            lines.append(f"{title}  ({', '.join(notes)})" if notes else title)
        return "\n".join(lines)
