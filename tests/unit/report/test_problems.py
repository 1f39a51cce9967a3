from __future__ import annotations

import pytest
from report_samples import make_run, make_span

from ddlwa.report.advice import advise
from ddlwa.report.model import Fault, Finding, Mode, OtherTrace
from ddlwa.report.problems import problems


def test_a_right_run_has_no_problems():
    """Nothing comes of nothing."""
    assert problems(make_run(Mode.DDLWA)) == ()


def test_findings_are_sorted_by_their_kind():
    """Each kind has its number, its routes, its first example, and where that was."""
    late, frozen = problems(make_run(Mode.DDLWA, wrong=True))
    assert (late.fault, late.count, len(late.routes)) == (Fault.LATE, 6, 3)
    assert (late.route, late.number) == ("GET /", 1)
    assert frozen.example == "fastapi.request records 3h 0m."


def test_a_trace_of_no_invocation_is_a_problem_too():
    """It has no route and no number."""
    other = OtherTrace(spans=(make_span(),), findings=(Finding(Fault.OUTSIDE_RUN, "early"),))
    (problem,) = problems(make_run(Mode.DDLWA, others=(other,)))
    assert (problem.routes, problem.route, problem.number) == ((), "", None)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("mode", Mode)
def test_there_is_advice_for_everything(fault, mode):
    """Each kind of fault has advice that ends as a sentence does."""
    assert advise(fault, mode=mode).endswith(".")


def test_what_ddlwa_mends_is_answered_with_ddlwa():
    """Plain ddtrace's frozen time needs ddlwa; an app without an answer does not."""
    assert "ddlwa.patch_all()" in advise(Fault.FROZEN_TIME, mode=Mode.PLAIN)
    assert "ddlwa" not in advise(Fault.NO_RESPONSE, mode=Mode.PLAIN)
