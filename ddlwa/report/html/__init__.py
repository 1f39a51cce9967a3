"""Render a report as one page that needs nothing else: its timelines, to look at."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from ddlwa.report.branches import grow, walk
from ddlwa.report.html.packing import NO_ROUTE, pack
from ddlwa.report.printable import printable
from ddlwa.report.problems import problems
from ddlwa.report.tree import tags_to_show
from ddlwa.report.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ddlwa.report.model import Fault, Report, RouteResult, Run
    from ddlwa.report.problems import Problem


def render(report: Report) -> str:
    """Write the page: the same report gives the same text.

    Args:
        report: What the check found. What of it comes from the app is escaped, in the page and in its data.
    """
    environment = Environment(
        autoescape=True, finalize=_shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters["duration"] = duration
    style, script = _part("page.css"), _part("page.js")
    return environment.from_string(_part("page.html")).render(
        report=report,
        summaries=[_Summary(run, problems(run)) for run in report.runs],
        routes=list(_routes(report)),
        data=pack(report),
        no_route=NO_ROUTE,
        grow=grow,
        walk=walk,
        tags_to_show=tags_to_show,
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
    )


@dataclass(frozen=True, slots=True)
class _Summary:
    """A run, and what is wrong in it, by its kind."""

    run: Run
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A route as the table has it: what each run has of it, the judged one last, None for what one lacks."""

    label: str
    sides: tuple[RouteResult | None, ...]
    faults: tuple[Fault, ...]


def _routes(report: Report) -> Iterator[_Row]:
    by_label = [{route.label: route for route in run.routes} for run in report.runs]
    for route in report.judged.routes:
        yield _Row(
            printable(route.label), tuple(routes.get(route.label) for routes in by_label), route.faults
        )


def _shown(value: object) -> object:
    """Let what is text do nothing; the page's own markup is past this."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _part(name: str) -> str:
    return (resources.files(__name__) / name).read_text("utf-8")


def _hash(text: str) -> str:
    """Name a script or style for a Content-Security-Policy (W3C CSP level 3, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
