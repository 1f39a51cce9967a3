"""Which invocation is the first of its sandbox, and how long that took to start."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# A sandbox that waits longer than that for its first invocation was not started for it; so long may starting
# take. Source: datadog-lambda 8.130, datadog_lambda/cold_start.py.
_PROACTIVE_S = 10


class Start(NamedTuple):
    """How an invocation found its sandbox.

    Attributes:
        cold: It was started for this invocation.
        proactive: It was started some time before, and this is its first.
        init_ms: How long it took from the start of the process to its first request, in milliseconds; None if
            this is not the first invocation, or that cannot be known.
    """

    cold: bool
    proactive: bool
    init_ms: float | None


WARM = Start(cold=False, proactive=False, init_ms=None)
"""How all but the first invocation find it."""


class Sandbox:
    """Tells the first invocation from the others.

    Args:
        wall_s: The time of day, in seconds since the epoch.
    """

    def __init__(self, *, wall_s: Callable[[], float] = time.time) -> None:
        self._wall_s = wall_s
        self._begun_s = wall_s()
        self._invoked = False
        self._ready = False
        self._init_ms: float | None = None

    def ready(self) -> None:
        """Take note that a request is here, be it a readiness check: the app has started."""
        if not self._ready:
            self._ready = True
            age_s = process_age_s()
            self._init_ms = None if age_s is None else age_s * 1000

    def invoked(self) -> Start:
        """Say how this invocation finds it."""
        if self._invoked:
            return WARM
        self._invoked = True
        proactive = self._wall_s() - self._begun_s > _PROACTIVE_S
        return Start(cold=not proactive, proactive=proactive, init_ms=self._init_ms)


def process_age_s() -> float | None:
    """Give the time since this process was started, in seconds; None where there is no /proc.

    Source: Linux, proc_pid_stat(5), the field starttime.
    """
    try:
        # The program's name stands in parentheses, and may hold any.
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (OSError, ValueError, IndexError, AttributeError):
        return None
