"""The apps under test: every way a response can end, behind a chosen stack of middlewares."""

import asyncio
import contextvars
import tempfile
import threading
from pathlib import Path
from typing import Annotated

from ddtrace.trace import tracer
from endings import ALL, HTTP, PURE
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

CHUNK = b"x" * 1000
router = APIRouter()


class OutOfStockError(Exception):
    """Turned into a 503 by the app."""


class Item(BaseModel):
    """A request's body."""

    name: str


# Bodies that are there at once.


@router.get("/json")
@router.head("/json")
async def plain_json():
    """Do some work of its own."""
    with tracer.trace("work"):
        return {"ok": True}


@router.post("/items", status_code=201)
async def create(item: Item):
    """Read the request's body."""
    return item


@router.get("/sync")
def sync():
    """Run in a thread of the pool."""
    with tracer.trace("work"):
        return {"ok": True}


@router.get("/status/{status}")
async def status_only(status: int):
    """Answer without content."""
    return Response(status_code=status)


@router.get("/json-status/{status}")
async def json_status(status: int):
    """Answer with any status, and raise nothing."""
    return JSONResponse({"status": status}, status_code=status)


@router.get("/redirect")
async def redirect():
    """Send the client elsewhere."""
    return RedirectResponse("/json")


# Errors.


@router.get("/raises")
async def raises():
    """Fail with something that no handler knows."""
    raise ValueError("unhandled")


@router.get("/sync-raises")
def sync_raises():
    """Fail in a thread."""
    raise ValueError("unhandled")


@router.get("/handled")
async def handled():
    """Fail with something that a handler turns into a 5xx."""
    raise OutOfStockError


@router.get("/http-exception/{status}")
async def http_exception(status: int):
    """Fail with FastAPI's own exception."""
    raise HTTPException(status_code=status)


# Streams.


async def chunks(count):
    """Give content, and work once the last of it has gone."""
    for _ in range(count):
        yield CHUNK
        await asyncio.sleep(0)
    with tracer.trace("after-last-chunk"):
        await asyncio.sleep(0)


def sync_chunks(count):
    """Do the same in a thread."""
    for _ in range(count):
        yield CHUNK
    with tracer.trace("after-last-chunk"):
        pass


async def breaking(count):
    """Fail when some content has gone already."""
    for _ in range(count):
        yield CHUNK
    raise ValueError("mid-stream")


async def endless():
    """Give content until somebody cancels."""
    with tracer.trace("endless"):
        while True:
            yield CHUNK
            await asyncio.sleep(0)


def stream(content, *, length=None, **options):
    """Make a streaming response that announces its length, or does not."""
    headers = None if length is None else {"content-length": str(length)}
    return StreamingResponse(content, headers=headers, media_type="text/plain", **options)


@router.get("/stream")
async def stream_chunked():
    """Stream from a coroutine."""
    return stream(chunks(3))


@router.get("/stream-sync")
async def stream_sync():
    """Stream from a thread."""
    return stream(sync_chunks(3))


@router.get("/stream-length")
async def stream_length():
    """Stream from a coroutine, the length known."""
    return stream(chunks(3), length=3 * len(CHUNK))


@router.get("/stream-length-sync")
async def stream_length_sync():
    """Stream from a thread, the length known."""
    return stream(sync_chunks(3), length=3 * len(CHUNK))


@router.get("/stream-raises")
async def stream_raises():
    """Break off."""
    return stream(breaking(2))


@router.get("/stream-raises-length")
async def stream_raises_length():
    """Fail after the announced length has gone."""
    return stream(breaking(2), length=2 * len(CHUNK))


@router.get("/stream-500")
async def stream_500():
    """Stream an error."""
    return stream(chunks(2), status_code=500)


@router.get("/stream-endless")
async def stream_endless():
    """Stream until the client has gone."""
    return stream(endless())


# Files.

_files = Path(tempfile.mkdtemp(prefix="ddlwa-test-"))
SMALL, EXACT = _files / "small.txt", _files / "exact.bin"
SMALL.write_bytes(b"small")
EXACT.write_bytes(b"x" * FileResponse.chunk_size * 2)


@router.get("/file/{name}")
@router.head("/file/{name}")
async def file(name: str):
    """Send one of the two files."""
    return FileResponse(_files / name)


# Dependencies with work after the response.


async def connection():
    """Tear down in a coroutine."""
    with tracer.trace("connection"):
        yield "connection"
        with tracer.trace("teardown"):
            await asyncio.sleep(0)


def sync_connection():
    """Tear down in a thread."""
    with tracer.trace("connection"):
        yield "connection"
    with tracer.trace("teardown"):
        pass


async def failing_connection():
    """Fail in the teardown."""
    with tracer.trace("connection"):
        yield "connection"
        raise ValueError("teardown")


@router.get("/depends")
async def depends(connection: Annotated[str, Depends(connection)]):
    """Use a dependency."""
    return {"used": connection}


