"""Draws what was measured, as SVG."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from benchmarks.approaches import APPROACHES, OURS, PLAIN
from benchmarks.columns import percent, samples, shares
from benchmarks.latency import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from benchmarks.results import Results

    Samples = Mapping[str, Sequence[float]]

_OURS, _THEIRS, _REFERENCE, _GRID = "#6d28d9", "#94a3b8", "#475569", "#e2e8f0"
_LINES = {PLAIN: _REFERENCE, OURS[0]: _OURS, OURS[1]: "#c026d3"}
_OTHER_LINE = "#f59e0b"
_KIB, _MIB = 1 << 10, 1 << 20
# Text stays text, and the file is the same for the same data.
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ddlwa",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}


def draw(results: Results, folder: Path) -> None:
    """Write the plots of the sections that were measured.

    Args:
        results: What was measured.
        folder: Where to; made if it is not there.
    """
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type] # newer stubs list all keys, older ones take texts
        for name, figure in _figures(results):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
            plt.close(figure)


def _figures(results: Results) -> Iterator[tuple[str, Any]]:
    healthy = [row for row in results.latency if row.agent == "healthy"]
    troubled = {state: [row for row in results.latency if row.agent == state] for state in STATES}
    troubled = {state: rows for state, rows in troubled.items() if rows and state != "healthy"}
    levels = dict.fromkeys(row.concurrency for row in results.throughput)
    if results.correctness:
        yield "correctness", _correctness(results)
    if healthy:
        panels = {
            "until the response is complete, p50": samples(healthy, "p50"),
            "the same, p99": samples(healthy, "p99"),
            "until the sandbox can be frozen, p50": samples(healthy, "busy_p50"),
        }
        yield "latency", _ranges(panels)
    for name, quantity in (("trouble", "p99"), ("trouble_busy", "busy_p99")):
        if troubled:
            panels = {f"agent {state}": samples(rows, quantity) for state, rows in troubled.items()}
            yield name, _ranges(panels, log=True)
    if results.throughput:
        panels = {
            f"{level} at a time": samples(
                (row for row in results.throughput if row.concurrency == level), "shares"
            )
            for level in levels
        }
        yield "throughput", _ranges(panels)
    if results.cold_start:
        panels = {
            "time until the app is there": samples(results.cold_start, "times"),
            "resident memory": samples(results.cold_start, "rss"),
        }
        yield "cold_start", _ranges(panels)
    if results.growth:
        yield "growth", _growth(results)
    if results.memory:
        yield "memory", _memory(results)


def _label(name: str) -> str:
    return APPROACHES[name].label.replace("*", "").replace("`", "")


def _color(name: str) -> str:
    return _OURS if name in OURS else _REFERENCE if name == PLAIN else _THEIRS


def _rows(names: Sequence[str], *, panels: int) -> tuple[Any, Any]:
    """Make panels side by side, with a row for each approach."""
    figure, axes = plt.subplots(
        1, panels, figsize=(3.4 * panels + 2.2, 0.34 * len(names) + 0.9), sharey=True, squeeze=False
    )
    for axis in axes[0]:
        axis.set_yticks(range(len(names)), [_label(name) for name in names])
        axis.grid(axis="x", color=_GRID)
        axis.tick_params(left=False)
    axes[0][0].set_ylim(len(names) - 0.4, -0.6)
    return figure, axes[0]


def _correctness(results: Results) -> Any:
    names = list(shares(results, "right"))
    figure, axes = _rows(names, panels=2)
    titles = {"timed": "right durations, % of invocations", "delivered": "delivered before the freeze, %"}
    for axis, (what, title) in zip(axes, titles.items(), strict=True):
        for place, (name, share) in enumerate(shares(results, what).items()):
            axis.barh(place, 100 * share, height=0.62, color=_color(name))
            axis.text(100 * share + 2, place, percent(share), va="center", fontsize=9)
        axis.set_xlim(0, 122)
        axis.set_xticks(range(0, 101, 25))
        axis.set_title(title)
    return figure


def _ranges(panels: Mapping[str, Samples], *, log: bool = False) -> Any:
    """Draw medians as dots, and from the least to the most of all rounds as bars."""
    names = list(dict.fromkeys(name for some in panels.values() for name in some))
    figure, axes = _rows(names, panels=len(panels))
    for axis, (title, some) in zip(axes, panels.items(), strict=True):
        axis.axvline(1, color=_REFERENCE, linewidth=1, linestyle=":")
        for place, name in enumerate(names):
            values = some[name]
            color = _color(name)
            axis.plot([min(values), max(values)], [place, place], color=color, linewidth=5, alpha=0.3)
            axis.plot(statistics.median(values), place, "o", color=color)
        if log:
            axis.set_xscale("log")
        else:
            axis.set_xlim(left=0)
        axis.set_title(title)
        axis.set_xlabel("times plain ddtrace's")
    return figure


def _growth(results: Results) -> Any:
    works = {"spans": "spans in the trace", "body": "size of the body", "chunks": "chunks of the stream"}
    figure, axes = plt.subplots(1, len(works), figsize=(12, 3.4), sharey=True)
    for axis, (work, title) in zip(axes, works.items(), strict=True):
        rows = [row for row in results.growth if row.work == work]
        _lines(axis, [(row.approach, row.size, row.ratios) for row in rows])
        _ticks(axis, sorted({row.size for row in rows}), _bytes if work == "body" else _count)
        axis.set_xlabel(title)
    axes[0].set_ylim(0, 1.05 * max(max(row.ratios) for row in results.growth))
    axes[0].set_ylabel("times plain ddtrace's")
    axes[0].legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def _memory(results: Results) -> Any:
    figure, axis = plt.subplots(figsize=(6.4, 3.0))
    _lines(axis, [(row.approach, row.invocations, [row.ratio]) for row in results.memory])
    decades = [10**power for power in range(1, 6)]
    _ticks(axis, [some for some in decades if some <= results.memory[-1].invocations], _count)
    axis.set_xlabel("invocations")
    axis.set_ylim(0, 1.2 * max(row.ratio for row in results.memory))
    axis.set_ylabel("times that after the warm-up")
    axis.legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def _lines(axis: Any, points: Sequence[tuple[str, int, Sequence[float]]]) -> None:
    """Draw medians as a line for each approach, and a band from the least to the most."""
    for name in dict.fromkeys(name for name, _, _ in points):
        sizes = [size for one, size, _ in points if one == name]
        measured = [values for one, _, values in points if one == name]
        middles = [statistics.median(values) for values in measured]
        color = _LINES.get(name, _OTHER_LINE)
        axis.plot(sizes, middles, "o-", color=color, label=_label(name), markersize=4)
        lows, highs = [min(values) for values in measured], [max(values) for values in measured]
        axis.fill_between(sizes, lows, highs, color=color, alpha=0.12, linewidth=0)
    axis.set_xscale("log")
    axis.grid(axis="y", color=_GRID)


def _ticks(axis: Any, sizes: Sequence[int], show: Callable[[int], str]) -> None:
    axis.set_xticks(sizes, [show(size) for size in sizes])
    axis.minorticks_off()


def _count(count: int) -> str:
    return f"{count:,}"


def _bytes(size: int) -> str:
    return f"{size // _MIB} MiB" if size >= _MIB else f"{size // _KIB} KiB"
