"""A small app with nothing of tracing in its code but a page that shows what ddlwa has done."""

import asyncio
from typing import Any

import ddlwa
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def home() -> dict[str, str]:
    """Take as long as a small query would."""
    await asyncio.sleep(0.02)
    return {"hello": "world"}


@app.get("/health")
async def health() -> dict[str, bool]:
    """Tell the adapter that the app is ready."""
    return {"ready": True}


@app.get("/tracing")
async def tracing() -> dict[str, Any]:
    """Show ddlwa's counters; for a first look, not for everybody."""
    return ddlwa.stats()