@router.get("/depends-sync")
def depends_sync(connection: Annotated[str, Depends(sync_connection)]):
    """Use a dependency that lives in threads."""
    return {"used": connection}


@router.get("/depends-fails")
async def depends_fails(connection: Annotated[str, Depends(failing_connection)]):
    """Use a dependency that cannot be torn down."""
    return {"used": connection}


@router.get("/depends-raises")
async def depends_raises(connection: Annotated[str, Depends(connection)]):
    """Fail while a dependency is open."""
    raise ValueError("unhandled")


async def slow_connection(request: Request):
    """Tear down only when the response has left."""
    with tracer.trace("connection"):
        yield "connection"
        await asyncio.wait_for(thawed_of(request).wait(), timeout=5)


@router.get("/depends-slow")
async def depends_slow(connection: Annotated[str, Depends(slow_connection)]):
    """Use a dependency that takes longer to tear down than the response may be held."""
    return {"used": connection}


@router.get("/depends-stream")
async def depends_stream(connection: Annotated[str, Depends(connection)]):
    """Stream while a dependency is open."""
    return stream(chunks(2))


# Background tasks. Each waits until the response has left: it must not be waited for.


async def notify(thawed):
    """Work in a coroutine."""
    await asyncio.wait_for(thawed.wait(), timeout=5)
    with tracer.trace("notify"):
        await asyncio.sleep(0)


def notify_sync(thawed):
    """Work in a thread."""
    assert thawed.is_set()
    with tracer.trace("notify"):
        pass


async def notify_badly(thawed):
    """Fail."""
    await asyncio.wait_for(thawed.wait(), timeout=5)
    raise ValueError("background")


def thawed_of(request):
    """Give the event that the server sets when it has sent the response."""
    return request.scope["test.thawed"]


@router.get("/background")
async def background(request: Request, tasks: BackgroundTasks):
    """Leave one task."""
    tasks.add_task(notify, thawed_of(request))
    return {"ok": True}


@router.get("/background-sync")
def background_sync(request: Request, tasks: BackgroundTasks):
    """Leave one task for a thread."""
    tasks.add_task(notify_sync, thawed_of(request))
    return {"ok": True}


@router.get("/background-several")
async def background_several(request: Request, tasks: BackgroundTasks):
    """Leave several tasks of both kinds."""
    tasks.add_task(notify, thawed_of(request))
    tasks.add_task(notify_sync, thawed_of(request))
    tasks.add_task(notify, thawed_of(request))
    return {"ok": True}


@router.get("/background-depends")
async def background_depends(
    request: Request, tasks: BackgroundTasks, connection: Annotated[str, Depends(connection)]
):
    """Leave a task while a dependency is open."""
    tasks.add_task(notify, thawed_of(request))
    return {"used": connection}


@router.get("/background-500")
async def background_500(request: Request):
    """Leave a task after an error."""
    tasks = StarletteBackgroundTasks()
    tasks.add_task(notify, thawed_of(request))
    return JSONResponse({}, status_code=500, background=tasks)


@router.get("/background-single")
async def background_single(request: Request):
    """Leave one task that ddtrace does not trace by itself."""
    return JSONResponse({}, background=BackgroundTask(notify, thawed_of(request)))


@router.get("/background-single-sync")
async def background_single_sync(request: Request):
    """Leave one such task for a thread."""
    return JSONResponse({}, background=BackgroundTask(notify_sync, thawed_of(request)))


@router.get("/background-stream")
async def background_stream(request: Request):
    """Leave a task after a stream."""
    tasks = StarletteBackgroundTasks()
    tasks.add_task(notify, thawed_of(request))
    return stream(chunks(2), background=tasks)


@router.get("/background-fails")
async def background_fails(request: Request, tasks: BackgroundTasks):
    """Leave a task that fails."""
    tasks.add_task(notify_badly, thawed_of(request))
    return {"ok": True}


# Work that outlives the response.

_children = set()


async def leave_child(request):
    """Leave a task behind that nobody waits for."""
    thawed, started = thawed_of(request), asyncio.Event()

    async def outlive():
        with tracer.trace("child") as span:
            started.set()
            await thawed.wait()
            span.set_tag("late", "yes")
            with tracer.trace("grandchild"):
                await asyncio.sleep(0)

    leave(outlive())
    await started.wait()


def leave(coroutine):
    """Start a task, and hold on to it as asyncio does not."""
    task = asyncio.create_task(coroutine)
    _children.add(task)
    task.add_done_callback(_children.discard)


@router.get("/child")
async def child(request: Request):
    """Answer before a child is done."""
    await leave_child(request)
    return {"ok": True}


@router.get("/child-stream-raises")
async def child_stream_raises(request: Request):
    """Break off before a child is done."""
    await leave_child(request)
    return stream(breaking(2))


