from __future__ import annotations

import asyncio
import gc

import pytest

from ddlwa.simulator.http_server import HttpServer, Reply, Route, json_reply


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 10))


class Serving:
    """A server with some handlers, and a raw connection to it."""

    def __init__(self):
        self.bodies = []
        self.trailers = []
        self.broken = asyncio.Event()
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._server = HttpServer(
            [
                Route("POST", "/read/{name}", self.read),
                Route("POST", "/ignore", self.ignore),
                Route("GET", "/wait", self.wait),
                Route("GET", "/json", self.json),
                Route("PUT", "/json", self.json),
            ]
        )

    async def __aenter__(self):
        await self._server.start()
        host, port = self._server.address.split(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        await self._server.close()
        await self._server.close()

    async def read(self, request):
        try:
            self.bodies.append((request.parameters["name"], await request.read()))
        except ConnectionError:
            self.broken.set()
            raise
        self.trailers.append(request.trailers)
        return Reply(status=202)

    async def ignore(self, _request):
        return Reply(status=200, body=b"ignored")

    async def wait(self, _request):
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def json(self, _request):
        return json_reply({"a": 1})

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)


def test_one_connection_serves_many_requests():
    """Requests come one after the other on one connection, also before the first has its answer."""

    async def scenario():
        async with Serving() as serving:
            for _ in range(2):
                await serving.send(b"GET /json?x=1 HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
                for _ in range(2):
                    assert await serving.answer() == (200, b'{"a":1}')

    run(scenario())


def test_shows_trailers():
    """The trailers of a chunked request are known after its body."""

    async def scenario():
        async with Serving() as serving:
            await serving.send(
                b"POST /read/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
            )
            await serving.send(b"1\r\nc\r\n0\r\nX-One: 1\r\n\r\n")
            assert await serving.answer() == (202, b"")
            assert serving.bodies == [("b", b"abc")]
            assert serving.trailers == [{"x-one": "1"}]

    run(scenario())


def test_a_body_that_is_not_read_does_not_disturb():
    """The rest of a request that its handler ignored is passed over."""

    async def scenario():
        async with Serving() as serving:
            await serving.send(b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nGET /")
            assert await serving.answer() == (200, b"ignored")
            await serving.send(b"xGET /json HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await serving.answer() == (200, b'{"a":1}')

    run(scenario())


def test_a_client_that_asks_before_it_sends():
    """A client that waits for leave to send its body gets it."""

    async def scenario():
        async with Serving() as serving:
            await serving.send(
                b"POST /read/b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
            )
            assert (await serving.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            await serving.send(b"x")
            assert await serving.answer() == (202, b"")

    run(scenario())


def test_a_client_that_leaves_while_its_handler_waits():
    """A handler whose client is gone is cancelled."""

    async def scenario():
        async with Serving() as serving:
            await serving.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await serving.waiting.wait()
            serving.writer.close()
            await serving.cancelled.wait()

    run(scenario())


def test_a_client_that_leaves_within_its_body():
    """A handler that reads a body gets an error when the client leaves before its end."""

    async def scenario():
        async with Serving() as serving:
            await serving.send(b"POST /read/b HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
            serving.writer.close()
            await serving.broken.wait()

    run(scenario())


def test_closing_ends_what_waits():
    """The server's end cancels handlers that wait, and hangs up."""

    async def scenario():
        async with Serving() as serving:
            await serving.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await serving.waiting.wait()
        assert serving.cancelled.is_set()
        assert await serving.reader.read() == b""

    run(scenario())


@pytest.mark.parametrize("garbage", [b"\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"POST /read/b HTTP/1.1\r\n\r\n"])
def test_garbage_ends_the_connection(garbage):
    """A client that speaks something else is hung up on, and nobody else notices."""

    async def scenario():
        async with Serving() as serving:
            await serving.send(garbage)
            assert await serving.reader.read() == b""

    run(scenario())


@pytest.mark.parametrize(
    ("request_line", "status", "header"),
    [
        (b"GET /nope", 404, b"404 page not found\n"),
        (b"GET /read/", 404, b"404 page not found\n"),
        (b"GET /read/a/b", 404, b"404 page not found\n"),
        (b"DELETE /json", 405, b""),
    ],
)
def test_what_no_route_has(request_line, status, header):
    """An unknown path is not found, and a known one with another method is not allowed."""

    async def scenario():
        async with Serving() as serving:
            await serving.send(request_line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await serving.answer() == (status, header)

    run(scenario())


@pytest.mark.parametrize("turns", range(8))
def test_a_start_that_is_cancelled_leaves_no_socket(turns):
    """Whenever its start is cancelled, a server that is closed then holds no socket."""

    async def scenario():
        server = HttpServer([])
        start = asyncio.create_task(server.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        start.cancel()
        await asyncio.wait({start})
        await server.close()

    run(scenario())
    gc.collect()  # which would warn of one
