"""Whether ddlwa's memory stays as it is, and its counters true, over many invocations and faults.

`python -m benchmarks.soak --invocations 20000` serves requests in sequence, by an app in a child process,
while its trace agent falls ill and recovers on a schedule that the seed determines. The retention buffer is
so small that it overflows. After each tenth all that is retained is sent, and memory is sampled. It exits
with 1 if the resident memory has grown by more than 5 % from the second sample to the last, or if traces are
lost that no counter tells of. Needs Linux: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.faults import Server, new_trace_id
from benchmarks.faulty_agent import FaultyAgent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FAULTS = (
    *("refused", "hung", "mute", "slow:5", "slow:500", "trickle"),
    *("closing", "resetting", "half", "garbage", "status:413", "status:429", "status:503"),
)
SAMPLES = 10
LARGEST_GROWTH = 0.05
_RETAIN_BYTES = 1 << 16
_PHASE = (20, 200)
_RECOVERY_S, _PAUSE_S = 30.0, 0.02
_FEWEST = 1000


@dataclass(frozen=True)
class Sample:
    """What was found after some invocations.

    Attributes:
        invocations: How many there were.
        faults: How many times the agent had fallen ill.
        rss_bytes: The resident memory of the app's process.
        traced_bytes: What tracemalloc sees of it: Python's own objects.
        stats: `ddlwa.stats()["delivery"]`.
    """

    invocations: int
    faults: int
    rss_bytes: int
    traced_bytes: int
    stats: dict[str, Any] = field(repr=False)

    @property
    def dropped(self) -> int:
        """How many traces ddlwa says it has dropped."""
        return sum(self.stats["dropped"].values())

    @property
    def unaccounted(self) -> int:
        """How many traces its counters do not account for."""
        kept: int = self.stats["sent"] + self.stats["retained_traces"]
        return self.invocations - kept - self.dropped


class Soak:
    """One run.

    Args:
        server: The app.
        agent: Its trace agent.
        chance: Determines the schedule.
    """

    def __init__(self, server: Server, agent: FaultyAgent, *, chance: random.Random) -> None:
        self._server = server
        self._agent = agent
        self._chance = chance
        self._schedule = self._faults()
        self._sent = 0
        self._ill = 0

    def run(self, invocations: int) -> Iterator[Sample]:
        """Make so many invocations, and a few more; give a sample after each tenth."""
        for number in range(1, SAMPLES + 1):
            goal = invocations * number // SAMPLES
            while self._sent < goal:
                self._ill += 1
                self._agent.become(next(self._schedule))
                self._phase(goal)
                self._agent.become("healthy")
                self._recover()
                self._phase(goal)
            yield self._sample()

    def _faults(self) -> Iterator[str]:
        while True:
            yield from self._chance.sample(FAULTS, len(FAULTS))

    def _phase(self, goal: int) -> None:
        for _ in range(min(self._chance.randint(*_PHASE), max(goal - self._sent, 0))):
            self._request()

    def _recover(self) -> None:
        """Go on, more slowly, until the agent works for ddlwa again, and nothing is retained."""
        deadline_s = time.monotonic() + _RECOVERY_S
        while True:
            self._request()
            stats = self._server.state()["stats"]["delivery"]
            if stats["breaker"] == "closed" and not stats["retained_traces"]:
                return
            if time.monotonic() >= deadline_s:
                raise SystemExit(f"ddlwa does not recover within {_RECOVERY_S:.0f} s: {stats}")
            time.sleep(_PAUSE_S)

    def _request(self) -> None:
        self._server.request(new_trace_id())
        self._sent += 1

    def _sample(self) -> Sample:
        self._recover()
        state = self._server.state()
        return Sample(
            self._sent,
            self._ill,
            rss_bytes=_rss_bytes(self._server.pid),
            traced_bytes=state["traced_bytes"],
            stats=state["stats"]["delivery"],
        )


def problems_of(samples: Sequence[Sample], arrived: Counter[int]) -> list[str]:
    """Say what is not as it must be.

    Args:
        samples: In their order.
        arrived: How many times the agent has taken the trace of an invocation.
    """
    last = samples[-1]
    growth = last.rss_bytes / samples[1].rss_bytes - 1
    missing = last.invocations - len(arrived) - last.dropped - last.stats["retained_traces"]
    twice = sum(count > 1 for count in arrived.values())
    found = {
        f"resident memory has grown by {growth:.1%}": growth > LARGEST_GROWTH,
        f"the counters do not account for {last.unaccounted} traces": last.unaccounted,
        f"{missing} traces are lost that no counter tells of": missing,
        f"{twice} traces arrived twice, {last.stats['repeated']} are counted": twice > last.stats["repeated"],
    }
    return [problem for problem, wrong in found.items() if wrong]


def row(sample: Sample) -> str:
    """Write a sample as a row of the table."""
    stats = sample.stats
    return (
        f"| {sample.invocations} | {sample.faults} | {sample.rss_bytes / 2**20:.1f} MiB "
        f"| {sample.traced_bytes / 2**20:.2f} MiB | {stats['sent']} | {sample.dropped} "
        f"| {sample.unaccounted} | {stats['opened']} | {stats['repeated']} |"
    )


HEAD = (
    "| invocations | faults | resident | Python objects "
    "| sent | dropped | unaccounted | breaker opened | repeated |\n"
    "|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def _rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the table, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=main.__doc__)
    parser.add_argument("--invocations", type=int, default=20_000, help="how many; 20000 by default")
    parser.add_argument("--seed", type=int, default=1, help="determines the schedule of faults")
    options = parser.parse_args(argv)
    if options.invocations < _FEWEST:
        parser.error(f"--invocations must be at least {_FEWEST}")
    env = {"DDLWA_RETAIN_BYTES": str(_RETAIN_BYTES), "PYTHONTRACEMALLOC": "1"}
    samples: list[Sample] = []
    sys.stdout.write(f"{HEAD}\n")
    with FaultyAgent() as agent:
        with Server(agent.url, env=env) as server:
            chance = random.Random(options.seed)  # noqa: S311 - a schedule, not a secret
            for sample in Soak(server, agent, chance=chance).run(options.invocations):
                samples.append(sample)
                sys.stdout.write(f"{row(sample)}\n")
                sys.stdout.flush()
        arrived = Counter(chunk[0].trace_id for chunk in agent.chunks())
    problems = problems_of(samples, arrived)
    sys.stderr.write("".join(f"not as it must be: {problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
