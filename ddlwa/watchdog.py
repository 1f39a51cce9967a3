"""Does something at a time that most requests do not live to see, on a thread that they do not wake."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from ddlwa.log import warn_once
from ddlwa.worker import THREADS

if TYPE_CHECKING:
    from collections.abc import Callable

# After a freeze, or when the clock is set, it takes at most so long until that is noticed.
_PERIOD_S = 0.25


class Watchdog:
    """Calls what is watched when its time has come, unless it has been taken out before.

    The thread has its own rhythm, and looks what is there when it wakes: to watch something and to take it
    out is to change a dict. It works while an event loop is blocked, but not while code keeps the GIL.

    Args:
        then: Called once after all that was due has been called; may take its time.
        wall_s: The clock of the times that are given, in seconds since the epoch.
        monotonic_s: Seconds that only go forward.
    """

    def __init__(
        self,
        then: Callable[[], object],
        *,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._then = then
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._stopped = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._looks_s = math.inf
        self._until_s: dict[Callable[[], object], tuple[float, float]] = {}

    def watch(self, until_s: float, action: Callable[[], object]) -> None:
        """Have something called at a time, on the watchdog's thread; a time that has passed is none.

        Args:
            until_s: When, in seconds since the epoch.
            action: What; watched once at a time.
        """
        if self._thread is None and not self._start():
            return
        left_s = until_s - self._wall_s()
        if left_s <= 0:
            return
        # By either clock: the one goes on in a freeze, the other when somebody sets the first back.
        monotonic_s = self._monotonic_s() + left_s
        self._until_s[action] = until_s, monotonic_s
        if monotonic_s < self._looks_s:
            self._wake.set()

    def discard(self, action: Callable[[], object]) -> None:
        """Have something not called any more; it may be under way already, or over."""
        self._until_s.pop(action, None)

    def stop(self) -> None:
        """End the thread for good, and watch nothing any more."""
        with self._lock:
            self._stopped = True
            self._thread = None
        self._until_s.clear()
        self._wake.set()

    def forked(self) -> None:
        """Start anew in a forked child: the thread, and what it watches, are the parent's."""
        self._begin_anew()

    def _start(self) -> bool:
        with self._lock:
            if self._thread is None and not self._stopped:
                thread = threading.Thread(target=self._keep_looking, name=f"{THREADS}-watchdog", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # there are too many, or the interpreter is on its way out
                    self._stopped = True
                    warn_once("watchdog.start", "no thread can be started; timeouts will leave no trace")
                else:
                    self._thread = thread
            return not self._stopped

    def _keep_looking(self) -> None:
        while not self._stopped:
            self._wake.clear()
            self._look()
            now_s = self._monotonic_s()
            # What is overlooked from here on, and due before that, wakes the thread.
            self._looks_s = now_s + _PERIOD_S
            for _, monotonic_s in self._until_s.copy().values():
                self._looks_s = min(self._looks_s, monotonic_s)
            self._wake.wait(self._looks_s - now_s)

    def _look(self) -> None:
        """Call what is due."""
        wall_s, monotonic_s = self._wall_s(), self._monotonic_s()
        called = False
        # A copy: a dict must not change while it is gone through.
        for action, until_s in self._until_s.copy().items():
            due = until_s[0] <= wall_s or until_s[1] <= monotonic_s
            if due and self._until_s.pop(action, None) is not None:
                called = True
                _call(action)
        if called:
            _call(self._then)


def _call(action: Callable[[], object]) -> None:
    try:
        action()
    except Exception:  # noqa: BLE001 - the thread outlives what it calls
        warn_once("watchdog", "cannot end a request that times out", exc_info=True)
