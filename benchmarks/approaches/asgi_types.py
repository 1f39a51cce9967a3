"""As much of ASGI as the approaches share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_last(message: Message) -> bool:
    """Say whether this is what most people take for the end of a response."""
    return message["type"] == "http.response.body" and not message.get("more_body")


def after_invocations(app: Asgi, do: Callable[[], object]) -> Asgi:
    """Wrap an app so that something is done whenever it has returned from an invocation."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        finally:
            if is_invocation(scope):
                do()

    return serve


def is_invocation(scope: Scope) -> bool:
    """Say whether a request is an invocation, and not the adapter's readiness check."""
    return scope["type"] == "http" and any(name == b"x-amzn-lambda-context" for name, _ in scope["headers"])
