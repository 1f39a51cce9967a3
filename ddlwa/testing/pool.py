"""Starts sandboxes for tests on an event loop in a thread, and lends each a trace agent."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from anyio.from_thread import start_blocking_portal

from ddlwa.check import launch
from ddlwa.check.session import make_sandbox
from ddlwa.report.model import Mode
from ddlwa.simulator import SimulatorError, TraceAgent
from ddlwa.testing.errors import FixtureError
from ddlwa.testing.sandbox import LambdaSandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anyio.from_thread import BlockingPortal
    from typing_extensions import Self

    from ddlwa.testing.options import Options

__all__ = ["SandboxPool"]


class SandboxPool:
    """An event loop for sandboxes, and the trace agents that nobody uses, for the time of a ``with`` block.

    An agent takes half a second to start, so it serves one sandbox after the other.

    Args:
        cwd: Where apps are started.
    """

    def __init__(self, *, cwd: Path) -> None:
        self._cwd = cwd
        self._stack = ExitStack()
        self._idle: list[TraceAgent] = []

    def __enter__(self) -> Self:
        self._portal: BlockingPortal = self._stack.enter_context(start_blocking_portal(backend="asyncio"))
        return self

    def __exit__(self, *_: object) -> None:
        self._idle.clear()
        self._stack.close()

    @contextmanager
    def start(self, options: Options) -> Iterator[LambdaSandbox]:
        """Start an app in a sandbox, for the time of a ``with`` block.

        Args:
            options: What to start.

        Raises:
            FixtureError: The app does not get ready, or a part of the simulated Lambda failed.
        """
        mode = Mode.PLAIN if options.mode == "plain" else Mode.DDLWA
        with ExitStack() as stack:
            try:
                agent = self._lend(stack)
                sandbox = make_sandbox(
                    options.app,
                    mode=mode,
                    environment=_environment(options, mode=mode),
                    agent=agent,
                    adapter=options.adapter,
                    invoke_mode=options.invoke_mode,
                    moment=options.moment,
                    cwd=self._cwd,
                )
                stack.enter_context(self._portal.wrap_async_context_manager(sandbox))
            except SimulatorError as error:
                raise FixtureError(
                    f"{options.app} cannot be tested in a sandbox: {error}\n"
                    f"It was started in {self._cwd}, with the import path of this process.\n{error.output}"
                ) from error
            yield LambdaSandbox(sandbox, agent=agent, portal=self._portal, mode=mode)

    def _lend(self, stack: ExitStack) -> TraceAgent:
        """Give an agent to whoever owns the stack; afterwards it is idle again."""
        if self._idle:
            agent = self._idle.pop()
            self._portal.call(agent.clear)
        else:
            agent = TraceAgent()
            self._stack.enter_context(self._portal.wrap_async_context_manager(agent))
        stack.callback(self._idle.append, agent)
        return agent


def _environment(options: Options, *, mode: Mode) -> dict[str, str]:
    ours = launch.environment(os.environ, mode=mode)
    if options.mode is not None and mode is Mode.DDLWA:
        ours["DDLWA_MODE"] = options.mode
    # What a test can import, its app can import, too.
    ours["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109  # a text
    return {**ours, **options.env}
