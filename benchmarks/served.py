"""The apps that are measured, as uvicorn serves them: traced in the way that the environment names.

`python -m benchmarks.served` makes the app, prints how many modules that has loaded, and ends at once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from benchmarks.approaches import instrument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = b"x" * 100


def app() -> Any:
    """Make the app that `BENCHMARK_APP` names."""
    name = os.environ["BENCHMARK_APP"]
    if name == "small":
        return instrument(_small())
    return instrument(_shop(name))


def _shop(name: str) -> FastAPI:
    """Make the demo as it is, or without its traced ASGI middleware, or without its http middleware too."""
    from ddlwa.demo.shop import AuditMiddleware, build  # noqa: PLC0415 - not for the small app's cold start

    audit: Any = AuditMiddleware
    shop = build(http_middleware=name != "routes")
    if name != "demo":
        shop.user_middleware = [one for one in shop.user_middleware if one.cls is not audit]
    return shop


def _small() -> FastAPI:
    small = FastAPI()

    @small.get("/")
    async def root() -> dict[str, int]:
        return {"answer": 42}

    @small.get("/spans/{count}")
    async def spans(count: int) -> dict[str, int]:
        from ddtrace.trace import tracer  # noqa: PLC0415 - only where ddtrace traces

        # The request's own spans are there whatever is asked for.
        for _ in range(count):
            with tracer.trace("work"):
                pass
        return {"spans": count}

    @small.get("/body/{size}")
    async def body(size: int) -> Response:
        return Response(bytes(size))

    @small.get("/chunks/{count}")
    async def chunks(count: int) -> StreamingResponse:
        async def produce() -> AsyncIterator[bytes]:
            for _ in range(count):
                yield CHUNK

        return StreamingResponse(produce())

    return small


if __name__ == "__main__":
    app()
    print(len(sys.modules), flush=True)  # noqa: T201 - its output
    os._exit(0)  # whatever threads there are
