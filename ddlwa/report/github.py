"""Render a report for GitHub Actions: annotations, and a job's summary.

The forms are those of docs.github.com, "Workflow commands for GitHub Actions".
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from ddlwa.report.printable import printable
from ddlwa.report.problems import problems
from ddlwa.report.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ddlwa.report.comparison import Compared, Comparison
    from ddlwa.report.model import Failure, Report, Run
    from ddlwa.report.problems import Problem

# GitHub shows ten annotations of a step.
_ANNOTATIONS = 10
# All summaries of a step may have 1 MiB, and a step may make more than one check.
_SUMMARY = 2**19
# Nobody reads that much of a log, or of a table.
_OUTPUT = 20_000
_ROWS = 200


def commands(report: Report) -> str:
    """Write an annotation for each kind of fault, and for each route that is slower than allowed.

    Args:
        report: What the check found.
    """
    annotations = [
        (f"{one.fault.value}: {_where(one)}", f"{one.example}\nWhat to do: {one.advice}")
        for one in problems(report.judged)
    ]
    if report.comparison is not None:
        worst: dict[str, Compared] = {}
        for one in report.comparison.slower:
            worst.setdefault(one.route, one)
        annotations += [(f"slower: {route}", str(one)) for route, one in worst.items()]
    if (more := len(annotations) - _ANNOTATIONS) > 0:
        kept = annotations[: _ANNOTATIONS - 1]
        annotations = [*kept, ("and more", f"{more + 1} more are in the log and in the summary.")]
    return "".join(_error(f"ddlwa check {report.app}: {title}", text) for title, text in annotations)


def summary(report: Report) -> str:
    """Write the summary of a job's step, in Markdown.

    Args:
        report: What the check found.
    """
    judged = report.judged
    how_long = f" for {duration(report.freeze_ns)}" if judged.clock_jumped else ""
    versions = f"ddlwa {report.version}, ddtrace {report.ddtrace_version}"
    lines = [
        f"## {_mark(right=report.right)} ddlwa check {_code(report.app)}",
        "",
        f"{versions}, adapter {_text(report.adapter)}, frozen{how_long} after every response.",
        "",
        *(_counts(run) for run in report.runs),
        "",
        *_table(("Route", "Delivered", "Longest", "Verdict"), _routes(judged)),
    ]
    for one in problems(judged):
        lines += ["", f"**{_text(one.fault.value)}**, {_text(_where(one))}: {_text(one.example)}  "]
        lines += [f"What to do: {_text(one.advice)}"]
    if report.comparison is not None:
        lines += ["", *_comparison(report.comparison)]
    return _page(lines)


def failure_command(failure: Failure) -> str:
    """Write the annotation of a check that could not be made.

    Args:
        failure: Why not.
    """
    return _error(f"ddlwa check {failure.app} could not be made", failure.reason)


def failure_summary(failure: Failure) -> str:
    """Write the summary of a check that could not be made, with the end of what the app printed.

    Args:
        failure: Why not.
    """
    lines = [f"## {_mark(right=False)} ddlwa check {_code(failure.app)} could not be made", ""]
    lines += [_text(failure.reason), ""]
    if failure.output:
        output = html.escape(printable(failure.output[-_OUTPUT:]))
        lines += [f"<pre>{output}</pre>", ""]
    return _page(lines)


def guarded(text: str, *, until: str) -> str:
    """Keep the runner from taking what the app says for commands, in a text that is printed as it is.

    Without it, `::error::` at the start of a line and `##[error]` anywhere would be commands.

    Args:
        text: What is to be printed.
        until: What makes commands work again; the text must not know it.
    """
    end = "" if text.endswith("\n") else "\n"
    return f"::stop-commands::{until}\n{text}{end}::{until}::\n"


def _where(one: Problem) -> str:
    times = f"{one.count} times, first in " if one.count > 1 else ""
    return times + (f"{one.route}, invocation {one.number}" if one.route else "no invocation")


def _error(title: str, message: str) -> str:
    """Write a workflow command, in which nothing of the app's can end it or begin another."""
    title = _escaped(printable(title)).replace(":", "%3A").replace(",", "%2C")
    return f"::error title={title}::{_escaped(printable(message))}\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _counts(run: Run) -> str:
    total = len(run.invocations)
    return (
        f"- {_mark(right=run.right)} {run.mode.label}: {run.right_invocations}/{total} right, "
        f"{run.delivered}/{total} delivered before the freeze"
    )


def _routes(run: Run) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    # What is wrong stands first, where the table is cut.
    for route in sorted(run.routes, key=lambda route: route.right):
        longest = "none" if route.longest_ns is None else duration(route.longest_ns)
        verdict = ", ".join(fault.value for fault in route.faults) or "right"
        delivered = f"{route.delivered}/{len(route.invocations)}"
        rows.append((_code(route.label), delivered, longest, f"{_mark(right=route.right)} {verdict}"))
    return rows


def _comparison(comparison: Comparison) -> list[str]:
    slower = comparison.slower
    lines = [f"### Compared with {_code(comparison.baseline)}", ""]
    if slower:
        headings = ("Route", "Span", "Baseline", "Now", "Change", "Allowed", "Most likely")
        rows = [
            (
                _code(one.route),
                _code(one.span),
                duration(one.before_ns),
                duration(one.now_ns),
                f"{one.change:+.0%}",
                f"{duration(one.limit_ns)} ({one.threshold})",
                _text(one.cause),
            )
            for one in slower
        ]
        lines += _table(headings, rows)
    else:
        lines.append(f"{_mark(right=True)} Nothing is slower than {', '.join(comparison.thresholds)} allows.")
    for what, some in (("new", comparison.new), ("gone", comparison.gone)):
        if some:
            lines += ["", f"{what.capitalize()}: {', '.join(map(_code, some[:_ROWS]))}{_more(some)}"]
    return [*lines, *(line for note in comparison.notes for line in ("", f"Note: {_text(note)}."))]


def _table(headings: Sequence[str], rows: Sequence[Iterable[str]]) -> list[str]:
    lines = [_row(headings), _row("---" for _ in headings), *map(_row, rows[:_ROWS])]
    return [*lines, "", more.strip()] if (more := _more(rows)) else lines


def _more(some: Sequence[object]) -> str:
    return f" and {more} more" if (more := len(some) - _ROWS) > 0 else ""


def _page(lines: Iterable[str]) -> str:
    """Join what fits."""
    kept, left = [], _SUMMARY
    for line in lines:
        left -= len(line.encode()) + len("\n")
        if left < 0:
            kept += ["", "The rest is too long for a summary: it is in the log."]
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mark(*, right: bool) -> str:
    return "✅" if right else "❌"


def _code(text: str) -> str:
    """Show a text as it is: in HTML, as backticks and bars of the app's would end Markdown's own."""
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    """Keep a text from being markup, of HTML or of Markdown, in a table or outside."""
    escaped = html.escape(printable(text)).replace("\n", " ")
    return "".join(f"&#{ord(one)};" if one in "\\`*_{}[]()#+!|~@" else one for one in escaped)
