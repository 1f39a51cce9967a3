"""lambda-otel-lite's span processor and extension, for an ASGI app behind the adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_otel_lite import ProcessorMode, init_telemetry
from lambda_otel_lite.processor import LambdaSpanProcessor
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

from benchmarks.approaches.asgi_types import is_invocation
from benchmarks.approaches.otel import DatadogHeaders, OtlpExporter, retrace

if TYPE_CHECKING:
    from benchmarks.approaches.asgi_types import Asgi, Receive, Scope, Send


def instrument(app: Asgi) -> Asgi:
    """Wrap an app."""
    _, telemetry = init_telemetry(
        # By default it writes to stdout, where another component has to collect it.
        span_processors=[LambdaSpanProcessor(OtlpExporter())],
        propagators=[DatadogHeaders()],
        processor_mode=ProcessorMode.ASYNC,
    )
    retrace()
    traced = OpenTelemetryMiddleware(app)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await traced(scope, receive, send)
        finally:
            # Its decorator for handlers does this; behind the adapter there is no handler.
            if is_invocation(scope):
                telemetry.complete()

    return serve
