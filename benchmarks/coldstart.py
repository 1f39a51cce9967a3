"""What tracing adds to a cold start: the time until the small app is there, the modules, the memory."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyperf  # type: ignore[import-untyped,unused-ignore] # it comes without annotations

from benchmarks.approaches import PLAIN
from benchmarks.extensions import extensions
from benchmarks.results import ColdStart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.approaches import Approach

_ROOT = Path(__file__).parents[1]
_LIMIT_S = 60.0


async def measure(
    approaches: Sequence[Approach], *, rounds: int, say: Callable[[str], object]
) -> list[ColdStart]:
    """Have pyperf start processes, one after the other, in an order of chance.

    Args:
        approaches: Which; plain ddtrace has to be among them.
        rounds: How many there are.
        say: Told what is being done.
    """
    say("cold start")
    # The first start writes the bytecode, which a Lambda package has, too; it does not count.
    modules = {one.name: int(await _run(one)) for one in approaches}
    times: dict[str, list[float]] = {one.name: [] for one in approaches}
    rss: dict[str, list[float]] = {one.name: [] for one in approaches}
    for _ in range(rounds):
        for one in random.sample(approaches, len(approaches)):
            took_s, most_bytes = await _pyperf(one)
            times[one.name].append(took_s)
            rss[one.name].append(most_bytes)
    return [
        ColdStart(
            name, times=_ratios(times[name], times[PLAIN]), modules=count, rss=_ratios(rss[name], rss[PLAIN])
        )
        for name, count in modules.items()
    ]


def _ratios(ours: Sequence[float], plain: Sequence[float]) -> list[float]:
    return [one / base for one, base in zip(ours, plain, strict=True)]


async def _pyperf(approach: Approach) -> tuple[float, float]:
    """Give how long one process took, in seconds, and how much memory, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder, "start.json"))
        once = ("--processes", "1", "--warmups", "0", "--values", "1", "--loops", "1", "--quiet")
        await _run(approach, by=[sys.executable, "-m", "pyperf", "command", *once, "--output", output, "--"])
        benchmark = pyperf.Benchmark.load(output)
    return benchmark.get_values()[0], benchmark.get_metadata()["command_max_rss"]


async def _run(approach: Approach, *, by: Sequence[str] = ()) -> bytes:
    """Import the app in a function's environment; give what is printed."""
    async with extensions() as api:
        settings = {
            "AWS_LAMBDA_FUNCTION_NAME": "shop",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.port}",
            "DD_TRACE_AGENT_URL": "http://127.0.0.1:1",  # nothing is sent
        }
        process = await asyncio.create_subprocess_exec(
            *(*by, "env", *(f"{name}={value}" for name, value in settings.items())),
            *approach.command("small", [sys.executable, "-m", "benchmarks.served"]),
            cwd=_ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), _LIMIT_S)
    if process.returncode:
        raise RuntimeError(f"{approach.name} does not start:\n{errors.decode(errors='replace')}")
    return output
