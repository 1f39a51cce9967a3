"""Draw traces as trees of their spans, for people at a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ddlwa.report.branches import grow, walk
from ddlwa.report.printable import printable
from ddlwa.report.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ddlwa.report.branches import Branch
    from ddlwa.report.model import Explained, TracedSpan

_WRONG, _QUIET = "red", "dim"
_INDENT = 4  # columns, as rich draws a tree
_SPAN_WIDTH = 60  # what a span and its tags need beside their indentation
# Of the process and of ddtrace's own trade; ids are what the tree itself shows.
_NOISE = re.compile(r"_.*|runtime-id|language|process_id")
# What Lambda has to say comes first, in this order.
_GROUPS = (
    re.compile(r"function(?!_trigger).*|resource_names|executedversion|memorysize|region|account_id"),
    re.compile(r"cold_start|proactive_initialization|request_id|tenant_id|ddlwa\..*"),
    re.compile(r"function_trigger\..*"),
    re.compile(r"http\..*"),
    re.compile(r".*", re.DOTALL),
)


def tags_to_show(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """Sort tags for a reader: what Lambda tells first, the rest by name, noise not at all.

    Args:
        tags: All tags of a span.
    """

    def place(tag: tuple[str, str]) -> tuple[int, str]:
        return next(at for at, group in enumerate(_GROUPS) if group.fullmatch(tag[0])), tag[0]

    return sorted((tag for tag in tags.items() if not _NOISE.fullmatch(tag[0])), key=place)


def width_for(explained: Iterable[Explained]) -> int:
    """Tell how many columns it takes to draw the deepest of these spans so that it can be read.

    Args:
        explained: What is to be drawn.
    """
    depths = (branch.depth + 1 for one in explained for branch in walk(grow(one.spans)))
    return max(depths, default=0) * _INDENT + _SPAN_WIDTH


def draw(one: Explained) -> Tree:
    """Draw the traces of an invocation, its event source on top.

    Args:
        one: The invocation.
    """
    status = "" if one.status is None else f", {one.status}"
    top = Tree(Text.assemble((one.source, "bold"), f"  {one.request}{status}"), guide_style=_QUIET)
    if one.error is not None:
        top.add(Text(one.error, style=_WRONG))
    if not one.spans:
        top.add(Text("no trace arrived", style=_WRONG))
    trees: dict[Branch[TracedSpan] | None, Tree] = {None: top}
    for branch in walk(grow(one.spans)):
        trees[branch] = trees[branch.parent].add(_label(branch))
    return top


def _label(branch: Branch[TracedSpan]) -> Group:
    span = branch.span
    pieces = (
        (printable(span.name), "bold"),
        ("" if span.resource == span.name else printable(span.resource), ""),
        (printable(span.service), "cyan"),
        (duration(span.duration_ns), "green"),
        ("error" if span.error else "", _WRONG),
        ("(its parent is not here)" if branch.parent is None and span.parent_id else "", _QUIET),
    )
    title = Text("  ").join(Text(text, style=style) for text, style in pieces if text)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style=_QUIET, overflow="fold")
    table.add_column(overflow="fold")
    for name, value in tags_to_show(span.tags):
        table.add_row(Text(printable(name)), Text(printable(value)))
    return Group(title, table)
