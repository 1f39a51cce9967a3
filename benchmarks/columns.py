"""The summary: what counts of each approach, the best in each column, and where ddlwa is not."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.approaches import APPROACHES, OURS
from benchmarks.latency import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from benchmarks.results import Results


def percent(share: float) -> str:
    """Show a share; 100 % is all of it, and 0 % nothing."""
    digits = math.floor(share * 1000) / 10 if share > 0 else 0.0
    return f"{max(digits, 0.1) if share > 0 else 0:g} %"


def ratio(value: float) -> str:
    """Show a multiple of what plain ddtrace has."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"  # noqa: PLR2004 - no more than three digits tell


@dataclass(frozen=True)
class Column:
    """One quantity, of the approaches of which it was measured.

    Attributes:
        title: What it is.
        samples: By approach; their median counts.
        show: How a value is written; those that look the same count as the same.
        more_is_better: Whether it is, or else less.
        unranked: Those that had too few requests to be the best.
    """

    title: str
    samples: Mapping[str, Sequence[float]]
    show: Callable[[float], str] = ratio
    more_is_better: bool = False
    unranked: Collection[str] = ()

    @property
    def values(self) -> dict[str, float]:
        """The medians, by approach."""
        return {name: statistics.median(some) for name, some in self.samples.items()}

    def leaders(self, among: Iterable[str]) -> list[str]:
        """Give those that are the best of some approaches, or look as if they were.

        Args:
            among: Which; those that were not measured do not count.
        """
        values = self.values
        ranked = {name: values[name] for name in among if name in values and name not in self.unranked}
        if not ranked:
            return []
        best = self.show((max if self.more_is_better else min)(ranked.values()))
        return [name for name, value in ranked.items() if self.show(value) == best]

    def overlap(self, one: str, other: str) -> bool:
        """Say whether the ranges of two approaches have a value in common."""
        ours, theirs = self.samples[one], self.samples[other]
        return min(ours) <= max(theirs) and min(theirs) <= max(ours)

    def cell(self, name: str) -> str:
        """Give what the table has of an approach; the best is bold."""
        if name not in self.samples:
            return "-"
        shown = self.show(self.values[name])
        return f"**{shown}**" if name in self.leaders(self.samples) else shown


def shares(results: Results, what: str) -> dict[str, float]:
    """Add up over the apps how many invocations are `right`, `timed` or `delivered`, as a share of all."""
    rows = results.correctness
    return {
        name: sum(getattr(row, what) for row in rows if row.approach == name)
        / sum(row.invocations for row in rows if row.approach == name)
        for name in dict.fromkeys(row.approach for row in rows)
    }


def samples(rows: Iterable[Any], quantity: str) -> dict[str, list[float]]:
    """Give one quantity of some rows, by approach."""
    return {row.approach: getattr(row, quantity) for row in rows}


def columns(results: Results) -> list[Column]:
    """Give the columns of the summary, as far as they were measured."""
    return [column for column in _all(results) if column.samples]


def _all(results: Results) -> Iterator[Column]:
    for title, what in (("right durations", "timed"), ("delivered in time", "delivered")):
        found = {name: [share] for name, share in shares(results, what).items()}
        yield Column(title, found, show=percent, more_is_better=True)
    for title, state, quantity in (
        ("latency p50", "healthy", "p50"),
        *(("latency p99", state, "p99") for state in STATES),
        ("sandbox busy p50", "healthy", "busy_p50"),
        ("sandbox busy p99", "hung", "busy_p99"),
    ):
        rows = [row for row in results.latency if row.agent == state]
        most = max((row.requests for row in rows), default=0)
        yield Column(
            f"{title}, agent {state}",
            samples(rows, quantity),
            unranked=[row.approach for row in rows if row.requests < most],
        )
    most = max((row.concurrency for row in results.throughput), default=0)
    served = samples((row for row in results.throughput if row.concurrency == most), "shares")
    yield Column(f"throughput, {most} at a time", served, more_is_better=True)
    yield Column("cold start", samples(results.cold_start, "times"))
    yield Column("memory at start", samples(results.cold_start, "rss"))


def verdicts(results: Results) -> list[str]:
    """Say where ddlwa leads, and of each other column who does, and what that is worth."""
    some = columns(results)
    lines = [_led("ddlwa leads, alone or not,", some, APPROACHES)]
    right, delivered = shares(results, "right"), shares(results, "delivered")
    good = [name for name, share in right.items() if share == 1]
    if set(OURS) & set(good):
        labels = ", ".join(APPROACHES[name].label for name in good)
        lines.append(_led(f"Of those whose traces are all right and in time ({labels}) it leads", some, good))
    lines += [
        f"Not all traces of {APPROACHES[name].label} are right and in time: {percent(right[name])} are."
        for name in OURS
        if right.get(name, 1) < 1
    ]
    for column in some:
        leader, *_ = leaders = column.leaders(APPROACHES)
        nearest = next(iter(column.leaders(OURS)), None)
        if nearest is None or set(OURS) & set(leaders):
            continue
        line = (
            f"{column.title}: {APPROACHES[leader].label} has {column.show(column.values[leader])}, "
            f"{APPROACHES[nearest].label} {column.show(column.values[nearest])}."
        )
        if column.overlap(leader, nearest):
            line += " Their ranges overlap, so that this may be chance."
        if leader in good:
            line += f" Its traces are all right and in time{', too' if nearest in good else ''}."
        elif leader in right:
            worth = f"{percent(right[leader])} of its traces are right, {percent(delivered[leader])} in time."
            line += f" But {worth}"
        lines.append(line)
    return lines


def _led(beginning: str, some: Sequence[Column], among: Iterable[str]) -> str:
    led = [column.title for column in some if set(OURS) & set(column.leaders(among))]
    return f"{beginning} in {len(led)} of {len(some)} columns: {'; '.join(led) or 'none'}."


def growths(results: Results) -> list[str]:
    """Say of each kind of work what the largest costs with ddlwa, and which size costs the most."""
    lines = []
    for work in dict.fromkeys(row.work for row in results.growth):
        for name in OURS:
            costs = {
                row.size: statistics.median(row.ratios)
                for row in results.growth
                if (row.work, row.approach) == (work, name)
            }
            if costs:
                largest, worst = max(costs), max(costs, key=costs.__getitem__)
                line = f"{work}: {APPROACHES[name].label} takes {ratio(costs[largest])} at {largest:,}"
                more = f", and {ratio(costs[worst])} at {worst:,}" if worst != largest else ""
                lines.append(f"{line}{more}, the most of all sizes.")
    return lines
