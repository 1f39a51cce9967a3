"""The request that is being served, for whoever runs within it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ddlwa.invocation import Invocation


class Hold(Protocol):
    """What keeps a response back."""

    async def background_starts(self) -> None:
        """Let the response go: a background task is about to run, for which it must not wait."""


class Request:
    """What is known of one request while it is served.

    Args:
        invocation: The invocation that it belongs to; None outside Lambda, and for a readiness check.
        jobs: Work that is to be done after its response (`ddlwa.postresponse.Job`).
        deadline_s: When that has to be over, in seconds since the epoch; None without a deadline.

    Attributes:
        invocation: As above.
        jobs: What is left of them.
        deadline_s: As above; None from when the work may go on in a later invocation.
        hold: What keeps its response back, if anything does.
        event: The decoded event of a pass-through invocation, as far as it was looked at.
    """

    __slots__ = ("deadline_s", "event", "hold", "invocation", "jobs")

    def __init__(
        self, invocation: Invocation | None, jobs: list[Any], deadline_s: float | None = None
    ) -> None:
        self.invocation = invocation
        self.jobs = jobs
        self.deadline_s = deadline_s
        self.hold: Hold | None = None
        self.event: object = None

    def begun(self) -> None:
        """Take note that its trace has begun."""

    def ended(self) -> None:
        """Take note that its app is done."""


current: ContextVar[Request | None] = ContextVar("ddlwa_request", default=None)
"""The request that is being served here."""


def current_invocation() -> Invocation | None:
    """Give the invocation that the request being served here belongs to.

    Returns:
        None outside a request, outside Lambda, where ddlwa is off, and for a readiness check.
    """
    request = current.get()
    return None if request is None else request.invocation
