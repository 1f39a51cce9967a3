"""From what the trace agent has received to the trace of one invocation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ddlwa.check.explain import traced
from ddlwa.check.session import TraceContext
from ddlwa.check.spans import attribute, parse
from ddlwa.check.verdict import Evidence, judge
from ddlwa.testing.trace import Span, Trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from ddlwa.report.model import Mode, Window
    from ddlwa.simulator import Invocation

    Received: TypeAlias = Mapping[int, Sequence[Mapping[str, Any]]]

__all__ = ["Delivered", "find_context", "make_trace"]

_ANSWERED = 200


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """An invocation with what was known when the sandbox stopped.

    Attributes:
        invocation: The simulator's record of it.
        label: What was asked, such as ``GET /items/1``.
        number: Position in the life of the sandbox, from 1.
        context: What the request was told to continue; None where the test or the event said it, or nobody.
        arrived: Ids of the spans that the agent had.
    """

    invocation: Invocation
    label: str
    number: int
    context: TraceContext | None
    arrived: frozenset[int]


def make_trace(
    one: Delivered, received: Received, *, timeline: Sequence[Window], mode: Mode, frozen: bool
) -> Trace:
    """Find an invocation's spans among those received, and judge them.

    Args:
        one: The invocation.
        received: All spans as the agent decodes them, by the low 64 bits of their trace's id.
        timeline: When the sandbox ran and when it was frozen.
        mode: What traces the app.
        frozen: Whether the test froze the sandbox after the invocation.
    """
    invocation = one.invocation
    context = find_context(one, received) or TraceContext(trace_id=0, parent_id=0)
    raws = [raw for spans in received.values() for raw in spans]
    attribution = attribute(map(parse, raws), trace_ids={context.trace_id})
    response = invocation.response
    status = None if response is None else response.status
    if status is None and invocation.error is None:
        status = _ANSWERED  # an event that is no HTTP request's has a payload for an answer
    evidence = Evidence(
        number=one.number,
        trace_id=context.trace_id,
        parent_id=context.parent_id,
        status=status,
        error=invocation.error,
        expected_status=None,
        started_ns=invocation.started_ns,
        stopped_ns=invocation.frozen_ns,
        arrived=one.arrived,
        request_spans=attribution.request.get(context.trace_id, ()),
        linked_spans=attribution.linked.get(context.trace_id, ()),
    )
    result = judge(evidence, timeline=timeline)
    details = {(span.trace_id, span.span_id): span for span in map(traced, raws)}
    spans = [
        Span(
            **{
                field.name: getattr(details[span.trace_id, span.span_id], field.name)
                for field in dataclasses.fields(details[span.trace_id, span.span_id])
            },
            frozen_ns=span.frozen_ns,
            delivered=span.delivered,
            background=span.background,
        )
        for span in result.spans
    ]
    return Trace(request=one.label, mode=mode, frozen=frozen, spans=tuple(spans), result=result)


def find_context(one: Delivered, received: Received) -> TraceContext | None:
    """Say what an invocation's request was told to continue, or else find its trace by its time.

    Args:
        one: The invocation.
        received: As in `make_trace`.

    Returns:
        None if there is no trace yet that could be the request's.
    """
    if one.context is not None:
        return one.context
    started_ns, stopped_ns = one.invocation.started_ns, one.invocation.frozen_ns
    served = [
        parse(raw)
        for spans in received.values()
        for raw in spans
        if started_ns <= raw["start"] < stopped_ns and (raw.get("meta") or {}).get("span.kind") == "server"
    ]
    if not served:
        return None
    first = min(served, key=lambda span: span.start_ns)
    parents = {span.span_id: span.parent_id for span in map(parse, received[first.trace_id])}
    parent_id = first.parent_id
    while parent_id in parents:
        parent_id = parents.pop(parent_id)
    return TraceContext(trace_id=first.trace_id, parent_id=parent_id)
