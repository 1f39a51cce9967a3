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
class Timed:
    """A run of which is known how fast the machine was.

    Attributes:
        run: One pass over the requests.
        machine_ns: What the reference work took after each invocation, in nanoseconds, in their order; empty
            if it was not done. See `ddlwa.check.machine`.
    """

    run: Run
    machine_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of one block of invocations, the quickest of all, as noise only ever adds.

    Attributes:
        ns: In nanoseconds in which the sandbox ran.
        noise_ns: How much more the median of the blocks is.
    """

    ns: int
    noise_ns: int


@dataclass(frozen=True, slots=True)
class Measured:
    """All spans of one name in the invocations of one route.

    Attributes:
        statistics: By name.
        spans: How many there are in an invocation, the median.
        own_ns: What they took without the spans within them, in nanoseconds per invocation, the median.
        machine_ns: What the reference work took meanwhile, the median of the block in which it was done most
            quickly, in nanoseconds; 0 if it was not done.
    """

    statistics: Mapping[str, Statistic]
    spans: int
    own_ns: int
    machine_ns: int


Samples = dict[str, dict[str, Measured]]
"""By route, as `--route` takes it, and operation name."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Invocations of a route that follow each other, and what the reference work took meanwhile."""

    invocations: Sequence[InvocationResult]
    machine_ns: int


@dataclass(frozen=True, slots=True)
class _Ran:
    """What the spans of one name took in one invocation."""

    ran_ns: int
    spans: int
    own_ns: int


def sample(runs: Sequence[Timed]) -> Samples:
    """Reduce runs to what is compared.

    Args:
        runs: One or more, of the same routes or of some of them; their blocks are taken together.
    """
    blocks: defaultdict[str, list[_Block]] = defaultdict(list)
    for timed in runs:
        for route in timed.run.routes:
            blocks[route.label] += _blocks(route.invocations, timed.machine_ns)
    return {label: _measured(parts) for label, parts in blocks.items()}


def _blocks(invocations: Sequence[InvocationResult], machine_ns: Sequence[int]) -> Iterator[_Block]:
    """Divide into blocks of the same size, or a little more."""
    count = max(1, len(invocations) // BLOCK)
    bounds = [len(invocations) * number // count for number in range(count + 1)]
    for start, end in pairwise(bounds):
        block = invocations[start:end]
        meanwhile = [machine_ns[one.number - 1] for one in block] if machine_ns else [0]
        yield _Block(block, statistics.median_low(meanwhile))


def _measured(blocks: Sequence[_Block]) -> dict[str, Measured]:
    ran = [[_by_name(invocation.spans) for invocation in block.invocations] for block in blocks]
    names = dict.fromkeys(name for block in ran for invocation in block for name in invocation)
    measured = {}
    for name in names:
        # An invocation without such a span says nothing of how long one takes.
        found = [[one[name] for one in block if name in one] for block in ran]
        every = [one for block in found for one in block]
        of_blocks = [_statistics([one.ran_ns for one in those]) for those in found if those]
        measured[name] = Measured(
            statistics={
                statistic: _quickest([values[statistic] for values in of_blocks]) for statistic in STATISTICS
            },
            spans=statistics.median_low(one.spans for one in every),
            own_ns=statistics.median_low(one.own_ns for one in every),
            machine_ns=min(block.machine_ns for those, block in zip(found, blocks, strict=True) if those),
        )
    return measured


def _quickest(blocks: Sequence[int]) -> Statistic:
    ns = min(blocks)
    return Statistic(ns, noise_ns=statistics.median_low(blocks) - ns)


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
