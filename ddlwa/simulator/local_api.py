"""Lambda's two local APIs on one address, with the moment at which the sandbox may be frozen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ddlwa.simulator.extensions_api import ExtensionsApi
from ddlwa.simulator.http_server import HttpServer
from ddlwa.simulator.runtime_api import RuntimeApi

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ddlwa.simulator.environment import Function
    from ddlwa.simulator.runtime_api import Event, Outcome

__all__ = ["LocalApi"]


class LocalApi:
    """Serves the Runtime API and the Extensions API on 127.0.0.1.

    Args:
        function: The function.
        external: By label, the names under which each external extension may register.
        one_at_a_time: Whether the runtime has one invocation at a time.
    """

    def __init__(
        self,
        *,
        function: Function,
        external: Mapping[str, Collection[str]] | None = None,
        one_at_a_time: bool = True,
    ) -> None:
        self.on_idle: Callable[[], None] | None = None
        """Called once, and at once, when the sandbox becomes idle; the place for a freeze."""
        self._changed: set[asyncio.Future[None]] = set()
        self.runtime = RuntimeApi(one_at_a_time=one_at_a_time, on_change=self._on_change)
        self.extensions = ExtensionsApi(
            function=function,
            external=external or {},
            registration_open=lambda: not self.runtime.started,
            on_change=self._on_change,
        )
        self._server = HttpServer([*self.runtime.routes, *self.extensions.routes])

    @property
    def address(self) -> str:
        """Host and port."""
        return self._server.address

    @property
    def idle(self) -> bool:
        """Whether the runtime and every extension have asked for what comes next: Lambda may freeze."""
        return self.runtime.ready and not self.extensions.busy and not self.extensions.missing

    async def start(self) -> None:
        """Listen on a free port, which ``address`` then names."""
        await self._server.start()

    async def close(self) -> None:
        """Stop listening; safe to call again."""
        await self._server.close()

    def invoke(self, event: Event) -> asyncio.Future[Outcome]:
        """Deliver an invocation to the runtime and the extensions; return the future of its outcome."""
        self.extensions.invoke(event)
        return self.runtime.submit(event)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the two APIs holds."""
        while not condition():
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.add(changed)
            try:
                await changed
            finally:
                self._changed.discard(changed)

    async def wait_idle(self) -> None:
        """Wait until the sandbox is idle."""
        await self.wait_for(lambda: self.idle)

    def _on_change(self) -> None:
        if self.on_idle is not None and self.idle:
            on_idle, self.on_idle = self.on_idle, None
            on_idle()
        for changed in self._changed:
            if not changed.done():
                changed.set_result(None)
