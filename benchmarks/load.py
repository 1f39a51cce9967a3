"""How many requests a second each approach serves, at some concurrency, against plain ddtrace."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from benchmarks.approaches import HOLD, INLINE, PLAIN
from benchmarks.quick_agent import quick_agent
from benchmarks.results import Throughput
from benchmarks.serving import start
from benchmarks.throughput import answers_per_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.approaches import Approach

CONCURRENCIES = (1, 16, 64)
# A Lambda extension has one invocation at a time, so that there is nothing to be served beside it.
COMPARED = (PLAIN, "send_wrapper", INLINE, "hold_last_message", "otel_asgi", HOLD)


async def measure(
    approaches: Sequence[Approach],
    *,
    rounds: int,
    slice_s: float,
    say: Callable[[str], object],
    concurrencies: Sequence[int] = CONCURRENCIES,
) -> list[Throughput]:
    """Have all servers run at the same time, and ask one after the other, in an order of chance.

    Args:
        approaches: Which; plain ddtrace has to be among them.
        rounds: How many there are.
        slice_s: How long each is asked in a round, in seconds.
        say: Told what is being done.
        concurrencies: How many requests are under way at a time.
    """
    found = []
    async with AsyncExitStack() as stack:
        some = [one for one in approaches if one.name in COMPARED]
        urls = [stack.enter_context(quick_agent()) for _ in some]
        servers = await start(some, urls, stack=stack, in_lambda=False)
        for concurrency in concurrencies:
            say(f"throughput: {concurrency} at a time")
            shares: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(rounds):
                rates = {
                    name: await answers_per_s(servers[name].port, concurrency, slice_s=slice_s)
                    for name in random.sample(list(servers), len(servers))
                }
                for name, rate in rates.items():
                    shares[name].append(rate / rates[PLAIN])
            found += [Throughput(name, concurrency, kept) for name, kept in shares.items()]
    return found
