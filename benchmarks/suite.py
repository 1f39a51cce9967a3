"""Measures all that the page shows, in one run."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from benchmarks import coldstart, correctness, growth, latency, load, memory
from benchmarks.approaches import APPROACHES, scrub_environment
from benchmarks.results import Machine, Results

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from benchmarks.scales import Scale


async def measure(sections: Sequence[str], *, scale: Scale, say: Callable[[str], object]) -> Results:
    """Measure some sections, each with every approach that can run here.

    Args:
        sections: Their names, as `benchmarks.results.SECTIONS` has them.
        scale: How thoroughly.
        say: Told what is being done.
    """
    scrub_environment()
    missing = {one.name: one.obstacle for one in APPROACHES.values() if one.obstacle}
    approaches = [one for one in APPROACHES.values() if one.name not in missing]
    rounds = scale.rounds
    timed = [one for one in approaches if one.name in scale.timed]
    measuring: dict[str, Callable[[], Awaitable[list[Any]]]] = {
        "correctness": lambda: correctness.measure(approaches, apps=scale.apps, say=say),
        "latency": lambda: latency.measure(
            timed, states=scale.states, rounds=rounds, requests=scale.requests, say=say
        ),
        "throughput": lambda: load.measure(timed, rounds=2 * rounds, slice_s=scale.slice_s, say=say),
        "cold_start": lambda: coldstart.measure(timed, rounds=rounds, say=say),
        "growth": lambda: growth.measure(approaches, rounds=rounds, seconds=scale.growth_s, say=say),
        "memory": lambda: memory.measure(approaches, invocations=scale.invocations, say=say),
    }
    found = {section: await measuring[section]() for section in sections}
    return Results(machine=_machine(), missing=missing, **found)


def _machine() -> Machine:
    return Machine(
        date=dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
        cores=os.cpu_count() or 1,
        system=platform.system(),
        python=platform.python_version(),
        ddtrace=version("ddtrace"),
        ddlwa=version("ddlwa"),
    )
