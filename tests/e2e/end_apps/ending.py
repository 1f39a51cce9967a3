"""An app that traces in its handlers, in threads and in forked children; and a script without a server."""

import os
import sys
import threading
import time
from contextlib import asynccontextmanager

from ddtrace.trace import tracer
from fastapi import FastAPI

import ddlwa

_later = threading.Event()


@asynccontextmanager
async def _lifespan(_):
    yield
    if _later.is_set():
        for _ in range(3):
            tracer.start_span("later", child_of=None).finish()


app = FastAPI(lifespan=_lifespan)


@app.get("/")
async def root():
    """Answer."""
    return {"answer": 42}


@app.get("/fork")
def fork():
    """Trace in a forked child, which ends by itself; answer with how."""
    child = os.fork()
    if child == 0:
        with tracer.trace("child"):
            pass
        tracer.shutdown()
        os._exit(0)
    return {"child": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}


@app.get("/thread")
def thread():
    """Trace in threads that go on for a while."""

    def work():
        for _ in range(20):
            with tracer.trace("thread"):
                time.sleep(0.002)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return {"answer": 42}


_stop = threading.Event()
_threads = []
_traced = []
"""What each of the threads has traced, once it has ended."""


def _trace_until(stopped):
    number = 0
    while not stopped():
        tracer.start_span("always", child_of=None).finish()
        number += 1
        time.sleep(0.001)
    _traced.append(number)


@app.get("/threads/start")
def start():
    """Have threads trace until they are stopped."""
    _threads.extend(threading.Thread(target=_trace_until, args=(_stop.is_set,)) for _ in range(3))
    for one in _threads:
        one.start()
    return {}


@app.get("/threads/stop")
def stop():
    """Stop them; answer with how many traces they have made."""
    _stop.set()
    for one in _threads:
        one.join()
    return {"traced": sum(_traced)}


@app.get("/later")
def later():
    """Have something traced when the server shuts down."""
    _later.set()
    return {}


@app.get("/stats")
async def stats():
    """Give the counters of delivery."""
    return ddlwa.stats()["delivery"]


def main():
    """Trace three times, say so, then end, or flush until ended."""
    ddlwa.patch_all()
    for _ in range(3):
        with tracer.start_span("script", child_of=None):
            pass
    print("traced", flush=True)  # noqa: T201 - for the test
    if "flush" in sys.argv:
        while True:
            tracer.flush()
            with tracer.trace("again"):
                pass


if __name__ == "__main__":
    main()
