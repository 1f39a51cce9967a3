"""Measure more than once what is compared with a baseline, or saved as one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ddlwa.check.baseline import Baseline
from ddlwa.check.compare import compare
from ddlwa.check.samples import sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from ddlwa.check.compare import Expected
    from ddlwa.check.samples import Timed
    from ddlwa.report.model import Report

_MEASUREMENTS = 5


class Repeated:
    """The judged run of a check, and others like it.

    The start of a process, or a neighbour on the machine, may make a whole run slower. So there are up to
    five, each in a sandbox of its own, and of all blocks of invocations the quickest counts: an app that is
    slower is slower in each of them. A baseline takes all five, a comparison more than one where something
    looks slower.

    Args:
        report: Of the check.
        first: Its judged run.
        again: Measures these routes, named as `--route` takes them, once more.

    Attributes:
        report: As above, with the comparison; or, once something is wrong with a run, with that one.
    """

    def __init__(
        self, report: Report, first: Timed, *, again: Callable[[Collection[str]], Awaitable[Timed]]
    ) -> None:
        self.report = report
        self._again = again
        self._runs = [first]

    async def baseline(self) -> Baseline | None:
        """Make a baseline; None if something is wrong."""
        while len(self._runs) < _MEASUREMENTS and self.report.judged.right:
            await self._measure([route.label for route in self.report.judged.routes])
        return self._baseline() if self.report.judged.right else None

    async def compare(self, expected: Expected) -> None:
        """Compare with a baseline, if nothing is wrong.

        Args:
            expected: It, and how much slower is too slow.

        Raises:
            BaselineError: There is nothing to compare.
        """
        while self.report.judged.right:
            comparison = compare(expected, self._baseline(), measurements=len(self._runs))
            slower = {one.route for one in comparison.slower}
            if not slower or len(self._runs) == _MEASUREMENTS:
                self.report = replace(self.report, comparison=comparison)
                return
            await self._measure(slower)

    async def _measure(self, routes: Collection[str]) -> None:
        timed = await self._again(routes)
        self._runs.append(timed)
        if not timed.run.right:
            self.report = replace(self.report, runs=(*self.report.runs[:-1], timed.run))

    def _baseline(self) -> Baseline:
        return Baseline.of(self.report, samples=sample(self._runs))
