"""Render a report for people at a terminal."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ddlwa.report import changes, tree
from ddlwa.report.model import Fault
from ddlwa.report.printable import printable
from ddlwa.report.problems import problems
from ddlwa.report.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from ddlwa.report.model import Report, RouteResult, Run

_RIGHT, _WRONG, _QUIET = "green", "red", "dim"
_NARROWEST = 76  # the fixed columns need most of it; a narrower terminal breaks the lines itself
_BESIDE = 14  # columns for a verdict where two runs share a table


def render(report: Report, *, width: int, color: bool) -> str:
    """Draw the tables, the summary, and the traces that are to be explained.

    Args:
        report: What the check found.
        width: Columns of the terminal.
        color: Whether to use colour (ANSI escapes).
    """
    console = Console(
        file=io.StringIO(),
        width=max(width, _NARROWEST, tree.width_for(report.explained)),
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        markup=False,  # brackets are the app's, in the names of its routes
        emoji=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(Group(*_parts(report)))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _parts(report: Report) -> Iterator[RenderableType]:
    judged = report.judged
    modes = " and ".join(run.mode.label for run in report.runs)
    yield Text.assemble((printable(report.app), "bold"), f" with {modes}")
    how_long = f" for {duration(report.freeze_ns)}" if judged.clock_jumped else ""
    yield Text(
        f"ddlwa {report.version}, ddtrace {report.ddtrace_version}, frozen{how_long} after every response",
        style=_QUIET,
    )
    yield Text(f"adapter: {printable(report.adapter)}", style=_QUIET)
    yield ""
    yield _table(judged) if len(report.runs) == 1 else _comparison(*report.runs)
    yield ""
    if not judged.right:
        yield from _faults(judged)
        yield ""
    yield _summary(report)
    if not judged.clock_jumped:
        yield Text(
            "The clock can't be moved on this platform, so the freezes were real and short instead of "
            f"{duration(report.freeze_ns)}.",
            style="yellow",
        )
    if len(report.runs) > 1 and report.runs[0].right:
        yield Text("Plain ddtrace was right everywhere: this app does not show the problem.", style="yellow")
    if report.comparison is not None:
        yield ""
        yield from changes.draw(report.comparison)
    for one in report.explained:
        yield ""
        yield tree.draw(one)


def _new_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)


def _table(run: Run) -> Table:
    table = _new_table()
    table.add_column("Route", no_wrap=True)
    table.add_column(overflow="fold")
    for heading in ("Status", "Spans", "Delivered", "Longest"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for route in run.routes:
        table.add_row(
            printable(route.method),
            printable(route.path),
            _statuses(route),
            _span_counts(route),
            _delivered(route),
            _longest(route.longest_ns, route.faults),
            _verdict(route.faults),
        )
    for trace in run.others:
        table.add_row(
            "other",
            printable(trace.spans[0].name),
            "",
            str(len(trace.spans)),
            "",
            _longest(trace.longest_ns, trace.faults),
            _verdict(trace.faults),
        )
    return table


def _comparison(plain: Run, ddlwa: Run) -> Table:
    table = _new_table()
    table.add_column("\nRoute", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column("\nStatus", justify="right", no_wrap=True)
    table.add_column("Delivered\nplain", justify="right", no_wrap=True)
    table.add_column("\nddlwa", justify="right", no_wrap=True)
    table.add_column("Longest\nplain", justify="right", no_wrap=True)
    table.add_column("\nddlwa", justify="right", no_wrap=True)
    table.add_column("\nVerdict", no_wrap=True)
    plain_routes = {route.label: route for route in plain.routes}
    for route in ddlwa.routes:
        beside = plain_routes[route.label]
        table.add_row(
            printable(route.method),
            printable(route.path),
            _statuses(route),
            _delivered(beside),
            _delivered(route),
            _longest(beside.longest_ns, beside.faults),
            _longest(route.longest_ns, route.faults),
            _verdict(route.faults, width=_BESIDE),
        )
    for trace in ddlwa.others:
        longest = _longest(trace.longest_ns, trace.faults)
        verdict = _verdict(trace.faults, width=_BESIDE)
        table.add_row("other", printable(trace.spans[0].name), "", "", "", "", longest, verdict)
    return table


def _span_counts(route: RouteResult) -> str:
    lowest, highest = route.span_counts
    return str(lowest) if lowest == highest else f"{lowest}-{highest}"


def _statuses(route: RouteResult) -> Text:
    wrong = {Fault.NO_RESPONSE, Fault.WRONG_STATUS}.intersection(route.faults)
    return Text(
        "\n".join("none" if status is None else str(status) for status in route.statuses),
        style=_WRONG if wrong else "",
    )


def _delivered(route: RouteResult) -> Text:
    total = len(route.invocations)
    return Text(f"{route.delivered}/{total}", style=_RIGHT if route.delivered == total else _WRONG)


def _longest(longest_ns: int | None, faults: tuple[Fault, ...]) -> Text:
    if longest_ns is None:
        return Text("none", style=_QUIET)
    frozen = {Fault.FROZEN_TIME, Fault.BACKGROUND_FROZEN_TIME}.intersection(faults)
    return Text(duration(longest_ns), style=_WRONG if frozen else _RIGHT)


def _verdict(faults: tuple[Fault, ...], *, width: int = 20) -> Text:
    if not faults:
        return Text("✓ right", style=_RIGHT)
    # Folded here and not by the table, which would take the width from the wrong column.
    lines = textwrap.wrap("✗ " + ", ".join(fault.value for fault in faults), width, subsequent_indent="  ")
    return Text("\n".join(lines), style=_WRONG)


def _faults(run: Run) -> Iterator[RenderableType]:
    """Say of each kind of fault how often it happened, what one example looks like, and what to do."""
    for one in problems(run):
        yield Text.assemble(
            (f"✗ {one.fault.value}", _WRONG),
            f", {_count(one.count, 'time')}" + (", for example in " if one.count > 1 else ", in "),
            (f"{printable(one.route)}, invocation {one.number}" if one.route else "no invocation", "bold"),
        )
        yield Padding(Text(printable(one.example)), (0, 0, 0, 2))
        yield Padding(Text(f"What to do: {one.advice}"), (0, 0, 0, 2))


def _summary(report: Report) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    for _ in range(3):
        table.add_column(justify="right")
    for run in report.runs:
        total = len(run.invocations)
        table.add_row(
            Text(
                f"{'✓' if run.right else '✗'} {run.mode.label}",
                style=f"bold {_RIGHT if run.right else _WRONG}",
            ),
            f"{run.right_invocations}/{total} right",
            f"{run.delivered}/{total} delivered",
            f"{_count(run.frozen_spans, 'span')} with frozen time",
        )
    return table


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
