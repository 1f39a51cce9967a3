"""Lambda events, the HTTP requests that they are made of, the HTTP responses that functions return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddlwa.simulator.events import alb, format1, format2
from ddlwa.simulator.events.arrival import Arrival
from ddlwa.simulator.events.response import http_response, streamed_http_response
from ddlwa.simulator.events.source import EventSource, source_of

if TYPE_CHECKING:
    from ddlwa.simulator.types import HttpRequest

__all__ = ["Arrival", "EventSource", "http_event", "http_response", "source_of", "streamed_http_response"]


def http_event(request: HttpRequest, arrival: Arrival, *, source: EventSource) -> dict[str, Any]:
    """Return the event that an event source makes of a request.

    Args:
        request: The client's request; its path is the one below an API's stage.
        arrival: Its circumstances.
        source: What the client asks.
    """
    if source is EventSource.REST_API:
        return format1.event(request, arrival)
    if source in (EventSource.ALB, EventSource.ALB_MULTI_VALUE):
        return alb.event(request, arrival, multi_value=source is EventSource.ALB_MULTI_VALUE)
    return format2.event(request, arrival, source=source)
