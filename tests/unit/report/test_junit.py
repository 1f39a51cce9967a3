from __future__ import annotations

import itertools
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from report_samples import make_compared, make_comparison, make_report, make_run, make_span

from ddlwa.report.junit import render, render_failure
from ddlwa.report.model import Failure, Fault, Finding, Mode, OtherTrace, RouteResult

OTHER = OtherTrace((make_span(),), (Finding(Fault.LOST, "It never came."),))
COMPARISONS = {
    "none": None,
    "slower": make_comparison(make_compared(slower=True), make_compared(route="GET /")),
    "as before": make_comparison(make_compared(), make_compared(route="GET /")),
}


def parse(text):
    return ET.fromstring(text)  # noqa: S314  # we wrote it


def cases(root, suite):
    return {case.get("name"): case for case in root.find(f"testsuite[@name='{suite}']")}


@pytest.mark.parametrize("comparison", COMPARISONS.values(), ids=COMPARISONS)
@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("others", [(), (OTHER,)], ids=["", "others"])
@pytest.mark.parametrize("plain_first", [False, True])
def test_the_counts_agree_with_the_cases_and_with_the_exit_code(comparison, wrong, others, plain_first):
    """There are failures if and only if the check fails; plain ddtrace's do not count beside ddlwa."""
    runs = [make_run(Mode.DDLWA, wrong=wrong, others=others)]
    if plain_first:
        runs.insert(0, make_run(Mode.PLAIN, wrong=True))
    report = make_report(*runs, comparison=comparison)
    root = parse(render(report))
    for element in (root, *root):
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(element.get(count)) == len(list(element.iter(tag)))
        assert int(element.get("tests")) == len(list(element.iter("testcase")))
    assert (root.get("failures") == "0") is report.right
    assert root.get("errors") == "0"


def test_each_route_has_a_case_in_both_suites():
    """A CI server shows how a route was judged from run to run by the case's name."""
    report = make_report(make_run(Mode.DDLWA), comparison=COMPARISONS["as before"])
    root = parse(render(report))
    labels = [route.label for route in report.judged.routes]
    assert list(cases(root, "correctness")) == list(cases(root, "durations")) == labels


def test_a_failure_says_what_is_wrong_and_what_to_do():
    """The message names the kinds, the text has each finding with its invocation."""
    case = cases(parse(render(make_report(make_run(Mode.DDLWA, wrong=True)))), "correctness")["GET /items/1"]
    failure = case.find("failure")
    assert failure.get("message") == "late, frozen time"
    assert "invocation 2: frozen time: fastapi.request records 3h 0m." in failure.text
    assert "What to do: " in failure.text


def test_a_thousand_findings_are_counted_not_listed():
    """A report of megabytes is not read, and some servers refuse it."""
    run = make_run(Mode.DDLWA, wrong=True)
    route = RouteResult("GET", "/", run.routes[0].invocations * 500)
    text = render(make_report(replace(run, routes=(route,))))
    assert "and 1990 more" in text
    assert len(text) < 10_000


def test_a_regression_names_route_span_durations_and_cause():
    """What CI shows first is enough to know where to look."""
    root = parse(render(make_report(make_run(Mode.DDLWA), comparison=COMPARISONS["slower"])))
    failure = cases(root, "durations")["GET /items/1"].find("failure")
    assert failure.get("message") == (
        "db.query takes 8.0 ms where it took 5.0 ms, and p50:20% allows 6.0 ms. Most likely: "
        "db.query comes 8 times where it came 1: 3.0 ms more."
    )
    assert len(cases(root, "durations")["GET /"]) == 0


def test_what_is_not_compared_is_skipped():
    """Without a baseline all of it is; with one, what it does not know."""
    alone = cases(parse(render(make_report(make_run(Mode.DDLWA)))), "durations")
    assert all(case.find("skipped") is not None for case in alone.values())
    beside = cases(
        parse(render(make_report(make_run(Mode.DDLWA), comparison=COMPARISONS["slower"]))), "durations"
    )
    (skipped,) = [case for case in beside.values() if case.find("skipped") is not None]
    assert "baseline.json does not know it" in skipped.find("skipped").get("message")


@pytest.mark.parametrize("output", ["", "Traceback …\nValueError"])
def test_a_check_that_could_not_be_made_is_an_error(output):
    """It is neither a failure nor a success."""
    root = parse(render_failure(Failure("main:app", "it does not start", output)))
    assert (root.get("tests"), root.get("errors"), root.get("failures")) == ("1", "1", "0")
    error = root.find("testsuite/testcase/error")
    assert error.get("message") == "it does not start"
    assert error.text == (output or "it does not start")


def test_any_text_of_the_app_is_well_formed_xml():
    """Also what XML cannot hold: control characters, and surrogates."""
    nasty = "".join(map(chr, itertools.chain(range(32), [0x7F, 0x85, 0xD800, 0xFFFE, 0xFFFF]))) + "]]>&<\"'"
    run = make_run(Mode.DDLWA, wrong=True)
    invocation = replace(run.routes[0].invocations[0], findings=(Finding(Fault.LOST, nasty),))
    report = make_report(replace(run, routes=(RouteResult("GET", f"/{nasty}", (invocation,)),)))
    for text in (render(replace(report, app=nasty)), render_failure(Failure(nasty, nasty, nasty))):
        root = parse(text.encode())
        assert "]]>&<\"'" in root.find(".//testcase").get("name")


def test_the_same_report_is_the_same_text():
    """Nothing of the moment is in it."""
    report = make_report(make_run(Mode.DDLWA, wrong=True), comparison=COMPARISONS["slower"])
    assert render(report) == render(report)
