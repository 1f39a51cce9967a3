"""The plain data that goes into and comes out of a sandbox."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

__all__ = ["FreezeMoment", "HttpRequest", "HttpResponse", "Invocation", "Window"]


class FreezeMoment(enum.Enum):
    """When an invocation's sandbox is frozen."""

    ADVERSARIAL = "adversarial"
    """At the very byte that completes the HTTP response: the earliest moment that Lambda may choose."""

    FAITHFUL = "faithful"
    """When the adapter has posted the response and asked for the next invocation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A client's request to the function.

    Args:
        method: The HTTP method.
        path: The path with its query string, percent-encoded.
        headers: Names and values, in order; names may repeat.
        body: The body as it is on the wire.
    """

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """What the function's caller receives.

    Args:
        status: The HTTP status.
        headers: Lower-case names and values, in the order in which the front has them; names may repeat.
        body: The body's bytes, with any content encoding left on.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open stretch ``[start_ns, end_ns)`` in which the sandbox ran or was frozen.

    Args:
        start_ns: Its begin, in nanoseconds since the epoch on the sandbox's wall clock.
        end_ns: Its end, on the same clock.
        frozen: Whether the app's processes were stopped.
    """

    start_ns: int
    end_ns: int
    frozen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One invocation, from its event to the freeze.

    Args:
        request_id: Lambda's request id.
        request: What the client asked, None if an event was given as it is.
        event: The event that the function got.
        payload: What the function returned, as it was posted, or None if it failed.
        response: What its caller got, None if the function failed or the event was no HTTP request's.
        error: Why there is no response (Lambda's caller sees a 502) or why a streamed one broke, or None.
        started_ns: When the event was delivered, in nanoseconds since the epoch on the sandbox's wall clock.
        responded_ns: When the runtime had posted the response, on the same clock: the caller's latency ends
            here. The adapter does so a little after the last byte, so also after an adversarial freeze.
        frozen_ns: When the app was stopped, on the same clock; where nothing is frozen, the response's time.
    """

    request_id: str
    request: HttpRequest | None
    event: Any
    payload: bytes | None
    response: HttpResponse | None
    error: str | None
    started_ns: int
    responded_ns: int
    frozen_ns: int
