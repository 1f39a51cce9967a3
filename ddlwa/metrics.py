"""Tells Datadog what became of the work after responses, as DogStatsD counters."""

from __future__ import annotations

import socket
from collections import Counter
from typing import TYPE_CHECKING

from ddlwa.postresponse import counts

if TYPE_CHECKING:
    from collections.abc import Callable


def reporter(address: tuple[str, int]) -> Callable[[], None]:
    """Make a function that sends what has been counted since it was last called.

    Args:
        address: Host and port of the DogStatsD server; a datagram that nobody takes is lost.

    Source: docs.datadoghq.com, "DogStatsD datagram format".
    """
    reported: Counter[str] = Counter()

    def report() -> None:
        new = counts - reported
        if new:
            reported.update(new)
            lines = (f"ddlwa.work:{count}|c|#outcome:{outcome}" for outcome, count in new.items())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)  # noqa: FBT003 - the socket API takes no keyword
                sender.sendto("\n".join(lines).encode(), address)

    return report
