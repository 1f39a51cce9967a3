"""An ASGI server in process that knows, from h11, when its client has the whole response."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h11

_LEFT_OVER_S = 10


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request, and how its client behaves.

    Attributes:
        spec_version: The ASGI HTTP version that the server claims; uvicorn claims 2.3.
        extensions: The ASGI extensions that the server offers.
        disconnect_after: After how many messages with content the client goes away.
        cancels: The server cancels the app then, as hypercorn does.
    """

    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    spec_version: str = "2.3"
    extensions: tuple[str, ...] = ()
    disconnect_after: int | None = None
    cancels: bool = False


class ClientGoneError(OSError):
    """What a server of ASGI HTTP 2.4 raises from `send` after a disconnect."""


class Exchange:
    """One request served by an app over a wire of bytes, with h11 at both of its ends.

    Args:
        request: The request.
        on_complete: Called once: within the server's `send`, before it returns, when the client has the
            whole response; or when the server, its app done, breaks an incomplete response off.

    Attributes:
        thawed: Set right after `on_complete`. In the app it is `scope["test.thawed"]`.
        error: What the app raised.
        complete: The client has the whole response.
    """

    def __init__(self, request: Request, *, on_complete: Callable[["Exchange"], None]):
        self.request = request
        self.thawed = asyncio.Event()
        self.error = None
        self.complete = False
        self.status = None
        self.headers = []
        self.body = b""
        self._on_complete = on_complete
        self._ended = False
        self._disconnected = False
        self._trailers = False
        self._contents = 0
        self._received = False
        self._gone = asyncio.Event()
        self._app = None
        self._server = h11.Connection(h11.SERVER)
        self._client = h11.Connection(h11.CLIENT)
        self._ask()

    def _ask(self):
        headers = [("content-length", str(len(self.request.body)))]
        if not any(name in {"host", b"host"} for name, _ in self.request.headers):
            headers.append(("host", "shop.test"))
        asked = h11.Request(
            method=self.request.method, target=self.request.path, headers=[*headers, *self.request.headers]
        )
        for event in (asked, h11.Data(data=self.request.body), h11.EndOfMessage()):
            self._server.receive_data(self._client.send(event))
        self._asked = self._server.next_event()
        while not isinstance(self._server.next_event(), h11.EndOfMessage):
            pass

    def scope(self):
        """Give the scope as uvicorn makes it."""
        path, _, query = self.request.path.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self.request.spec_version},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "scheme": "http",
            "method": self.request.method,
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": list(self._asked.headers),
            "state": {},
            "extensions": {name: {} for name in self.request.extensions},
            "test.thawed": self.thawed,
        }

    async def serve(self, app):
        """Serve the request, and end the response as uvicorn does where the app has not."""
        self._app = asyncio.create_task(app(self.scope(), self.receive, self.send))
        await asyncio.wait([self._app])
        self.error = asyncio.CancelledError() if self._app.cancelled() else self._app.exception()
        if self.status is None and not self._disconnected:
            await self.send({"type": "http.response.start", "status": 500})
            await self.send({"type": "http.response.body", "body": b"Internal Server Error"})
        self._end()

    async def receive(self):
        if not self._received:
            self._received = True
            return {"type": "http.request", "body": self.request.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if self._disconnected:
            if self.request.spec_version >= "2.4":
                raise ClientGoneError
            return
        for event in self._events(message):
            if sent := self._server.send(event):
                self._client.receive_data(sent)
                self._read()
            if isinstance(event, h11.EndOfMessage):
                # The server takes the app's word for it, as uvicorn does, not the client's count.
                self._gone.set()
        if self._contents == self.request.disconnect_after:
            self._disconnected = True
            self._gone.set()
            if self.request.cancels:
                self._app.cancel()

    def _events(self, message):
        kind = message["type"]
        if kind == "http.response.start":
            self._trailers = message.get("trailers", False)
            yield h11.Response(status_code=message["status"], headers=message.get("headers", ()))
        elif kind == "http.response.trailers":
            if not message.get("more_trailers", False):
                yield h11.EndOfMessage(headers=message.get("headers", ()))
        else:
            content = b"" if self.request.method == "HEAD" else _content(message)
            self._contents += bool(content)
            yield h11.Data(data=content)
            if not message.get("more_body", False) and not self._trailers:
                yield h11.EndOfMessage()

    def _read(self):
        while not self.complete and isinstance(
            event := self._client.next_event(), h11.Response | h11.Data | h11.EndOfMessage
        ):
            if isinstance(event, h11.Response):
                self.status, self.headers = event.status_code, list(event.headers)
            elif isinstance(event, h11.Data):
                self.body += event.data
            else:
                self.complete = True
                self._end()

    def _end(self):
        if not self._ended:
            self._ended = True
            self._on_complete(self)
            self.thawed.set()


def _content(message):
    kind = message["type"]
    if kind == "http.response.pathsend":
        return Path(message["path"]).read_bytes()
    if kind == "http.response.zerocopysend":
        return os.pread(message["file"].fileno(), message["count"], message.get("offset", 0))
    return message.get("body", b"")


def serve(app, *requests, on_complete=lambda _: None):
    """Serve requests at once, the app in a task of its own for each, as servers do; give the exchanges.

    Returns when every task that the app has left behind has ended as well.
    """

    async def main():
        exchanges = [Exchange(request, on_complete=on_complete) for request in requests]
        await asyncio.gather(*[exchange.serve(app) for exchange in exchanges])
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            _, pending = await asyncio.wait(left, timeout=_LEFT_OVER_S)
            assert not pending
        return exchanges

    return asyncio.run(main())
