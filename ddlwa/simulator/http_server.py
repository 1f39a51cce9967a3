"""A small HTTP/1.1 server that shows trailers to its handlers, with an end to those whose client has left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h11

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence

    Handler = Callable[["Request"], Coroutine[Any, Any, "Reply"]]

__all__ = ["HttpServer", "Reply", "Request", "Route", "json_reply"]

_READ_SIZE = 256 * 1024
_HEAD_LIMIT = 1024 * 1024


class Request:
    """One request, whose body is still on its way.

    Args:
        head: Its request line and headers.
        receive: Returns the next piece of its body, then its end.
    """

    def __init__(
        self, head: h11.Request, *, receive: Callable[[], Awaitable[h11.Event | type[h11.PAUSED]]]
    ) -> None:
        self.method = head.method.decode("ascii")
        self.path = head.target.decode("latin-1").partition("?")[0]
        self.headers = _text(head.headers)
        self.trailers: dict[str, str] = {}
        self.parameters: dict[str, str] = {}
        self._receive = receive

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; after it ``trailers`` is known.

        Raises:
            ConnectionError: The client left before the body's end, or did not keep to HTTP.
        """
        while True:
            try:
                event = await self._receive()
            except h11.RemoteProtocolError as error:
                raise ConnectionResetError(str(error)) from error
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.trailers = _text(event.headers)
                return

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            ConnectionError: As for ``pieces``.
        """
        return b"".join([piece async for piece in self.pieces()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer.

    Args:
        status: The HTTP status.
        body: Its body.
        headers: Its headers, without a length.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an answer in JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Reply(status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})})


class Route:
    """Which handler answers which method on which path.

    Args:
        method: The HTTP method.
        path: The path; ``{name}`` in it stands for one segment, which becomes a parameter of the request.
        handler: Answers.
    """

    def __init__(self, method: str, path: str, handler: Handler) -> None:
        self.method = method
        self.handler = handler
        self._pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters in a path, or None if it is another route's."""
        found = self._pattern.fullmatch(path)
        return found and found.groupdict()


class HttpServer:
    """Serves routes on a free port of 127.0.0.1.

    A handler that waits while its client leaves is cancelled.

    Args:
        routes: What it answers; everything else is 404 or 405.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self.address = ""
        self._routes = routes
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port, which ``address`` then names."""
        # In two steps: a cancellation within the second must not lose a socket that listens.
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, limit=_READ_SIZE, start_serving=False
        )
        await self._server.start_serving()
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        """Stop listening, and hang up on every client; safe to call again."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: that of asyncio.start_server would log a client's every hang-up.
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, h11.ProtocolError):
                await _Connection(reader, writer, route=self._route).serve()
        finally:
            writer.close()

    async def _route(self, request: Request) -> Reply:
        allowed = []
        for route in self._routes:
            parameters = route.match(request.path)
            if parameters is None:
                continue
            if route.method == request.method:
                request.parameters = parameters
                return await route.handler(request)
            allowed.append(route.method)
        if allowed:
            return Reply(status=405, headers={"Allow": ", ".join(allowed)})
        return Reply(
            status=404,
            body=b"404 page not found\n",
            headers={"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"},
        )


class _Connection:
    """One client's connection.

    Args:
        reader: What it sends.
        writer: What it gets.
        route: Answers its requests.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, route: Handler) -> None:
        self._reader = reader
        self._writer = writer
        self._route = route
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT)

    async def serve(self) -> None:
        """Answer one request after the other, until the client or HTTP's rules end the connection."""
        while True:
            head = await self._receive()
            if not isinstance(head, h11.Request):
                return
            reply = await self._answer(Request(head, receive=self._receive))
            if reply is None:
                return
            await self._send(reply)
            # What the handler did not read of the body has to be read, or the next request is not found.
            while self._http.their_state is h11.SEND_BODY:
                await self._receive()
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _answer(self, request: Request) -> Reply | None:
        """Return the answer, or None if the client left before there was one."""
        if request.method != "GET":  # its handler reads the body, and notices itself
            return await self._route(request)
        await request.read()
        handler = asyncio.create_task(self._route(request))
        try:
            while True:
                more = asyncio.create_task(self._reader.read(_READ_SIZE))
                try:
                    await asyncio.wait({handler, more}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    more.cancel()
                    await asyncio.wait({more})
                if not more.cancelled():
                    data = more.result()
                    if not data and not handler.done():
                        return None
                    self._http.receive_data(data)
                if handler.done():
                    return handler.result()
        finally:
            handler.cancel()
            await asyncio.wait({handler})

    async def _receive(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if not isinstance(event, type) or event is h11.PAUSED:
                return event
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._writer.write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._reader.read(_READ_SIZE))

    async def _send(self, reply: Reply) -> None:
        headers = [*reply.headers.items(), ("Content-Length", str(len(reply.body)))]
        head = h11.Response(status_code=reply.status, headers=headers)
        for event in (head, h11.Data(data=reply.body), h11.EndOfMessage()):
            self._writer.write(self._http.send(event) or b"")
        await self._writer.drain()


def _text(headers: Any) -> dict[str, str]:
    return {name.decode("ascii").lower(): value.decode("latin-1") for name, value in headers}
