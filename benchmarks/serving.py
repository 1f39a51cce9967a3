"""An app in a server process, traced in some way, and a client that invokes it as the adapter does."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.extensions import extensions
from ddlwa.simulator.ports import reserved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AsyncExitStack

    from benchmarks.approaches import Approach
    from benchmarks.extensions import Extensions

_ROOT = Path(__file__).parents[1]
_START_S, _ANSWER_S = 60.0, 120.0
_PAGE_BYTES = 4096
_OK = b"HTTP/1.1 200"


class Client(asyncio.Protocol):
    """One connection, and one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._chunked = False
        self._missing = 0
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self.transport: asyncio.Transport = transport  # type: ignore[assignment] # it is one that writes

    def ask(self, request: bytes) -> asyncio.Future[None]:
        """Send a request; what is given is done when the response is complete."""
        self._received.clear()
        self._missing = 0
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        """Look whether it is complete."""
        if self._missing:  # a large body is counted, not kept
            self._missing -= len(data)
            if not self._missing:
                self._done()
            return
        self._received += data
        if self._chunked or not self._is_head_complete():
            if self._chunked and self._received.endswith(b"\r\n0\r\n\r\n"):
                self._chunked = False
                self._done()
            return
        head, _, body = bytes(self._received).partition(b"\r\n\r\n")
        if not head.startswith(_OK):
            self._fail(f"the server answered {head[:60]!r}")
        elif b"chunked" in head.lower():
            self._chunked = not body.endswith(b"0\r\n\r\n")
            if not self._chunked:
                self._done()
        else:
            self._missing = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) - len(body)
            if not self._missing:
                self._done()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits for an answer gets none."""
        self._fail(f"the server closed the connection: {exc!r}")

    def _is_head_complete(self) -> bool:
        return b"\r\n\r\n" in self._received

    def _done(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(None)

    def _fail(self, why: str) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError(why))


@dataclass(frozen=True)
class Took:
    """How long an invocation took.

    Attributes:
        response_ns: Until its response was complete.
        busy_ns: Until the sandbox could be frozen: the extension, if there is one, was done with it, too.
    """

    response_ns: int
    busy_ns: int


class Served:
    """A running server.

    Args:
        approach: How it is traced.
        process: The server.
        port: Where it listens.
        api: The Extensions API of its function.
    """

    _numbers = itertools.count(1)

    def __init__(
        self, approach: Approach, *, process: subprocess.Popen[bytes], port: int, api: Extensions
    ) -> None:
        self.approach = approach
        self.port = port
        self._process = process
        self._api = api
        self._client: Client | None = None

    @property
    def rss_bytes(self) -> int:
        """The resident memory of its process; Linux tells it in /proc."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE_BYTES

    async def invoke(self, path: str = "/") -> Took:
        """Make a request as an invocation, which lasts until the sandbox can be frozen.

        Args:
            path: What is asked for.
        """
        if self._client is None:
            loop = asyncio.get_running_loop()
            _, self._client = await loop.create_connection(Client, "127.0.0.1", self.port)
        await self._api.wait_until_idle(_ANSWER_S)
        request_id = f"{next(self._numbers):08x}"
        request = _request(path, request_id)
        begun_ns = time.perf_counter_ns()
        self._api.invoke(request_id)
        await asyncio.wait_for(self._client.ask(request), _ANSWER_S)
        answered_ns = time.perf_counter_ns()
        await self._api.wait_until_idle(_ANSWER_S)
        return Took(answered_ns - begun_ns, time.perf_counter_ns() - begun_ns)

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.transport.abort()


def _request(path: str, request_id: str) -> bytes:
    deadline_ms = int((time.time() + 300) * 1000)
    context = json.dumps({"request_id": request_id, "deadline": deadline_ms})
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\nx-amzn-lambda-context: {context}\r\n\r\n".encode()


@asynccontextmanager
async def serving(approach: Approach, *, agent_url: str, in_lambda: bool = True) -> AsyncIterator[Served]:
    """Serve the small app in a process of its own.

    Args:
        approach: How it is traced.
        agent_url: Where its traces go.
        in_lambda: Whether it believes that it is in Lambda.
    """
    async with extensions() as api:
        aws = {"AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}"}
        settings = {"DD_TRACE_AGENT_URL": agent_url, **(aws if in_lambda else {})}
        env = ["env", *(f"{name}={value}" for name, value in settings.items())]
        options = ["--timeout-keep-alive", "600"]
        with (
            reserved() as port,
            tempfile.TemporaryFile() as output,
            subprocess.Popen(  # noqa: S603, ASYNC220 - our own command, which does not block
                [*env, *approach.server("small", port=str(port), options=options)],
                cwd=_ROOT,
                stdout=output,
                stderr=output,
            ) as process,
        ):
            served = Served(approach, process=process, port=port, api=api)
            try:
                await _until_ready(port, process)
                yield served
            except (OSError, asyncio.TimeoutError) as error:
                output.seek(0)
                said = output.read().decode(errors="replace")
                raise RuntimeError(f"{approach.name}: {error!r}\n{said}") from error
            finally:
                served.close()
                process.kill()  # it may be waiting for an agent, or for an event


async def start(
    approaches: Sequence[Approach], urls: Sequence[str], *, stack: AsyncExitStack, in_lambda: bool = True
) -> dict[str, Served]:
    """Start a server for each approach, all at once.

    Args:
        approaches: Which.
        urls: Those of their trace agents.
        stack: What ends the servers.
        in_lambda: Whether they believe that they are in Lambda.
    """
    entering = [
        stack.enter_async_context(serving(one, agent_url=url, in_lambda=in_lambda))
        for one, url in zip(approaches, urls, strict=True)
    ]
    return {served.approach.name: served for served in await asyncio.gather(*entering)}


async def _until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + _START_S
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # noqa: PERF203 - it is asked again until it is there
            if process.poll() is not None or time.monotonic() > until_s:
                raise
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
