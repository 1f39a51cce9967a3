"""Runs the suite: `python -m benchmarks` measures everything side by side and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import newer, page, plots, results, suite
from benchmarks.scales import SCALES

if TYPE_CHECKING:
    from benchmarks.results import Results

_OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_BEGUN_S = time.monotonic()


def main() -> int:
    """Measure, or read what was measured, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=results.SECTIONS, help="measure this section; repeatable"
    )
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--quick", dest="scale", action="store_const", const="quick", help="a third of the time"
    )
    scale.add_argument("--smoke", dest="scale", action="store_const", const="smoke", help="whether it works")
    parser.add_argument("--output", type=Path, default=_OUTPUT, metavar="FILE", help="where the page goes")
    parser.add_argument("--data", type=Path, metavar="FILE", help="also save what was measured")
    parser.add_argument("--render", type=Path, metavar="FILE", help="measure nothing: read what was saved")
    parser.add_argument(
        "--python312",
        metavar="PYTHON",
        help="what measures if this Python cannot run every approach: one of 3.12 or newer that has "
        "'.[bench]'; by default it is made, but for --smoke",
    )
    arguments = parser.parse_args()
    if arguments.python312 and not newer.is_complete(arguments.python312):
        parser.error(f"--python312: {arguments.python312} cannot run every approach")
    found = results.load(arguments.render) if arguments.render else _measure(arguments)
    if arguments.data:
        results.save(found, arguments.data)
    arguments.output.write_text(page.render(found), encoding="utf-8")
    plots.draw(found, arguments.output.with_suffix(""))
    return 0


def _measure(arguments: argparse.Namespace) -> Results:
    """Measure with this Python, or replace it by one that can run every approach."""
    if not newer.is_complete(sys.executable):
        python = arguments.python312 or (None if arguments.scale == "smoke" else newer.make(_say))
        if python:
            os.execv(python, [python, "-m", "benchmarks", *sys.argv[1:]])  # noqa: S606 - as asked for
    scale = SCALES[arguments.scale or "full"]
    return asyncio.run(suite.measure(arguments.only or results.SECTIONS, scale=scale, say=_say))


def _say(what: str) -> None:
    sys.stderr.write(f"{time.monotonic() - _BEGUN_S:6.1f} s  {what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
