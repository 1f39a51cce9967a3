"""One time limit for many: all that an event loop watches share a timer."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Expiring(Protocol):
    """What may take too long."""

    def expire(self) -> None:
        """Take note that its time is over; called on its event loop, once."""


class Expiry:
    """A time limit.

    Args:
        limit_s: How long things may take, in seconds. Time in which an event loop is blocked counts, but
            cannot be cut short.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._here = threading.local()

    def watch(self) -> Watch:
        """Give what watches over the limit on the running event loop."""
        loop = asyncio.get_running_loop()
        watch: Watch | None = getattr(self._here, "watch", None)
        if watch is None or watch.loop is not loop:
            self._here.watch = watch = Watch(loop, self._limit_s)
        return watch


class Watch:
    """Tells what has been there for longer than the limit, and has not been taken out meanwhile.

    Args:
        loop: The event loop on which all this happens.
        limit_s: The limit, in seconds.

    Attributes:
        loop: As above.
    """

    __slots__ = ("_limit_s", "_timed", "_until_s", "loop")

    def __init__(self, loop: AbstractEventLoop, limit_s: float) -> None:
        self.loop = loop
        self._limit_s = limit_s
        self._until_s: dict[Expiring, float] = {}  # what came first is over first
        self._timed = False

    def add(self, one: Expiring) -> None:
        """Watch over one more."""
        self._until_s[one] = self.loop.time() + self._limit_s
        if not self._timed:
            # Few things take long: it is cheaper to look at the timer's time what is left than to cancel it.
            self._timed = True
            self.loop.call_later(self._limit_s, self._look)

    def discard(self, one: Expiring) -> None:
        """Watch over one no longer, if it is watched."""
        self._until_s.pop(one, None)

    def _look(self) -> None:
        now_s = self.loop.time()
        self._timed = False
        while self._until_s:
            one, until_s = next(iter(self._until_s.items()))
            if until_s > now_s:
                self._timed = True
                self.loop.call_at(until_s, self._look)
                return
            del self._until_s[one]
            one.expire()
