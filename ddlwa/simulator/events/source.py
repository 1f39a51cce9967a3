"""What invokes a function with HTTP requests, and how to tell from an event which it was."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

__all__ = ["EventSource", "source_of"]


class EventSource(enum.Enum):
    """An AWS service that turns an HTTP request into an event."""

    FUNCTION_URL = "function-url"
    """A function URL; payload format 2.0."""

    HTTP_API = "http-api"
    """An API Gateway HTTP API; payload format 2.0."""

    REST_API = "rest-api"
    """An API Gateway REST API; payload format 1.0, the only one it has."""

    ALB = "alb"
    """An Application Load Balancer; of a repeated header or query parameter, the last value counts."""

    ALB_MULTI_VALUE = "alb-multi-value"
    """An Application Load Balancer whose target group has multi-value headers enabled."""


def source_of(event: object) -> EventSource | None:
    """Return what an event came from, or None if it is no HTTP request's.

    Args:
        event: The event, as decoded from JSON.
    """
    if not isinstance(event, Mapping):
        return None
    context = _mapping(event.get("requestContext"))
    if isinstance(event.get("httpMethod"), str):
        if isinstance(context.get("httpMethod"), str):
            return EventSource.REST_API
        if isinstance(context.get("elb"), Mapping):
            multi_value = event.get("multiValueHeaders") is not None
            return EventSource.ALB_MULTI_VALUE if multi_value else EventSource.ALB
    if isinstance(_mapping(context.get("http")).get("method"), str):
        is_url = ".lambda-url." in str(context.get("domainName"))
        return EventSource.FUNCTION_URL if is_url else EventSource.HTTP_API
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
