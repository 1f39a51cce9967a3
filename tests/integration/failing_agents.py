"""An agent that can fail, as the one that ddtrace's writer sends to."""

from contextlib import contextmanager, suppress

from ddtrace.internal.service import ServiceStatusError
from ddtrace.internal.writer import writer as writers
from ddtrace.trace import tracer

from benchmarks.faulty_agent import FaultyAgent

_SELDOM_S = 3600  # so that nothing leaves by ddtrace's clock


@contextmanager
def writing_to_a_faulty_agent():
    """Have ddtrace write its traces to an agent that can fail, and give that agent."""
    aggregator = tracer._span_aggregator
    before = aggregator.writer
    with FaultyAgent() as faulty:
        writer = aggregator.writer = writers.NativeWriter(faulty.url, processing_interval=_SELDOM_S)
        try:
            yield faulty
        finally:
            aggregator.writer = before
            with suppress(ServiceStatusError):
                writer.stop()
