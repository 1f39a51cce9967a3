"""The shop: one endpoint for every way in which a response can end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Annotated, Any

from ddtrace.trace import tracer
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, StreamingResponse
from fastapi.routing import APIRouter

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ITEMS = {number: {"id": number, "name": f"tea no. {number}", "price": 3 * number} for number in range(1, 101)}
LOGO = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
LOGO_ETAG = '"logo-1"'
THIS_FILE = Path(__file__)

shop = APIRouter()


class OutOfStockError(Exception):
    """The item can't be had now."""


class OneChunkFile(FileResponse):
    """A file of an exact multiple of the chunk size: its last data message does not say that it is."""

    chunk_size = THIS_FILE.stat().st_size


async def database_session() -> AsyncIterator[dict[int, dict[str, Any]]]:
    """Lend a session, close it when the endpoint is done: real work after the response in newer FastAPI."""
    with tracer.trace("db.connect"):
        await asyncio.sleep(0)
    yield ITEMS
    with tracer.trace("db.close"):
        await asyncio.sleep(0.002)


Session = Annotated[dict[int, dict[str, Any]], Depends(database_session)]


@shop.get("/")
async def welcome() -> dict[str, str]:
    """Answer with JSON."""
    return {"shop": "tea"}


@shop.get("/items")
async def list_items(session: Session) -> list[dict[str, Any]]:
    """Answer with enough JSON for GZip."""
    with tracer.trace("db.query", resource="SELECT items"):
        await asyncio.sleep(0.001)
        with tracer.trace("db.decode"):
            return list(session.values())


@shop.get("/items/{item_id}")
async def read_item(item_id: int, session: Session) -> dict[str, Any]:
    """Answer with JSON, or 404, or 422 for an id that is no number."""
    with tracer.trace("db.query", resource="SELECT item"):
        await asyncio.sleep(0.001)
    if item_id not in session:
        raise HTTPException(404, "no such item")
    return session[item_id]


@shop.get("/stock/{item_id}")
def read_stock(item_id: int) -> dict[str, int]:
    """Answer from a sync endpoint, in a thread; 503 by an exception handler."""
    with tracer.trace("warehouse.count"):
        time.sleep(0.001)
    if item_id not in ITEMS:
        raise OutOfStockError
    return {"item": item_id, "count": 7}


async def send_receipt() -> None:
    """Work after the response, for about 20 ms."""
    with tracer.trace("mail.send"):
        await asyncio.sleep(0.02)


def resize_photos() -> None:
    """Work after the response, in a thread."""
    with tracer.trace("photos.resize"):
        time.sleep(0.01)


@shop.post("/orders", status_code=201)
async def order(tasks: BackgroundTasks, session: Session) -> dict[str, int]:
    """Answer, then mail the receipt."""
    with tracer.trace("db.insert", resource="INSERT order"):
        await asyncio.sleep(0.001)
    tasks.add_task(send_receipt)
    return {"order": len(session)}


@shop.post("/reviews", status_code=202)
def review(tasks: BackgroundTasks) -> dict[str, str]:
    """Answer, then resize the photos and mail a receipt."""
    tasks.add_task(resize_photos)
    tasks.add_task(send_receipt)
    return {"review": "accepted"}


@shop.get("/search")
async def search(q: str) -> dict[str, str]:
    """Take long enough for background work of an earlier request to end."""
    with tracer.trace("search.query", resource=q):
        await asyncio.sleep(0.08)
    return {"q": q}


@shop.get("/shipping")
def shipping() -> dict[str, int]:
    """Take as long as a slow partner does, in a thread."""
    with tracer.trace("partner.quote"):
        time.sleep(0.08)
    return {"days": 3}


@shop.delete("/cart", status_code=204)
async def empty_cart() -> None:
    """Answer without a body."""
    with tracer.trace("cart.clear"):
        await asyncio.sleep(0)


@shop.api_route("/logo", methods=["GET", "HEAD"])
async def logo(request: Request) -> Response:
    """Answer 304 to those who know it, and HEAD with the length of a body that does not come."""
    if request.headers.get("if-none-match") == LOGO_ETAG:
        return Response(status_code=304, headers={"etag": LOGO_ETAG})
    return Response(LOGO, media_type="image/svg+xml", headers={"etag": LOGO_ETAG})


