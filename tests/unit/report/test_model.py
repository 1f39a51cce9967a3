from __future__ import annotations

import subprocess
import sys

from report_samples import make_invocation, make_report, make_run

from ddlwa.report.model import Fault, Mode, RouteResult


def test_the_last_run_is_judged():
    """In a comparison ddlwa's run decides, and plain ddtrace's does not."""
    wrong, right = make_run(Mode.PLAIN, wrong=True), make_run(Mode.DDLWA)
    assert make_report(wrong, right).right
    assert not make_report(wrong).right


def test_a_route_sums_up_its_invocations():
    """Statuses and faults are listed once each."""
    route = RouteResult(
        "GET",
        "/",
        (make_invocation(1), make_invocation(2, status=None, wrong=True), make_invocation(3)),
    )
    assert route.statuses == (200, None)
    assert route.faults == (Fault.LATE, Fault.FROZEN_TIME)
    assert route.delivered == 2
    assert route.span_counts == (1, 1)
    assert not route.right


def test_report_is_plain_data():
    """Rendering imports nothing of the check, the simulator or ddtrace."""
    code = (
        "import sys, ddlwa.report.terminal, ddlwa.report.json_\n"
        "print([m for m in sys.modules if m.startswith(('ddtrace', 'ddlwa.check', 'ddlwa.simulator'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
