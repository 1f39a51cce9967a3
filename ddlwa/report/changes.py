"""Draw at a terminal what a comparison with a baseline has found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ddlwa.report.printable import printable
from ddlwa.report.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from ddlwa.report.comparison import Compared, Comparison

# So many spans stand in the table of what is not slower: those that have grown most.
_MOST = 10


def draw(comparison: Comparison) -> Iterator[RenderableType]:
    """Draw what is slower with its causes, the spans that have grown most, and what may explain them.

    Args:
        comparison: What was found.
    """
    slower = comparison.slower
    yield Text.assemble("compared with ", (printable(comparison.baseline), "bold"))
    yield ""
    grown = sorted((one for one in comparison.compared if not one.slower), key=lambda one: -one.change)
    yield _table([*slower, *grown[:_MOST]])
    yield ""
    for route in dict.fromkeys(one.route for one in slower):
        yield Text.assemble(("✗ slower", "red"), ", ", (printable(route), "bold"))
        for one in slower:
            if one.route == route:
                yield Padding(Text(printable(str(one))), (0, 0, 0, 2))
    for what, some in (("new", comparison.new), ("gone", comparison.gone)):
        if some:
            yield Text(printable(f"{what}: {', '.join(some)}"), style="dim")
    for note in comparison.notes:
        yield Text(printable(f"note: {note}"), style="yellow")
    again = f", measured {comparison.measurements} times" if comparison.measurements > 1 else ""
    spans = f"{len(slower)} of {len(comparison.compared)} durations slower than allowed{again}"
    yield Text(f"{'✗' if slower else '✓'} {spans}", style=f"bold {'red' if slower else 'green'}")


def _table(rows: Sequence[Compared]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("Route", overflow="fold")
    table.add_column("Span", overflow="fold")
    table.add_column("Threshold", no_wrap=True)
    for heading in ("Before", "Now", "Change", "Allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in rows:
        table.add_row(
            printable(one.route),
            printable(one.span),
            one.threshold,
            duration(one.before_ns),
            Text(duration(one.now_ns), style="red" if one.slower else "green"),
            f"{one.change:+.0%}",
            duration(one.limit_ns),
        )
    return table
