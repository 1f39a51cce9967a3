"""How thoroughly the suite measures."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.approaches import APPROACHES, FEW
from benchmarks.correctness import APPS
from benchmarks.latency import STATES


@dataclass(frozen=True)
class Scale:
    """How much of everything is done.

    Attributes:
        rounds: How often what is timed is measured; the page shows the median and the range. Throughput has
            twice as many, where agents get into trouble it is a third.
        requests: How many requests a round of latencies has.
        slice_s: How long a server is asked in a round of throughput, in seconds.
        growth_s: About how long a round of one size of work takes, in seconds.
        invocations: How many there are while the memory is looked at.
        apps: Which parts of the demo show what is correct.
        states: Those of the agent that latencies are measured in.
        timed: The approaches whose latency, throughput and cold start are measured.
    """

    rounds: int
    requests: int
    slice_s: float
    growth_s: float
    invocations: int
    apps: tuple[str, ...] = tuple(APPS)
    states: tuple[str, ...] = tuple(STATES)
    timed: tuple[str, ...] = tuple(APPROACHES)


SCALES = {
    "full": Scale(rounds=6, requests=200, slice_s=0.2, growth_s=0.5, invocations=100_000),
    "quick": Scale(
        rounds=3,
        requests=150,
        slice_s=0.15,
        growth_s=0.2,
        invocations=5_000,
        apps=("routes", "http"),
    ),
    "smoke": Scale(
        rounds=1,
        requests=50,
        slice_s=0.1,
        growth_s=0.1,
        invocations=2_000,
        apps=("http",),
        states=("healthy", "down"),
        timed=FEW,
    ),
}
