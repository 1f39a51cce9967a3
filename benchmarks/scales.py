"""How thoroughly the suite measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """How much of everything is done.

    Attributes:
        rounds: How often what is timed is measured; the page shows the median and the range.
        tours: How many times correctness asks for each of the demo's routes.
        requests: How many requests a round of latencies has.
        slice_s: How long a server is asked in a round of throughput, in seconds.
        growth_s: About how long a round of one size of work takes, in seconds.
        invocations: How many there are while the memory is looked at.
    """

    rounds: int
    tours: int
    requests: int
    slice_s: float
    growth_s: float
    invocations: int


SCALES = {
    "full": Scale(rounds=7, tours=2, requests=300, slice_s=0.5, growth_s=1.0, invocations=100_000),
    "quick": Scale(rounds=3, tours=1, requests=150, slice_s=0.3, growth_s=0.3, invocations=10_000),
    "smoke": Scale(rounds=1, tours=1, requests=50, slice_s=0.2, growth_s=0.1, invocations=2_000),
}
