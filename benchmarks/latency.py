"""What a request takes with each approach, whatever state the trace agent is in."""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks.approaches import PLAIN
from benchmarks.faulty_agent import FaultyAgent
from benchmarks.quick_agent import quick_agent
from benchmarks.results import Latency
from benchmarks.serving import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.approaches import Approach
    from benchmarks.serving import Served, Took

# What the agent is, and how it is called.
STATES = {"healthy": "healthy", "slow": "slow:50", "down": "refused", "hung": "hung"}
WARM_UP = 50
_IN_TROUBLE_REQUESTS = 30
# An inline flush takes 3 s where nobody listens, and 21 s where nobody answers, each time; ddlwa gives up
# after 2 s at the latest. What takes longer is waited for while the others go on, and not asked again.
PATIENCE_S = 2.5


async def measure(
    approaches: Sequence[Approach],
    *,
    states: Sequence[str],
    rounds: int,
    requests: int,
    say: Callable[[str], object],
) -> list[Latency]:
    """Have all servers run at the same time, and ask one after the other, in an order of chance.

    Where the agent gets into trouble each round has new servers: what matters is how that begins.

    Args:
        approaches: Which; plain ddtrace has to be among them.
        states: Those of the agent.
        rounds: How many there are; a third of that where the agent gets into trouble.
        requests: How many each server gets in a round, as long as the agent is healthy.
        say: Told what is being done.
    """
    found = []
    for state in states:
        say(f"latency: agent {state}")
        if state == "healthy":
            times = await _in_state(state, approaches, rounds=rounds, requests=requests)
        else:
            times = []
            for _ in range(max(rounds // 3, 1)):
                times += await _in_state(state, approaches, rounds=1, requests=_IN_TROUBLE_REQUESTS)
        found += _against_plain(state, times)
    return found


async def _in_state(
    state: str, approaches: Sequence[Approach], *, rounds: int, requests: int
) -> list[dict[str, list[Took]]]:
    async with AsyncExitStack() as stack:
        # Each has its own: what one sends, or waits for, is nothing to the others.
        agents = [stack.enter_context(_agent(state)) for _ in approaches]
        urls = [url for url, _ in agents]
        servers = await start(approaches, urls, stack=stack)
        await take_turns(servers, requests=WARM_UP)
        for _, agent in agents:
            if agent is not None:
                agent.become(STATES[state])
        return [await take_turns(servers, requests=requests) for _ in range(rounds)]


def _against_plain(state: str, times: Sequence[Mapping[str, list[Took]]]) -> list[Latency]:
    return [
        Latency(
            name,
            agent=state,
            requests=min(len(one[name]) for one in times),
            p50=[_ratio(one[name], one[PLAIN], "response_ns", percent=50) for one in times],
            p99=[_ratio(one[name], one[PLAIN], "response_ns", percent=99) for one in times],
            busy_p50=[_ratio(one[name], one[PLAIN], "busy_ns", percent=50) for one in times],
            busy_p99=[_ratio(one[name], one[PLAIN], "busy_ns", percent=99) for one in times],
        )
        for name in times[0]
    ]


def _ratio(some: Sequence[Took], plain: Sequence[Took], what: str, *, percent: int) -> float:
    ours, base = (percentile([getattr(took, what) for took in one], percent) for one in (some, plain))
    return ours / base


@contextmanager
def _agent(state: str) -> Iterator[tuple[str, FaultyAgent | None]]:
    """Start an agent that is well at first; one that remains well has a process of its own, and is quick."""
    if state == "healthy":
        with quick_agent() as url:
            yield url, None
    else:
        with FaultyAgent() as agent:
            yield agent.url, agent


async def take_turns(
    servers: Mapping[str, Served], *, requests: int, path: str = "/"
) -> dict[str, list[Took]]:
    """Have so many requests served by each, in turns; one that takes very long gets no more of them.

    Args:
        servers: By the approach's name.
        requests: How many.
        path: What is asked for.
    """
    times: dict[str, list[Took]] = {name: [] for name in servers}
    waiting: dict[str, asyncio.Task[Took]] = {}
    for _ in range(requests):
        for name in random.sample(list(servers), len(servers)):
            if name in waiting:
                continue
            task = asyncio.create_task(servers[name].invoke(path))
            done, _ = await asyncio.wait([task], timeout=PATIENCE_S)
            if done:
                times[name].append(task.result())
            else:
                waiting[name] = task
    for name, task in waiting.items():
        times[name].append(await task)
    return times


def percentile(times: Sequence[int], percent: int) -> float:
    """Give the least value that so many percent do not exceed."""
    return float(sorted(times)[math.ceil(len(times) * percent / 100) - 1])
