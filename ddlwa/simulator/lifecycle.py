"""The phases of a sandbox's processes: init, invoke, shutdown."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddlwa.simulator.errors import AppFailedError, InvocationTimeoutError, SimulatorError
from ddlwa.simulator.process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from ddlwa.simulator.freezer import Freezer
    from ddlwa.simulator.local_api import LocalApi
    from ddlwa.simulator.runtime_api import Event, Outcome

__all__ = ["Launch", "Lifecycle", "cancel", "extension_names"]

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 -- where libfaketime leaves its semaphores
# Long: an app on a busy machine that is stopped from outside just before it stops itself would stop
# in its next invocation, when nobody expects it. In steps: a machine that stands still uses up one of them.
_SELF_STOP_STEPS, _SELF_STOP_STEP_S = 50, 0.1
_STOP_TIMEOUT_S = 5.0
# AWS Lambda Developer Guide, "Shutdown phase".
_EXTERNAL_GRACE_S, _INTERNAL_GRACE_S, _NO_GRACE_S = 2.0, 0.5, 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start a process of the sandbox.

    Args:
        command: The program and its arguments.
        env: Its whole environment.
        cwd: Its working directory, None for this process's.
        part: What it is, for messages.
    """

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    part: str


def extension_names(command: Sequence[str]) -> frozenset[str]:
    """Return the names under which an external extension may register.

    Lambda knows one by its file name in ``/opt/extensions``. Here it may be a script with its interpreter
    before it, so that the file name of every word of the command will do.
    """
    return frozenset(Path(word).name for word in command)


