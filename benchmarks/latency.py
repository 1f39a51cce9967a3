"""What a request takes with each approach, whatever state the trace agent is in."""

from __future__ import annotations

import math
import random
import time
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks.approaches import APPROACHES, EXTENSION, HOLD, INLINE, PLAIN
from benchmarks.faulty_agent import FaultyAgent
from benchmarks.quick_agent import quick_agent
from benchmarks.results import Latency
from benchmarks.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.approaches import Approach
    from benchmarks.serving import Served

# What the agent is, and how it is called.
STATES = {"healthy": "healthy", "slow": "slow:50", "down": "refused", "hung": "hung"}
# Of these it is shown what a failing agent does; the others flush as one of them does, or not in time.
IN_TROUBLE = (PLAIN, INLINE, HOLD, EXTENSION)
WARM_UP = 50
# An inline flush takes 3 s where nobody listens and 21 s where nobody answers, each time.
_PATIENCE_S = 3.0
_FEWEST = 1
_IN_TROUBLE_REQUESTS = 30


async def measure(
    approaches: Sequence[Approach],
    *,
    rounds: int,
    requests: int,
    say: Callable[[str], object],
    states: Sequence[str] = tuple(STATES),
) -> list[Latency]:
    """Have all servers run at the same time, and ask one after the other, in an order of chance.

    Where the agent gets into trouble each round has new servers: what matters is how that begins.

    Args:
        approaches: Which; plain ddtrace has to be among them.
        rounds: How many there are; half as many where the agent gets into trouble.
        requests: How many each server gets in a round, as long as the agent is healthy.
        say: Told what is being done.
        states: Those of the agent.
    """
    found = []
    for state in states:
        say(f"latency: agent {state}")
        if state == "healthy":
            times = await _in_state(state, approaches, rounds=rounds, requests=requests)
        else:
            some = [one for one in approaches if one.name in IN_TROUBLE]
            times = []
            for _ in range(max(rounds // 2, 1)):
                times += await _in_state(state, some, rounds=1, requests=_IN_TROUBLE_REQUESTS)
        found += _against_plain(state, times)
    return found


async def _in_state(
    state: str, approaches: Sequence[Approach], *, rounds: int, requests: int
) -> list[dict[str, list[int]]]:
    async with AsyncExitStack() as stack:
        servers, agents = {}, []
        for one in approaches:
            # Each has its own: what one sends, or waits for, is nothing to the others.
            url, agent = stack.enter_context(_agent(state))
            agents.append(agent)
            servers[one.name] = await stack.enter_async_context(serving(one, agent_url=url))
        await take_turns(servers, requests=WARM_UP)
        for agent in agents:
            if agent is not None:
                agent.become(STATES[state])
        times = [await take_turns(servers, requests=requests) for _ in range(rounds)]
        for agent in agents:
            if agent is not None:
                agent.become("healthy")  # or the servers would not end
    return times


def _against_plain(state: str, times: Sequence[Mapping[str, list[int]]]) -> list[Latency]:
    plain = [(percentile(one[PLAIN], 50), percentile(one[PLAIN], 99)) for one in times]
    return [
        Latency(
            name,
            agent=state,
            requests=min(len(one[name]) for one in times),
            p50=[percentile(one[name], 50) / base for one, (base, _) in zip(times, plain, strict=True)],
            p99=[percentile(one[name], 99) / base for one, (_, base) in zip(times, plain, strict=True)],
        )
        for name in times[0]
    ]


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
) -> dict[str, list[int]]:
    """Have so many requests served by each, in turns; give the times in nanoseconds.

    One that takes very long gets fewer.

    Args:
        servers: By the approach's name.
        requests: How many.
        path: What is asked for.
    """
    times: dict[str, list[int]] = {name: [] for name in servers}
    spent_ns = dict.fromkeys(servers, 0)
    for number in range(requests):
        for name in random.sample(list(servers), len(servers)):
            if number >= _FEWEST and spent_ns[name] > _PATIENCE_S * 1e9:
                continue
            begun_ns = time.perf_counter_ns()
            times[name].append(await servers[name].invoke(path))
            spent_ns[name] += time.perf_counter_ns() - begun_ns
    return times


def percentile(times: Sequence[int], percent: int) -> float:
    """Give the least value that so many percent do not exceed."""
    return float(sorted(times)[math.ceil(len(times) * percent / 100) - 1])


assert set(IN_TROUBLE) <= set(APPROACHES)  # noqa: S101 - each is one
