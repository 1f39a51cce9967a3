"""The command line: `ddlwa check`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ddlwa import __version__
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


class _UsageError(DdlwaError):
    """An argument makes no sense."""


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
    arguments = parser.parse_args(argv)
    try:
        return _check(arguments)
    except _UsageError as error:
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
    check.add_argument("app", nargs="?", metavar="MODULE:ATTR", help="the app, as uvicorn takes it")
    check.add_argument("--demo", action="store_true", help="check the small shop that comes with ddlwa")
    mode = check.add_mutually_exclusive_group()
    mode.add_argument("--plain", action="store_true", help="trace with ddtrace alone")
    mode.add_argument("--compare", action="store_true", help="run both, judge ddlwa")
    check.add_argument(
        "--route",
        action="append",
        default=[],
        metavar='"GET /items/1"',
        help="what to ask for; repeatable (default: / and the app's GET routes without path parameters)",
    )
    check.add_argument(
        "--requests",
        type=int,
        metavar="N",
        help="invocations in all, per mode (default: about a hundred at most)",
    )
    check.add_argument(
        "--freeze", default="3h", metavar="TIME", help="how long each freeze lasts (default: %(default)s)"
    )
    check.add_argument(
        "--adapter",
        default="builtin",
        metavar="ADAPTER",
        help="what stands between Lambda and the app: builtin, lwa for the Lambda Web Adapter on PATH, or "
        "the path of its executable (default: %(default)s)",
    )
    check.add_argument(
        "--invoke-mode",
        choices=("buffered", "response_stream"),
        help="how responses are posted (default: what AWS_LWA_INVOKE_MODE says, else buffered)",
    )
    check.add_argument(
        "--explain",
        action="store_true",
        help="also show, for each event source, the trace that an invocation leaves with ddlwa",
    )
    check.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    return parser


def _check(arguments: argparse.Namespace) -> int:
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        _say(
            f"ddlwa check needs packages that are not here: {', '.join(missing)}",
            "pip install 'ddlwa[check]'",
        )
        return _UNUSABLE
    from ddlwa.check.errors import CheckError  # noqa: PLC0415  # not before the packages are known to be here
    from ddlwa.simulator import SimulatorError  # noqa: PLC0415  # as above

    options = _options(arguments)
    try:
        report = asyncio.run(_until_signalled(_run(options)))
    except _StoppedError as stopped:
        _say(str(stopped))
        return _INTERRUPTED + stopped.number
    except (CheckError, SimulatorError) as error:
        _say(f"ddlwa check: error: {error}", error.output)
        return _UNUSABLE
    if arguments.json is not None:
        _write_json(report, arguments.json)
    _print(report)
    return _PASSED if report.right else _FAILED


def _options(arguments: argparse.Namespace) -> Options:
    from ddlwa.check.command import DEMO_APP, Options  # noqa: PLC0415  # as in _check
    from ddlwa.check.plan import parse_route  # noqa: PLC0415  # as in _check
    from ddlwa.report.model import Mode  # noqa: PLC0415  # as in _check
    from ddlwa.simulator import (  # noqa: PLC0415  # as in _check
        AdapterFailedError,
        InvokeMode,
        LwaBinary,
        parse_duration,
    )

    if bool(arguments.app) == arguments.demo:
        raise _UsageError("name an app as MODULE:ATTR, or give --demo")
    app = DEMO_APP if arguments.demo else arguments.app
    module, _, attribute = app.partition(":")
    if not module or not attribute:
        raise _UsageError(f"{app!r} is not of the form MODULE:ATTR, such as main:app")
    if arguments.explain and arguments.plain:
        raise _UsageError("--explain shows what ddlwa sends: leave --plain out, or compare with --compare")
    if arguments.requests is not None and arguments.requests < 1:
        raise _UsageError(f"--requests {arguments.requests}: at least 1 is needed")
    if arguments.json is not None and (arguments.json.is_dir() or not arguments.json.parent.is_dir()):
        raise _UsageError(f"--json {arguments.json}: this is no file in a directory that exists")
    try:
        routes = tuple(dict.fromkeys(parse_route(text) for text in arguments.route))
    except ValueError as error:
        raise _UsageError(f"--route: {error}") from None
    try:
        freeze_ns = parse_duration(arguments.freeze)
    except ValueError as error:
        raise _UsageError(f"--freeze: {error}") from None
    try:
        adapter = None if arguments.adapter == "builtin" else LwaBinary.named(arguments.adapter)
    except AdapterFailedError as error:
        raise _UsageError(f"--adapter {arguments.adapter}: {error}") from None
    if arguments.compare:
        modes: tuple[Mode, ...] = (Mode.PLAIN, Mode.DDLWA)
    else:
        modes = (Mode.PLAIN if arguments.plain else Mode.DDLWA,)
    return Options(
        app=app,
        routes=routes,
        total=arguments.requests,
        freeze_ns=freeze_ns,
        modes=modes,
        adapter=adapter,
        invoke_mode=InvokeMode(arguments.invoke_mode) if arguments.invoke_mode else None,
        explain=arguments.explain,
    )


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


def _write_json(report: Report, file: Path) -> None:
    from ddlwa.report import json_  # noqa: PLC0415  # as in _check

    try:
        file.write_text(json_.render(report), encoding="utf-8")
    except OSError as error:
        raise _UsageError(f"--json {file}: {error.strerror}") from error


def _print(report: Report) -> None:
    from rich.console import Console  # noqa: PLC0415  # as in _check

    from ddlwa.report import terminal  # noqa: PLC0415  # as in _check

    console = Console()
    color = console.color_system is not None and not console.no_color
    text = terminal.render(report, width=console.width, color=color)
    # A terminal that has no check marks is still to see the table.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


def _say(*lines: str) -> None:
    sys.stderr.write("".join(f"{line.rstrip()}\n" for line in lines if line))
