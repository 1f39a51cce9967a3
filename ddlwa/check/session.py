"""Invoke, freeze, invoke: one pass over the requests in a sandbox, and what its traces tell."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddlwa.check import launch
from ddlwa.check.errors import InvocationFailedError
from ddlwa.check.spans import attribute, parse
from ddlwa.check.verdict import Evidence, judge, judge_other
from ddlwa.report.model import RouteResult, Run, Window
from ddlwa.simulator import FreezeMoment, HttpRequest, Sandbox, SimulatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ddlwa.check.plan import Planned
    from ddlwa.check.spans import Span
    from ddlwa.report.model import InvocationResult, Mode
    from ddlwa.simulator import Invocation, InvokeMode, LwaBinary, TraceAgent

_ID_BITS = 63
_USER_KEEP = "2"
# Traces that were not sent before a freeze come with the writer's next period, which is a second.
SETTLE_STEP_S = 0.25
SETTLE_STEPS = 12
# Where a freeze takes the time that it lasts: enough to be told from a slow request.
_REAL_FREEZE_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The span that a request is told to continue.

    Attributes:
        trace_id: Below 2 ** 63, as the parent's id.
        parent_id: The span's own id.
    """

    trace_id: int
    parent_id: int

    @classmethod
    def draw(cls) -> TraceContext:
        """Choose ids that nobody else has."""
        return cls(*(1 + secrets.randbits(_ID_BITS) for _ in range(2)))

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Tell it in Datadog's headers, sampled in any case."""
        return (
            ("x-datadog-trace-id", str(self.trace_id)),
            ("x-datadog-parent-id", str(self.parent_id)),
            ("x-datadog-sampling-priority", _USER_KEEP),
        )


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request that was answered or not, and the spans of its trace that were there at the stop."""

    planned: Planned
    context: TraceContext
    invocation: Invocation
    arrived: frozenset[int]


async def measure(  # noqa: PLR0913  # one call per run; each of these is a thing of its own
    app: str,
    *,
    mode: Mode,
    requests: Sequence[Planned],
    freeze_ns: int,
    agent: TraceAgent,
    adapter: LwaBinary | None = None,
    invoke_mode: InvokeMode | None = None,
    command: Sequence[str] | None = None,
    on_invocation: Callable[[int], None],
) -> Run:
    """Run the app through all requests, with a freeze after each.

    Args:
        app: `MODULE:ATTR`.
        mode: What traces the app.
        requests: At least one, in the order in which they are sent.
        freeze_ns: How long each freeze lasts.
        agent: Receives the traces; emptied first.
        adapter: The Lambda Web Adapter to use, or None for the built-in one.
        invoke_mode: How it posts responses; None for what the environment says.
        command: Starts the app, `{port}` in it becomes the port; None for what the mode says.
        on_invocation: Called after each invocation with its number, from 1.

    Raises:
        InvocationFailedError: An invocation had no end.
        SimulatorError: The app does not get ready, or a part of the simulated Lambda failed.
    """
    begun_s = time.monotonic()
    await agent.clear()
    sandbox = make_sandbox(
        app,
        mode=mode,
        environment=launch.environment(os.environ, mode=mode),
        agent=agent,
        adapter=adapter,
        invoke_mode=invoke_mode,
        command=command,
    )
    sent: list[_Sent] = []
    async with sandbox:
        for number, planned in enumerate(requests, 1):
            sent.append(await _invoke(planned, sandbox=sandbox, agent=agent))
            await freeze(sandbox, freeze_ns)
            on_invocation(number)
        await settle(sandbox, agent, trace_ids={one.context.trace_id for one in sent})
        await sandbox.shutdown()
    traces = await agent.all_traces()
    timeline = windows(sandbox)
    attribution = attribute(
        (parse(raw) for spans in traces.values() for raw in spans),
        trace_ids={one.context.trace_id for one in sent},
    )
    results = (
        judge(
            _evidence(
                one,
                number=number,
                request_spans=attribution.request.get(one.context.trace_id, ()),
                linked_spans=attribution.linked.get(one.context.trace_id, ()),
            ),
            timeline=timeline,
        )
        for number, one in enumerate(sent, 1)
    )
    others = (judge_other(spans, timeline=timeline) for spans in attribution.others.values())
    return Run(
        mode=mode,
        routes=_by_route(requests, results),
        others=tuple(other for other in others if other is not None),
        timeline=timeline,
        clock_jumped=sandbox.can_jump,
        elapsed_s=time.monotonic() - begun_s,
    )


def make_sandbox(  # noqa: PLR0913  # as measure
    app: str,
    *,
    mode: Mode,
    environment: Mapping[str, str],
    agent: TraceAgent,
    adapter: LwaBinary | None,
    invoke_mode: InvokeMode | None,
    command: Sequence[str] | None = None,
    moment: FreezeMoment = FreezeMoment.ADVERSARIAL,
    cwd: Path | None = None,
) -> Sandbox:
    """Make a sandbox for the app, not started yet.

    Args:
        app: `MODULE:ATTR`.
        mode: What traces the app.
        environment: The variables that are set on top of the user's.
        agent: Receives the traces.
        adapter: The Lambda Web Adapter to use, or None for the built-in one.
        invoke_mode: How it posts responses; None for what the environment says.
        command: Starts the app, `{port}` in it becomes the port; None for what the mode says.
        moment: When the app is frozen.
        cwd: Where it is started; None for the current directory.
    """
    return Sandbox(
        launch.command(app, mode=mode) if command is None else command,
        env=environment,
        agent=agent,
        adapter="builtin" if adapter is None else adapter.path,
        invoke_mode=invoke_mode,
        moment=moment,
        cwd=cwd,
    )


def windows(sandbox: Sandbox) -> tuple[Window, ...]:
    """Give the sandbox's timeline as reports have it.

    Args:
        sandbox: Started, or shut down again.
    """
    return tuple(
        Window(window.start_ns, window.end_ns, frozen=window.frozen) for window in sandbox.timeline()
    )


async def freeze(sandbox: Sandbox, freeze_ns: int) -> None:
    """Let time pass for the stopped sandbox; not much of it where that takes time.

    Args:
        sandbox: What is stopped.
        freeze_ns: How much.
    """
    await sandbox.freeze(freeze_ns if sandbox.can_jump else min(freeze_ns, _REAL_FREEZE_NS))


async def _invoke(planned: Planned, *, sandbox: Sandbox, agent: TraceAgent) -> _Sent:
    context = TraceContext.draw()
    request = HttpRequest(
        method=planned.method,
        path=planned.path,
        headers=(*planned.headers, *context.headers),
        body=planned.body,
    )
    try:
        invocation = await sandbox.invoke(request)
    except SimulatorError as error:
        raise InvocationFailedError(planned.label, str(error), output=error.output) from error
    arrived = (await agent.traces([context.trace_id])).get(context.trace_id, [])
    return _Sent(
        planned=planned,
        context=context,
        invocation=invocation,
        arrived=frozenset(parse(raw).span_id for raw in arrived),
    )


async def settle(sandbox: Sandbox, agent: TraceAgent, *, trace_ids: set[int]) -> None:
    """Let the app run until no more traces come, so that late is told from lost.

    Args:
        sandbox: Where it runs.
        agent: Receives the traces.
        trace_ids: Those that have to come, low 64 bits.
    """
    before = -1
    for _ in range(SETTLE_STEPS):
        await sandbox.run_for(SETTLE_STEP_S)
        traces = await agent.all_traces()
        count = sum(len(spans) for spans in traces.values())
        if count == before and trace_ids <= traces.keys():
            return
        before = count


def _evidence(
    one: _Sent, *, number: int, request_spans: tuple[Span, ...], linked_spans: tuple[Span, ...]
) -> Evidence:
    response = one.invocation.response
    return Evidence(
        number=number,
        trace_id=one.context.trace_id,
        parent_id=one.context.parent_id,
        status=None if response is None else response.status,
        error=one.invocation.error,
        expected_status=one.planned.expected_status,
        started_ns=one.invocation.started_ns,
        stopped_ns=one.invocation.frozen_ns,
        arrived=one.arrived,
        request_spans=request_spans,
        linked_spans=linked_spans,
    )


def _by_route(requests: Sequence[Planned], results: Iterable[InvocationResult]) -> tuple[RouteResult, ...]:
    routes: dict[tuple[str, str], list[InvocationResult]] = {}
    for planned, result in zip(requests, results, strict=True):
        routes.setdefault((planned.method, planned.path), []).append(result)
    return tuple(RouteResult(method, path, tuple(found)) for (method, path), found in routes.items())
