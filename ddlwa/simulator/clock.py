"""The wall clock of a sandbox, which can jump while its processes are stopped."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ddlwa.simulator.errors import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["SandboxClock", "find_library"]

_SECOND_NS = 1_000_000_000


def find_library() -> Path | None:
    """Return the path of libfaketime's library, or None where there is none for this platform.

    The PyPI package ``libfaketime`` 3.x claims every platform and ships an x86-64 Linux library only.
    """
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return None
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    return library if library.is_file() else None


class SandboxClock:
    """The wall clock of a sandbox: this machine's, plus the jumps made so far.

    Args:
        library: libfaketime's library, or None if the clock cannot jump.
        wall_ns: This machine's wall clock, in nanoseconds since the epoch.
    """

    def __init__(self, *, library: Path | None, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self.offset_ns = 0
        self._library = library
        self._wall_ns = wall_ns
        self._file: Path | None = None

    def keep_in(self, directory: Path) -> None:
        """Choose where the file is that the sandbox's processes read at each look at the clock."""
        self._file = directory / "clock"
        self._write(self.offset_ns)

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that put a process and its children on this clock.

        Args:
            base: The environment that they are added to; its ``LD_PRELOAD`` stays in force.
        """
        if self._library is None or self._file is None:
            return {}
        preload = base.get("LD_PRELOAD")
        return {
            "LD_PRELOAD": f"{self._library}:{preload}" if preload else str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            # Lambda's monotonic clock does not count a freeze, and timers must stay accurate.
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # The library's own waiting on condition variables spins once several threads wait: worst
            # request of 60 from a thread pool 691 ms with it, 3 ms without.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            # Deployed files keep their times over a freeze, and so do ETags made of them.
            "NO_FAKE_STAT": "1",
        }

    def attached(self, pid: int) -> bool:
        """Return whether a running process has loaded the library: a static binary, say, has not."""
        if self._library is None:
            return False
        try:
            return str(self._library) in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        except OSError:
            return False

    def now_ns(self) -> int:
        """Return the sandbox's wall clock now, in nanoseconds since the epoch."""
        return self.at(self._wall_ns())

    def at(self, wall_ns: int) -> int:
        """Return what the sandbox's wall clock shows at a time of this machine's (ns since the epoch)."""
        return wall_ns + self.offset_ns

    def jump(self, duration_ns: int) -> None:
        """Move the clock forward; every process on it must be stopped.

        Args:
            duration_ns: By how much, in nanoseconds.

        Raises:
            SimulatorError: The file cannot be written; the clock is then as before.
        """
        self._write(self.offset_ns + duration_ns)
        self.offset_ns += duration_ns

    def _write(self, offset_ns: int) -> None:
        if self._file is None:
            return
        seconds, fraction = divmod(offset_ns, _SECOND_NS)
        fresh = self._file.with_suffix(".new")
        try:
            fresh.write_text(f"+{seconds}.{fraction:09d}\n", encoding="ascii")
            # A reader must never see half a number, so the file is replaced as a whole.
            os.replace(fresh, self._file)  # noqa: PTH105 -- the twin of open(2) and rename(2), one call as Path's
        except OSError as error:
            raise SimulatorError(f"the clock cannot be set: {error}; is the disk full?") from error
