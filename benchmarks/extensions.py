"""As much of Lambda's Extensions API as one internal extension needs, on the event loop of the client."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DEADLINE_S = 300


class Extensions:
    """Tells the extension of an app of each invocation, and knows when it asks for the next.

    Attributes:
        port: Where it listens on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.port = 0
        self._asking: asyncio.Transport | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_until_idle(self, limit_s: float) -> None:
        """Wait until an invocation can begin: the extension, if there is one, asks for an event.

        Args:
            limit_s: How long, at most, in seconds.
        """
        if not self._idle.is_set():  # where there is none this takes no time
            await asyncio.wait_for(self._idle.wait(), limit_s)

    def invoke(self, request_id: str) -> None:
        """Give the event of an invocation that begins now."""
        if self._asking is None:
            return
        event = {
            "eventType": "INVOKE",
            "deadlineMs": int((time.time() + _DEADLINE_S) * 1000),
            "requestId": request_id,
            "invokedFunctionArn": "arn:aws:lambda:eu-central-1:123456789012:function:shop",
        }
        _answer(self._asking, event)
        self._asking = None
        self._idle.clear()

    def register(self, transport: asyncio.Transport) -> None:
        """Take the extension."""
        self._idle.clear()
        _answer(transport, {"functionName": "shop", "functionVersion": "$LATEST", "handler": ""})

    def next(self, transport: asyncio.Transport) -> None:
        """Take note that it asks."""
        self._asking = transport
        self._idle.set()


class _Connection(asyncio.Protocol):
    def __init__(self, api: Extensions) -> None:
        self._api = api
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if not found or len(body) < int(length or 0):
            return
        self._received = b""
        answer = self._api.register if b"/extension/register" in head else self._api.next
        answer(self._transport)  # type: ignore[arg-type] # it is one that writes


def _answer(transport: asyncio.Transport, content: dict[str, object]) -> None:
    body = json.dumps(content).encode()
    head = b"HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: 1\r\nContent-Length: %d\r\n\r\n" % len(body)
    transport.write(head + body)


@asynccontextmanager
async def extensions() -> AsyncIterator[Extensions]:
    """Serve it."""
    api = Extensions()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(api), "127.0.0.1", 0)
    api.port = server.sockets[0].getsockname()[1]
    try:
        yield api
    finally:
        server.close()
