"""What the tests run in processes of their own: a trace agent, an app, and a request to it."""

import json
import os

from trace_agent import TraceAgent

# Before ddtrace is imported: it reads the environment once.
agent = None
if not os.environ.keys() & {"AWS_LAMBDA_FUNCTION_NAME", "DD_TRACE_AGENT_URL"}:
    agent = TraceAgent()
    os.environ["DD_TRACE_AGENT_URL"] = agent.url


def fastapi_app():
    """Make a FastAPI app."""
    from fastapi import FastAPI  # noqa: PLC0415 - when it is imported is what the tests are about

    app = FastAPI(title="shop")

    @app.get("/")
    async def root():
        return {"ok": True}

    return app


def starlette_app():
    """Make a Starlette app."""
    from starlette.applications import Starlette  # noqa: PLC0415 - as above
    from starlette.responses import PlainTextResponse  # noqa: PLC0415 - as above
    from starlette.routing import Route  # noqa: PLC0415 - as above

    async def root(request):
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", root)])


def request(app):
    """Serve a request; print its status, the spans delivered before its end, and all spans."""
    from ddtrace.trace import tracer  # noqa: PLC0415 - as above
    from wire_server import Request, serve  # noqa: PLC0415 - it loads asyncio, which ddtrace patches

    delivered = []

    def on_complete(exchange):
        delivered.extend(agent.spans() if agent else [])
        print("complete", flush=True)  # noqa: T201 - how the parent learns of it

    (exchange,) = serve(app, Request(path="/"), on_complete=on_complete)
    tracer.flush()
    outcome = {
        "status": exchange.status,
        "delivered": [span.name for span in delivered],
        "spans": [span.name for span in (agent.spans() if agent else [])],
    }
    print("outcome", json.dumps(outcome), flush=True)  # noqa: T201 - as above
