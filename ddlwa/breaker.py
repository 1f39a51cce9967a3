"""Whether something that fails again and again is to be tried, so that its failures cost little."""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING

from ddlwa.log import warn_seldom

if TYPE_CHECKING:
    from collections.abc import Callable

_TOLERATED = 3


class State(enum.Enum):
    """Where a breaker is.

    ::

        CLOSED --failures--> OPEN --pause over--> HALF_OPEN --probe succeeds--> CLOSED
                              ^                       |
                              +-----probe fails-------+
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens after three failures in a row, or after one that was dear; closes when a probe succeeds.

    Not locked: a race costs one try more or less.

    Args:
        name: What it guards, for the log.
        pause_s: How long it stays open before the first probe, in seconds; doubled after each that fails.
        longest_s: How long at most.
        clock: Seconds that only go forward.

    Attributes:
        state: Where it is.
        opened: How many times it has opened.
        closed: How many times it has closed again.
    """

    def __init__(
        self,
        name: str,
        *,
        pause_s: float = 0.1,
        longest_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._first_pause_s = self._pause_s = pause_s
        self._longest_s = longest_s
        self._clock = clock
        self._failures = 0
        self._until_s = 0.0
        self.state = State.CLOSED
        self.opened = 0
        self.closed = 0

    def allows(self) -> bool:
        """Say whether to go on as if nothing was wrong."""
        return self.state is State.CLOSED

    def succeeded(self) -> None:
        """Take note of a success that was no probe: what came late does not close it."""
        self._failures = 0

    def failed(self, *, dear: bool = False) -> None:
        """Take note of a failure.

        Args:
            dear: It has cost as much as a failure may: there is to be no second.
        """
        self._failures += 1
        if self.state is State.CLOSED and (dear or self._failures >= _TOLERATED):
            self.opened += 1
            self._pause_s = self._first_pause_s
            self._open()
            warn_seldom(
                f"breaker.{self._name}.open", "%s does not work; it is left alone for a while", self._name
            )

    def may_probe(self) -> bool:
        """Say whether it is time to try again; whoever is told so has to say how that went."""
        if self.state is not State.OPEN or self._clock() < self._until_s:
            return False
        self.state = State.HALF_OPEN
        return True

    def probed(self, *, succeeded: bool) -> None:
        """Take note of how a probe went."""
        if succeeded:
            self.state = State.CLOSED
            self.closed += 1
            self._failures = 0
            warn_seldom(f"breaker.{self._name}.closed", "%s works again", self._name)
        else:
            self._pause_s = min(self._pause_s * 2, self._longest_s)
            self._open()

    def _open(self) -> None:
        self.state = State.OPEN
        self._until_s = self._clock() + self._pause_s
