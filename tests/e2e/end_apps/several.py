"""A script that traces in several event loops, one after the other or at once, or in forked children."""

import asyncio
import atexit
import json
import multiprocessing
import os
import sys
import threading

import ddlwa


def tell():
    """Print what has become of the traces; registered first, so the last to be called."""
    print("stats", json.dumps(ddlwa.stats()["delivery"]), flush=True)  # noqa: T201 - for the test


atexit.register(tell)
ddlwa.patch_all()

from ddtrace.contrib.internal.asgi.middleware import TraceMiddleware  # noqa: E402 - patched before
from ddtrace.trace import tracer  # noqa: E402 - as above

CONTEXT = json.dumps({"request_id": "id-1", "deadline": 4_000_000_000_000}).encode()


def trace(name):
    """Trace something that belongs to nothing else."""
    tracer.start_span(name, child_of=None).finish()


async def _answer(scope, receive, send):
    trace("other")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def serve():
    """Serve a request as a server does."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"x-amzn-lambda-context", CONTEXT)],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 50_000),
    }

    async def send(message):
        pass

    await TraceMiddleware(_answer)(scope, asyncio.Event().wait, send)


def replaced():
    """Serve each request on a loop of its own."""
    for _ in range(20):
        asyncio.run(serve())


def at_once():
    """Serve on two loops, in two threads, and flush by hand in between; both end when both are done."""
    done = threading.Barrier(2)

    async def requests():
        for number in range(40):
            await serve()
            if number % 10 == 0:
                tracer.flush()
        await asyncio.to_thread(done.wait, 20)

    _run(requests, requests)


def ending():
    """The same, but each loop ends as soon as its own requests are served."""

    async def requests():
        for _ in range(40):
            await serve()

    _run(requests, requests)


def _run(*mains):
    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for main in mains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def forked():
    """Fork with a trace that is not sent yet: one child traces, one does nothing; both end by themselves."""
    trace("parent")
    for names in (["child"], []):
        child = os.fork()
        if child == 0:
            atexit.unregister(tell)
            for name in names:
                trace(name)
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    trace("parent")


def _work():
    trace("child")
    tracer.flush()  # such a child ends without any handler


def processes():
    """Do the same with children of `multiprocessing`."""
    trace("parent")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_work) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    trace("parent")


globals()[sys.argv[1]]()
