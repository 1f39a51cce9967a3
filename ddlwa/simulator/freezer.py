"""Stops and thaws every process of a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Protocol

from ddlwa.simulator.errors import AppFailedError, FreezeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ddlwa.simulator.process import ChildProcess

__all__ = ["Freezer", "SignalFreezer", "wait_stopped"]


class Freezer(Protocol):
    """Stops and thaws the processes of a sandbox, with each stop verified."""

    def add(self, process: ChildProcess) -> None:
        """Take a process, with its family, under control; the first is the app."""

    def begin(self) -> None:
        """Begin to stop the app, without waiting for it: at once, and from any callback."""

    async def stop(self, *, timeout_s: float) -> int:
        """Stop all processes, and return when the app stopped (ns since the epoch, this machine's clock).

        An app that has stopped itself already is taken as it is.

        Args:
            timeout_s: How long all of it may take, in seconds.

        Raises:
            AppFailedError: The app exited.
            FreezeError: A process did not stop in time.
        """

    def thaw(self) -> None:
        """Let all stopped processes run on, the app last."""

    def close(self) -> None:
        """Give back what it holds of the system, after the death of all processes."""


class SignalFreezer:
    """Freezes with SIGSTOP, which needs no privileges."""

    def __init__(self) -> None:
        self._processes: list[ChildProcess] = []
        self._stopped: tuple[int, ...] = ()

    def add(self, process: ChildProcess) -> None:
        """See ``Freezer``."""
        self._processes.append(process)

    def begin(self) -> None:
        """See ``Freezer``."""
        self._processes[0].stop()

    async def stop(self, *, timeout_s: float) -> int:
        """See ``Freezer``."""
        deadline = time.monotonic() + timeout_s
        running = [one for one in self._processes if not one.exited or one is self._processes[0]]
        for process in running:
            if process.stopped_wall_ns is None:
                process.stop()
        stopped_ns = [await wait_stopped(process, timeout_s=timeout_s) for process in running]
        await self._stop_others({process.pid for process in running}, deadline)
        return stopped_ns[0]

    def thaw(self) -> None:
        """See ``Freezer``."""
        for pid in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped = ()
        for process in reversed(self._processes):
            process.resume()

    def close(self) -> None:
        """See ``Freezer``."""

    async def _stop_others(self, leaders: Iterable[int], deadline: float) -> None:
        while True:
            family = {one.pid: one for process in self._processes for one in process.family.refresh()}
            running = {pid for pid, one in family.items() if pid not in leaders and not one.stopped}
            if not running:
                self._stopped = tuple(pid for pid in family if pid not in leaders)
                return
            if time.monotonic() > deadline:
                self.thaw()
                app = self._processes[0]
                raise FreezeError(
                    f"processes {sorted(running)} of the {app.part} did not stop in time",
                    part=app.part,
                    output=app.output,
                )
            for pid in running:
                # Not before its parent has stopped: one in vfork(2) only stops after its child's exec.
                if family[pid].parent not in running:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(0)


async def wait_stopped(process: ChildProcess, *, timeout_s: float) -> int:
    """Wait until a process is stopped, and return since when (ns since the epoch, this machine's clock).

    Args:
        process: Has stopped itself, or was told to.
        timeout_s: How long it may take, in seconds.

    Raises:
        AppFailedError: It exited.
        FreezeError: It did not stop in time.
    """
    if not await process.wait_halted(timeout_s=timeout_s):
        raise FreezeError(
            f"the {process.part} (process {process.pid}) did not stop within {timeout_s:g} s",
            part=process.part,
            output=process.output,
        )
    if process.exited or process.stopped_wall_ns is None:
        raise AppFailedError(
            f"the {process.part} exited with code {process.returncode} instead of being stopped",
            part=process.part,
            output=process.output,
        )
    return process.stopped_wall_ns
