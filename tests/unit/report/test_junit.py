from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema
from generated_reports import failures, reports
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml
from report_samples import make_compared, make_comparison, make_report, make_run

from ddlwa.report.junit import render, render_failure
from ddlwa.report.model import Failure, Fault, Finding, Mode, RouteResult

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
COMPARISONS = {
    "none": None,
    "slower": make_comparison(make_compared(slower=True), make_compared(route="GET /")),
    "as before": make_comparison(make_compared(), make_compared(route="GET /")),
}


def parse(text):
    return ET.fromstring(text)  # noqa: S314  # we wrote it


def cases(root, suite):
    return {case.get("name"): case for case in root.find(f"testsuite[@name='{suite}']")}


def valid(text):
    """Give the root of a report that the schema takes, and whose counts are those of its cases."""
    assert [error.reason for error in SCHEMA.iter_errors(text)] == []
    root = parse(text.encode())
    for element in (root, *root):
        for count, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
            assert int(element.get(count)) == len(list(element.iter(tag)))
    for suite in root:
        assert int(suite.get("skipped")) == len(list(suite.iter("skipped")))
    return root


@given(report=reports(), plain=st.none() | st.just(make_run(Mode.PLAIN, wrong=True)))
def test_the_counts_agree_with_the_cases_and_with_the_exit_code(report, plain):
    """There are failures if and only if the check fails; plain ddtrace's do not count beside ddlwa."""
    report = replace(report, runs=((plain,) if plain else ()) + report.runs)
    root = valid(render(report))
    assert (root.get("failures") == "0") is report.right
    assert root.get("errors") == "0"


@given(failure=failures)
def test_any_check_that_could_not_be_made_is_one_error(failure):
    """Whatever the app has printed, the report is whole, and no success."""
    root = valid(render_failure(failure))
    assert [root.get(count) for count in ("tests", "failures", "errors")] == ["1", "0", "1"]


def test_the_schema_refuses_what_is_wrong():
    """Or it would prove nothing."""
    text = render(make_report(make_run(Mode.DDLWA)))
    for wrong in (
        text.replace("<testsuites ", '<testsuites skipped="1" '),
        text.replace("<skipped ", "<omitted "),
        text.replace(' tests="3"', "", 1).replace(' tests="3"', ""),
        text.replace('time="0"', 'time="now"'),
    ):
        assert wrong != text
        assert not SCHEMA.is_valid(wrong)


@given(report=reports())
def test_a_reader_finds_each_route(report):
    """What junitparser reads are the same cases, with the same ends."""
    run = report.judged
    suites = {suite.name: list(suite) for suite in JUnitXml.fromstring(render(report).encode())}
    ends = [not case.is_failure for case in suites["correctness"]]
    assert ends == [route.right for route in run.routes] + [False] * bool(run.others)
    compared = [one.route for one in report.comparison.compared] if report.comparison else []
    slower = {one.route for one in report.comparison.slower} if report.comparison else set()
    for case, route in zip(suites["durations"], run.routes, strict=False):
        assert case.is_failure is (route.label in slower)
        assert case.is_skipped is (route.label not in compared)


def test_each_route_has_a_case_in_both_suites():
    """A CI server shows how a route was judged from run to run by the case's name."""
    report = make_report(make_run(Mode.DDLWA), comparison=COMPARISONS["as before"])
    root = parse(render(report))
    labels = [route.label for route in report.judged.routes]
    assert list(cases(root, "correctness")) == list(cases(root, "durations")) == labels


def test_a_failure_says_what_is_wrong_and_what_to_do():
    """The message names the kinds and the remedy, the text has each finding with its invocation."""
    case = cases(parse(render(make_report(make_run(Mode.DDLWA, wrong=True)))), "correctness")["GET /items/1"]
    failure = case.find("failure")
    assert failure.get("message").startswith("late, frozen time. What to do: See what the app logs")
    assert "invocation 2: frozen time: fastapi.request records 3h 0m." in failure.text
    assert "\nWhat to do: " in failure.text


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


@pytest.mark.parametrize(
    ("wrong", "comparison", "why"),
    [
        (False, None, "there is no baseline"),
        (True, None, "what is wrong is not compared"),
        (False, COMPARISONS["slower"], "baseline.json does not know it"),
    ],
)
def test_what_is_not_compared_is_skipped(wrong, comparison, why):
    """With the reason, so that nobody takes it for a success."""
    root = parse(render(make_report(make_run(Mode.DDLWA, wrong=wrong), comparison=comparison)))
    skipped = [case.find("skipped") for case in cases(root, "durations").values()]
    assert {one.get("message") for one in skipped if one is not None} == {why}
    assert len([one for one in skipped if one is not None]) == (1 if comparison else 3)


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
        root = valid(text)
        assert "]]>&<\"'" in root.find(".//testcase").get("name")


def test_the_same_report_is_the_same_text():
    """Nothing of the moment is in it."""
    report = make_report(make_run(Mode.DDLWA, wrong=True), comparison=COMPARISONS["slower"])
    assert render(report) == render(report)
