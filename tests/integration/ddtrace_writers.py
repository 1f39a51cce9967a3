"""What ddtrace writes its traces with, for a while."""

from contextlib import contextmanager, suppress

from ddtrace.internal.service import ServiceStatusError
from ddtrace.internal.writer import writer as writers
from ddtrace.trace import tracer

SELDOM_S = 3600  # so that nothing leaves by ddtrace's clock


def native(url, **options):
    """Make a writer that sends to an agent; when asked, not by time, unless the options say so."""
    return writers.NativeWriter(url, **{"processing_interval": SELDOM_S, **options})


@contextmanager
def using(writer):
    """Have ddtrace write its traces with this."""
    aggregator = tracer._span_aggregator
    before, aggregator.writer = aggregator.writer, writer
    try:
        yield writer
    finally:
        last, aggregator.writer = aggregator.writer, before
        for used in {id(writer): writer, id(last): last}.values():
            with suppress(ServiceStatusError):
                used.stop()
