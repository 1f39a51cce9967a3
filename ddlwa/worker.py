"""One daemon thread that does what it is given, in order, and is there only once it is needed."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ddlwa.log import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = "ddlwa"
"""What the names of all of ddlwa's threads begin with."""


class _Here(threading.local):
    is_ours = False


here = _Here()
"""Whether this thread does what ddlwa tells it to: what it traces is not of the app."""


class Worker:
    """A thread for what blocks.

    Args:
        name: What the thread's name ends with.
    """

    def __init__(self, name: str) -> None:
        self._name = f"{THREADS}-{name}"
        self._lock = threading.RLock()
        self._queue: SimpleQueue[Callable[[], None] | None] | None = None

    def do(self, action: Callable[[], None]) -> None:
        """Have something done soon; here and now where there can be no thread any more.

        Args:
            action: What; does not raise.
        """
        with self._lock:
            if self._queue is None:
                queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
                try:
                    threading.Thread(target=_work, args=(queue,), name=self._name, daemon=True).start()
                except RuntimeError:  # the interpreter is on its way out
                    queue = SimpleQueue()
                else:
                    self._queue = queue
            if self._queue is not None:
                self._queue.put(action)
                return
        action()

    def stop(self) -> None:
        """End the thread once it has done what it was given; more to do starts a new one."""
        with self._lock:
            if self._queue is not None:
                self._queue.put(None)
                self._queue = None


def _work(queue: SimpleQueue[Callable[[], None] | None]) -> None:
    here.is_ours = True
    while (action := queue.get()) is not None:
        try:
            action()
        except Exception:  # noqa: BLE001, PERF203 - the thread outlives what it is given
            warn_once("worker", "something failed on a thread of ddlwa", exc_info=True)
