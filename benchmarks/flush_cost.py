"""What hold mode adds to a response, against finishing the span and flushing in a wrapped `send`.

`python -m benchmarks.flush_cost` prints, as JSON, the median time until the response is complete, in
microseconds: with plain ddtrace, with the root span finished and `tracer.flush()` called before the last
message, and with ddlwa. Each round has one request of each kind, in an order of its own; the agent is a
process that answers at once.
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

from benchmarks.asgi import receive, scope
from benchmarks.quick_agent import quick_agent

ROUNDS, WARM_UP = 1_500, 200
_GARBAGE_ROUNDS = 50
_CONTEXT = json.dumps(
    {
        "request_id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "deadline": 4_000_000_000_000,
        "invoked_function_arn": "arn:aws:lambda:eu-central-1:123456789012:function:shop",
        "xray_trace_id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
        "client_context": None,
        "identity": None,
        "env_config": {
            "function_name": "shop",
            "memory": 512,
            "version": "$LATEST",
            "log_stream": "2026/11/24/[$LATEST]abcdef",
            "log_group": "/aws/lambda/shop",
        },
    }
).encode()


async def measure(url: str) -> dict[str, float]:  # noqa: C901 - an app and its clients, each of a few lines
    """Give the medians.

    Args:
        url: The trace agent's.
    """
    os.environ |= {
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
        "DD_TRACE_AGENT_URL": url,
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
    }
    from ddtrace.internal.writer.writer import NativeWriter  # noqa: PLC0415 - reads the environment

    names = ("write", "flush_queue")
    stock = {name: getattr(NativeWriter, name) for name in names}
    import ddlwa  # noqa: PLC0415 - as above
    from ddlwa import patch  # noqa: PLC0415 - as above

    ddlwa.patch_all()
    ours = {name: getattr(NativeWriter, name) for name in names}
    installation = patch._installation  # noqa: SLF001 - a benchmark looks behind the façade
    if installation is None:
        sys.exit("ddlwa is not on: see the warning above")
    from ddtrace.trace import tracer  # noqa: PLC0415 - as above
    from fastapi import FastAPI  # noqa: PLC0415 - as above

    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, int]:
        return {"answer": 42}

    completed_ns = 0

    async def send(message: Any) -> None:
        nonlocal completed_ns
        if message["type"] == "http.response.body":
            completed_ns = time.perf_counter_ns()

    async def flush_and_send(message: Any) -> None:
        if message["type"] == "http.response.body":
            span = tracer.current_root_span()
            if span is not None:
                span.finish()
            tracer.flush()
        await send(message)

    async def request_us(kind: str) -> float:
        held = kind == "hold"
        installation.replacements.active = held
        for name, function in (ours if held else stock).items():
            setattr(NativeWriter, name, function)
        begun_ns = time.perf_counter_ns()
        await app(scope(_CONTEXT), receive, flush_and_send if kind == "inline" else send)
        tracer.flush()  # nothing is left to the next
        return (completed_ns - begun_ns) / 1000

    times: dict[str, list[float]] = {"plain": [], "inline": [], "hold": []}
    gc.disable()
    for number in range(WARM_UP + ROUNDS):
        if number % _GARBAGE_ROUNDS == 0:
            gc.collect()
        for kind, samples in random.sample(list(times.items()), len(times)):
            samples.append(await request_us(kind))
    sent = ddlwa.stats()["delivery"]["sent"]
    if sent != WARM_UP + ROUNDS:
        sys.exit(f"{sent} traces were delivered of {WARM_UP + ROUNDS}")
    return {kind: statistics.median(samples[WARM_UP:]) for kind, samples in times.items()}


def _main() -> None:
    with quick_agent() as url:
        print(json.dumps(asyncio.run(measure(url))))  # noqa: T201 - its output


if __name__ == "__main__":
    _main()
