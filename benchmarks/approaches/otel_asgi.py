"""OpenTelemetry's ASGI instrumentation, and a flush when the app has returned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.propagate import set_global_textmap
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.approaches.otel import DatadogHeaders, OtlpExporter, retrace

if TYPE_CHECKING:
    from benchmarks.approaches.asgi_types import Asgi, Receive, Scope, Send


def instrument(app: Asgi) -> Asgi:
    """Wrap an app."""
    set_global_textmap(DatadogHeaders())
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OtlpExporter()))
    trace.set_tracer_provider(provider)
    retrace()
    traced = OpenTelemetryMiddleware(app)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await traced(scope, receive, send)
        finally:
            provider.force_flush()

    return serve