class Lifecycle:
    """Starts, invokes and ends the processes of one sandbox, as Lambda does.

    Source: AWS Lambda Developer Guide, "Understanding the Lambda execution environment lifecycle".

    Args:
        api: The Runtime API and the Extensions API.
        freezer: Stops and thaws the processes.
        stops_itself: Whether the app stops itself at the end of a response.
    """

    def __init__(self, *, api: LocalApi, freezer: Freezer, stops_itself: bool) -> None:
        self._api = api
        self._freezer = freezer
        self._stops_itself = stops_itself
        self._app: ChildProcess | None = None
        self._processes: dict[ChildProcess, Launch] = {}
        self._helpers: dict[asyncio.Task[Any], ChildProcess | None] = {}

    @property
    def app(self) -> ChildProcess:
        """The app's process.

        Raises:
            SimulatorError: It has not been started.
        """
        if self._app is None:
            raise SimulatorError("the app has not been started", part="app")
        return self._app

    @property
    def output(self) -> str:
        """What the app printed, empty before its start."""
        return self._app.output if self._app else ""

    async def start_extensions(self, launches: Sequence[Launch], *, timeout_s: float) -> None:
        """Start external extensions, and wait until all have registered.

        Args:
            launches: How to start them.
            timeout_s: How long it may take, in seconds.

        Raises:
            SimulatorError: One could not be started, exited, or did not register in time.
        """
        for launch in launches:
            self._start(launch)
        names = [extension_names(launch.command) for launch in launches]
        extensions = self._api.extensions

        def registered() -> bool:
            here = {one.name for one in extensions.registered}
            return all(here & some for some in names)

        if not await self._first(
            self._api.wait_for(registered), timeout_s=timeout_s, when="before it had registered"
        ):
            commands = [list(launch.command) for launch in launches]
            raise SimulatorError(
                f"the external extensions {commands} did not all register "
                f"within {timeout_s:g} s; one registers under the file name of its program or script",
                part="extension",
                output=self._output_of_extensions(),
            )

    def start_app(self, launch: Launch) -> None:
        """Start the app, or whatever else the runtime is.

        Raises:
            AppFailedError: It could not be started.
        """
        try:
            self._app = self._start(launch)
        except SimulatorError as error:
            raise AppFailedError(str(error), part=error.part) from error
        # The freezer has the app first.
        self._freezer.add(self._app)
        for process in self._processes:
            if process is not self._app:
                self._freezer.add(process)

    def watch(self, task: asyncio.Task[Any], *, process: ChildProcess | None) -> None:
        """Take the end of a task for a failure, which is that of the whole sandbox.

        Args:
            task: Raises what has failed.
            process: What has to be frozen together with the app, if it has a process.
        """
        self._helpers[task] = process
        if process is not None:
            self._freezer.add(process)

    async def wait_initialized(self, *, timeout_s: float) -> bool:
        """Wait for the end of the init phase; return whether it came in time.

        Args:
            timeout_s: How long it may take, in seconds.

        Raises:
            SimulatorError: The runtime, an extension or a helper failed.
        """
        return await self._first(self._api.wait_idle(), timeout_s=timeout_s, when="before it was ready")

    async def invoke(self, event: Event, *, timeout_s: float) -> tuple[Outcome, int]:
        """Have an invocation served; return its outcome, and when the app was stopped (this machine's clock).

        Args:
            event: What the runtime gets.
            timeout_s: The time to the invocation's deadline, in seconds.

        Raises:
            AppFailedError: The app exited.
            FreezeError: A process could not be stopped.
            InvocationTimeoutError: The invocation was not over by its deadline; the app is killed.
        """
        deadline = time.monotonic() + timeout_s
        outcome = self._api.invoke(event)
        idle = asyncio.ensure_future(self._api.wait_idle())
        try:
            if self._stops_itself and self._api.extensions.wants_invocations():
                # The earliest moment at which Lambda could freeze is this very one.
                self._api.on_idle = self._freezer.begin
            await self._by_deadline(outcome, event, deadline=deadline, timeout_s=timeout_s)
            if self._stops_itself and outcome.result().response is not None:
                await self._wait_self_stop()
            await self._by_deadline(idle, event, deadline=deadline, timeout_s=timeout_s)
        finally:
            self._api.on_idle = None
            await cancel(idle)
        return outcome.result(), await self._freezer.stop(timeout_s=_STOP_TIMEOUT_S)

    async def invoke_among_others(self, event: Event, *, timeout_s: float) -> Outcome:
        """Have an invocation served while there are others; nothing is stopped, and nothing killed.

        Args:
            event: What the runtime gets.
            timeout_s: The time to the invocation's deadline, in seconds.

        Raises:
            AppFailedError: The app exited.
            InvocationTimeoutError: There was no response by the deadline; the app goes on.
        """
        outcome = self._api.invoke(event)
        if not await self._first(outcome, timeout_s=timeout_s, when="during an invocation"):
            raise self._timed_out(event, timeout_s)
        return outcome.result()

    def thaw(self) -> None:
        """Let all processes run on."""
        self._freezer.thaw()

    async def shut_down(self, *, reason: str, now_ms: int) -> None:
        """Tell all processes to end, and give them the time that Lambda gives; ``kill`` ends the rest.

        Args:
            reason: What extensions are told: ``"spindown"``, ``"timeout"`` or ``"failure"``.
            now_ms: The sandbox's wall clock, in milliseconds since the epoch.
        """
        extensions = self._api.extensions
        grace_s = _NO_GRACE_S
        if extensions.registered:
            external = any(one.external for one in extensions.registered)
            grace_s = _EXTERNAL_GRACE_S if external else _INTERNAL_GRACE_S
        extensions.shut_down(reason=reason, deadline_ms=now_ms + int(grace_s * 1000))
        waiting = [
            process.wait_exited()
            for process, launch in self._processes.items()
            if process is not self._app and extensions.wants_shutdown(extension_names(launch.command))
        ]
        if self._app is not None and not self._app.exited and grace_s:
            self._app.terminate()
            waiting.append(self._app.wait_exited())
        # Only now: SIGTERM is the first thing that a frozen app sees.
        self._freezer.thaw()
        leaving = [asyncio.create_task(one) for one in waiting]
        try:
            if leaving:
                await asyncio.wait(leaving, timeout=grace_s)
        finally:
            for task in leaving:
                await cancel(task)

    async def kill(self) -> None:
        """End everything at once; safe to call again."""
        for process in self._processes:
            process.kill()
            _remove_shared_memory(process)
        for task in self._helpers:
            await cancel(task)

    def app_exited(self, when: str) -> AppFailedError:
        """Return the error of an app that is gone."""
        return AppFailedError(
            f"the app exited with code {self.app.returncode} {when}; its output says why",
            part="app",
            output=self.output,
        )

    def _start(self, launch: Launch) -> ChildProcess:
        process = ChildProcess(launch.command, env=launch.env, cwd=launch.cwd, part=launch.part)
        self._processes[process] = launch
        return process

    async def _wait_self_stop(self) -> None:
        """Wait for the app to stop itself, as far as it does.

        Where an extension hears of invocations Lambda must wait for it, and the app does not stop itself.
        A response that the server itself made, to a malformed request say, does not stop it either.
        """
        for _ in range(_SELF_STOP_STEPS):
            if self._api.extensions.wants_invocations() or await self.app.wait_halted(
                timeout_s=_SELF_STOP_STEP_S
            ):
                break

    async def _by_deadline(
        self, wanted: Awaitable[Any], event: Event, *, deadline: float, timeout_s: float
    ) -> None:
        left_s = deadline - time.monotonic()
        if not await self._first(wanted, timeout_s=left_s, when="during an invocation"):
            error = self._timed_out(event, timeout_s)
            self.app.kill()
            raise error

    async def _first(self, wanted: Awaitable[Any], *, timeout_s: float, when: str) -> bool:
        """Wait for one thing, as long as all parts live; return whether it came in time."""
        task = asyncio.ensure_future(wanted)
        exits = {asyncio.create_task(one.wait_exited()): one for one in self._processes}
        failed = asyncio.create_task(self._api.wait_for(self._failed))
        try:
            await asyncio.wait(
                {task, failed, *exits, *self._helpers},
                timeout=timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            # First what a part said before it went.
            self._check_errors()
            for exit_, process in exits.items():
                if exit_.done():
                    raise self._exited(process, when)
            for helper in self._helpers:
                if helper.done():
                    await helper
                    raise SimulatorError("the adapter ended by itself", part="adapter")
            return task.done()
        finally:
            for other in (failed, *exits):
                await cancel(other)
            if task is not wanted:
                await cancel(task)

    def _failed(self) -> bool:
        return self._api.runtime.init_error is not None or self._api.extensions.error is not None

    def _check_errors(self) -> None:
        if self._api.runtime.init_error is not None:
            raise AppFailedError(
                f"the runtime could not be initialized: {self._api.runtime.init_error}",
                part="app",
                output=self.output,
            )
        if self._api.extensions.error is not None:
            raise SimulatorError(
                f"an extension failed: {self._api.extensions.error}",
                part="extension",
                output=self._output_of_extensions(),
            )

    def _exited(self, process: ChildProcess, when: str) -> SimulatorError:
        if process is self._app:
            return self.app_exited(when)
        command = list(self._processes[process].command)
        return SimulatorError(
            f"the extension {command} exited with code {process.returncode} {when}; its output says why",
            part=process.part,
            output=process.output,
        )

    def _timed_out(self, event: Event, timeout_s: float) -> InvocationTimeoutError:
        state = "runs" if self.app.stopped_wall_ns is None else "is stopped"
        waiting = "its response is not complete"
        if self._api.extensions.busy:
            waiting += f" or an extension has not asked for its next event: {self._api.extensions.busy}"
        return InvocationTimeoutError(
            f"{event.request_id} Task timed out after {timeout_s:.2f} seconds: {waiting}; the app {state}",
            part="app",
            output=self.output,
        )

    def _output_of_extensions(self) -> str:
        return "".join(process.output for process in self._processes if process is not self._app)


async def cancel(task: asyncio.Future[Any]) -> None:
    """End a task and take note of what it raised, which no longer matters."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _remove_shared_memory(process: ChildProcess) -> None:
    """Remove what libfaketime leaves behind when its process is killed."""
    for pid in process.family.ever:
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            (_SHARED_MEMORY / name).unlink(missing_ok=True)
