"""How many requests a second a server answers with ddlwa, against plain ddtrace, at some concurrency.

`python -m benchmarks.throughput [CONCURRENCY]` prints, as JSON, the share of plain ddtrace's throughput that
is left: the median over pairs of slices, in each of which both servers have the same time, one after the
other. Both run side by side, with an agent that answers at once; only one of them is asked at a time.
They are started several times, as one process may be faster than another of the same program by some percent.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.quick_agent import quick_agent

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS, PAIRS, SLICE_S = 8, 8, 0.4
_APP = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def root():
    return {"answer": 42}
"""
_REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
_START_S = 30.0


@contextmanager
def _server(url: str, folder: str, *, enabled: bool) -> Iterator[int]:
    """Start the app under uvicorn; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "ddlwa.run", sys.executable, "-m", "uvicorn", "app:app"]
    command += ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        "DDLWA_ENABLED": str(enabled).lower(),
        "DD_TRACE_AGENT_URL": url,
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
    }
    with subprocess.Popen(command, env=env, cwd=folder) as process:  # noqa: S603 - our own command
        try:
            _wait_for(port)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _wait_for(port: int) -> None:
    until_s = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:  # noqa: PERF203 - it is asked again until it is there
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)
        else:
            return


class _Client(asyncio.Protocol):
    """Asks again as soon as it is answered.

    Attributes:
        answered: How many times it was.
    """

    def __init__(self) -> None:
        self.answered = 0
        self._expected = 0
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(f"the server answered {head[:40]!r}")
        self._received = b""
        self.answered += 1
        self._ask()

    def _ask(self) -> None:
        self._transport.write(_REQUEST)  # type: ignore[attr-defined] # it is one that writes


async def answers_per_s(port: int, concurrency: int, *, slice_s: float = SLICE_S) -> float:
    """Give how many requests a second a server answers.

    Args:
        port: Where it listens.
        concurrency: How many requests are under way at a time.
        slice_s: For how long it is asked, in seconds, after a quarter of that which does not count.
    """
    loop = asyncio.get_running_loop()
    clients = [await loop.create_connection(_Client, "127.0.0.1", port) for _ in range(concurrency)]
    await asyncio.sleep(slice_s / 4)
    begun_s, before = time.perf_counter(), sum(client.answered for _, client in clients)
    await asyncio.sleep(slice_s)
    answered = sum(client.answered for _, client in clients) - before
    took_s = time.perf_counter() - begun_s
    for transport, _ in clients:
        transport.abort()
    return answered / took_s


async def measure(url: str, concurrency: int) -> float:
    """Give the share of plain ddtrace's throughput that is left, at the median.

    Args:
        url: The trace agent's.
        concurrency: How many requests are under way at a time.
    """
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(_APP, encoding="utf-8")  # noqa: ASYNC240 - nothing else runs yet
        for _ in range(STARTS):
            shares += await _shares(url, folder, concurrency)
    return statistics.median(shares)


async def _shares(url: str, folder: str, concurrency: int) -> list[float]:
    shares = []
    with _server(url, folder, enabled=False) as plain, _server(url, folder, enabled=True) as ddlwa:
        for number in range(PAIRS):
            ports = (plain, ddlwa) if number % 2 else (ddlwa, plain)
            rates = {port: await answers_per_s(port, concurrency) for port in ports}
            shares.append(rates[ddlwa] / rates[plain])
    return shares


def _main() -> None:
    concurrency = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    with quick_agent() as url:
        share = asyncio.run(measure(url, concurrency))
    print(json.dumps({"concurrency": concurrency, "share": share}))  # noqa: T201 - its output


if __name__ == "__main__":
    _main()
