"""Pack invocations into lists of numbers, which a page of thousands of them still loads at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddlwa.report.branches import grow, walk
from ddlwa.report.html.timeline import Timeline
from ddlwa.report.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ddlwa.report.model import InvocationResult, OtherTrace, Report, Run

NO_ROUTE = "no invocation"
# What the page's script reads from a span's flags.
_DELIVERED, _BACKGROUND = 1, 2


def pack(report: Report) -> dict[str, Any]:
    """Give what the page's script reads: each text once, and times in ns since their invocation began.

    Epoch ns would not fit JavaScript's numbers. A row is the invocation's number (0 for a trace of none), its
    route, and a side for each run, null where that run does not have it.

    Args:
        report: What the check found.
    """
    texts: dict[str, int] = {}
    rows: dict[tuple[str, int], list[Any]] = {}
    for place, run in enumerate(report.runs):
        for key, number, label, side in _sides(run, texts):
            row = rows.setdefault(key, [number, _index(label, texts), *(None for _ in report.runs)])
            row[2 + place] = side
    return {
        "modes": [run.mode.value for run in report.runs],
        "labels": [run.mode.label for run in report.runs],
        "texts": list(texts),
        "rows": sorted(rows.values(), key=lambda row: (not row[0], row[0])),
    }


def _sides(run: Run, texts: dict[str, int]) -> Iterator[tuple[tuple[str, int], int, str, list[Any]]]:
    """Pack what one run has; each mode makes the same requests, which pair by their place in their route."""
    timeline = Timeline(run.timeline)
    for route in run.routes:
        for place, one in enumerate(route.invocations):
            side = _side(
                one, since_ns=one.started_ns, until_ns=one.stopped_ns, timeline=timeline, texts=texts
            )
            yield (route.label, place), one.number, route.label, [one.status, *side]
    for place, trace in enumerate(run.others):
        began_ns = min((span.start_ns for span in trace.spans), default=0)
        side = _side(trace, since_ns=began_ns, until_ns=began_ns, timeline=timeline, texts=texts)
        yield (run.mode.value, place), 0, NO_ROUTE, [None, *side]


def _side(
    trace: InvocationResult | OtherTrace,
    *,
    since_ns: int,
    until_ns: int,
    timeline: Timeline,
    texts: dict[str, int],
) -> list[Any]:
    until_ns = max([until_ns, *(timeline.end_ns(span) for span in trace.spans)])
    return [
        [[one.length_ns, one.freezes] for one in timeline.between(since_ns, until_ns)],
        [
            [
                _index(branch.span.name, texts),
                _index(branch.span.resource, texts),
                branch.depth,
                branch.span.start_ns - since_ns,
                timeline.end_ns(branch.span) - since_ns,
                branch.span.duration_ns,
                branch.span.frozen_ns,
                _DELIVERED * branch.span.delivered + _BACKGROUND * branch.span.background,
            ]
            for branch in walk(grow(trace.spans))
        ],
        [[_index(one.fault.value, texts), _index(one.message, texts)] for one in trace.findings],
    ]


def _index(text: str, texts: dict[str, int]) -> int:
    return texts.setdefault(printable(text), len(texts))
