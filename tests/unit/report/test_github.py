from __future__ import annotations

import re
from dataclasses import replace

import pytest
from generated_reports import NASTY as NASTY_TEXTS
from generated_reports import failures, reports
from hypothesis import given
from report_samples import make_compared, make_comparison, make_report, make_run

from ddlwa.report.github import commands, failure_command, failure_summary, guarded, summary
from ddlwa.report.model import Failure, Fault, Finding, Mode, RouteResult

# What @actions/core reads: a command begins a line; a property ends with a comma or a colon.
COMMAND = re.compile(r"::error title=(?P<title>[^,:\r\n]*)::(?P<message>[^\r\n]*)")
NASTY = "a\r\nb::error::c,d:e%0A|`<script>*_[x](y)@all\x1b[31m\n::stop-commands::t"
# What a step may have, in bytes.
LIMIT = 2**20


def parse(text):
    """Read annotations as the runner does; whatever else stands in a line is an error."""
    found = []
    for line in text.splitlines():
        match = COMMAND.fullmatch(line)
        assert match, line
        found.append(tuple(undo(match[name]) for name in ("title", "message")))
    return found


def undo(text):
    for code, one in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, one)
    return text


def wrong_with(*faults, path="/"):
    run = make_run(Mode.DDLWA, wrong=True)
    invocation = replace(
        run.routes[0].invocations[0],
        findings=tuple(Finding(fault, f"It is {fault.value}.") for fault in faults),
    )
    return make_report(replace(run, routes=(RouteResult("GET", path, (invocation,)),)))


def test_nothing_is_said_of_what_is_right():
    """A job that passes has no annotation; what became quicker is none."""
    assert commands(make_report(make_run(Mode.DDLWA))) == ""
    assert commands(make_report(make_run(Mode.DDLWA), comparison=make_comparison(make_compared()))) == ""


def test_plain_ddtrace_beside_ddlwa_is_not_annotated():
    """It does not fail the check."""
    assert commands(make_report(make_run(Mode.PLAIN, wrong=True), make_run(Mode.DDLWA))) == ""


def test_each_kind_of_fault_is_an_annotation():
    """With how often it came, an example, and what to do."""
    title, message = parse(commands(make_report(make_run(Mode.DDLWA, wrong=True))))[0]
    assert title == "ddlwa check shop.main:app: late: 6 times, first in GET /, invocation 1"
    assert message.startswith("1 of 1 span arrived only after the thaw.\nWhat to do: ")


def test_each_slower_route_is_an_annotation_of_its_worst_span():
    """It names both durations and the cause."""
    some = (
        make_compared(slower=True),
        replace(make_compared(slower=True, span="fastapi.request"), now_ns=9_000_000),
    )
    report = make_report(make_run(Mode.DDLWA), comparison=make_comparison(*some))
    ((title, message),) = parse(commands(report))
    assert title == "ddlwa check shop.main:app: slower: GET /items/1"
    assert message.startswith("fastapi.request takes 9.0 ms where it took 5.0 ms")
    assert "Most likely: db.query comes 8 times" in message


def test_no_more_annotations_than_are_shown():
    """GitHub drops what is over ten: the worst come first; the last one says how many more there are."""
    some = [
        replace(make_compared(slower=True, route=f"GET /{number}"), now_ns=(7 + number) * 1_000_000)
        for number in range(30)
    ]
    found = parse(commands(make_report(make_run(Mode.DDLWA), comparison=make_comparison(*some))))
    worst = [f"ddlwa check shop.main:app: slower: GET /{number}" for number in range(29, 20, -1)]
    assert [title for title, _ in found[:-1]] == worst
    assert found[-1][1].startswith("21 more are in the log")


def test_the_app_can_not_give_commands():
    """Whatever its routes are called and its errors say, an annotation is one line, and itself."""
    report = wrong_with(Fault.LOST, path=NASTY)
    report = replace(report, app=NASTY, comparison=make_comparison(make_compared(slower=True, route=NASTY)))
    assert len(parse(commands(report))) == 2
    assert len(parse(failure_command(Failure(NASTY, NASTY, NASTY)))) == 1


@given(report=reports())
def test_any_report_is_annotated_if_and_only_if_it_is_wrong(report):
    """Ten at most; a summary of any size that fits says the same as the exit code."""
    found = parse(commands(report))
    assert bool(found) is not report.right
    assert len(found) <= 10
    assert summary(report).startswith("## ✅" if report.right else "## ❌")


@given(failure=failures)
def test_any_failure_is_one_annotation(failure):
    """And a summary that can be encoded."""
    assert len(parse(failure_command(failure))) == 1
    assert failure_summary(failure).encode()


def obeyed(output):
    """List what the runner takes for a command (actions/runner, ActionCommand.cs and its manager)."""
    token, found = None, []
    for line in re.split(r"\r\n|\r|\n", output):
        match = re.match(r"\s*::([^ :]+).*?::(.*)", line) or re.search(r"##\[([^ \]]+).*?\](.*)", line)
        if match is None:
            continue
        if token is None and match[1] == "stop-commands":
            token = match[2]
        elif token is None:
            found.append(match[1])
        elif match[1] == token:
            token = None
    assert token is None, "commands are left stopped"
    return found


