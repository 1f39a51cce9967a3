"""What a request takes as its work grows: spans in its trace, bytes in its body, chunks of its stream."""

from __future__ import annotations

import statistics
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from benchmarks.approaches import FEW, PLAIN
from benchmarks.latency import WARM_UP, take_turns
from benchmarks.quick_agent import quick_agent
from benchmarks.results import Growth
from benchmarks.serving import start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.approaches import Approach

KIB = 1 << 10
SIZES = {
    "spans": (1, 10, 100, 1_000, 5_000),
    "body": (KIB, 16 * KIB, 256 * KIB, 1_024 * KIB, 6_144 * KIB),  # Lambda's largest response
    "chunks": (1, 10, 100, 1_000, 10_000),
}
_FEWEST, _MOST = 5, 40


async def measure(
    approaches: Sequence[Approach],
    *,
    rounds: int,
    seconds: float,
    say: Callable[[str], object],
) -> list[Growth]:
    """Have all servers run at the same time, and ask one after the other, in an order of chance.

    Args:
        approaches: Which; plain ddtrace has to be among them.
        rounds: How many there are.
        seconds: About how long a round of one size takes.
        say: Told what is being done.
    """
    found = []
    async with AsyncExitStack() as stack:
        some = [one for one in approaches if one.name in FEW]
        urls = [stack.enter_context(quick_agent()) for _ in some]
        servers = await start(some, urls, stack=stack)
        await take_turns(servers, requests=WARM_UP)
        for work, sizes in SIZES.items():
            for size in sizes:
                say(f"growth: {work} {size}")
                path = f"/{work}/{size}"
                begun_s = time.monotonic()
                await take_turns(servers, requests=1, path=path)  # for the code, the buffers, and the time
                count = int(seconds / (time.monotonic() - begun_s))
                count = min(max(count, _FEWEST), _MOST)
                times = [await take_turns(servers, requests=count, path=path) for _ in range(rounds)]
                medians = [
                    {name: statistics.median(took.response_ns for took in some) for name, some in one.items()}
                    for one in times
                ]
                found += [
                    Growth(name, work=work, size=size, ratios=[one[name] / one[PLAIN] for one in medians])
                    for name in servers
                ]
    return found
