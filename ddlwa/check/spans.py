"""Spans as the check reads them from the trace agent."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_LOW_64 = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Span:
    """A span as the agent received it; ids are 64 bits, times are epoch ns of the sandbox's clock.

    Attributes:
        error: Whether it is marked as failed.
        taken_off_ns: Frozen time that ddlwa has taken off the duration.
        links: Low 64 bits of the trace ids that it is linked to.
    """

    trace_id: int
    span_id: int
    parent_id: int
    name: str
    resource: str
    error: bool
    start_ns: int
    duration_ns: int
    taken_off_ns: int = 0
    links: frozenset[int] = frozenset()


def parse(raw: Mapping[str, Any]) -> Span:
    """Read a span in the agent's v0.4 form.

    Args:
        raw: The decoded span.
    """
    return Span(
        trace_id=int(raw["trace_id"]) & _LOW_64,
        span_id=int(raw["span_id"]) & _LOW_64,
        parent_id=int(raw.get("parent_id") or 0) & _LOW_64,
        name=str(raw.get("name") or ""),
        resource=str(raw.get("resource") or ""),
        error=bool(raw.get("error")),
        start_ns=int(raw["start"]),
        duration_ns=int(raw["duration"]),
        taken_off_ns=round((raw.get("metrics") or {}).get("ddlwa.frozen_ms", 0) * 1_000_000),
        links=_links(raw),
    )


def title(name: str, resource: str) -> str:
    """Name a span in a message, by its resource, too, where that says more."""
    return f"{name} ({resource})" if resource not in ("", name) else name


def _links(raw: Mapping[str, Any]) -> frozenset[int]:
    """Find the linked traces: a field since ddtrace's v0.4 encoder has one, hexadecimal in a tag before."""
    links = raw.get("span_links")
    if links is not None:
        return frozenset(int(link["trace_id"]) & _LOW_64 for link in links)
    tagged = json.loads((raw.get("meta") or {}).get("_dd.span_links") or "[]")
    return frozenset(int(link["trace_id"], 16) & _LOW_64 for link in tagged)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Which spans belong to which invocation.

    Attributes:
        request: By the trace id of an invocation, the spans of that trace.
        linked: By the same, the spans of the traces with a link to it: background tasks.
        others: By their own trace id, the spans of all other traces.
    """

    request: Mapping[int, tuple[Span, ...]]
    linked: Mapping[int, tuple[Span, ...]]
    others: Mapping[int, tuple[Span, ...]]


def attribute(spans: Iterable[Span], *, trace_ids: Collection[int]) -> Attribution:
    """Sort spans by the invocation that they belong to.

    Args:
        spans: All that the agent received.
        trace_ids: The trace ids of the invocations, low 64 bits.
    """
    traces: defaultdict[int, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    request: dict[int, tuple[Span, ...]] = {}
    linked: defaultdict[int, tuple[Span, ...]] = defaultdict(tuple)
    others: dict[int, tuple[Span, ...]] = {}
    for trace_id, trace in traces.items():
        ordered = tuple(sorted(trace, key=lambda span: span.start_ns))
        owners = [link for span in ordered for link in sorted(span.links) if link in trace_ids]
        if trace_id in trace_ids:
            request[trace_id] = ordered
        elif owners:
            linked[owners[0]] += ordered
        else:
            others[trace_id] = ordered
    return Attribution(request=request, linked=dict(linked), others=others)