@pytest.mark.parametrize("text", [*NASTY_TEXTS, "", "lines\n::error::y\n", "::stop-commands::t\n::t::"])
def test_what_is_printed_raw_gives_no_command(text):
    """And what comes after it does."""
    after = "::error title=t::m\n"
    assert obeyed(after + guarded(text, until="f00d") + after) == ["error", "error"]
    assert text in guarded(text, until="f00d")


def cells(line):
    return len(re.findall(r"(?<!\\)\|", line))


@pytest.mark.parametrize("text", [NASTY, "</code></pre>", "a|b", "&amp;", "```"])
def test_the_app_can_not_write_markup(text):
    """A table keeps its columns, and no tag or Markdown of the app's is in the summary."""
    report = wrong_with(Fault.LOST, path=text)
    report = replace(
        report, app=text, comparison=make_comparison(make_compared(slower=True, route=text, span=text))
    )
    for page in (summary(report), failure_summary(Failure(text, text, text))):
        tags = set(re.findall(r"</?\w+", page))
        assert tags <= {"<code", "</code", "<pre", "</pre"}
        outside = re.sub(r"<pre>.*</pre>", "", page, flags=re.DOTALL)
        rows = [line for line in outside.splitlines() if line.startswith("|")]
        assert {cells(row) for row in rows} <= {5, 8}
        assert "`" not in outside
        assert "@all" not in outside


def test_the_summary_has_the_verdict_the_routes_and_the_advice():
    """What a reviewer wants to know without opening the log."""
    page = summary(make_report(make_run(Mode.DDLWA, wrong=True)))
    assert page.startswith("## ❌ ddlwa check <code>shop.main:app</code>\n")
    assert "- ❌ ddlwa: 0/6 right, 0/6 delivered before the freeze" in page
    assert "| <code>GET /items/1</code> | 0/2 | 3h 0m | ❌ late, frozen time |" in page
    assert "What to do: " in page
    assert summary(make_report(make_run(Mode.DDLWA))).startswith("## ✅")


def test_the_summary_has_the_comparison():
    """Nothing slower is good news, and told; so are new routes, those that are gone, and notes."""
    page = summary(make_report(make_run(Mode.DDLWA), comparison=make_comparison(make_compared())))
    assert "✅ Nothing is slower than p50:20% allows." in page
    assert "New: <code>GET /new</code>" in page
    assert "Gone: <code>GET /old</code>" in page
    assert "Note: ddtrace was 4.15.0, is 4.16.0." in page
    slower = make_report(make_run(Mode.DDLWA), comparison=make_comparison(make_compared(slower=True)))
    assert "| 5.0 ms | 8.0 ms | +60% | 6.0 ms (p50:20%) | db.query comes 8 times" in summary(slower)


def test_the_summary_fits():
    """GitHub refuses one of more than 1 MiB: thousands of routes are cut, the wrong ones last."""
    run = make_run(Mode.DDLWA)
    right, wrong = run.routes[0].invocations, make_run(Mode.DDLWA, wrong=True).routes[0].invocations
    routes = [RouteResult("GET", f"/{'long' * 20}/{number}", right) for number in range(5_000)]
    report = make_report(replace(run, routes=(*routes, RouteResult("GET", "/wrong", wrong))))
    page = summary(report)
    assert len(page.encode()) < LIMIT
    assert "GET /wrong" in page
    assert "and 4801 more" in page
    assert len(failure_summary(Failure("main:app", "why", "x" * 10**7)).encode()) < LIMIT


def test_what_is_new_or_gone_is_cut():
    """The rest is counted."""
    comparison = replace(make_comparison(make_compared()), new=tuple(f"GET /{n}" for n in range(1_000)))
    page = summary(make_report(make_run(Mode.DDLWA), comparison=comparison))
    assert "New: <code>GET /0</code>, " in page
    assert "<code>GET /199</code> and 800 more\n" in page


@pytest.mark.parametrize("name", ["x" * 10_000, "\x1b<&" * 3_000, "é" * 20_000])
def test_names_of_any_length_fit(name):
    """Two checks may be made in one step; what does not fit is left out by lines, and told."""
    run = make_run(Mode.DDLWA, wrong=True)
    invocations = run.routes[0].invocations
    routes = tuple(RouteResult("GET", f"/{number}/{name}", invocations) for number in range(100))
    some = [make_compared(slower=True, route=route.label, span=name) for route in routes]
    report = make_report(replace(run, routes=routes), comparison=make_comparison(*some))
    for page in (summary(report), failure_summary(Failure("main:app", name, name))):
        assert len(page.encode()) * 2 <= LIMIT
        assert page.startswith("## ❌")
    assert summary(report).endswith("The rest is too long for a summary: it is in the log.\n")


def test_a_check_that_could_not_be_made_shows_what_the_app_printed():
    """Its end, where the reason stands."""
    page = failure_summary(Failure("main:app", "importing it raised ValueError", "Traceback\nValueError: no"))
    assert "could not be made" in page
    assert "<pre>Traceback\nValueError: no</pre>" in page
    ((title, message),) = parse(failure_command(Failure("main:app", "it raised", "")))
    assert (title, message) == ("ddlwa check main:app could not be made", "it raised")
