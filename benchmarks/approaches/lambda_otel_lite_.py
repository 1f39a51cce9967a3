"""lambda-otel-lite's span processor and extension, for an ASGI app behind the adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_otel_lite import ProcessorMode, init_telemetry
from lambda_otel_lite.processor import LambdaSpanProcessor
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

from benchmarks.approaches.asgi_types import after_invocations
from benchmarks.approaches.otel import DatadogHeaders, OtlpExporter, retrace

if TYPE_CHECKING:
    from benchmarks.approaches.asgi_types import Asgi


def instrument(app: Asgi) -> Asgi:
    """Wrap an app."""
    _, telemetry = init_telemetry(
        # By default it writes to stdout, where another component has to collect it.
        span_processors=[LambdaSpanProcessor(OtlpExporter())],
        propagators=[DatadogHeaders()],
        processor_mode=ProcessorMode.ASYNC,
    )
    retrace()
    # Its decorator for handlers does this; behind the adapter there is no handler.
    return after_invocations(OpenTelemetryMiddleware(app), telemetry.complete)
