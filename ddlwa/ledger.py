"""Knows when the process did not run, and takes that off the spans that outlived it."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A beat this late, with the process idle meanwhile, was held up by a freeze.
_PERIOD_S = 0.01
_SHORTEST_NS = 15_000_000
# A busy process is late for its beats too, but it uses the processor: even one that is throttled to
# the share of Lambda's smallest size (128 MB of 1,769 MB for a full processor) uses 7 % of the time.
_BUSY_SHARE = 0.01
_KEPT = 4096
# A heart that has had nothing to do for so many beats is only woken when it has again.
_IDLE_BEATS = 50


class Ledger:
    """The windows in which the process was frozen, in its wall clock.

    They are found by a heartbeat between `released` and `arrived`: only in between can Lambda freeze the
    sandbox, and only then does the heart beat.

    Args:
        wall_ns: The wall clock that spans are measured with, in nanoseconds since the epoch.
        cpu_ns: The processor time that the process has used, in nanoseconds.

    Attributes:
        in_flight: How many responses are under way.
    """

    def __init__(
        self, *, wall_ns: Callable[[], int] = time.time_ns, cpu_ns: Callable[[], int] = time.process_time_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._cpu_ns = cpu_ns
        self._lock = threading.Lock()
        self._starts: deque[int] = deque(maxlen=_KEPT)
        self._ends: deque[int] = deque(maxlen=_KEPT)
        self.in_flight = 0
        self._beat: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._woken = threading.Semaphore(0)
        self._stopped = False

    def arrived(self) -> int:
        """Stop the heartbeat: a request is here, and until its response no freeze can come.

        Returns:
            How many responses are under way, with its own.
        """
        with self._lock:
            self._catch_up()
            self._beat = None
            self.in_flight += 1
            return self.in_flight

    def released(self, *, may_freeze: bool = True) -> None:
        """Take note that a response leaves; after the last one under way a freeze may come."""
        with self._lock:
            self.in_flight -= 1
            if may_freeze:
                self._rest()

    def rest(self) -> None:
        """Start the heartbeat unless a response is under way: a freeze may come."""
        with self._lock:
            if self._beat is None:
                self._rest()

    def _rest(self) -> None:
        if self.in_flight > 0 or self._stopped:
            return
        self._beat = self._wall_ns(), self._cpu_ns()
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_beating, name="ddlwa-ledger", daemon=True)
            self._thread.start()
        elif self._asleep:
            self._woken.release()
            self._asleep = False

    def beat(self) -> None:
        """Compare the clocks with those of the last beat, if the heart beats."""
        with self._lock:
            if self._beat is not None:
                self._compare(*self._beat, wall_ns=self._wall_ns())

    def _catch_up(self) -> None:
        """Make up for a beat that is overdue: whoever looks may run before the heart after a thaw."""
        if self._beat is not None:
            wall_ns = self._wall_ns()
            if wall_ns - self._beat[0] > _SHORTEST_NS:
                self._compare(*self._beat, wall_ns=wall_ns)

    def _compare(self, last_wall_ns: int, last_cpu_ns: int, *, wall_ns: int) -> None:
        cpu_ns = self._cpu_ns()
        self._beat = wall_ns, cpu_ns
        gap_ns, busy_ns = wall_ns - last_wall_ns, cpu_ns - last_cpu_ns
        if gap_ns - busy_ns > _SHORTEST_NS and busy_ns < gap_ns * _BUSY_SHARE:
            # A clock that was set back between two beats is not to have them count the same time twice.
            self._starts.append(max(last_wall_ns + busy_ns, self._ends[-1] if self._ends else 0))
            self._ends.append(wall_ns)

    def latest_ns(self) -> int:
        """Give the end of the latest frozen window, in nanoseconds since the epoch; 0 without any."""
        if self._beat is not None:
            with self._lock:
                self._catch_up()
        return self._ends[-1] if self._ends else 0

    def stop(self) -> None:
        """End the heartbeat for good."""
        with self._lock:
            self._stopped = True
            self._beat = None
            self._woken.release()

    def forked(self) -> None:
        """Start anew in a forked child: its parent's thread is not here, and may have held the lock."""
        self._lock = threading.Lock()
        self.in_flight = 0
        self._beat = self._thread = None
        self._asleep = False
        self._woken = threading.Semaphore(0)

    def frozen_ns(self, start_ns: int, end_ns: int) -> int:
        """Add up how much of an interval the process was frozen, in nanoseconds.

        Args:
            start_ns: Its start, in nanoseconds since the epoch.
            end_ns: Its end.
        """
        with self._lock:
            starts, ends = list(self._starts), list(self._ends)
        first = bisect_right(ends, start_ns)
        frozen_ns = 0
        for start, end in zip(starts[first:], ends[first:], strict=True):
            overlap = min(end_ns, end) - max(start_ns, start)
            # What begins in a window began before its freeze, or after, when its end had not been found yet.
            if start_ns <= start or overlap * 2 >= end - start:
                frozen_ns += max(0, overlap)
        return frozen_ns

    def _keep_beating(self) -> None:
        idle = 0
        while not self._stopped:
            time.sleep(_PERIOD_S)
            with self._lock:
                idle = idle + 1 if self._beat is None else 0
                self._asleep = idle > _IDLE_BEATS and not self._stopped
            if self._asleep:
                self._woken.acquire()
            else:
                self.beat()
