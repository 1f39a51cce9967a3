"""The workaround of LWA's issue 466: finish the request span before the last message leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddtrace.contrib.asgi import span_from_scope

from benchmarks.approaches.asgi_types import is_last

if TYPE_CHECKING:
    from benchmarks.approaches.asgi_types import Asgi, Message, Receive, Scope, Send


class SpanMiddleware:
    """The app's outermost middleware, so that it is the last to see a message."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def finish_and_send(message: Message) -> None:
            if is_last(message):
                self.finish(scope)
            await send(message)

        await self._app(scope, receive, finish_and_send)

    def finish(self, scope: Scope) -> None:
        """Do what has to be done before the response is complete."""
        span = span_from_scope(scope)
        if span is not None:
            span.finish()


def instrument(app: Any) -> Any:
    """Add it to an app."""
    app.add_middleware(SpanMiddleware)
    return app
