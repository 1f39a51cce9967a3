"""Freezes a sandbox with the cgroup v2 freezer, where the system has one and permits it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from ddlwa.simulator.errors import AppFailedError, FreezeError

if TYPE_CHECKING:
    from ddlwa.simulator.process import ChildProcess

__all__ = ["CgroupFreezer", "find_cgroup"]

_MOUNTS = Path("/proc/self/mountinfo")
_MEMBERSHIP = Path("/proc/self/cgroup")
_REMOVE_TIMEOUT_S = 2.0


def find_cgroup() -> Path | None:
    """Return this process's own cgroup v2 folder if a child of it can be made and frozen, else None."""
    try:
        mounts = [line.split() for line in _MOUNTS.read_text(encoding="utf-8").splitlines()]
        # proc(5): the mount point is the fifth field, and a dash comes before the type.
        root = next(fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2")
        memberships = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
        own = next(line[3:] for line in memberships if line.startswith("0::"))
        folder = Path(root) / own.lstrip("/")
        probe = folder / f"ddlwa-{uuid.uuid4().hex}"
        probe.mkdir()
    except (OSError, StopIteration):
        return None
    try:
        (probe / "cgroup.freeze").write_text("0", encoding="ascii")
    except OSError:
        return None
    finally:
        probe.rmdir()
    return folder


class CgroupFreezer:
    """Freezes with ``cgroup.freeze``, which no process can escape or notice.

    Source: the Linux kernel's Documentation/admin-guide/cgroup-v2.rst, "cgroup.freeze".

    Args:
        parent: The cgroup under which the sandbox gets its own.

    Raises:
        FreezeError: It cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        self._folder = parent / f"ddlwa-{uuid.uuid4().hex}"
        self._processes: list[ChildProcess] = []
        try:
            self._folder.mkdir()
        except OSError as error:
            raise FreezeError(f"no cgroup can be made for the sandbox: {error}") from error

    def add(self, process: ChildProcess) -> None:
        """See ``Freezer``."""
        self._processes.append(process)
        self._gather()

    def begin(self) -> None:
        """See ``Freezer``."""
        self._write("cgroup.freeze", "1")

    async def stop(self, *, timeout_s: float) -> int:
        """See ``Freezer``."""
        app = self._processes[0]
        deadline = time.monotonic() + timeout_s
        self._gather()
        self.begin()
        while "frozen 1" not in (self._folder / "cgroup.events").read_text(encoding="ascii"):
            if time.monotonic() > deadline:
                self.thaw()
                raise FreezeError(f"the cgroup of the {app.part} did not freeze within {timeout_s:g} s")
            await asyncio.sleep(0)
        frozen_ns = time.time_ns()
        if app.exited:
            raise AppFailedError(
                f"the {app.part} exited with code {app.returncode} instead of being stopped",
                part=app.part,
                output=app.output,
            )
        return frozen_ns if app.stopped_wall_ns is None else app.stopped_wall_ns

    def thaw(self) -> None:
        """See ``Freezer``."""
        self._write("cgroup.freeze", "0")
        for process in reversed(self._processes):
            process.resume()  # one that has stopped itself

    def close(self) -> None:
        """See ``Freezer``."""
        # A killed process leaves its cgroup a moment after its death has been collected.
        deadline = time.monotonic() + _REMOVE_TIMEOUT_S
        while self._folder.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    def _gather(self) -> None:
        """Bring in all processes; children of those that are in are in by birth."""
        for process in self._processes:
            for one in process.family.refresh():
                if one.alive:
                    with contextlib.suppress(ProcessLookupError):
                        self._write("cgroup.procs", str(one.pid))

    def _write(self, name: str, value: str) -> None:
        try:
            (self._folder / name).write_text(value, encoding="ascii")
        except ProcessLookupError:
            raise
        except OSError as error:
            raise FreezeError(f"{self._folder / name} cannot be written: {error}") from error
