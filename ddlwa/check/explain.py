"""Invoke an app once per event source, to show the trace that each invocation leaves."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ddlwa.check import launch
from ddlwa.check.session import SETTLE_STEP_S, SETTLE_STEPS, freeze, make_sandbox, settle
from ddlwa.check.spans import parse
from ddlwa.report.model import Explained, Mode, TracedSpan
from ddlwa.simulator import AdapterOptions, EventSource, HttpRequest, SimulatorError
from ddlwa.simulator.events import pass_through

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ddlwa.check.plan import Planned
    from ddlwa.simulator import InvokeMode, LwaBinary, Sandbox, TraceAgent

_FRONTS = {
    "Lambda function URL": EventSource.FUNCTION_URL,
    "API Gateway HTTP API": EventSource.HTTP_API,
    "API Gateway REST API": EventSource.REST_API,
    "Application Load Balancer": EventSource.ALB,
}
_EVENTS = ("SQS", "SNS", "EventBridge")
_DETAIL = {"order": 1}


async def explain(  # noqa: PLR0913  # as session.measure
    app: str,
    *,
    request: Planned,
    freeze_ns: int,
    agent: TraceAgent,
    adapter: LwaBinary | None = None,
    invoke_mode: InvokeMode | None = None,
) -> tuple[Explained, ...]:
    """Run the app, traced by ddlwa, through one invocation of each event source.

    Args:
        app: `MODULE:ATTR`.
        request: What clients ask for.
        freeze_ns: How long each freeze lasts.
        agent: Receives the traces; emptied first.
        adapter: The Lambda Web Adapter to use, or None for the built-in one.
        invoke_mode: How it posts responses; None for what the environment says.

    Returns:
        By source, up to the first whose invocation had no end.

    Raises:
        SimulatorError: The app does not get ready, or a part of the simulated Lambda failed.
    """
    await agent.clear()
    # Nothing is told here by an id that the check has sent: the app continues traces as it would elsewhere.
    environment = launch.environment(os.environ, mode=Mode.DDLWA)
    del environment["DD_TRACE_PROPAGATION_STYLE_EXTRACT"]
    explained: list[Explained] = []
    owners: dict[int, int] = {}
    async with make_sandbox(
        app, mode=Mode.DDLWA, environment=environment, agent=agent, adapter=adapter, invoke_mode=invoke_mode
    ) as sandbox:
        # The readiness check is answered, not over: what it leaves is to be told from the first invocation's.
        await sandbox.run_for(SETTLE_STEP_S)
        for number, source in enumerate((*_FRONTS, *_EVENTS)):
            started_ns = sandbox.now_ns()
            try:
                explained.append(await _invoke(source, request, sandbox=sandbox))
            except SimulatorError as error:
                # The sandbox has ended with it. The verdict is another's, and stands.
                explained.append(_explained(source, request, error=str(error)))
                break
            await freeze(sandbox, freeze_ns)
            for _ in range(SETTLE_STEPS):
                owners |= assign(await agent.all_traces(), owners, number=number, started_ns=started_ns)
                if number in owners.values():
                    break
                await sandbox.run_for(SETTLE_STEP_S)  # with DDLWA_MODE=off it comes after the thaw
        else:
            await settle(sandbox, agent, trace_ids=set())
    traces = await agent.all_traces()
    owners |= assign(traces, owners, number=number, started_ns=started_ns)
    return tuple(
        replace(one, spans=_spans(traces[trace_id] for trace_id, owner in owners.items() if owner == number))
        for number, one in enumerate(explained)
    )


def assign(
    traces: Mapping[int, Iterable[Mapping[str, Any]]],
    owners: Mapping[int, int],
    *,
    number: int,
    started_ns: int,
) -> dict[int, int]:
    """Find owners for the traces that have none: the invocation that they are linked to, or else the last.

    Args:
        traces: All that have arrived, by the low 64 bits of their ids.
        owners: By the same, the number of the invocation that each known one belongs to.
        number: The last invocation's.
        started_ns: When that one began; a trace from before it, as of a readiness check, gets no owner.
    """
    found: dict[int, int] = {}
    for trace_id in traces.keys() - owners.keys():
        spans = [parse(raw) for raw in traces[trace_id]]
        linked = [owners[link] for span in spans for link in span.links if link in owners]
        if linked:
            found[trace_id] = linked[0]
        elif max(span.start_ns for span in spans) >= started_ns:
            found[trace_id] = number
    return found


def traced(raw: Mapping[str, Any]) -> TracedSpan:
    """Read a span in the agent's v0.4 form with all that Datadog shows of it.

    Args:
        raw: The decoded span.
    """
    span = parse(raw)
    numbers = raw.get("metrics") or {}
    return TracedSpan(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        resource=span.resource,
        service=str(raw.get("service") or ""),
        start_ns=span.start_ns,
        duration_ns=span.duration_ns,
        error=bool(raw.get("error")),
        tags={
            **{name: str(text) for name, text in (raw.get("meta") or {}).items()},
            **{name: f"{round(value, 3):.15g}" for name, value in numbers.items()},
        },
    )


def _spans(traces: Iterable[Iterable[Mapping[str, Any]]]) -> tuple[TracedSpan, ...]:
    spans = (traced(raw) for trace in traces for raw in trace)
    return tuple(sorted(spans, key=lambda span: span.start_ns))


async def _invoke(source: str, request: Planned, *, sandbox: Sandbox) -> Explained:
    if source in _FRONTS:
        asks = HttpRequest(
            method=request.method, path=request.path, headers=request.headers, body=request.body
        )
        invocation = await sandbox.invoke(asks, source=_FRONTS[source])
    else:
        invocation = await sandbox.invoke(_event(source, now_ms=sandbox.now_ns() // 1_000_000))
    response = invocation.response
    status = None if response is None else response.status
    return _explained(source, request, status=status, error=invocation.error)


def _event(source: str, *, now_ms: int) -> dict[str, Any]:
    text = json.dumps(_DETAIL)
    if source == "SQS":
        return pass_through.sqs(text, now_ms=now_ms)
    if source == "SNS":
        return pass_through.sns(text, now_ms=now_ms)
    return pass_through.eventbridge(_DETAIL, now_ms=now_ms)


def _explained(
    source: str, request: Planned, *, status: int | None = None, error: str | None = None
) -> Explained:
    path = AdapterOptions.read(os.environ).pass_through_path
    label = request.label if source in _FRONTS else f"POST {path}"
    return Explained(source=source, request=label, status=status, error=error, spans=())
