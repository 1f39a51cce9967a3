"""An app whose responses end in every way that the chaos suite knows, watched from outside its gate."""

import asyncio
import os
import time
from collections import defaultdict
from pathlib import Path

from ddtrace.trace import tracer
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.background import BackgroundTask, BackgroundTasks

import ddlwa
from ddlwa.framing import Framing

LARGE = bytes(range(256)) * 4096
FILE = Path(os.environ["CHAOS_FILE"])

app = FastAPI()
ended = defaultdict(asyncio.Event)
"""By trace id: the request has ended, its trace included."""

if os.environ.get("CHAOS_MIDDLEWARE"):

    @app.middleware("http")
    async def pass_on(request, call_next):
        return await call_next(request)


async def work(kind: str, number: int, ms: float) -> None:
    """Take so long, in a span that says what for."""
    with tracer.trace("work") as span:
        span.set_tag("chaos.of", f"{kind} {number}")
        await asyncio.sleep(ms / 1000)


@app.get("/")
async def readiness():
    return {}


@app.api_route("/json/{number}", methods=["GET", "HEAD"])
async def json(number: int):
    return {"number": number}


@app.get("/nothing/{number}", status_code=204)
async def nothing(number: int):
    return Response(status_code=204)


@app.get("/stream/{number}")
async def stream(number: int):
    async def parts():
        for part in range(4):
            yield f"{number}.{part}\n"
            await asyncio.sleep(0.001)

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/large/{number}")
async def large(number: int):
    return Response(LARGE, media_type="application/octet-stream")


@app.get("/file/{number}")
async def file(number: int):
    return FileResponse(FILE, media_type="application/octet-stream")


@app.get("/error/{number}")
async def error(number: int):
    raise ValueError("on purpose")


@app.get("/background/{number}/{ms}")
async def background(number: int, ms: float):
    """Leave a task that ddtrace makes a trace of its own of."""
    tasks = BackgroundTasks()
    tasks.add_task(work, "background", number, ms)
    return JSONResponse({"number": number}, background=tasks)


@app.get("/after/{number}/{ms}")
async def after(number: int, ms: float):
    """Leave a task whose spans belong to the request's trace."""
    return JSONResponse({"number": number}, background=BackgroundTask(work, "after", number, ms))


@app.get("/deferred/{number}/{ms}")
async def deferred(number: int, ms: float):
    ddlwa.defer(work, "deferred", number, ms)
    ddlwa.defer(work, "critical", number, min(ms, 5), critical=True)
    return {"number": number}


@app.get("/endless/{number}")
async def endless(number: int):
    async def parts():
        while True:
            yield "tick\n"
            await asyncio.sleep(0.001)

    return StreamingResponse(parts(), media_type="text/plain")


@app.get("/beside/{number}/{other}")
async def beside(number: int, other: int):
    """Wait until another request, whose client goes away, has ended."""
    await asyncio.wait_for(ended[other].wait(), 5)
    return {"number": number}


@app.get("/look/{number}")
async def look(number: int):
    """Give the counters, and what was seen of the requests since the last look."""
    seen, served.seen = served.seen, []
    return {"stats": ddlwa.stats(), "readiness": served.readiness, "seen": seen}


class Watch:
    """Sees of each request what its client cannot: how long it was held here, and the breaker meanwhile."""

    def __init__(self, watched):
        self.watched = watched
        self.readiness = 0
        self.seen = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.watched(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if b"x-amzn-lambda-context" not in headers:
            self.readiness += 1
        number = int(headers.get(b"x-datadog-trace-id", 0))
        begun_s = time.monotonic()
        before = ddlwa.stats()["delivery"]
        seen = {"number": number, "breaker": before["breaker"], "ms": 0.0, "closed": False}
        self.seen.append(seen)
        framing = Framing(scope)
        complete = False

        async def watched_send(message):
            nonlocal complete
            if not complete:
                # Before it leaves, for the one that completes the response is where the process is stopped.
                seen["ms"] = (time.monotonic() - begun_s) * 1000
                seen["closed"] = ddlwa.stats()["delivery"]["closed"] > before["closed"]
            complete = complete or framing.completes(message)
            await send(message)

        try:
            await self.watched(scope, receive, watched_send)
        finally:
            ended[number].set()


served = Watch(app)
