"""Lambda in a box: an app behind the adapter, frozen after each invocation."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import secrets
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ddlwa.simulator.adapter import AdapterOptions, BuiltinAdapter, InvokeMode, LwaAdapter, LwaBinary
from ddlwa.simulator.cgroup import CgroupFreezer, find_cgroup
from ddlwa.simulator.clock import SandboxClock, find_library
from ddlwa.simulator.durations import parse_duration
from ddlwa.simulator.environment import Function
from ddlwa.simulator.errors import AppFailedError, FreezeError, InvocationTimeoutError, SimulatorError
from ddlwa.simulator.events import (
    Arrival,
    EventSource,
    http_event,
    http_response,
    source_of,
    streamed_http_response,
)
from ddlwa.simulator.freezer import SignalFreezer
from ddlwa.simulator.lifecycle import Launch, Lifecycle, extension_names
from ddlwa.simulator.local_api import LocalApi
from ddlwa.simulator.ports import free_ports, reserved
from ddlwa.simulator.runtime_api import Event
from ddlwa.simulator.timeline import Timeline
from ddlwa.simulator.types import FreezeMoment, HttpRequest, HttpResponse, Invocation, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from ddlwa.simulator.agent import TraceAgent
    from ddlwa.simulator.freezer import Freezer
    from ddlwa.simulator.process import ChildProcess
    from ddlwa.simulator.runtime_api import Outcome

__all__ = ["Sandbox"]

_STOPPER = Path(__file__).parent / "stopper"
_REAL_FREEZE_LIMIT_NS = 2_000_000_000
_ADAPTER = "lambda-adapter"  # the name under which LWA registers as an extension
_EXTENSION_LIMIT = 10


class _State(enum.Enum):
    """The life of a sandbox.

    ::

        NEW ──start──▶ RUNNING ──invoke──▶ STOPPED
                          ▲                   │ ▲
                          └───────thaw────────┘ └ freeze
        any ──shutdown──▶ CLOSED
    """

    NEW = "not started"
    RUNNING = "running"
    STOPPED = "stopped"
    CLOSED = "shut down"


class Sandbox:
    """A simulated Lambda sandbox that runs an HTTP app, for the time of an ``async with`` block.

    The app is a child process; the Runtime API, the Extensions API and an adapter like AWS's Lambda Web
    Adapter run on the current event loop. Invocations come one at a time, and after each all processes
    of the sandbox are stopped until the next.

    Args:
        command: Starts the app's HTTP server; ``{port}`` in it becomes the port.
        port: The app's port on 127.0.0.1, None for a free one. The app finds it in ``PORT`` too.
        env: Variables for the app, on top of this process's own and of Lambda's.
        cwd: The app's working directory, None for the current one.
        agent: Where the app sends its traces, if anywhere.
        adapter: What stands between Lambda and the app: ``"builtin"``, ``"lwa"`` for AWS's Lambda Web
            Adapter on PATH, the path of its executable, or None where the command is itself a runtime
            that asks the Runtime API for invocations.
        invoke_mode: How responses are posted; None for what ``AWS_LWA_INVOKE_MODE`` says.
        extensions: Commands of external extensions, started before the app.
        moment: When the app is frozen.
        freezer: ``"signal"`` for SIGSTOP, ``"cgroup"`` for the cgroup v2 freezer, ``"auto"`` for that where
            it is permitted.
        max_concurrency: Where given, the sandbox is one of Lambda Managed Instances, which serve that
            many invocations at a time and are never frozen.
        function_name: The function's name, as the app is told.
        memory_mb: The function's memory, as the app is told, in MiB.
        timeout_s: The function's timeout, in seconds.
        ready_timeout_s: How long the init phase may take, until the app is ready, in seconds.

    Raises:
        AdapterFailedError: There is no such adapter; from ``async with``: it could not be started or exited.
        AppFailedError: From ``async with``: the app could not be started or did not become ready.
        FreezeError: From ``async with``: there is no cgroup freezer, or it is not permitted.
        SimulatorError: There are too many extensions; from ``async with``: one of them failed.
    """

    def __init__(  # noqa: PLR0913 -- a sandbox has that many settings, all by name
        self,
        command: Sequence[str],
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        agent: TraceAgent | None = None,
        adapter: Literal["builtin", "lwa"] | Path | None = "builtin",
        invoke_mode: InvokeMode | None = None,
        extensions: Sequence[Sequence[str]] = (),
        moment: FreezeMoment = FreezeMoment.ADVERSARIAL,
        freezer: Literal["signal", "cgroup", "auto"] = "signal",
        max_concurrency: int | None = None,
        function_name: str = "ddlwa-check",
        memory_mb: int = 512,
        timeout_s: float = 30.0,
        ready_timeout_s: float = 10.0,
    ) -> None:
        self.port = port or free_ports(1)[0]
        self.can_jump = False
        """Whether a freeze can be of any length at once; where not, it is short and takes real time."""
        self._port_is_given = port is not None
        self._command = list(command)
        self._env = dict(env or {})
        self._cwd = cwd
        self._agent = agent
        self._binary: LwaBinary | None = None
        if adapter not in ("builtin", None):
            self._binary = LwaBinary.find(None if adapter == "lwa" else Path(adapter))
        self._has_adapter = adapter is not None
        self._invoke_mode = invoke_mode
        self._extensions = [list(one) for one in extensions]
        if len(self._extensions) + self._has_adapter > _EXTENSION_LIMIT:
            raise SimulatorError(
                f"{len(self._extensions)} extensions are too many: Lambda has at most {_EXTENSION_LIMIT}, "
                "and the adapter is one"
            )
        self._freezing = freezer
        self._max_concurrency = max_concurrency
        self._served = 0
        # Where the command is a runtime itself, or nothing is frozen, no HTTP response stops it.
        self._stops_itself = (
            moment is FreezeMoment.ADVERSARIAL and self._has_adapter and max_concurrency is None
        )
        self._function = Function(name=function_name, memory_mb=memory_mb, timeout_s=timeout_s)
        self._ready_timeout_s = ready_timeout_s
        self._state = _State.NEW
        self._stack = contextlib.AsyncExitStack()
        self._lifecycle: Lifecycle | None = None
        self._adapter: BuiltinAdapter | LwaAdapter | None = None
        self._clock = SandboxClock(library=find_library())
        self._timeline = Timeline(0)

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            raise SimulatorError(f"the sandbox is {self._state.value}; make a new one for each use")
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        self._state = _State.RUNNING
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown()

    async def invoke(
        self,
        asks: HttpRequest | dict[str, Any] | list[Any],
        *,
        source: EventSource = EventSource.FUNCTION_URL,
        stage: str | None = None,
    ) -> Invocation:
        """Deliver a request or an event as an invocation; return when it is over and the sandbox stopped.

        A frozen sandbox is thawed first. With ``max_concurrency`` so many calls may be under way at a
        time; each returns when its response is there, and nothing is stopped.

        Args:
            asks: What a client asks, or any event as it is.
            source: What the client asks, if it is a client.
            stage: The stage of the API that it asks, None for the default one.

        Raises:
            AppFailedError: The app exited.
            FreezeError: A process of the sandbox could not be stopped.
            InvocationTimeoutError: The invocation was not over within the function's timeout; the sandbox
                is then killed and shut down, except with ``max_concurrency``.
            SimulatorError: An extension or the adapter failed; there are too many invocations at a time.
        """
        limit = 1 if self._max_concurrency is None else self._max_concurrency
        if self._served >= limit:
            raise SimulatorError(
                f"the sandbox serves {self._served} invocations, and can serve {limit} at a time"
            )
        self._served += 1
        try:
            return await self._invoke(asks, source=source, stage=stage)
        finally:
            self._served -= 1

    async def freeze(self, duration: int | str) -> None:
        """Let time pass for the stopped sandbox: at once, or really but at most 2 s if it can't jump.

        Args:
            duration: How long the freeze is: in nanoseconds, or a text such as ``"3h"`` or ``"1h30m"``.

        Raises:
            FreezeError: The sandbox is not stopped.
            SimulatorError: The clock's file cannot be written.
            ValueError: The text is no duration.
        """
        duration_ns = parse_duration(duration) if isinstance(duration, str) else duration
        if self._max_concurrency is not None:
            raise FreezeError(
                "Lambda Managed Instances are never frozen: leave max_concurrency out", part="app"
            )
        if self._state is not _State.STOPPED:
            raise FreezeError(
                f"the sandbox is {self._state.value}; freeze it after an invocation", part="app"
            )
        if self.can_jump:
            self._clock.jump(duration_ns)
        else:
            await asyncio.sleep(min(duration_ns, _REAL_FREEZE_LIMIT_NS) / 1e9)

    async def thaw(self) -> None:
        """Let a stopped sandbox run on; one that runs is left alone.

        Raises:
            SimulatorError: The sandbox is not started or shut down.
        """
        if self._state not in (_State.RUNNING, _State.STOPPED):
            raise SimulatorError(f"the sandbox is {self._state.value}; use it inside its `async with`")
        if self._state is _State.STOPPED:
            self._timeline.turn(self.now_ns(), frozen=True)
            self._state = _State.RUNNING
            self._running.thaw()

    async def run_for(self, seconds: float) -> None:
        """Let the sandbox run with nothing to serve, so that late work gets done; it stays thawed.

        Args:
            seconds: For how long, in seconds.

        Raises:
            AppFailedError: The app exited.
        """
        await self.thaw()
        if await self._process.wait_exited(timeout_s=seconds):
            raise self._running.app_exited("while nothing was asked of it")

    async def traces(self) -> dict[int, list[dict[str, Any]]]:
        """Return the spans that the agent has received, as it decodes them, by the trace's low 64 bits.

        Raises:
            AgentFailedError: The agent does not answer.
            SimulatorError: The sandbox has no agent.
        """
        if self._agent is None:
            raise SimulatorError("the sandbox has no trace agent; give it one: Sandbox(..., agent=agent)")
        return await self._agent.all_traces()

    def timeline(self) -> tuple[Window, ...]:
        """Return when the app ran and when it was frozen, since its start and without gaps."""
        if self._state in (_State.RUNNING, _State.STOPPED):
            return self._timeline.windows_until(self.now_ns(), frozen=self._state is _State.STOPPED)
        return self._timeline.windows()

    def now_ns(self) -> int:
        """Return the sandbox's wall clock, in nanoseconds since the epoch."""
        return self._clock.now_ns()

    def output(self) -> str:
        """Return what the app printed, the last 256 KiB."""
        return self._lifecycle.output if self._lifecycle else ""

    async def shutdown(self) -> None:
        """End the sandbox as Lambda does; safe to call again.

        SIGTERM to the app and the SHUTDOWN event to the extensions that want it; SIGKILL after 2 s if there
        are external extensions (the adapter is one), after 500 ms if there are only internal ones, at once
        if there are none.
        """
        await self._shut_down("spindown")

    @property
    def _running(self) -> Lifecycle:
        if self._lifecycle is None:
            raise SimulatorError(f"the sandbox is {self._state.value}; use it inside its `async with`")
        return self._lifecycle

    @property
    def _process(self) -> ChildProcess:
        return self._running.app

    async def _invoke(
        self, asks: HttpRequest | dict[str, Any] | list[Any], *, source: EventSource, stage: str | None
    ) -> Invocation:
        await self.thaw()
        request_id, started_ns = str(uuid.uuid4()), self.now_ns()
        event = self._event(asks, request_id=request_id, now_ns=started_ns, source=source, stage=stage)
        came_from = source if isinstance(asks, HttpRequest) else source_of(asks)
        outcome, frozen_ns = await self._serve(event)
        if self._adapter is not None and self._stops_itself:
            await self._adapter.forget_connections()
        response, error = None, outcome.error
        if outcome.response is not None and came_from is not None:
            try:
                response = _http_response(outcome, came_from)
            except ValueError as invalid:
                error = error or str(invalid)
        return Invocation(
            request_id=request_id,
            request=asks if isinstance(asks, HttpRequest) else None,
            event=event.payload,
            payload=outcome.response,
            response=response,
            error=error,
            started_ns=started_ns,
            responded_ns=self._clock.at(outcome.wall_ns),
            frozen_ns=frozen_ns,
        )

    async def _serve(self, event: Event) -> tuple[Outcome, int]:
        """Have an invocation served; return its outcome, and when the sandbox was stopped or it was over."""
        timeout_s = self._function.timeout_s
        if self._max_concurrency is not None:
            outcome = await self._running.invoke_among_others(event, timeout_s=timeout_s)
            return outcome, self._clock.at(outcome.wall_ns)
        try:
            outcome, wall_ns = await self._running.invoke(event, timeout_s=timeout_s)
        except InvocationTimeoutError:
            await self._shut_down("timeout")
            raise
        except BaseException:
            await self._shut_down("failure")
            raise
        frozen_ns = self._clock.at(wall_ns)
        self._timeline.turn(frozen_ns, frozen=False)
        self._state = _State.STOPPED
        return outcome, frozen_ns

    async def _shut_down(self, reason: str) -> None:
        started = self._state in (_State.RUNNING, _State.STOPPED)
        if self._state is _State.STOPPED:
            self._timeline.turn(self.now_ns(), frozen=True)  # SIGTERM comes with a thaw
        self._state = _State.CLOSED
        try:
            if started:
                await self._running.shut_down(reason=reason, now_ms=self.now_ns() // 1_000_000)
        finally:
            await self._stack.aclose()
            if started:
                self._timeline.turn(self.now_ns(), frozen=False)

    def _reserve_port(self, stack: contextlib.AsyncExitStack) -> None:
        """Keep others away: who listens there would answer the readiness check in the app's place."""
        try:
            stack.enter_context(reserved(self.port, lingering=self._port_is_given))
        except OSError:
            if self._port_is_given:
                raise AppFailedError(
                    f"port {self.port} for the app is taken; choose another", part="app"
                ) from None
            self.port = stack.enter_context(reserved())

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        self._reserve_port(stack)
        directory = _make_directory(stack)
        self._clock.keep_in(directory)
        external = {" ".join(command): extension_names(command) for command in self._extensions}
        if self._has_adapter:
            external["the adapter"] = frozenset({_ADAPTER})
        self._api = LocalApi(
            function=self._function, external=external, one_at_a_time=self._max_concurrency is None
        )
        stack.push_async_callback(self._api.close)
        await self._api.start()
        freezer = self._make_freezer()
        stack.callback(freezer.close)
        self._lifecycle = Lifecycle(api=self._api, freezer=freezer, stops_itself=self._stops_itself)
        stack.push_async_callback(self._lifecycle.kill)
        self._timeline = Timeline(self.now_ns())
        await self._initialize(stack, self._lifecycle, directory / "stopper")
        self.can_jump = self._clock.attached(self._process.pid)

    async def _initialize(
        self, stack: contextlib.AsyncExitStack, lifecycle: Lifecycle, ready_file: Path
    ) -> None:
        """Go through the init phase: external extensions, then the app with its adapter."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._ready_timeout_s
        environment = self._environment()
        await lifecycle.start_extensions(
            [
                Launch(command=command, env=environment, cwd=self._cwd, part="extension")
                for command in self._extensions
            ],
            timeout_s=self._ready_timeout_s,
        )
        command = [item.replace("{port}", str(self.port)) for item in self._command]
        env = _with_stopper(environment, ready_file) if self._stops_itself else environment
        lifecycle.start_app(Launch(command=command, env=env, cwd=self._cwd, part="app"))
        if self._has_adapter:
            self._adapter = adapter = self._make_adapter(environment)
            await adapter.__aenter__()
            stack.push_async_exit(adapter)
            run = asyncio.create_task(adapter.run(), name="ddlwa-adapter")
            lifecycle.watch(run, process=adapter.process)
        if not await lifecycle.wait_initialized(timeout_s=deadline - loop.time()):
            raise AppFailedError(
                f"the app was not ready within {self._ready_timeout_s:g} s: {self._not_ready()}",
                part="app",
                output=self.output(),
            )
        if self._api.extensions.wants_invocations():
            # Lambda waits for such an extension, so the app must not stop itself before it has.
            ready_file.with_suffix(".off").touch()
        elif self._stops_itself and not ready_file.exists():  # noqa: ASYNC240 -- one look at a local file
            raise SimulatorError(
                "the app cannot be stopped at the end of a response: that needs uvicorn (h11 or httptools), "
                "and the app's process has not loaded it; use FreezeMoment.FAITHFUL for other servers",
                part="app",
                output=self.output(),
            )

    def _not_ready(self) -> str:
        """Say what the init phase still waited for."""
        api = self._api
        if not api.runtime.started:
            if self._has_adapter:
                return (
                    f"nothing answered the readiness check on port {self.port} with a status below 500; "
                    "does it listen on 127.0.0.1:$PORT?"
                )
            return "it has not asked the Runtime API for its first invocation"
        waiting = [*api.extensions.missing, *api.extensions.busy]
        return f"not all extensions have registered and asked for their next event: {waiting}"

    def _make_freezer(self) -> Freezer:
        if self._freezing == "signal":
            return SignalFreezer()
        parent = find_cgroup()
        if parent is not None:
            return CgroupFreezer(parent)
        if self._freezing == "auto":
            return SignalFreezer()
        raise FreezeError('there is no cgroup v2 here that may be frozen; use freezer="signal"')

    def _make_adapter(self, environment: Mapping[str, str]) -> BuiltinAdapter | LwaAdapter:
        if self._binary is not None:
            return LwaAdapter(
                self._binary, environment=environment, port=self.port, relayed=self._stops_itself
            )
        return BuiltinAdapter(
            runtime_api=self._api.address,
            port=self.port,
            function=self._function,
            options=AdapterOptions.read(environment),
        )

    def _environment(self) -> dict[str, str]:
        """Return the environment of every process of the sandbox."""
        environment = {
            **os.environ,
            **self._function.variables(runtime_api=self._api.address),
            # A process that is killed loses what it has not written.
            "PYTHONUNBUFFERED": "1",
        }
        if self._agent is not None:
            environment["DD_TRACE_AGENT_URL"] = self._agent.url
        environment.update(self._env)
        environment.update(self._clock.environment(environment))
        environment.update(AWS_LWA_PORT=str(self.port), PORT=str(self.port))
        if self._invoke_mode is not None:
            environment["AWS_LWA_INVOKE_MODE"] = self._invoke_mode.value
        if self._max_concurrency is not None:
            environment["AWS_LAMBDA_MAX_CONCURRENCY"] = str(self._max_concurrency)
        return environment

    def _event(
        self,
        asks: HttpRequest | dict[str, Any] | list[Any],
        *,
        request_id: str,
        now_ns: int,
        source: EventSource,
        stage: str | None,
    ) -> Event:
        trace_id = (
            f"Root=1-{now_ns // 1_000_000_000:08x}-{secrets.token_hex(12)};"
            f"Parent={secrets.token_hex(8)};Sampled=0"
        )
        payload: Any = asks
        if isinstance(asks, HttpRequest):
            arrival = Arrival(
                request_id=request_id, trace_id=trace_id, now_ns=now_ns, function=self._function, stage=stage
            )
            payload = http_event(asks, arrival, source=source)
        return Event(
            request_id=request_id,
            deadline_ms=now_ns // 1_000_000 + int(self._function.timeout_s * 1000),
            function_arn=self._function.arn,
            trace_id=trace_id,
            payload=payload,
        )


def _make_directory(stack: contextlib.AsyncExitStack) -> Path:
    """Make a folder for the sandbox's files, for the life of a stack."""
    try:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ddlwa-sandbox-")))
    except OSError as error:
        raise SimulatorError(
            f"the sandbox's files cannot be kept: {error}; is the disk full? TMPDIR leads elsewhere"
        ) from error


def _with_stopper(environment: Mapping[str, str], ready_file: Path) -> dict[str, str]:
    """Return an environment whose Python processes stop themselves at the end of a response."""
    path = environment.get("PYTHONPATH")
    return {
        **environment,
        "PYTHONPATH": f"{_STOPPER}{os.pathsep}{path}" if path else str(_STOPPER),
        "DDLWA_SIMULATOR_STOPPER": str(ready_file),
    }


def _http_response(outcome: Outcome, source: EventSource) -> HttpResponse:
    payload = outcome.response or b""
    return streamed_http_response(payload) if outcome.streamed else http_response(payload, source=source)