@router.get("/thread")
async def thread(request: Request):
    """Leave a thread behind that nobody waits for."""
    loop, thawed, started = asyncio.get_running_loop(), threading.Event(), asyncio.Event()

    def outlive():
        with tracer.trace("thread"):
            loop.call_soon_threadsafe(started.set)
            assert thawed.wait(timeout=5)

    async def watch():
        await thawed_of(request).wait()
        thawed.set()
        await loop.run_in_executor(None, worker.join)

    worker = threading.Thread(target=contextvars.copy_context().run, args=(outlive,))
    worker.start()
    leave(watch())
    await started.wait()
    return {"ok": True}


# Apps mounted into the app.


async def raw(scope, receive, send):
    """Speak ASGI as frameworks do not: the last part of the path says how."""
    how = scope["path"].rsplit("/", 1)[-1]
    start = {"type": "http.response.start", "status": 200, "headers": []}
    body = {"type": "http.response.body", "body": CHUNK}
    length = (b"content-length", str(len(CHUNK)).encode())
    with tracer.trace("raw"):
        if how == "omits-more-body":
            await send(start)
            await send({"type": "http.response.body"})
        elif how == "omits-more-body-length":
            await send({**start, "headers": [length]})
            await send(body)
        elif how == "never-last":
            await send({**start, "headers": [length]})
            await send({**body, "more_body": True})
        elif how == "incomplete":
            await send(start)
            await send({**body, "more_body": True})
        elif how == "only-start":
            await send(start)
        elif how == "nothing-child":
            await leave_child(Request(scope))
        elif how == "trailers":
            await send({**start, "trailers": True})
            await send(body)
            await send({"type": "http.response.trailers", "headers": [(b"sum", b"1")]})
        elif how == "zerocopy":
            await send({**start, "headers": [(b"content-length", b"5")]})
            with SMALL.open("rb") as opened:
                await send({"type": "http.response.zerocopysend", "file": opened, "count": 5})
        elif how == "waits":
            await receive()
            await send(start)
            await send(body)
            assert (await receive())["type"] == "http.disconnect"
    with tracer.trace("raw-after"):
        pass


class Endpoint(HTTPEndpoint):
    """A class-based endpoint of Starlette."""

    async def get(self, request):
        """Answer in text."""
        with tracer.trace("work"):
            return PlainTextResponse("ok")


async def starlette_raises(request):
    """Fail."""
    raise ValueError("unhandled")


async def starlette_background(request):
    """Leave a task."""
    tasks = StarletteBackgroundTasks()
    tasks.add_task(notify, thawed_of(request))
    return PlainTextResponse("ok", background=tasks)


# Middlewares.


class SpansAround:
    """A pure ASGI middleware with a span around the app, and one after it."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        with tracer.trace("pure"):
            await self._app(scope, receive, send)
        with tracer.trace("pure-after"):
            await asyncio.sleep(0)


class Timing(BaseHTTPMiddleware):
    """A BaseHTTPMiddleware with a span around the app, and one after it."""

    async def dispatch(self, request, call_next):
        """Measure."""
        with tracer.trace("class"):
            response = await call_next(request)
        with tracer.trace("class-after"):
            return response


async def timing(request, call_next):
    """Measure, as `@app.middleware("http")`."""
    with tracer.trace("http"):
        response = await call_next(request)
    with tracer.trace("http-after"):
        response.headers["x-timing"] = "1"
    return response


class Under:
    """Applies a middleware to one part of the paths."""

    def __init__(self, app, *, prefix, middleware, **options):
        self._app, self._prefix, self._wrapped = app, prefix, middleware(app, **options)

    async def __call__(self, scope, receive, send):
        app = self._wrapped if scope.get("path", "").startswith(self._prefix) else self._app
        await app(scope, receive, send)


async def out_of_stock(request, error):
    """Handle an error with a 5xx."""
    return JSONResponse({"sold": "out"}, status_code=503)


def build(stack):
    """Build the app behind one of the stacks."""
    app = FastAPI(title=f"shop {stack}")
    app.include_router(router)
    app.include_router(router, prefix="/gzip")
    app.add_exception_handler(OutOfStockError, out_of_stock)
    app.mount("/sub", _fastapi_inside())
    app.mount("/starlette", _starlette_inside())
    app.mount("/raw", raw)
    app.add_middleware(Under, prefix="/gzip", middleware=GZipMiddleware, minimum_size=1)
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.test"])
    if stack in {HTTP, ALL}:
        app.middleware("http")(timing)
    if stack == ALL:
        app.add_middleware(Timing)
    if stack in {PURE, ALL}:
        app.add_middleware(SpansAround)
    return app


def _fastapi_inside():
    app = FastAPI(title="inside")
    app.include_router(router)
    return app


def _starlette_inside():
    return Starlette(
        routes=[
            Route("/class", Endpoint),
            Route("/raises", starlette_raises),
            Route("/background", starlette_background),
        ]
    )
