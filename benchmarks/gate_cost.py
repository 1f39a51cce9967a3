"""What ddlwa without its flush adds to a request in each mode, against plain ddtrace in the same process.

`python -m benchmarks.gate_cost` prints the medians in microseconds as JSON. Each round has one request in
each mode, in an order of its own, so that neither a drift of the machine's speed nor what the request before
has left behind favours a mode; garbage is collected between rounds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import statistics
import sys
import time
from typing import Any

os.environ |= {
    "DDLWA_ENABLED": "true",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_STARTUP_LOGS": "false",
}

import ddlwa
from benchmarks.asgi import receive, scope

ddlwa.patch_all()

from ddtrace.trace import tracer  # noqa: E402 - after patch_all() has read the environment
from fastapi import FastAPI  # noqa: E402 - after patch_all() has read the environment

from ddlwa import patch  # noqa: E402 - after patch_all() has read the environment

ROUNDS, WARM_UP = 3_000, 300
_GARBAGE_ROUNDS = 50
_CONTEXT = json.dumps({"request_id": "8476a536", "deadline": 4_000_000_000_000}).encode()

app = FastAPI()


@app.get("/")
async def root() -> dict[str, int]:
    """Answer as little as an endpoint can."""
    return {"answer": 42}


async def _send(message: Any) -> None:
    pass


async def _no_flush(limit_s: float, *, leftovers: bool) -> None:
    """Take the place of the real one."""


async def _request_us() -> float:
    request = scope(_CONTEXT)
    begun = time.perf_counter_ns()
    await app(request, receive, _send)
    return (time.perf_counter_ns() - begun) / 1000


class _Registered:
    """An extension that takes every request, without Lambda behind it."""

    def takes(self, request_id: str) -> bool:  # noqa: ARG002 - as the real one
        return True

    def ended(self, request_id: str) -> None:
        pass


async def measure() -> dict[str, float]:
    """Give the median time of a request in microseconds: with plain ddtrace, and in each of the modes."""
    installation = patch._installation  # noqa: SLF001 - a benchmark looks behind the façade
    if installation is None:
        sys.exit("ddlwa is not on: see the warning above")
    serving = installation.serving
    # What belongs to the flush is in benchmarks.flush_cost: connecting, the deadline, other buffers.
    serving.flush = _no_flush  # type: ignore[method-assign]
    serving.delivery.prepare = lambda: None  # type: ignore[method-assign]
    tracer._span_aggregator.writer.write = lambda _: None  # noqa: SLF001 - spans go nowhere
    registered: Any = _Registered()
    times: dict[str, list[float]] = {"plain": [], "hold": [], "extension": []}
    gc.disable()
    for number in range(WARM_UP + ROUNDS):
        if number % _GARBAGE_ROUNDS == 0:
            gc.collect()
        for mode, samples in random.sample(list(times.items()), len(times)):
            installation.replacements.active = mode != "plain"
            serving.extension = registered if mode == "extension" else None
            serving.in_lambda = mode == "extension"
            samples.append(await _request_us())
    return {mode: statistics.median(samples[WARM_UP:]) for mode, samples in times.items()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure())))  # noqa: T201 - its output
