"""Runs the suite: `python -m benchmarks` measures everything side by side and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from benchmarks import page, plots, results, suite
from benchmarks.scales import SCALES

_OUTPUT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


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
    arguments = parser.parse_args()
    begun_s = time.monotonic()
    if arguments.render:
        found = results.load(arguments.render)
    else:

        def say(what: str) -> None:
            sys.stderr.write(f"{time.monotonic() - begun_s:6.1f} s  {what}\n")
            sys.stderr.flush()

        sections = arguments.only or results.SECTIONS
        found = asyncio.run(suite.measure(sections, scale=SCALES[arguments.scale or "full"], say=say))
    if arguments.data:
        results.save(found, arguments.data)
    arguments.output.write_text(page.render(found), encoding="utf-8")
    plots.draw(found, arguments.output.with_suffix(""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
