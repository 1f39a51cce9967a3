"""Puts ddtrace's spans on another clock: the only module of the tooling that touches ddtrace's internals.

Each private name stands with the upstream file in which it was looked up, in ddtrace 3.19.0 and 4.16.0.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import ddtrace
from ddtrace.internal import core  # ddtrace/internal/core/__init__.py
from ddtrace.internal.utils.time import Time  # ddtrace/internal/utils/time.py
from ddtrace.trace import TraceFilter, tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ddtrace.trace import Span

__all__ = ["VERSION", "measure", "spans_follow"]

VERSION: str = ddtrace.__version__

_SPAN_START = "trace.span_start"  # dispatched by ddtrace/_trace/tracer.py
_PROBE = "ddlwa.probe"


@contextmanager
def spans_follow(now_ns: Callable[[], int]) -> Iterator[None]:
    """Have spans take their start and their end from a clock, for the time of a ``with`` block.

    Args:
        now_ns: The clock, in nanoseconds since the epoch.
    """

    def begin(span: Span) -> None:
        span.start_ns = now_ns()  # since 4.x Rust has read it, from a clock that Python cannot reach

    stock = vars(Time)["time_ns"]
    # ddtrace/_trace/span.py reads the end there: a class attribute, so that freezegun does not find it.
    Time.time_ns = staticmethod(now_ns)
    core.on(_SPAN_START, begin)
    try:
        yield
    finally:
        core.reset_listeners(_SPAN_START, begin)
        Time.time_ns = stock


def measure(between: Callable[[], None]) -> tuple[int, int]:
    """Let a throw-away span begin and end; it is not sent.

    Args:
        between: Called while the span is open.

    Returns:
        Its start in nanoseconds since the epoch, and its duration in nanoseconds.
    """
    # ddtrace/_trace/processor/__init__.py
    processors = tracer._span_aggregator.user_processors  # noqa: SLF001  # what this module is for
    drop = _Drop()
    processors.insert(0, drop)
    try:
        span = tracer.start_span(_PROBE, child_of=None, activate=False)
        between()
        span.finish()
    finally:
        processors.remove(drop)
    return span.start_ns, span.duration_ns


class _Drop(TraceFilter):  # type: ignore[misc]  # ddtrace's classes are Any here
    """Drops the probe's trace before it is sent."""

    def process_trace(self, trace: list[Span]) -> list[Span] | None:
        """Give back the trace, or None for the probe's."""
        return None if trace[0].name == _PROBE else trace
