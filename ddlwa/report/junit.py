"""Render a report as JUnit XML, for CI servers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from ddlwa.report.advice import advise
from ddlwa.report.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ddlwa.report.comparison import Compared
    from ddlwa.report.model import Failure, Finding, Report, Run

_CORRECTNESS, _DURATIONS = "correctness", "durations"
# Of what is wrong with a route, so much is written out; the rest is counted.
_EXAMPLES = 10


def render(report: Report) -> str:
    """Write a test case per route for what is right, and one for how long it takes.

    There are failures if and only if the check failed; a route that is not compared is skipped.

    Args:
        report: What the check found.
    """
    judged = report.judged
    return _document(
        report.app,
        _suite(_CORRECTNESS, _correctness(judged), elapsed_s=judged.elapsed_s),
        _suite(_DURATIONS, _durations(report), elapsed_s=0.0),
    )


def render_failure(failure: Failure) -> str:
    """Write a test case that ends in an error.

    Args:
        failure: Why the check could not be made.
    """
    case = _case(_CORRECTNESS, failure.app)
    _tell(case, "error", kind="check", message=failure.reason, text=failure.output or failure.reason)
    return _document(failure.app, _suite(_CORRECTNESS, [case], elapsed_s=0.0))


def _correctness(run: Run) -> Iterable[ET.Element]:
    for route in run.routes:
        case = _case(_CORRECTNESS, route.label)
        found = [
            (f"invocation {one.number}", finding) for one in route.invocations for finding in one.findings
        ]
        _judge(case, found, run)
        yield case
    if run.others:
        case = _case(_CORRECTNESS, "traces of no invocation")
        _judge(case, [(one.spans[0].name, finding) for one in run.others for finding in one.findings], run)
        yield case


def _judge(case: ET.Element, found: Sequence[tuple[str, Finding]], run: Run) -> None:
    if not found:
        return
    faults = list(dict.fromkeys(finding.fault for _, finding in found))
    lines = [f"{where}: {finding.fault.value}: {finding.message}" for where, finding in found[:_EXAMPLES]]
    if (more := len(found) - _EXAMPLES) > 0:
        lines.append(f"and {more} more")
    advice = [f"What to do: {text}" for text in dict.fromkeys(advise(one, mode=run.mode) for one in faults)]
    names = ", ".join(fault.value for fault in faults)
    text = "\n".join([*lines, *advice])
    _tell(case, "failure", kind=faults[0].value, message=f"{names}. {advice[0]}", text=text)


def _durations(report: Report) -> Iterable[ET.Element]:
    by_route: dict[str, list[Compared]] = {route.label: [] for route in report.judged.routes}
    for one in report.comparison.compared if report.comparison else ():
        by_route.setdefault(one.route, []).append(one)
    for route, compared in by_route.items():
        case = _case(_DURATIONS, route)
        slower = sorted((one for one in compared if one.slower), key=lambda one: -one.change)
        if slower:
            _tell(case, "failure", kind="slower", message=str(slower[0]), text="\n".join(map(str, slower)))
        elif not compared:
            ET.SubElement(case, "skipped", message=printable(_why_skipped(report)))
        yield case


def _why_skipped(report: Report) -> str:
    if report.comparison is not None:
        return f"{report.comparison.baseline} does not know it"
    return "there is no baseline" if report.judged.right else "what is wrong is not compared"


def _document(app: str, *suites: ET.Element) -> str:
    root = ET.Element("testsuites", name=printable(f"ddlwa check {app}"))
    root.extend(suites)
    # Here there is no count of what is skipped in the schema that Jenkins has.
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, 0)) for suite in suites)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(name: str, cases: Iterable[ET.Element], *, elapsed_s: float) -> ET.Element:
    suite = ET.Element("testsuite", name=name)
    suite.extend(cases)
    suite.set("tests", str(len(suite)))
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", f"{elapsed_s:.3f}")
    return suite


def _case(suite: str, name: str) -> ET.Element:
    return ET.Element("testcase", classname=f"ddlwa.{suite}", name=printable(name), time="0")


def _tell(case: ET.Element, tag: str, *, kind: str, message: str, text: str) -> None:
    ET.SubElement(case, tag, type=kind, message=printable(message)).text = printable(text)
