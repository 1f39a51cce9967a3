"""What a test gets of an invocation: the response in the terms of HTTP clients, and the times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ddlwa.testing.errors import FixtureError

if TYPE_CHECKING:
    from ddlwa.simulator import HttpResponse, Invocation

__all__ = ["LambdaInvocation"]


class LambdaInvocation:
    """One invocation that is over.

    Args:
        raw: The simulator's record of it, with event and payload.
        label: What was asked, such as ``GET /items/1``.
    """

    def __init__(self, raw: Invocation, *, label: str) -> None:
        self.raw = raw
        self.label = label

    def __repr__(self) -> str:
        outcome = self.error if self.raw.response is None else self.status
        return f"<LambdaInvocation {self.label}: {outcome}>"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> dict[str, str]:
        """The response's headers by their lower-case names; the values of a repeated one joined by commas."""
        joined: dict[str, str] = {}
        for name, value in self._response.headers:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    @property
    def body(self) -> bytes:
        """What the caller got; of an event that is no HTTP request's, what the function returned."""
        if self.raw.response is None and self.raw.payload is not None:
            return self.raw.payload
        return self._response.body

    @property
    def text(self) -> str:
        """The body as text, which is UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """Decode the body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str | None:
        """Why there is no response, or why a streamed one broke; else None."""
        return self.raw.error

    @property
    def started_ns(self) -> int:
        """When the event was delivered, in epoch ns of the sandbox's clock."""
        return self.raw.started_ns

    @property
    def responded_ns(self) -> int:
        """When the response had been posted, same clock: the caller's latency ends here."""
        return self.raw.responded_ns

    @property
    def frozen_ns(self) -> int:
        """When the app was stopped, same clock."""
        return self.raw.frozen_ns

    @property
    def _response(self) -> HttpResponse:
        if self.raw.response is None:
            reason = self.error or "the event was no HTTP request's; see body"
            raise FixtureError(f"{self.label} has no HTTP response: {reason}")
        return self.raw.response
