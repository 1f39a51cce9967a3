"""A relay for TCP connections on this machine that can hang up on both ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Relay"]

_READ_SIZE = 256 * 1024


class Relay:
    """Listens on 127.0.0.1 and passes on what it gets, for the time of an ``async with`` block.

    Args:
        port: The port on 127.0.0.1 to pass it on to.
    """

    def __init__(self, *, port: int) -> None:
        self.port = 0
        """The port on which it listens."""
        self._to = port
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        await self.hang_up()

    async def hang_up(self) -> None:
        """End every connection that there is, on both sides, and go on listening."""
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: that of asyncio.start_server complains when it is cancelled.
        task = asyncio.create_task(self._pass_on(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            app_reader, app_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except BaseException as error:
            _cut(writer)
            if isinstance(error, OSError):  # nobody listens
                return
            raise
        pumps = [
            asyncio.create_task(_pump(reader, app_writer)),
            asyncio.create_task(_pump(app_reader, writer)),
        ]
        try:
            await asyncio.gather(*pumps)
        except OSError:
            _cut(app_writer)
            _cut(writer)
        finally:
            app_writer.close()
            writer.close()
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ_SIZE):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _cut(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: its other side is not to take this for a regular end."""
    with contextlib.suppress(OSError):  # it is closed already
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.transport.abort()
