"""A receiver of OTLP that tells of spans in the form in which the judge reads ddtrace's."""

from __future__ import annotations

from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_LOW_64 = (1 << 64) - 1


class OtlpReceiver:
    """Has what the check asks of `ddlwa.simulator.TraceAgent`, and takes OTLP.

    Attributes:
        url: Where it listens; OTLP goes to `/v1/traces`.
    """

    def __init__(self) -> None:
        self.url = ""
        self._traces: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)

    async def traces(self, trace_ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
        """Return the spans received so far of some traces, by the low 64 bits of their ids."""
        wanted = {trace_id & _LOW_64 for trace_id in trace_ids}
        return {
            trace_id: spans for trace_id, spans in (await self.all_traces()).items() if trace_id in wanted
        }

    async def all_traces(self) -> dict[int, list[dict[str, Any]]]:
        """Return the spans of every trace."""
        return {trace_id: list(spans) for trace_id, spans in self._traces.items()}

    async def clear(self) -> None:
        """Forget everything received so far."""
        self._traces.clear()

    async def take(self, request: web.Request) -> web.Response:
        """Take a payload."""
        payload = ExportTraceServiceRequest.FromString(await request.read())
        for resource in payload.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    raw = _as_datadog(span)
                    self._traces[raw["trace_id"]].append(raw)
        return web.Response(content_type="application/x-protobuf")


def _as_datadog(span: Span) -> dict[str, Any]:
    return {
        "trace_id": _low(span.trace_id),
        "span_id": _low(span.span_id),
        "parent_id": _low(span.parent_span_id),
        "name": span.name,
        "start": span.start_time_unix_nano,
        "duration": span.end_time_unix_nano - span.start_time_unix_nano,
        "span_links": [{"trace_id": _low(link.trace_id)} for link in span.links],
    }


def _low(identifier: bytes) -> int:
    return int.from_bytes(identifier[-8:], "big")


@asynccontextmanager
async def otlp_receiver() -> AsyncIterator[OtlpReceiver]:
    """Run one on 127.0.0.1."""
    receiver = OtlpReceiver()
    application = web.Application()
    application.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()
