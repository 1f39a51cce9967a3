"""An agent that can fail, as the one that ddtrace's writer sends to."""

from contextlib import contextmanager

from ddtrace_writers import native, using

from benchmarks.faulty_agent import FaultyAgent


@contextmanager
def writing_to_a_faulty_agent():
    """Have ddtrace write its traces to an agent that can fail, and give that agent."""
    with FaultyAgent() as faulty, using(native(faulty.url)):
        yield faulty