@shop.get("/catalogue")
async def catalogue() -> RedirectResponse:
    """Redirect."""
    return RedirectResponse("/items")


async def csv_lines() -> AsyncIterator[bytes]:
    """Produce lines with a little work between them."""
    with tracer.trace("export.render"):
        for number, item in ITEMS.items():
            yield f"{number:>3};{item['name']:<12}\n".encode()
            if number % 25 == 0:
                await asyncio.sleep(0.001)


@shop.get("/export")
async def export() -> StreamingResponse:
    """Stream without a length: the end of the chunks is the end of the response."""
    return StreamingResponse(csv_lines(), media_type="text/csv")


@shop.get("/export/sized")
async def export_sized() -> StreamingResponse:
    """Stream with a length: the last byte is the end of the response, before the generator's."""
    length = sum([len(line) async for line in csv_lines()])
    return StreamingResponse(csv_lines(), media_type="text/csv", headers={"content-length": str(length)})


@shop.get("/manual")
async def manual() -> FileResponse:
    """Answer with a file: this one, the shop hides nothing."""
    return OneChunkFile(THIS_FILE, media_type="text/plain")


@shop.get("/health")
async def health() -> Response:
    """Answer with an empty body."""
    return Response()


@shop.post("/payments")
async def pay() -> JSONResponse:
    """Answer 500 without an exception."""
    with tracer.trace("bank.charge"):
        await asyncio.sleep(0.001)
    return JSONResponse({"error": "the bank is closed"}, status_code=500)


@shop.post("/events")
async def take_event(event: dict[str, Any]) -> dict[str, int]:
    """Take what is no HTTP request: the adapter posts the events of queues, topics and buses here."""
    with tracer.trace("orders.take"):
        await asyncio.sleep(0.001)
    return {"taken": len(event.get("Records", [event]))}


@shop.get("/broken")
async def broken(session: Session) -> None:
    """Raise what nobody handles."""
    with tracer.trace("db.query", resource="SELECT trouble"):
        raise RuntimeError(f"no recipe for {len(session)} teas")


admin = FastAPI(openapi_url=None)


@admin.get("/sales")
def sales() -> dict[str, int]:
    """Answer from a mounted app."""
    with tracer.trace("reports.sum"):
        return {"sales": 42}


@admin.get("/broken")
def admin_broken() -> None:
    """Raise in a mounted app what nobody handles."""
    raise RuntimeError("no sales, no report")


async def legacy(scope: Message, receive: Receive, send: Send) -> None:  # noqa: ARG001  # ASGI
    """Answer as apps older than `more_body` do: without it."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"since 1887\n"})


class AuditMiddleware:
    """A pure ASGI middleware with spans before and after the app."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Trace the call of the app, then write the audit log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            with tracer.trace("audit.request"):
                await self._app(scope, receive, send)
        finally:
            with tracer.trace("audit.write"):
                await asyncio.sleep(0)


async def measure_time(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Work before and after the endpoint, as nearly every app's `@app.middleware("http")` does."""
    with tracer.trace("timing.middleware"):
        response = await call_next(request)
    response.headers["x-shop"] = "tea"
    return response


async def out_of_stock(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001  # FastAPI
    """Turn the exception into a 503."""
    return JSONResponse({"error": "out of stock"}, status_code=503)


def build(*, http_middleware: bool = True) -> FastAPI:
    """Put the shop together.

    Args:
        http_middleware: Whether it has an `@app.middleware("http")`, which changes how every body is sent.
    """
    built = FastAPI(title="tea shop", exception_handlers={OutOfStockError: out_of_stock})
    built.include_router(shop)
    built.mount("/admin", admin)
    built.mount("/legacy", legacy)
    built.add_middleware(GZipMiddleware, minimum_size=500)
    built.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["*"])
    if http_middleware:
        built.middleware("http")(measure_time)
    built.add_middleware(AuditMiddleware)
    return built


app = build()
