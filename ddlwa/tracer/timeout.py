"""Ends a request's trace as timed out, from another thread, while it can still be sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ddtrace.constants import ERROR_MSG, ERROR_TYPE
from ddtrace.trace import tracer

from ddlwa.tracer import finish_open_spans

if TYPE_CHECKING:
    from ddtrace.trace import Span

# As ddtrace says them in a function of datadog-lambda's (ddtrace/contrib/internal/aws_lambda/patch.py).
_TYPE = "Impending Timeout"
_MESSAGE = "Datadog detected an Impending Timeout"

# The app's threads go on, and may open spans while the others are finished.
_PASSES = 5
_PAUSE_S = 0.005


def time_out(span: Span, outer: Span | None) -> None:
    """Mark a request as timed out, and finish every open span of it, so that its trace leaves whole.

    Nothing happens if its trace is complete already. The app's own `finish()` of these spans changes nothing
    any more; what it begins after this is a part of the trace that leaves on its own.

    Args:
        span: The request span.
        outer: The span within which the server called the app, if any: not the request's.
    """
    aggregator = tracer._span_aggregator  # ddtrace/_trace/tracer.py
    trace = aggregator._traces.get(span.trace_id)  # ddtrace/_trace/processor/__init__.py
    if trace is None:
        return
    node: Span | None = span
    while node is not None and node is not outer:  # an API Gateway's span is the request's, too
        node.error = 1
        node.set_tag(ERROR_TYPE, _TYPE)
        node.set_tag(ERROR_MSG, _MESSAGE)
        node = node._parent  # ddtrace/_trace/span.py
    whole = False
    for number in range(_PASSES):
        # That other threads may finish the same spans does no harm: between looking and setting `Span.finish`
        # calls nothing, so that CPython, from 3.11 on, lets no other thread run; each is counted once.
        finish_open_spans(span, outer, "timeout")
        was_whole, whole = whole, aggregator._traces.get(span.trace_id) is not trace
        if whole and (was_whole or number == 0):
            return
        # Another thread has opened a span, or has finished the last one and is about to hand the trace on.
        time.sleep(_PAUSE_S)
