"""An app that works after its responses, in every way that there is."""

import asyncio
import os
import time

from ddtrace.trace import tracer
from fastapi import BackgroundTasks, FastAPI

import ddlwa

app = FastAPI()
left = set()


async def work(ms: float) -> None:
    """Take so long."""
    with tracer.trace("work"):
        await asyncio.sleep(ms / 1000)


@app.get("/")
async def root() -> dict[str, str]:
    """Say whether ddlwa is an extension here, or holds."""
    installation = ddlwa.patch._installation
    serving = None if installation is None else installation.serving
    mode = "off" if serving is None else "hold" if serving.extension is None else "extension"
    return {"mode": mode, "pid": str(os.getpid())}


@app.get("/background/{ms}")
async def background(ms: float, tasks: BackgroundTasks) -> dict[str, float]:
    """Leave a background task."""
    tasks.add_task(work, ms)
    return {"ms": ms}


@app.get("/task/{ms}")
async def task(ms: float) -> dict[str, float]:
    """Leave a task of the event loop."""
    one = asyncio.create_task(work(ms))
    left.add(one)
    one.add_done_callback(left.discard)
    return {"ms": ms}


@app.get("/thread/{ms}")
def thread(ms: float, tasks: BackgroundTasks) -> dict[str, float]:
    """Leave a thread that sleeps."""

    def sleep() -> None:
        with tracer.trace("work"):
            time.sleep(ms / 1000)

    tasks.add_task(sleep)
    return {"ms": ms}


@app.get("/deferred/{ms}")
async def deferred(ms: float) -> dict[str, int]:
    """Leave critical work, other work, and work that fails."""

    def fail() -> None:
        raise ValueError("on purpose")

    ddlwa.defer(work, ms)
    ddlwa.defer(work, ms / 10, critical=True)
    ddlwa.defer(fail)
    return ddlwa.stats()["work"]
