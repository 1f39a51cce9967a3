"""What is sent together, and for whom."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ddlwa.agent import Exchange
    from ddlwa.payload import Payload
    from ddlwa.retention import Retention


class Waiter(NamedTuple):
    """Somebody who waits for a round.

    Attributes:
        answer: Called when the round has ended, from any thread.
        budget_s: How long it waits, in seconds.
        leftovers: What is not of a request may be sent.
        loop: The event loop that waits meanwhile; None for a thread.
        force: Even an agent that does not work is to be tried.
    """

    answer: Callable[[], None]
    budget_s: float
    leftovers: bool
    loop: AbstractEventLoop | None = None
    force: bool = False


class Round:
    """Payloads, one after the other, until one fails.

    Args:
        waiters: Who waits for it.
        payloads: What is to be sent, as long as somebody may be waiting.
        retention: Where more comes from as long as half of the longest budget is left; None for no more.

    Attributes:
        waiters: Who waits for it.
        exchange: What is under way, if it is one of our own.
        grace_s: How long an event loop may stand still for an answer, in seconds.
        begun_s: When it began, in monotonic seconds.
        given_up: Nothing that still comes of it matters.
    """

    __slots__ = (
        "_budget_s",
        "_current",
        "_failed",
        "_payloads",
        "_retention",
        "begun_s",
        "exchange",
        "given_up",
        "grace_s",
        "waiters",
    )

    def __init__(
        self,
        waiters: Sequence[Waiter] = (),
        payloads: Iterable[Payload] = (),
        retention: Retention | None = None,
    ) -> None:
        self.waiters = waiters
        self.exchange: Exchange | None = None
        self.given_up = False
        self.grace_s = 0.0
        self.begun_s = time.monotonic()
        self._budget_s = max((waiter.budget_s for waiter in waiters), default=0.0)
        self._payloads = deque(payloads)
        self._retention = retention
        self._current: Payload | None = None
        self._failed = False

    def is_for(self, loop: AbstractEventLoop) -> bool:
        """Say whether all who wait for it wait on this event loop, so that it will not end before."""
        return all(waiter.loop is loop for waiter in self.waiters)

    def next(self) -> Payload | None:
        """Give what is to be sent next; None if that is all."""
        self._current = None
        if self._failed or self.given_up:
            return None
        spent_s = time.monotonic() - self.begun_s
        if self._payloads:
            # What nobody waits for any more would come before a later request's trace.
            if spent_s < self._budget_s:
                self._current = self._payloads.popleft()
        elif self._retention is not None and spent_s < self._budget_s / 2:
            self._current = self._retention.take()
        return self._current

    def taken(self) -> int:
        """Take note that what is under way was accepted; say how many traces that is."""
        current, self._current = self._current, None
        return 0 if current is None else current.traces

    def again(self, payload: Payload) -> None:
        """Send a payload once more, at once."""
        self._payloads.appendleft(payload)

    def fail(self, payload: Payload) -> None:
        """End the round with a payload that was not accepted."""
        self._failed = True
        self._payloads.appendleft(payload)

    def unsent(self) -> Iterator[Payload]:
        """Take what was not sent, in its order."""
        while self._payloads:
            yield self._payloads.popleft()

    def give_up(self, *, uncertain: bool) -> Iterator[Payload]:
        """End the round from outside, and take what was not sent.

        Args:
            uncertain: The payload that is under way may have arrived.
        """
        self.given_up = True
        if self._current is not None:
            self._current.uncertain = uncertain
            self._payloads.appendleft(self._current)
        return self.unsent()
