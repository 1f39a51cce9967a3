"""Holds the message without `more_body` until the app has returned, flushes, and sends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddtrace.trace import tracer

from benchmarks.approaches.asgi_types import is_last

if TYPE_CHECKING:
    from benchmarks.approaches.asgi_types import Asgi, Message, Receive, Scope, Send


def instrument(app: Asgi) -> Asgi:
    """Wrap an app, and ddtrace's middleware with it."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def hold_or_send(message: Message) -> None:
            if is_last(message):
                held.append(message)
            else:
                await send(message)

        try:
            await app(scope, receive, hold_or_send)
        finally:
            tracer.flush()
            for message in held:
                await send(message)

    return serve
