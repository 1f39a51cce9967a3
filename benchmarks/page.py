"""Renders what was measured as docs/benchmarks.md: the same data give the same page."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.approaches import APPROACHES
from benchmarks.columns import columns, growths, percent, ratio, verdicts
from benchmarks.correctness import APPS, FREEZE
from benchmarks.latency import PATIENCE_S, STATES
from benchmarks.memory import WARM_UP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.results import Results

_WORK = {"spans": "spans in the trace", "body": "bytes of the body", "chunks": "chunks of the stream"}


def render(results: Results) -> str:
    """Write the page, in Markdown; its plots stand beside it, see `benchmarks.plots`.

    Args:
        results: What was measured; what was not is left out.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701 - it is no HTML, and all of it is ours
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.md.j2").render(
        tables=_tables(results),
        verdicts=verdicts(results),
        growths=growths(results),
        missing={_label(name): why for name, why in results.missing.items()},
        machine=results.machine,
        approaches=APPROACHES.values(),
        apps=APPS,
        freeze=FREEZE,
        patience=PATIENCE_S,
        warm_up=f"{WARM_UP:,}",
    )


def _tables(results: Results) -> dict[str, Any]:
    throughput = {(row.approach, f"{row.concurrency} at a time"): row.shares for row in results.throughput}
    memory = {(row.approach, f"{row.invocations:,}"): [row.ratio] for row in results.memory}
    return {
        "summary": _summary(results),
        "correctness": _correctness(results),
        "latency": {state: table for state in STATES if (table := _latency(results, state))},
        "throughput": _grid("approach", throughput),
        "cold_start": _cold_start(results),
        "growth": [
            _grid(
                what,
                {(row.approach, f"{row.size:,}"): row.ratios for row in results.growth if row.work == work},
            )
            for work, what in _WORK.items()
            if results.growth
        ],
        "memory": _grid("invocations", memory),
    }


def _summary(results: Results) -> str:
    some = columns(results)
    if not some:
        return ""
    names = dict.fromkeys(name for column in some for name in column.samples)
    rows = [[_label(name), *(column.cell(name) for column in some)] for name in names]
    rows += [[_label(name), "not measured", *["-"] * (len(some) - 1)] for name in results.missing]
    return _table(["approach", *(column.title for column in some)], rows)


def _correctness(results: Results) -> str:
    rows = []
    for row in results.correctness:
        faults = ", ".join(f"{fault} {count}" for fault, count in row.faults.items()) or "none"
        shares = (percent(some / row.invocations) for some in (row.timed, row.delivered, row.right))
        rows.append([_label(row.approach), row.app, *shares, faults])
    headings = ["approach", "app", "right durations", "delivered in time", "both", "invocations with a fault"]
    return _table(headings, rows)


def _latency(results: Results, state: str) -> str:
    rows = [
        [
            _label(row.approach),
            *map(_spread, (row.p50, row.p99, row.busy_p50, row.busy_p99)),
            str(row.requests),
        ]
        for row in results.latency
        if row.agent == state
    ]
    return _table(["approach", "p50", "p99", "busy p50", "busy p99", "requests a round"], rows)


def _cold_start(results: Results) -> str:
    rows = [
        [_label(row.approach), _spread(row.times), str(row.modules), _spread(row.rss)]
        for row in results.cold_start
    ]
    return _table(["approach", "time", "modules", "resident memory"], rows)


def _grid(corner: str, values: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """Make a table of approaches by whatever else each value has."""
    names, others = (list(dict.fromkeys(some)) for some in zip(*values, strict=True)) if values else ([], [])
    rows = [[_label(name), *(_spread(values[name, other]) for other in others)] for name in names]
    return _table([corner, *others], rows)


def _label(name: str) -> str:
    return APPROACHES[name].label


def _spread(values: Sequence[float]) -> str:
    middle = ratio(statistics.median(values))
    low, high = ratio(min(values)), ratio(max(values))
    return middle if low == high else f"{middle} ({low} to {high})"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; nothing where it would have no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    head = [f"| {' | '.join(headings)} |", f"|---|{'---:|' * (len(headings) - 1)}"]
    return "\n".join([*head, *lines]) if lines else ""
