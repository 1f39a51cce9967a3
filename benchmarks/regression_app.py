"""An app of which one route can be made slower by a known time; see `benchmarks.regressions`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from fastapi import FastAPI

if TYPE_CHECKING:
    from ddlwa.gate import App, Message, Receive, Scope, Send

SLOWER_MS = "DDLWA_BENCHMARK_SLOWER_MS"
"""By how much, in milliseconds."""

ROUTES = ("/report", "/wait")
SLOW_ROUTE = ROUTES[0]

_ROWS = 4_000
_WAIT_S = 0.005


class Slower:
    """Keeps the responses of one route back for a while."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._slower_s = float(os.environ.get(SLOWER_MS, "0")) / 1_000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def later(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] == SLOW_ROUTE:
                until_s = time.perf_counter() + self._slower_s
                while time.perf_counter() < until_s:
                    pass
            await send(message)

        await self._app(scope, receive, later)


app = FastAPI()
app.add_middleware(Slower)


@app.get(SLOW_ROUTE)
def report() -> dict[str, int]:
    """Keep the processor and a database busy for some milliseconds."""
    with sqlite3.connect(":memory:") as database:
        database.execute("create table sales (day integer, cents integer)")
        database.executemany("insert into sales values (?, ?)", ((day % 365, day) for day in range(_ROWS)))
        rows = database.execute("select day, sum(cents) from sales group by day").fetchall()
    return {str(day): cents for day, cents in rows}


@app.get(ROUTES[1])
async def wait() -> dict[str, bool]:
    """Wait, as for another service."""
    await asyncio.sleep(_WAIT_S)
    return {"ok": True}
