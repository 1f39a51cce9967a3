"""A large body leaves while the flush runs, all but its last byte."""

import asyncio

import h11
import pytest
import uvloop
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ddlwa.expiry import Expiry
from ddlwa.gate import Gate

BODY = bytes(range(256)) * 4096
TYPE, LENGTH = (b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())
ASKED = [("host", "test"), ("connection", "close")]
PATIENCE_S = 20.0


class Trace:
    """Is delivered once the client has so much of the body."""

    def __init__(self, needs):
        self.needs = needs
        self.has = 0
        self.enough = asyncio.Event()
        self.delivered_at = None

    def received(self, size):
        self.has += size
        if self.has >= self.needs:
            self.enough.set()

    async def deliver(self, reason):
        await asyncio.wait_for(self.enough.wait(), PATIENCE_S)
        self.delivered_at = self.has


async def read(port, trace):
    """Ask; give the body, and tell the trace how much of it is here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client, body = h11.Connection(our_role=h11.CLIENT), b""
    writer.write(client.send(h11.Request(method="GET", target="/", headers=ASKED)))
    client.send(h11.EndOfMessage())
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(await reader.read(1 << 16))
        elif isinstance(event, h11.Data):
            body += event.data
            trace.received(len(event.data))
        elif isinstance(event, h11.EndOfMessage):
            await reader.read()  # until the server has closed it
            writer.close()
            await writer.wait_closed()
            return body


async def ask(protocol_class, headers, body, *, needs):
    """Have uvicorn serve a gated app that sends this; give what the client has got, and the trace."""
    trace = Trace(needs)

    async def respond(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def app(scope, receive, send):
        await Gate(scope, receive, send, trace=trace, expiry=Expiry(PATIENCE_S)).run(respond)

    config = Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol_class(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        trace.received(0)
        got = await read(server.sockets[0].getsockname()[1], trace)
        while state.connections:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0)
    return got, trace


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("headers", [[TYPE, LENGTH], [TYPE]], ids=["length", "chunked"])
@pytest.mark.parametrize("protocol_class", [H11Protocol, HttpToolsProtocol])
def test_all_but_the_last_byte_leaves_before_the_flush_is_over(protocol_class, headers, new_loop):
    """The client has it while the flush runs, and the whole, unchanged, once that is over."""
    loop = new_loop()
    try:
        got, trace = loop.run_until_complete(ask(protocol_class, headers, BODY, needs=len(BODY) - 1))
    finally:
        loop.close()
    assert got == BODY
    assert trace.delivered_at == len(BODY) - 1


@pytest.mark.parametrize("kind", [bytearray, memoryview])
@pytest.mark.parametrize("protocol_class", [H11Protocol, HttpToolsProtocol])
def test_a_body_that_the_app_may_still_change_is_held_whole(protocol_class, kind):
    """A view of its buffer would keep the app from using it."""
    got, trace = asyncio.run(ask(protocol_class, [TYPE, LENGTH], kind(BODY), needs=0))
    assert got == BODY
    assert trace.delivered_at == 0
