"""A child process in a group of its own, whose output, stops and exit are known."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from typing import IO, TYPE_CHECKING, cast

from ddlwa.simulator.errors import SimulatorError
from ddlwa.simulator.processes import Family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["ChildProcess"]

_OUTPUT_LIMIT = 256 * 1024
_READ_SIZE = 64 * 1024
_REAP_TIMEOUT_S = 5.0

# It reads the group's id, then waits. A second line is the all-clear; the end of its input without
# one means that this process died, by SIGKILL perhaps, and left the group alone, perhaps stopped.
_GUARD = 'read -r group && { read -r clear || kill -s KILL -- "-$group"; }'


class ChildProcess:
    """A command that runs in its own session and process group, on the running event loop.

    A thread waits for its stops and its exit, so both are known within microseconds. A small guard
    process kills the group if this process dies without a chance to do it.

    Args:
        command: The program and its arguments.
        env: Its whole environment.
        cwd: Its working directory, None for this process's.
        part: What it is, for messages.

    Raises:
        SimulatorError: The command cannot be executed.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, part: str
    ) -> None:
        self.part = part
        self.returncode: int | None = None
        self.stopped_wall_ns: int | None = None
        self._loop = asyncio.get_running_loop()
        self._output = bytearray()
        self._halted = asyncio.Event()
        self._exited = asyncio.Event()
        mark = ("DDLWA_SIMULATOR_FAMILY", uuid.uuid4().hex)
        self._guard = _start_guard()
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        try:
            self._popen = subprocess.Popen(  # noqa: S603 -- the user's own command
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env=dict([*env.items(), mark]),
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            os.close(self._reader)
            self._guard.communicate()
            message = f"the {part} cannot be started: {error}; check the command {list(command)!r}"
            raise SimulatorError(message, part=part) from error
        finally:
            os.close(writer)
        self.pid = self._popen.pid
        self._tell_guard(f"{self.pid}\n")
        self.family = Family(self.pid, mark="=".join(mark))
        self._watcher = threading.Thread(target=self._watch, name=f"ddlwa-watch-{self.pid}", daemon=True)
        self._watcher.start()
        self._loop.add_reader(self._reader, self._read)

    @property
    def exited(self) -> bool:
        """Whether it has exited."""
        return self._exited.is_set()

    @property
    def output(self) -> str:
        """What it and its children printed, the last 256 KiB, both streams in one."""
        self._read()
        return self._output.decode("utf-8", "replace")

    async def wait_exited(self, *, timeout_s: float | None = None) -> bool:
        """Wait until it has exited; return whether it did in time."""
        return await _happened(self._exited, timeout_s=timeout_s)

    async def wait_halted(self, *, timeout_s: float) -> bool:
        """Wait until it is stopped or has exited; return whether it did in time."""
        return await _happened(self._halted, timeout_s=timeout_s)

    def stop(self) -> None:
        """Ask the leader, and no other, to stop."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the leader run on after a stop."""
        if not self.exited:
            self.stopped_wall_ns = None
            self._halted.clear()
            self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it and all of its family to end; one that is stopped sees it when it runs on."""
        if not self.exited:
            self._signal_family(signal.SIGTERM)

    async def close(self, *, grace_s: float = 2.0) -> None:
        """End it and all of its family: SIGTERM, then SIGKILL; safe to call again.

        Args:
            grace_s: How long it may take over SIGTERM, in seconds.
        """
        try:
            if not self.exited:
                self.terminate()
                self._signal_family(signal.SIGCONT)  # a stopped process only dies of SIGKILL
                await self.wait_exited(timeout_s=grace_s)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it and all of its family at once, and collect what they leave."""
        if self._reader < 0:
            return
        # A member may have forked between the listing and its death: until none is left.
        for _ in range(100):
            if not self._signal_family(signal.SIGKILL):
                break
            time.sleep(0.001)
        self._watcher.join(_REAP_TIMEOUT_S)
        self._read()
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        self._reader = -1
        self._tell_guard("clear\n")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.communicate(timeout=_REAP_TIMEOUT_S)

    def _tell_guard(self, line: str) -> None:
        with contextlib.suppress(OSError):  # somebody killed it
            cast("IO[bytes]", self._guard.stdin).write(line.encode())

    def _signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            # It may have exited in this very moment; then the watcher is about to say so.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _signal_family(self, number: signal.Signals) -> int:
        alive = [one.pid for one in self.family.refresh() if one.alive]
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(alive)

    def _watch(self) -> None:
        """Wait in a thread for stops and the exit, and tell the event loop."""
        while True:
            _, status = os.waitpid(self.pid, os.WUNTRACED)
            wall_ns = time.time_ns()
            if not os.WIFSTOPPED(status):
                break
            self._tell(self._on_stop, wall_ns)
        # Popen must not wait for it again: it is collected.
        self.returncode = self._popen.returncode = os.waitstatus_to_exitcode(status)
        self._tell(self._on_exit)

    def _tell(self, callback: object, *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(callback, *args)  # type: ignore[arg-type]

    def _on_stop(self, wall_ns: int) -> None:
        self.stopped_wall_ns = wall_ns
        self._halted.set()

    def _on_exit(self) -> None:
        self._exited.set()
        self._halted.set()

    def _read(self) -> None:
        """Take what is in the pipe, so that a chatty child never blocks."""
        while self._reader >= 0:
            try:
                chunk = os.read(self._reader, _READ_SIZE)
            except BlockingIOError:
                return
            if not chunk:
                self._loop.remove_reader(self._reader)
                return
            self._output += chunk
            del self._output[:-_OUTPUT_LIMIT]


async def _happened(event: asyncio.Event, *, timeout_s: float | None) -> bool:
    """Wait for an event; unlike ``wait_for`` before Python 3.12 this never swallows a cancellation."""
    if not event.is_set():
        waiter = asyncio.create_task(event.wait())
        try:
            await asyncio.wait({waiter}, timeout=timeout_s)
        finally:
            waiter.cancel()
    return event.is_set()


def _start_guard() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 -- a constant
        ["/bin/sh", "-c", _GUARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,  # Ctrl-C is for this process; the guard must outlive it
        bufsize=0,
    )
