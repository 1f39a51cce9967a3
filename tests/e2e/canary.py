"""Tells by how much this machine lets a process wait that wants to run."""

import threading
import time
from contextlib import contextmanager

_PERIOD_S = 0.005


class Canary:
    """What a thread has seen that does nothing but wake up.

    Attributes:
        late_ns: By how much it woke up too late at most, in nanoseconds.
    """

    def __init__(self):
        self.late_ns = 0
        self._over = threading.Event()

    def watch(self):
        while not self._over.is_set():
            begun_ns = time.monotonic_ns()
            self._over.wait(_PERIOD_S)
            self.late_ns = max(self.late_ns, time.monotonic_ns() - begun_ns - round(_PERIOD_S * 1e9))

    def stop(self):
        self._over.set()


@contextmanager
def canary():
    """Watch the machine for a while."""
    canary = Canary()
    thread = threading.Thread(target=canary.watch, daemon=True)
    thread.start()
    try:
        yield canary
    finally:
        canary.stop()
        thread.join()
