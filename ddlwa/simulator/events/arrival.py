"""The circumstances of an HTTP request that its event tells the function."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddlwa.simulator.environment import Function

__all__ = ["SOURCE_IP", "Arrival"]

SOURCE_IP = "203.0.113.7"  # TEST-NET-3, RFC 5737


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """When and where a request arrived.

    Args:
        request_id: Lambda's request id, which serves as the front's too.
        trace_id: The X-Ray trace header.
        now_ns: The time, in nanoseconds since the epoch.
        function: The function that is invoked.
        stage: The API's stage, None for the default one.
    """

    request_id: str
    trace_id: str
    now_ns: int
    function: Function
    stage: str | None = None

    @property
    def epoch_ms(self) -> int:
        """The time in milliseconds since the epoch."""
        return self.now_ns // 1_000_000

    @property
    def clf(self) -> str:
        """The time as access logs write it (Common Log Format)."""
        return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(self.now_ns // 1_000_000_000))
