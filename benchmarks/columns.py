"""The summary: what counts of each approach, the best in each column, and where ddlwa is not."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.approaches import APPROACHES, OURS
from benchmarks.latency import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
        values: By approach.
        show: How a value is written; those that look the same count as the same.
        more_is_better: Whether it is, or else less.
    """

    title: str
    values: Mapping[str, float]
    show: Callable[[float], str]
    more_is_better: bool = False

    @property
    def best(self) -> str:
        """The best of all, as it is shown."""
        choose = max if self.more_is_better else min
        return self.show(choose(self.values.values()))

    @property
    def leaders(self) -> list[str]:
        """Those that are the best, or look as if they were."""
        return [name for name, value in self.values.items() if self.show(value) == self.best]

    def cell(self, name: str) -> str:
        """Give what the table has of an approach; the best is bold."""
        if name not in self.values:
            return "-"
        shown = self.show(self.values[name])
        return f"**{shown}**" if shown == self.best else shown


def shares(results: Results, what: str) -> dict[str, float]:
    """Add up over the apps how many invocations are `right`, or `delivered`, as a share of all."""
    rows = results.correctness
    return {
        name: sum(getattr(row, what) for row in rows if row.approach == name)
        / sum(row.invocations for row in rows if row.approach == name)
        for name in dict.fromkeys(row.approach for row in rows)
    }


def columns(results: Results) -> list[Column]:
    """Give the columns of the summary, as far as they were measured."""
    return [column for column in _all(results) if column.values]


def _all(results: Results) -> Iterator[Column]:
    yield Column("right", shares(results, "right"), percent, more_is_better=True)
    yield Column("delivered in time", shares(results, "delivered"), percent, more_is_better=True)
    for state in STATES:
        rows = [row for row in results.latency if row.agent == state]
        for quantile in ("p50", "p99") if state == "healthy" else ("p99",):
            values = {row.approach: statistics.median(getattr(row, quantile)) for row in rows}
            yield Column(f"latency {quantile}, agent {state}", values, ratio)
    most = max((row.concurrency for row in results.throughput), default=0)
    values = {
        row.approach: statistics.median(row.shares) for row in results.throughput if row.concurrency == most
    }
    yield Column(f"throughput, {most} at a time", values, ratio, more_is_better=True)
    starts = results.cold_start
    yield Column("cold start", {row.approach: statistics.median(row.times) for row in starts}, ratio)
    yield Column("memory at start", {row.approach: statistics.median(row.rss) for row in starts}, ratio)


def verdicts(results: Results) -> list[str]:
    """Say where ddlwa leads, and of each other column who does, and what that is worth."""
    some = columns(results)
    led = [column.title for column in some if set(OURS) & set(column.leaders)]
    lines = [f"ddlwa leads, alone or not, in {len(led)} of {len(some)} columns: {', '.join(led) or 'none'}."]
    right, delivered = shares(results, "right"), shares(results, "delivered")
    for column in some:
        ours = {name: column.values[name] for name in OURS if name in column.values}
        if column.title in led or not ours:
            continue
        leader = column.leaders[0]
        choose = max if column.more_is_better else min
        nearest = choose(ours, key=ours.__getitem__)
        line = (
            f"{column.title}: {APPROACHES[leader].label} has {column.best}, "
            f"{APPROACHES[nearest].label} {column.show(ours[nearest])}."
        )
        if leader in right:
            worth = (
                f"But {percent(right[leader])} of its traces are right, {percent(delivered[leader])} in time."
            )
            if right[leader] == delivered[leader] == 1:
                worth = "Its traces are all right and in time, too."
            line += f" {worth}"
        lines.append(line)
    return lines
