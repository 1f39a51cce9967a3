"""A freeze in process: the wall clock of ddtrace's spans jumps at the byte that completes a response."""

import time
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from ddtrace.internal import core
from ddtrace.internal.utils.time import Time
from ddtrace.trace import tracer
from wire_server import serve

FREEZE_NS = 3 * 3600 * 10**9


class Clock:
    """A wall clock that can jump."""

    def __init__(self):
        self.offset_ns = 0

    def time_ns(self):
        return time.time_ns() + self.offset_ns


@contextmanager
def spans_follow(clock):
    """Make ddtrace take the start and the end of its spans from this clock."""

    def start_by_clock(span):
        span.start_ns = clock.time_ns()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Time, "time_ns", clock.time_ns)
        core.on("trace.span_start", start_by_clock)
        try:
            yield
        finally:
            core.reset_listeners("trace.span_start", start_by_clock)


@dataclass(frozen=True)
class Frozen:
    """What became of a request whose sandbox was frozen for three hours.

    Attributes:
        exchange: The request and its response.
        at_ns: The wall clock at the freeze.
        delivered: The spans that the agent had got by then.
        spans: All that it ever got.
    """

    exchange: object
    at_ns: int
    delivered: list
    spans: list

    @property
    def inflated(self):
        """The names of the spans that recorded the freeze."""
        return [span.name for span in self.spans if span.duration > FREEZE_NS / 2]

    @property
    def undelivered(self):
        """The names of the spans that had begun, and stayed behind."""
        ids = {span.span_id for span in self.delivered}
        return [span.name for span in self.spans if span.start < self.at_ns and span.span_id not in ids]

    @property
    def after(self):
        """The names of the spans that began after the thaw."""
        return {span.name for span in self.spans if span.start >= self.at_ns}


def freeze(app, request, agent):
    """Serve a request, frozen within the server's `send` of what completes its response."""
    clock, moments = Clock(), []

    def on_complete(exchange):
        moments.append((clock.time_ns(), agent.spans()))
        clock.offset_ns += FREEZE_NS

    agent.clear()
    with spans_follow(clock):
        (exchange,) = serve(app, request, on_complete=on_complete)
        tracer.flush()
    ((at_ns, delivered),) = moments
    return Frozen(exchange, at_ns, delivered, agent.spans())
