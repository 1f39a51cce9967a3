"""Keeps what could not be delivered, for the next flush that works."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddlwa.payload import Payload


class Retention:
    """A buffer bounded in bytes and in age, whose oldest payloads are the first to go; for any thread.

    Args:
        limit_bytes: How many bytes of payloads are kept.
        limit_s: How long, in seconds.
        dropped: Called with a reason, "bytes" or "age", and a number of traces.
        wall_s: Seconds since the epoch; they go on while the process is frozen.

    Attributes:
        size: How many bytes are kept.
    """

    def __init__(
        self,
        *,
        limit_bytes: int,
        limit_s: float,
        dropped: Callable[[str, int], None],
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._dropped = dropped
        self._wall_s = wall_s
        self._lock = threading.RLock()
        self._payloads: deque[Payload] = deque()
        self.size = 0

    @property
    def traces(self) -> int:
        """How many traces are kept."""
        with self._lock:
            return sum(payload.traces for payload in self._payloads)

    def keep(self, payload: Payload) -> None:
        """Keep a payload, in its place by age."""
        if len(payload.body) > self._limit_bytes:
            self._dropped("bytes", payload.traces)
            return
        with self._lock:
            after = 0
            while after < len(self._payloads) and self._payloads[-1 - after].made_s > payload.made_s:
                after += 1
            self._payloads.insert(len(self._payloads) - after, payload)
            self.size += len(payload.body)
            while self.size > self._limit_bytes:
                self._dropped("bytes", self._pop().traces)

    def take(self) -> Payload | None:
        """Take the oldest payload that is not too old."""
        with self._lock:
            while self._payloads:
                payload = self._pop()
                if self._wall_s() - payload.made_s <= self._limit_s:
                    return payload
                self._dropped("age", payload.traces)
        return None

    def forked(self) -> None:
        """Forget everything in a forked child: it is its parent's to deliver."""
        self._lock = threading.RLock()
        self._payloads.clear()
        self.size = 0

    def _pop(self) -> Payload:
        payload = self._payloads.popleft()
        self.size -= len(payload.body)
        return payload
