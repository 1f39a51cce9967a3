"""What tracing adds to a cold start: the import of the small app, the modules, the memory."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.approaches import PLAIN
from benchmarks.extensions import extensions
from benchmarks.results import ColdStart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.approaches import Approach
    from benchmarks.extensions import Extensions

_ROOT = Path(__file__).parents[1]
_LIMIT_S = 60.0
# Bytecode is there after the first round, which does not count; a Lambda package has it, too.
_UNCOUNTED = 1
_CODE = """
import importlib, json, os, sys, time
begun = time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
from benchmarks.served import app
app()
took = time.perf_counter() - begun
pages = int(open("/proc/self/statm").read().split()[1])
print(json.dumps({"time": took, "modules": len(sys.modules), "rss": pages}), flush=True)
os._exit(0)  # whatever threads there are
"""


async def measure(
    approaches: Sequence[Approach], *, rounds: int, say: Callable[[str], object]
) -> list[ColdStart]:
    """Have processes import the app, one after the other, in an order of chance.

    Args:
        approaches: Which; plain ddtrace has to be among them.
        rounds: How many there are.
        say: Told what is being done.
    """
    say("cold start")
    found: dict[str, list[dict[str, Any]]] = {one.name: [] for one in approaches}
    for _ in range(_UNCOUNTED + rounds):
        for one in random.sample(approaches, len(approaches)):
            async with extensions() as api:
                found[one.name].append(await _start(one, api))
    plain = found[PLAIN]
    return [
        ColdStart(
            one.name,
            times=_ratios(found[one.name], plain, "time"),
            modules=int(statistics.median(start["modules"] for start in found[one.name])),
            rss=_ratios(found[one.name], plain, "rss"),
        )
        for one in approaches
    ]


def _ratios(ours: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]], what: str) -> list[float]:
    return [one[what] / base[what] for one, base in zip(ours, plain, strict=True)][_UNCOUNTED:]


async def _start(approach: Approach, api: Extensions) -> dict[str, Any]:
    preload = [approach.preload] if approach.preload else []
    env = {
        **os.environ,
        **approach.environment("small"),
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}",
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:1",  # nothing is sent
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", _CODE, *preload),
        cwd=_ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), _LIMIT_S)
    if process.returncode:
        raise RuntimeError(f"{approach.name} does not start:\n{errors.decode(errors='replace')}")
    start: dict[str, Any] = json.loads(output.splitlines()[-1])
    return start
