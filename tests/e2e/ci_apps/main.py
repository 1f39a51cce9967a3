"""A user's app, to which somebody may add a middleware."""

from __future__ import annotations

import asyncio
import os

from ddtrace.trace import tracer
from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/")
async def root() -> list[str]:
    """Ask a database."""
    with tracer.trace("db.query", resource="select"):
        await asyncio.sleep(0.002)
    return ["tea"]


if os.environ.get("AUDIT") == "slow":

    @app.middleware("http")
    async def audit(request: Request, call_next):  # starlette's own types are long
        """Keep a span open for a while."""
        with tracer.trace("audit"):
            await asyncio.sleep(0.01)
            return await call_next(request)


if os.environ.get("AUDIT") == "open":

    @app.middleware("http")
    async def audit(request: Request, call_next):  # as above
        """Keep a span open for good."""
        tracer.start_span("audit", child_of=tracer.current_span(), activate=False)
        return await call_next(request)
