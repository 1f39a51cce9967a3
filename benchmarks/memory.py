"""Whether the memory stays as it is over many invocations; benchmarks.soak has them with a failing agent."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from benchmarks.approaches import OURS
from benchmarks.quick_agent import quick_agent
from benchmarks.results import Memory
from benchmarks.serving import start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.approaches import Approach
    from benchmarks.serving import Served

STEPS = (10, 100, 1_000, 3_000, 10_000, 30_000, 100_000)
# By then every cache and every pool of the allocator has been filled once.
WARM_UP = 1_000


async def measure(
    approaches: Sequence[Approach], *, invocations: int, say: Callable[[str], object]
) -> list[Memory]:
    """Invoke all servers at the same time: memory does not care for the time that it takes.

    Args:
        approaches: Of these ddlwa's are invoked.
        invocations: How many, more than the warm-up has.
        say: Told what is being done.
    """
    say(f"memory: {invocations} invocations")
    async with AsyncExitStack() as stack:
        some = [one for one in approaches if one.name in OURS]
        urls = [stack.enter_context(quick_agent()) for _ in some]
        servers = await start(some, urls, stack=stack)
        rows = await asyncio.gather(*(_invoke(one, invocations) for one in servers.values()))
    return [row for some in rows for row in some]


async def _invoke(served: Served, invocations: int) -> list[Memory]:
    rss = {}
    for number in range(1, invocations + 1):
        await served.invoke()
        if number in STEPS or number == invocations:
            rss[number] = served.rss_bytes
    return [Memory(served.approach.name, number, some / rss[WARM_UP]) for number, some in rss.items()]
