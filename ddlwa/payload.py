"""What is to be sent, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ddlwa.agent import Address


class Target(Protocol):
    """Where payloads of one kind go.

    Attributes:
        address: Where the trace agent listens; None if only ddtrace knows how to get there.
    """

    address: Address | None

    def request(self, payload: Payload) -> bytes:
        """Write the HTTP request that carries a payload to the address."""

    def send(self, payload: Payload) -> None:
        """Send a payload through ddtrace; blocks, and raises if it was not accepted."""

    def accepted(self, content: bytes) -> None:
        """Take note of what the agent answered."""

    def unsupported(self, status: int) -> None:
        """Take note that the agent does not know this kind of payload."""

    def probe(self) -> Payload:
        """Make a payload without a trace."""


@dataclass(slots=True, eq=False)
class Payload:
    """Some traces, encoded.

    Attributes:
        body: The encoded traces.
        traces: How many there are.
        target: Where they go.
        made_s: When they were encoded, in seconds since the epoch.
        attempts: How many times the agent has answered that it does not take them now.
        uncertain: They may have been taken: the whole request left, and no answer came.
    """

    body: bytes
    traces: int
    target: Target
    made_s: float
    attempts: int = 0
    uncertain: bool = False
