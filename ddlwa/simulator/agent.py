"""A trace agent that remembers what it received: ``ddapm-test-agent`` as a child process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from ddlwa.simulator.errors import AgentFailedError, SimulatorError
from ddlwa.simulator.ports import reserved
from ddlwa.simulator.process import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["TraceAgent"]

_LOW_64_BITS = (1 << 64) - 1
_POLL_S = 0.02
_REQUEST_TIMEOUT_S = 10.0
_MAIN = "from ddapm_test_agent.agent import main; main()"
# Variables that would change what the agent does, or load a tracer into it.
_NOT_INHERITED = (
    "DD_",
    "PYTHON",
    "LD_PRELOAD",
    "FAKETIME",
    "ENABLED_CHECKS",
    "MAX_REQUESTS",
    "SNAPSHOT_",
    "VCR_",
    "WEB_UI_",
)


class TraceAgent:
    """A trace agent on 127.0.0.1, for the time of an ``async with`` block.

    Args:
        ready_timeout_s: How long it may take to answer, in seconds.

    Raises:
        AgentFailedError: It exited, or did not answer in time.
    """

    def __init__(self, *, ready_timeout_s: float = 20.0) -> None:
        self._ready_timeout_s = ready_timeout_s
        self._stack = contextlib.AsyncExitStack()
        self._traces: dict[int, list[dict[str, Any]]] = {}
        self._segment = 0
        self._collecting = asyncio.Lock()
        self.url = ""

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def output(self) -> str:
        """What the agent last printed."""
        return self._process.output

    async def traces(self, trace_ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
        """Return the spans received so far of some traces.

        Args:
            trace_ids: The traces' ids; of a 128-bit id the low 64 bits count.

        Returns:
            By the low 64 bits of the id, the spans as the agent decodes them, those of all chunks of the
            trace and in no particular order. A trace that has not arrived is missing.
        """
        await self._collect()
        wanted = {trace_id & _LOW_64_BITS for trace_id in trace_ids}
        return {trace_id: list(self._traces[trace_id]) for trace_id in wanted if trace_id in self._traces}

    async def all_traces(self) -> dict[int, list[dict[str, Any]]]:
        """Return the spans of every trace received since the start or the last ``clear``, by its id."""
        await self._collect()
        return {trace_id: list(spans) for trace_id, spans in self._traces.items()}

    async def clear(self) -> None:
        """Forget everything received so far."""
        await self._collect()
        self._traces.clear()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        port, otlp_http, otlp_grpc = (stack.enter_context(reserved()) for _ in range(3))
        self.url = f"http://127.0.0.1:{port}"
        # It keeps files in its working directory.
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="ddlwa-agent-"))
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
        }
        # By variables, for an agent that lacks an option exits, and one that lacks a variable does without.
        environment |= {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "OTLP_HTTP_PORT": str(otlp_http),
            "OTLP_GRPC_PORT": str(otlp_grpc),
            "LOG_LEVEL": "CRITICAL",
        }
        try:
            self._process = ChildProcess(
                [sys.executable, "-c", _MAIN],
                env=environment,
                cwd=Path(directory),
                part="trace agent",
            )
        except SimulatorError as error:
            raise AgentFailedError(str(error), part=error.part) from error
        stack.push_async_callback(self._process.close)
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
        self._session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        try:
            await asyncio.wait_for(self._wait_ready(), self._ready_timeout_s)
        except asyncio.TimeoutError:
            raise self._failed(f"did not answer on {self.url} within {self._ready_timeout_s:g} s") from None
        await self._get("/test/session/start", self._segment)

    async def _wait_ready(self) -> None:
        while not self._process.exited:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                async with self._session.get(f"{self.url}/info") as response:
                    await response.read()
                    return
            await asyncio.sleep(_POLL_S)
        raise self._failed(f"exited with code {self._process.returncode} before it answered")

    async def _collect(self) -> None:
        """Move what the agent has into our own memory.

        The agent decodes all that it holds for every question, so it is emptied as we go. To lose
        nothing that arrives meanwhile, its sessions serve as segments: what comes after the start of
        segment n+1 is not in segment n, which is then read and dropped whole.
        """
        async with self._collecting:
            full = self._segment
            self._segment += 1
            await self._get("/test/session/start", self._segment)
            traces = await self._get("/test/session/traces", full)
            await self._get("/test/session/clear", full)
            for spans in traces:
                for span in spans:
                    self._traces.setdefault(span["trace_id"] & _LOW_64_BITS, []).append(span)

    async def _get(self, path: str, segment: int) -> Any:
        parameters = {"test_session_token": f"ddlwa-{segment}"}
        try:
            async with self._session.get(f"{self.url}{path}", params=parameters) as response:
                response.raise_for_status()
                return await response.json() if path.endswith("traces") else await response.read()
        except (aiohttp.ClientError, ConnectionError, asyncio.TimeoutError) as error:
            raise self._failed(f"did not answer {path}: {error!r}") from error

    def _failed(self, what: str) -> AgentFailedError:
        return AgentFailedError(
            f"the trace agent {what}; is ddapm-test-agent installed (pip install 'ddlwa[check]')?",
            part="trace agent",
            output=self._process.output,
        )
