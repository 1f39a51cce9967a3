from __future__ import annotations

import dataclasses
import re

import pytest
from generated_reports import reports
from hypothesis import given
from report_samples import make_compared, make_comparison, make_report, make_run, make_span

from ddlwa.report import terminal
from ddlwa.report.model import Fault, Finding, Mode, OtherTrace, RouteResult

RIGHT, WRONG = make_run(Mode.DDLWA), make_run(Mode.PLAIN, wrong=True)


def test_a_right_run_is_a_table_and_a_summary():
    """Each route has a row with its status, delivery, longest span and verdict."""
    text = terminal.render(make_report(RIGHT), width=100, color=False)
    row = next(line for line in text.splitlines() if "/items/1" in line)
    assert row.split() == ["GET", "/items/1", "200", "1", "2/2", "4.2", "ms", "✓", "right"]
    assert text.splitlines()[-1] == "✓ ddlwa  6/6 right  6/6 delivered  0 spans with frozen time"


def test_a_wrong_run_explains_each_fault_once():
    """Every kind of fault is counted and shown by one example that names its route."""
    text = terminal.render(make_report(WRONG), width=100, color=False)
    assert "✗ late, frozen time" in text
    assert "✗ late, 6 times, for example in GET /, invocation 1\n  1 of 1 span arrived" in text
    assert text.splitlines()[-1].startswith("✗ plain ddtrace  0/6 right")


def test_a_comparison_has_both_side_by_side():
    """One row has plain ddtrace's delivery and longest span beside ddlwa's."""
    text = terminal.render(make_report(WRONG, RIGHT), width=100, color=False)
    row = next(line for line in text.splitlines() if "/items/1" in line)
    assert row.split() == ["GET", "/items/1", "200", "0/2", "2/2", "3h", "0m", "4.2", "ms", "✓", "right"]


def test_a_comparison_without_a_difference_says_so():
    """Where plain ddtrace is right everywhere, the reader is told."""
    text = terminal.render(make_report(make_run(Mode.PLAIN), RIGHT), width=100, color=False)
    assert "does not show the problem" in text


def test_real_freezes_are_told():
    """Where the clock could not be moved the output says that the freezes were short."""
    run = dataclasses.replace(RIGHT, clock_jumped=False)
    assert "real and short" in terminal.render(make_report(run), width=100, color=False)


@pytest.mark.parametrize("compare", [True, False])
def test_other_traces_have_a_row_if_they_are_wrong(compare):
    """A poller with frozen time is seen although it belongs to no route."""
    other = OtherTrace(
        spans=(make_span(duration_ns=10**13, frozen_ns=10**13),),
        findings=(Finding(Fault.BACKGROUND_FROZEN_TIME, "a poller records 3h 0m."),),
    )
    run = make_run(Mode.DDLWA, others=(other,))
    text = terminal.render(make_report(*([WRONG] if compare else []), run), width=100, color=False)
    assert any(line.startswith("other") for line in text.splitlines())
    assert "frozen background, 1 time, in no invocation" in text
    assert "1 span with frozen time" in text


@pytest.mark.parametrize("color", [True, False])
def test_colour_is_optional(color):
    """Without colour there is no escape sequence."""
    text = terminal.render(make_report(WRONG, RIGHT), width=80, color=color)
    assert ("\x1b[" in text) is color


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("runs", [(RIGHT,), (WRONG,), (WRONG, RIGHT)])
def test_lines_fit_and_lose_nothing(width, runs):
    """At 80 columns and more no line is wider than the terminal; no path or verdict is cut."""
    text = terminal.render(make_report(*runs), width=width, color=False)
    assert max(map(len, text.splitlines())) <= max(width, 76)
    assert "right" in text
    squeezed = "".join(text.split())
    assert ("query=too" in squeezed) or width < 80


@pytest.mark.parametrize("name", ["/a[/b]", "/[red]a", "/s?ids[]=1", "/:smile:", "/\\[bold]"])
def test_a_name_is_shown_as_it_is(name):
    """Brackets and colons are the app's, and no markup."""
    run = dataclasses.replace(RIGHT, routes=(RouteResult("GET", name, RIGHT.routes[0].invocations),))
    comparison = make_comparison(make_compared(route=f"GET {name}", span=name))
    text = terminal.render(make_report(run, comparison=comparison), width=100, color=False)
    assert sum(name in line for line in text.splitlines()) == 2
    assert f"GET {name}  {name}" in text


@pytest.mark.parametrize("color", [True, False])
@given(report=reports())
def test_nothing_of_the_app_acts_on_the_terminal(report, color):
    """Its control characters are written out; what is left are the colours of the report."""
    text = terminal.render(report, width=100, color=color)
    assert re.sub(r"\x1b\[[0-9;]*m" if color else r"\n", "", text).replace("\n", "").isprintable()
    assert ("✗" in text) is not report.right
