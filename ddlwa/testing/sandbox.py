"""A simulated Lambda for plain, synchronous tests."""

from __future__ import annotations

import json as json_
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ddlwa.check import session
from ddlwa.simulator import EventSource, HttpRequest, parse_duration
from ddlwa.testing.errors import FixtureError
from ddlwa.testing.evidence import Delivered, find_context, make_trace
from ddlwa.testing.invocation import LambdaInvocation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.from_thread import BlockingPortal

    from ddlwa.report.model import Mode, Window
    from ddlwa.simulator import Invocation, Sandbox, TraceAgent
    from ddlwa.testing.trace import Trace

__all__ = ["LambdaSandbox"]

_TRACE_ID = "x-datadog-trace-id"


class LambdaSandbox:
    """An app in a simulated Lambda that is stopped after each invocation; each call waits until it is done.

    Args:
        sandbox: Started.
        agent: Receives its traces, and no others.
        portal: The event loop on which both live.
        mode: What traces the app.
    """

    def __init__(self, sandbox: Sandbox, *, agent: TraceAgent, portal: BlockingPortal, mode: Mode) -> None:
        self._sandbox = sandbox
        self._agent = agent
        self._portal = portal
        self._mode = mode
        self._delivered: dict[str, Delivered] = {}
        self._frozen: set[str] = set()
        self._last: LambdaInvocation | None = None

    def invoke(  # noqa: PLR0913  # an HTTP request has that many parts, all but two by name
        self,
        method_or_path: str,
        path: str | None = None,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | str = b"",
        source: EventSource = EventSource.FUNCTION_URL,
        stage: str | None = None,
    ) -> LambdaInvocation:
        """Send a request; return when its invocation is over and the sandbox stopped.

        ``invoke("/items/1")`` is a GET, ``invoke("POST", "/orders", json={"item": 1})`` names its method.
        Unless the headers say which trace to continue, they get ids by which the trace is found.

        Args:
            method_or_path: The path of a GET, or the method.
            path: The path, with its query, after a method.
            headers: Names and values.
            params: The query's parameters; a list gives a parameter several values.
            json: Sent as the body, with its content type.
            content: The body as it is.
            source: What invokes the function with HTTP requests.
            stage: The stage of the API, None for the default one.

        Raises:
            FixtureError: There is no path that begins with a slash, or two bodies.
            SimulatorError: The invocation had no end.
        """
        method, path = ("GET", method_or_path) if path is None else (method_or_path.upper(), path)
        if not path.startswith("/"):
            raise FixtureError(
                f"{path!r} is no path, which begins with a slash: write "
                'invoke("/items/1"), or invoke("POST", "/orders")'
            )
        if params:
            path += ("&" if "?" in path else "?") + urlencode(params, doseq=True)
        lines = {name.lower(): value for name, value in (headers or {}).items()}
        body = content.encode() if isinstance(content, str) else content
        if json is not None:
            if body:
                raise FixtureError("json and content are two bodies: give one of them")
            body = json_.dumps(json).encode()
            lines.setdefault("content-type", "application/json")
        context = None
        if _TRACE_ID not in lines:
            context = session.TraceContext.draw()
            lines.update(context.headers)
        request = HttpRequest(method=method, path=path, headers=tuple(lines.items()), body=body)
        return self._call(request, label=f"{method} {path}", context=context, source=source, stage=stage)

    def event(self, event: dict[str, Any] | list[Any]) -> LambdaInvocation:
        """Deliver an event as it is, such as one of SQS; return when its invocation is over.

        Args:
            event: What the function gets; the adapter posts it to the app's ``/events``.

        Raises:
            SimulatorError: The invocation had no end.
        """
        return self._call(event, label="event")

    def freeze(self, duration: str = "3h") -> None:
        """Let time pass for the sandbox, which an invocation has left stopped; it takes none here.

        Where the clock of this platform can't be moved (`can_jump`), the freeze is real and 50 ms at most.

        Args:
            duration: How long, such as ``"3h"`` or ``"1h30m"``.

        Raises:
            FreezeError: The sandbox runs.
            ValueError: The text is no duration.
        """
        self._portal.call(session.freeze, self._sandbox, parse_duration(duration))
        if self._last is not None:
            self._frozen.add(self._last.raw.request_id)

    def run_for(self, seconds: float) -> None:
        """Thaw the sandbox, and let it run with nothing to serve, so that late work gets done.

        Args:
            seconds: For how long.

        Raises:
            AppFailedError: The app exited.
        """
        self._portal.call(self._sandbox.run_for, seconds)

    def trace(self, invocation: LambdaInvocation | None = None) -> Trace:
        """Thaw the sandbox, wait until no more spans come (3 s at most), and judge what an invocation left.

        Args:
            invocation: One of this sandbox's; None for the last.

        Raises:
            AppFailedError: The app exited.
            FixtureError: There was no invocation, or it is another sandbox's.
        """
        invocation = invocation or self._last
        if invocation is None:
            raise FixtureError('nothing was invoked yet: call sandbox.invoke("/") before sandbox.trace()')
        one = self._delivered.get(invocation.raw.request_id)
        if one is None:
            raise FixtureError(f"{invocation!r} is an invocation of another sandbox")
        return self._portal.call(self._trace, one)

    @property
    def can_jump(self) -> bool:
        """Whether freezes can be of any length; where not, they are short and real."""
        return self._sandbox.can_jump

    def timeline(self) -> tuple[Window, ...]:
        """Return when the sandbox ran and when it was frozen."""
        return session.windows(self._sandbox)

    def output(self) -> str:
        """Return what the app printed, the last 256 KiB."""
        return self._sandbox.output()

    def _call(
        self,
        asks: HttpRequest | dict[str, Any] | list[Any],
        *,
        label: str,
        context: session.TraceContext | None = None,
        **origin: Any,
    ) -> LambdaInvocation:
        raw, received = self._portal.call(partial(self._invoke, asks, **origin))
        self._delivered[raw.request_id] = Delivered(
            invocation=raw,
            label=label,
            number=len(self._delivered) + 1,
            context=context,
            arrived=frozenset(span["span_id"] for spans in received.values() for span in spans),
        )
        self._last = LambdaInvocation(raw, label=label)
        return self._last

    async def _invoke(
        self, asks: HttpRequest | dict[str, Any] | list[Any], **origin: Any
    ) -> tuple[Invocation, dict[int, list[dict[str, Any]]]]:
        raw = await self._sandbox.invoke(asks, **origin)
        return raw, await self._agent.all_traces()

    async def _trace(self, one: Delivered) -> Trace:
        context = None
        for _ in range(session.SETTLE_STEPS):
            context = find_context(one, await self._agent.all_traces())
            if context is not None:
                break
            await self._sandbox.run_for(session.SETTLE_STEP_S)
        trace_ids = set() if context is None else {context.trace_id}
        await session.settle(self._sandbox, self._agent, trace_ids=trace_ids)
        return make_trace(
            one,
            await self._agent.all_traces(),
            timeline=self.timeline(),
            mode=self._mode,
            frozen=one.invocation.request_id in self._frozen,
        )
