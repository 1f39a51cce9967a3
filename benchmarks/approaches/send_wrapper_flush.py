"""The same workaround with a flush right there, in the way of the response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddtrace.trace import tracer

from benchmarks.approaches.send_wrapper import SpanMiddleware

if TYPE_CHECKING:
    from benchmarks.approaches.asgi_types import Scope


class FlushMiddleware(SpanMiddleware):
    """Finishes the request span, and flushes."""

    def finish(self, scope: Scope) -> None:
        """Do what has to be done before the response is complete."""
        super().finish(scope)
        tracer.flush()


def instrument(app: Any) -> Any:
    """Add it to an app."""
    app.add_middleware(FlushMiddleware)
    return app
