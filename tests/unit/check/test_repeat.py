from __future__ import annotations

import asyncio
from pathlib import Path

from measured_samples import MS, make_report, make_run, steady

from ddlwa.check.baseline import Baseline
from ddlwa.check.compare import Expected
from ddlwa.check.machine import reference_ns
from ddlwa.check.repeat import Repeated
from ddlwa.check.samples import Timed, sample
from ddlwa.check.threshold import Threshold
from ddlwa.report.model import Fault, Finding

PATHS = ("/a", "/b")
WRONG = (Finding(Fault.LATE, "It came late."),)


def run_of(took_ms, *, findings=()):
    return make_run({path: steady(int(took_ms[path] * MS)) for path in took_ms}, findings=findings)


def expected():
    run = run_of({"/a": 5, "/b": 5})
    before = Baseline.of(make_report(run), samples=sample([Timed(run)]))
    return Expected(Path("b.json"), before, (Threshold.parse("p50:20%"),))


class Measurements:
    """A first run, and those that follow when they are asked for."""

    def __init__(self, first, *others):
        self.asked = []
        self._others = list(others)
        self.repeated = Repeated(make_report(first), Timed(first), again=self._again)

    async def _again(self, routes):
        self.asked.append(sorted(routes))
        return Timed(self._others.pop(0))


def test_what_is_not_slower_is_measured_once():
    """Nobody waits for a second opinion on good news."""
    made = Measurements(run_of({"/a": 5, "/b": 5}))
    asyncio.run(made.repeated.compare(expected()))
    assert made.asked == []
    assert made.repeated.report.comparison.measurements == 1
    assert made.repeated.report.right


def test_only_what_looks_slower_is_measured_again():
    """The second measurement is as before: it was noise."""
    made = Measurements(run_of({"/a": 5, "/b": 9}), run_of({"/b": 5}))
    asyncio.run(made.repeated.compare(expected()))
    assert made.asked == [["GET /b"]]
    assert made.repeated.report.comparison.measurements == 2
    assert made.repeated.report.right


def test_what_is_slower_each_time_is_slower():
    """After five measurements it is believed."""
    made = Measurements(run_of({"/a": 5, "/b": 9}), *(run_of({"/b": took}) for took in (8, 12, 9, 10)))
    asyncio.run(made.repeated.compare(expected()))
    assert made.asked == [["GET /b"]] * 4
    (slower,) = made.repeated.report.comparison.slower
    assert (slower.route, slower.before_ns, slower.now_ns) == ("GET /b", 5 * MS, 8 * MS)
    assert not made.repeated.report.right


def test_nothing_is_compared_that_is_wrong():
    """Wrong durations are judged by the check, and how long they are says nothing."""
    made = Measurements(run_of({"/a": 99, "/b": 99}, findings=WRONG))
    asyncio.run(made.repeated.compare(expected()))
    assert made.repeated.report.comparison is None
    assert asyncio.run(made.repeated.baseline()) is None
    assert made.asked == []


def test_a_fault_of_a_later_measurement_is_not_passed_over():
    """The report is then that of the wrong run."""
    made = Measurements(run_of({"/a": 5, "/b": 9}), run_of({"/b": 5}, findings=WRONG))
    asyncio.run(made.repeated.compare(expected()))
    assert not made.repeated.report.right
    assert made.repeated.report.judged.routes[0].label == "GET /b"


def test_a_baseline_is_measured_five_times():
    """It is compared with for a long time."""
    others = [run_of({"/a": took, "/b": 5}) for took in (6, 4, 7, 8)]
    made = Measurements(run_of({"/a": 5, "/b": 5}), *others)
    baseline = asyncio.run(made.repeated.baseline())
    assert made.asked == [["GET /a", "GET /b"]] * 4
    assert baseline.samples["GET /a"]["fastapi.request"].statistics["p50"].ns == 4 * MS


def test_no_baseline_is_made_of_a_wrong_run():
    """Be it the last of five."""
    others = [*(run_of({"/a": 5, "/b": 5}) for _ in range(3)), run_of({"/a": 5, "/b": 5}, findings=WRONG)]
    made = Measurements(run_of({"/a": 5, "/b": 5}), *others)
    assert asyncio.run(made.repeated.baseline()) is None
    assert not made.repeated.report.right


def test_the_reference_work_takes_a_time_that_can_be_measured():
    """Much longer than a clock's step, and short beside an invocation."""
    took_ns = min(reference_ns() for _ in range(20))
    assert 50_000 < took_ns < 50_000_000
