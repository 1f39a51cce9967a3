"""Reads the trace payloads that ddtrace's writer sends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgpack  # type: ignore[import-untyped,unused-ignore] # it comes without annotations

# v0.5 sends a span as an array, with the texts as numbers of an array of strings.
_V05 = ("service", "name", "resource", "trace_id", "span_id", "parent_id", "start", "duration", "error")


@dataclass(frozen=True)
class Span:
    """A span as the agent got it; times in nanoseconds."""

    service: str
    name: str
    resource: str
    trace_id: int
    span_id: int
    parent_id: int
    start: int
    duration: int
    error: int
    type: str
    meta: dict[str, str] = field(repr=False)
    metrics: dict[str, float] = field(repr=False)
    links: list[dict[str, Any]] = field(repr=False)

    @property
    def end(self) -> int:
        """When it ended, in nanoseconds since the epoch."""
        return self.start + self.duration


def decode(path: str, body: bytes) -> list[list[Span]]:
    """Give the traces of a payload, or parts of them, each a list of spans.

    Args:
        path: The URL's path, of the v0.4 or the v0.5 API.
        body: The payload.

    Raises:
        Exception: It is none.
    """
    decoded = msgpack.unpackb(body, strict_map_key=False)
    if not decoded:
        return []
    if not path.startswith("/v0.5/"):
        return [[_span(**span) for span in chunk] for chunk in decoded]
    strings, chunks = decoded
    return [[_span_v05(strings, values) for values in chunk] for chunk in chunks]


def _span_v05(strings: list[str], values: list[Any]) -> Span:
    fields = dict(zip(_V05, values[:9], strict=True))
    fields.update({name: strings[fields[name]] for name in ("service", "name", "resource")})
    meta, metrics, kind = values[9:]
    return _span(
        **fields,
        meta={strings[key]: strings[value] for key, value in meta.items()},
        metrics={strings[key]: value for key, value in metrics.items()},
        type=strings[kind],
    )


def _span(**fields: Any) -> Span:
    """Make a span of either API's fields; links are a field of v0.4, and a JSON tag of v0.5."""
    meta = dict(fields.get("meta") or {})
    links = meta.pop("_dd.span_links", None)
    return Span(
        service=fields.get("service") or "",
        name=fields["name"],
        resource=fields.get("resource") or "",
        trace_id=fields["trace_id"],
        span_id=fields["span_id"],
        parent_id=fields.get("parent_id") or 0,
        start=fields["start"],
        duration=fields["duration"],
        error=fields.get("error") or 0,
        type=fields.get("type") or "",
        meta=meta,
        # A whole number may come as an integer or as a float.
        metrics={name: float(value) for name, value in (fields.get("metrics") or {}).items()},
        links=fields.get("span_links") or json.loads(links or "[]"),
    )
