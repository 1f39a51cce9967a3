"""An app whose requests do not end in time, in every way that there is."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from ddtrace.trace import tracer
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()

LONG_S = 60


@contextmanager
def traced() -> Iterator[None]:
    """Trace something that is done, and something that goes on."""
    with tracer.trace("done"):
        pass
    with tracer.trace("work"):
        yield


@app.get("/ms/{ms}")
async def some_time(ms: float) -> dict[str, float]:
    """Take so long."""
    with traced():
        await asyncio.sleep(ms / 1000)
    return {"ms": ms}


@app.get("/awaiting")
async def awaiting() -> None:
    """Wait for what never comes."""
    with traced():
        await asyncio.Event().wait()


@app.get("/sleeping")
async def sleeping() -> None:
    """Block the event loop, without the GIL."""
    with traced():
        time.sleep(LONG_S)  # noqa: ASYNC251 - on purpose


@app.get("/hashing")
async def hashing() -> None:
    """Block the event loop in C, which does not have the GIL meanwhile."""
    with traced():
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1 << 30)


@app.get("/busy")
async def busy() -> None:
    """Block the event loop in a loop of Python, which gives up the GIL only when it is asked to."""
    until_s = time.monotonic() + LONG_S
    with traced():
        while time.monotonic() < until_s:
            pass


@app.get("/adding")
async def adding() -> None:
    """Block the event loop in C, which keeps the GIL for some 20 ms at a time."""
    until_s = time.monotonic() + LONG_S
    with traced():
        while time.monotonic() < until_s:
            sum(range(1_000_000))


@app.get("/tracing")
async def tracing() -> None:
    """Block the event loop with spans that come and go."""
    until_s = time.monotonic() + LONG_S
    with traced():
        while time.monotonic() < until_s:
            with tracer.trace("short"):
                time.sleep(0.005)  # noqa: ASYNC251 - on purpose


@app.get("/thread")
def thread() -> None:
    """Sleep in a thread."""
    with traced():
        time.sleep(LONG_S)


@app.get("/background")
async def background(tasks: BackgroundTasks) -> dict[str, str]:
    """Respond, and go on."""

    async def work() -> None:
        with traced():
            await asyncio.sleep(LONG_S)

    tasks.add_task(work)
    return {"done": "yes"}


@app.get("/streaming")
async def streaming() -> StreamingResponse:
    """Respond for ever."""

    async def chunks() -> AsyncIterator[bytes]:
        with traced():
            while True:
                yield b"x" * 100
                await asyncio.sleep(0.01)

    return StreamingResponse(chunks())
