"""The command line: `ddlwa check`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

from ddlwa import __version__
from ddlwa.cli import arguments, outputs
from ddlwa.errors import DdlwaError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from ddlwa.check.command import Options
    from ddlwa.report.model import Mode, Report

_T = TypeVar("_T")

_PASSED, _FAILED, _UNUSABLE = 0, 1, 2
_INTERRUPTED = 128  # plus the signal's number, as shells report it
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What the extra `check` brings, as far as the command can't start without it.
_EXTRA = ("aiohttp", "ddapm_test_agent", "rich", "uvicorn")


class _StoppedError(DdlwaError):
    """A signal ended the work."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"ended by {number.name}")
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; None means those of the process.

    Returns:
        0: all right. 1: a check failed. 2: wrong usage, an app that can't be imported or does not get
        ready, a missing package. 128 and the number of the signal that ended the command: 130 for Ctrl-C.

    Raises:
        SystemExit: `--help`, `--version`, or arguments that argparse refuses (2).
    """
    parser = _parser()
    parsed = parser.parse_args(argv)
    try:
        return _check(parsed)
    except arguments.UsageError as error:
        parser.exit(_UNUSABLE, f"ddlwa check: error: {error}\n")
    except KeyboardInterrupt:  # before or after the part that takes care of signals itself
        return _INTERRUPTED + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ddlwa", description="Right durations and delivered traces on AWS Lambda."
    )
    parser.add_argument("--version", action="version", version=f"ddlwa {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="run an app in a simulated Lambda and judge its traces",
        description="Run an app in a simulated Lambda that is frozen at the end of every response, and judge "
        "what its traces record.",
        epilog="exit codes: 0 all right, 1 a check failed, 2 the check could not be made",
    )
    arguments.add_to(check)
    outputs.add_to(check)
    return parser


def _check(parsed: argparse.Namespace) -> int:
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        _say(
            f"ddlwa check needs packages that are not here: {', '.join(missing)}",
            "pip install 'ddlwa[check]'",
        )
        return _UNUSABLE
    from ddlwa.check.errors import CheckError  # noqa: PLC0415  # not before the packages are known to be here
    from ddlwa.report.model import Failure  # noqa: PLC0415  # as above
    from ddlwa.simulator import SimulatorError  # noqa: PLC0415  # as above

    options = arguments.options(parsed)
    reports = outputs.Outputs.of(parsed)
    try:
        report = asyncio.run(_until_signalled(_run(options)))
    except _StoppedError as stopped:
        _say(str(stopped))
        return _INTERRUPTED + stopped.number
    except (CheckError, SimulatorError) as error:
        _say(reports.printed(_lines(f"ddlwa check: error: {error}", error.output)))
        reports.write_failure(Failure(options.app, str(error), error.output))
        return _UNUSABLE
    _print(report, reports)
    reports.write(report)
    if options.save_baseline is not None and not report.judged.right:
        _say(f"{options.save_baseline} is not written: a baseline of wrong durations would be of no use")
    return _PASSED if report.right else _FAILED


async def _until_signalled(work: Coroutine[None, None, _T]) -> _T:
    """Do the work, or on a signal cancel it and wait until it has cleaned up, which takes a bounded time."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if not received:  # impatience must not cut the cleaning short
            received.append(number)
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise _StoppedError(received[0]) from None
        raise
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _run(options: Options) -> Report:
    from rich.console import Console  # noqa: PLC0415  # as in _check
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415  # as in _check

    from ddlwa.check.command import check  # noqa: PLC0415  # as in _check

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars = {mode: progress.add_task(mode.label, total=None, start=False) for mode in options.modes}

        def show(mode: Mode, total: int, done: int) -> None:
            progress.start_task(bars[mode])
            progress.update(bars[mode], completed=done, total=total)

        return await check(options, on_progress=show)


def _print(report: Report, reports: outputs.Outputs) -> None:
    from rich.console import Console  # noqa: PLC0415  # as in _check

    from ddlwa.report import terminal  # noqa: PLC0415  # as in _check

    console = Console()
    color = console.color_system is not None and not console.no_color
    text = reports.printed(terminal.render(report, width=console.width, color=color))
    # A terminal that has no check marks is still to see the table.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


def _say(*lines: str) -> None:
    sys.stderr.write(_lines(*lines))


def _lines(*lines: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in lines if line)
