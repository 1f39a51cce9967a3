"""How long the spans of each route ran: what is compared with a baseline, and saved as one."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ddlwa.check.threshold import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ddlwa.report.model import InvocationResult, Run, SpanResult

BLOCK = 20
"""Invocations of a route that follow each other, over which a statistic is taken."""

BLOCKS = 5
"""How many blocks a comparison has of each route unless it is told how many requests to send."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All spans of one name in the invocations of one route.

    Attributes:
        statistics: By name, in nanoseconds in which the sandbox ran: the lowest of all blocks, as noise only
            ever adds.
        noise_ns: By name, how much more the median of the blocks is.
        spans: How many there are in an invocation, the median.
        own_ns: What they took without the spans within them, in nanoseconds per invocation, the median.
    """

    statistics: Mapping[str, int]
    noise_ns: Mapping[str, int]
    spans: int
    own_ns: int


Samples = dict[str, dict[str, Measured]]
"""By route, as `--route` takes it, and operation name."""


@dataclass(frozen=True, slots=True)
class _Ran:
    """What the spans of one name took in one invocation."""

    ran_ns: int
    spans: int
    own_ns: int


def sample(runs: Sequence[Run]) -> Samples:
    """Reduce runs to what is compared.

    Args:
        runs: One or more, of the same routes or of some of them; their blocks are taken together.
    """
    blocks: defaultdict[str, list[Sequence[InvocationResult]]] = defaultdict(list)
    for run in runs:
        for route in run.routes:
            blocks[route.label] += _blocks(route.invocations)
    return {label: _measured(parts) for label, parts in blocks.items()}


def _blocks(invocations: Sequence[InvocationResult]) -> Iterator[Sequence[InvocationResult]]:
    """Divide into blocks of the same size, or a little more."""
    count = max(1, len(invocations) // BLOCK)
    bounds = [len(invocations) * number // count for number in range(count + 1)]
    return (invocations[start:end] for start, end in pairwise(bounds))


def _measured(blocks: Sequence[Sequence[InvocationResult]]) -> dict[str, Measured]:
    ran = [[_by_name(invocation.spans) for invocation in block] for block in blocks]
    names = dict.fromkeys(name for block in ran for invocation in block for name in invocation)
    measured = {}
    for name in names:
        # An invocation without such a span says nothing of how long one takes.
        found = [[one[name] for one in block if name in one] for block in ran]
        every = [one for block in found for one in block]
        of_blocks = [_statistics([one.ran_ns for one in block]) for block in found if block]
        lowest = {name: min(block[name] for block in of_blocks) for name in STATISTICS}
        measured[name] = Measured(
            statistics=lowest,
            noise_ns={
                name: statistics.median_low(block[name] for block in of_blocks) - lowest[name]
                for name in STATISTICS
            },
            spans=statistics.median_low(one.spans for one in every),
            own_ns=statistics.median_low(one.own_ns for one in every),
        )
    return measured


def _by_name(spans: Sequence[SpanResult]) -> dict[str, _Ran]:
    by_id = {span.span_id: span for span in spans}
    within_ns: defaultdict[int, int] = defaultdict(int)
    for span in spans:
        if span.parent_id in by_id:
            within_ns[span.parent_id] += _overlap_ns(span, by_id[span.parent_id])
    found: defaultdict[str, list[SpanResult]] = defaultdict(list)
    for span in spans:
        found[span.name].append(span)
    return {
        name: _Ran(
            ran_ns=sum(map(_ran_ns, those)),
            spans=len(those),
            # Children that run at the same time may add up to more than their parent.
            own_ns=sum(max(0, _ran_ns(span) - within_ns[span.span_id]) for span in those),
        )
        for name, those in found.items()
    }


def _overlap_ns(span: SpanResult, parent: SpanResult) -> int:
    """Say how much of its parent a span takes; it may go on after it."""
    start_ns = max(span.start_ns, parent.start_ns)
    end_ns = min(span.start_ns + _ran_ns(span), parent.start_ns + _ran_ns(parent))
    return max(0, end_ns - start_ns)


def _ran_ns(span: SpanResult) -> int:
    return max(0, span.duration_ns - max(0, span.frozen_ns))


def _statistics(durations_ns: Sequence[int]) -> dict[str, int]:
    twice = durations_ns if len(durations_ns) > 1 else [*durations_ns, *durations_ns]  # quantiles needs two
    cuts = statistics.quantiles(twice, n=100, method="inclusive")
    found = {f"p{number}": cut for number, cut in enumerate(cuts, 1)}
    found |= {"min": min(durations_ns), "mean": statistics.fmean(durations_ns), "max": max(durations_ns)}
    return {name: round(found[name]) for name in STATISTICS}
