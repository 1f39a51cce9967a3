"""Draws what was measured, as SVG."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from benchmarks.approaches import APPROACHES, OURS, PLAIN
from benchmarks.columns import percent, shares

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.results import Results

_OURS, _THEIRS, _REFERENCE = "#6d28d9", "#94a3b8", "#475569"
_DOTS = {PLAIN: "#475569", OURS[0]: "#6d28d9", OURS[1]: "#c026d3"}
_OTHER = "#f59e0b"
_TITLES = {"spans": "spans in the trace", "body": "bytes of the body", "chunks": "chunks of the stream"}
# Text stays text, and the file is the same for the same data.
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ddlwa",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
}


def draw(results: Results, folder: Path) -> None:
    """Write the plots of the sections that were measured.

    Args:
        results: What was measured.
        folder: Where to; made if it is not there.
    """
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type] # newer stubs list all keys, older ones take texts
        if results.correctness:
            _save(_correctness(results), folder / "correctness.svg")
        if results.latency:
            _save(_latency(results), folder / "latency.svg")
        if results.throughput:
            _save(_throughput(results), folder / "throughput.svg")
        if results.growth:
            _save(_growth(results), folder / "growth.svg")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def _label(name: str) -> str:
    return APPROACHES[name].label.replace("*", "").replace("`", "")


def _color(name: str) -> str:
    return _OURS if name in OURS else _REFERENCE if name == PLAIN else _THEIRS


def _bars(names: Sequence[str], *, panels: int) -> tuple[Any, Any]:
    figure, axes = plt.subplots(
        1, panels, figsize=(4.2 * panels + 2.2, 0.38 * len(names) + 1.2), sharey=True, layout="constrained"
    )
    axes = list(axes) if panels > 1 else [axes]
    for axis in axes:
        axis.set_yticks(range(len(names)), [_label(name) for name in names])
        axis.grid(axis="x", color="#e2e8f0")
        axis.tick_params(left=False)
    axes[0].invert_yaxis()
    return figure, axes


def _correctness(results: Results) -> Any:
    right, delivered = shares(results, "right"), shares(results, "delivered")
    names = list(right)
    figure, axes = _bars(names, panels=2)
    for axis, values, title in (
        (axes[0], right, "right"),
        (axes[1], delivered, "delivered before the freeze"),
    ):
        for row, name in enumerate(names):
            axis.barh(row, 100 * values[name], height=0.62, color=_color(name))
            axis.text(100 * values[name] + 2, row, percent(values[name]), va="center", fontsize=9)
        axis.set_xlim(0, 118)
        axis.set_xticks(range(0, 101, 25))
        axis.set_title(f"{title}, % of invocations", loc="left", fontsize=10)
    return figure


def _latency(results: Results) -> Any:
    rows = [row for row in results.latency if row.agent == "healthy"]
    figure, axes = _bars([row.approach for row in rows], panels=2)
    for axis, quantile in zip(axes, ("p50", "p99"), strict=True):
        axis.axvline(1, color=_REFERENCE, linewidth=1, linestyle=":")
        for place, row in enumerate(rows):
            values = getattr(row, quantile)
            middle = statistics.median(values)
            axis.plot(
                [min(values), max(values)],
                [place, place],
                color=_color(row.approach),
                linewidth=3,
                alpha=0.35,
            )
            axis.plot(middle, place, "o", color=_color(row.approach))
        axis.set_xlim(left=0)
        axis.set_title(f"latency {quantile}, times plain ddtrace's", loc="left", fontsize=10)
    return figure


def _throughput(results: Results) -> Any:
    levels = list(dict.fromkeys(row.concurrency for row in results.throughput))
    names = list(dict.fromkeys(row.approach for row in results.throughput))
    figure, axes = _bars(names, panels=len(levels))
    for axis, level in zip(axes, levels, strict=True):
        axis.axvline(1, color=_REFERENCE, linewidth=1, linestyle=":")
        for place, name in enumerate(names):
            (row,) = (one for one in results.throughput if (one.approach, one.concurrency) == (name, level))
            middle = statistics.median(row.shares)
            axis.barh(place, middle, height=0.62, color=_color(name))
            axis.text(middle + 0.02, place, f"{middle:.2f}", va="center", fontsize=9)
        axis.set_xlim(0, 1.25)
        axis.set_title(f"{level} at a time", loc="left", fontsize=10)
    figure.suptitle("requests a second, share of plain ddtrace's", x=0.01, ha="left", fontsize=10)
    return figure


def _growth(results: Results) -> Any:
    figure, axes = plt.subplots(1, len(_TITLES), figsize=(12.6, 3.4), layout="constrained")
    for axis, (work, title) in zip(axes, _TITLES.items(), strict=True):
        rows = [row for row in results.growth if row.work == work]
        for name in dict.fromkeys(row.approach for row in rows):
            points = [(row.size, statistics.median(row.ratios)) for row in rows if row.approach == name]
            axis.plot(
                *zip(*points, strict=True),
                "o-",
                color=_DOTS.get(name, _OTHER),
                label=_label(name),
                markersize=4,
            )
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", color="#e2e8f0")
        axis.set_xlabel(title)
    axes[0].set_ylabel("times plain ddtrace's")
    axes[-1].legend(frameon=False, fontsize=9)
    return figure
