"""How often `ddlwa check --baseline` is wrong: alarms without a cause, and slow-downs that it does not see.

python -m benchmarks.regressions [--identical 200] [--slower 50] [--share 0.3]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.regression_app import ROUTES, SLOW_ROUTE, SLOWER_MS
from ddlwa.check.baseline import load
from ddlwa.check.command import Options, check
from ddlwa.check.plan import Planned
from ddlwa.check.threshold import Threshold
from ddlwa.report.comparison import Comparison
from ddlwa.report.model import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ddlwa.report.comparison import Compared

THRESHOLDS = ("p50:20%", "p95:20%")
# How many runs are compared with the same baseline.
_SHARED = 10


def main() -> int:
    """Measure both, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--identical", type=int, default=200, metavar="N", help="runs of the same app")
    parser.add_argument("--slower", type=int, default=50, metavar="N", help="runs of a slower one")
    parser.add_argument("--share", type=float, default=0.3, help="how much slower one route of that is")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(arguments, Path(folder)))


async def _measure(arguments: argparse.Namespace, folder: Path) -> int:
    options = Options(
        app="benchmarks.regression_app:app",
        routes=tuple(Planned("GET", path) for path in ROUTES),
        total=None,
        freeze_ns=10**9,
        modes=(Mode.DDLWA,),
        thresholds=tuple(map(Threshold.parse, THRESHOLDS)),
    )
    baseline = folder / "baseline.json"
    route = f"GET {SLOW_ROUTE}"
    alarms = again = found = 0
    for number in range(arguments.identical):
        # One lucky or unlucky baseline is not to decide them all.
        if number % _SHARED == 0:
            await _check(replace(options, save_baseline=baseline), slower_ms=0)
        comparison = await _check(replace(options, baseline=baseline), slower_ms=0)
        alarms += bool(comparison.slower)
        again += comparison.measurements > 1
        _show(f"{number + 1} identical runs: {alarms} alarms, {again} measured again", comparison.slower)
    for number in range(arguments.slower):
        if number % _SHARED == 0:
            await _check(replace(options, save_baseline=baseline), slower_ms=0)
        took_ns = load(baseline).samples[route]["fastapi.request"].statistics["p50"].ns
        slower_ms = arguments.share * took_ns / 1e6
        comparison = await _check(replace(options, baseline=baseline), slower_ms=slower_ms)
        found += {one.route for one in comparison.slower} == {route}
        line = f"{number + 1} runs of a route slower by {arguments.share:.0%}: {found} found"
        _show(line, comparison.slower or [one for one in comparison.compared if one.route == route])
    return 0


async def _check(options: Options, *, slower_ms: float) -> Comparison:
    os.environ[SLOWER_MS] = str(slower_ms)
    report = await check(options, on_progress=lambda *_: None)
    if not report.judged.right:
        raise RuntimeError(f"something is wrong: {report.judged}")
    return report.comparison or Comparison("none", (), ())


def _show(line: str, telling: Iterable[Compared]) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command
    for one in telling:
        cause = one.cause or f"not slower, with the machine taking {one.machine:.2f} times as long"
        print(f"  {one.route} {one.span} {one.threshold} {one.change:+.1%}: {cause}")  # noqa: T201 - as above


if __name__ == "__main__":
    sys.exit(main())
