from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from ddlwa.simulator.adapter.relay import Relay
from ddlwa.simulator.ports import free_ports


async def echo(reader, writer):
    """Send everything back, and hang up at the end."""
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()


async def reset(reader, writer):
    """Read something, then cut the connection off."""
    await reader.read(1000)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


def run(scenario, handler=echo):
    """Run a scenario with a relay before a server."""

    async def whole():
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server, Relay(port=server.sockets[0].getsockname()[1]) as relay:
            await scenario(relay)

    asyncio.run(asyncio.wait_for(whole(), 10))


def test_passes_on_bytes_and_ends():
    """What is sent arrives whole, and the end of one side is the end of the other."""

    async def scenario(relay):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"x" * 1_000_000)
        writer.write_eof()
        assert await reader.read() == b"x" * 1_000_000
        writer.close()

    run(scenario)


def test_hangs_up_and_goes_on():
    """After hanging up old connections are at their end, and new ones work."""

    async def scenario(relay):
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"a")
            assert await reader.read(1) == b"a"
            await relay.hang_up()
            assert await reader.read() == b""
            writer.close()

    run(scenario)


def test_a_cut_is_no_end():
    """A connection that the server cuts off is cut off for the client."""

    async def scenario(relay):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"a")
        try:
            await reader.read()
        except ConnectionResetError:
            cut = True
        else:
            cut = False
        writer.close()
        assert cut

    run(scenario, reset)


def test_nobody_behind_it_is_a_cut():
    """Where nobody listens behind the relay, its client is cut off."""

    async def scenario():
        async with Relay(port=free_ports(1)[0]) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))
