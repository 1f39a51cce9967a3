"""The arguments of `ddlwa check`, and what they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ddlwa.errors import DdlwaError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ddlwa.check.command import Options
    from ddlwa.report.model import Mode
    from ddlwa.simulator import LwaBinary

_T = TypeVar("_T")


class UsageError(DdlwaError):
    """An argument makes no sense."""


def add_to(check: argparse.ArgumentParser) -> None:
    """Add the arguments to the command's parser."""
    check.add_argument("app", nargs="?", metavar="MODULE:ATTR", help="the app, as uvicorn takes it")
    check.add_argument("--demo", action="store_true", help="check the small shop that comes with ddlwa")
    mode = check.add_mutually_exclusive_group()
    mode.add_argument("--plain", action="store_true", help="trace with ddtrace alone")
    mode.add_argument("--compare", action="store_true", help="run both, judge ddlwa, find spans that differ")
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
    check.add_argument(
        "--save-baseline",
        type=Path,
        metavar="FILE",
        help="save how long the spans of each route take, if nothing is wrong",
    )
    check.add_argument(
        "--baseline", type=Path, metavar="FILE", help="compare with what --save-baseline has saved"
    )
    check.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="STATISTIC:GROWTH",
        help="how much slower than the baseline is too slow, such as p95:20%% or p50:5ms; repeatable "
        "(default: p50:20%%)",
    )


def options(arguments: argparse.Namespace) -> Options:
    """Say what is to be checked.

    Args:
        arguments: Parsed.

    Raises:
        UsageError: They make no sense.
    """
    # Not before the packages of the extra are known to be here.
    from ddlwa.check.command import DEMO_APP, Options  # noqa: PLC0415
    from ddlwa.check.plan import parse_route  # noqa: PLC0415
    from ddlwa.check.threshold import DEFAULT, Threshold  # noqa: PLC0415
    from ddlwa.simulator import InvokeMode, parse_duration  # noqa: PLC0415

    app = DEMO_APP if arguments.demo else arguments.app
    module, _, attribute = (app or "").partition(":")
    if bool(arguments.app) == arguments.demo:
        raise UsageError("name an app as MODULE:ATTR, or give --demo")
    if not module or not attribute:
        raise UsageError(f"{app!r} is not of the form MODULE:ATTR, such as main:app")
    if arguments.explain and arguments.plain:
        raise UsageError("--explain shows what ddlwa sends: leave --plain out, or compare with --compare")
    if arguments.requests is not None and arguments.requests < 1:
        raise UsageError(f"--requests {arguments.requests}: at least 1 is needed")
    if arguments.fail_if and arguments.baseline is None:
        raise UsageError("--fail-if needs a --baseline to compare with")
    writable("--save-baseline", arguments.save_baseline)
    return Options(
        app=app,
        routes=tuple(dict.fromkeys(_read("--route", parse_route, text) for text in arguments.route)),
        total=arguments.requests,
        freeze_ns=_read("--freeze", parse_duration, arguments.freeze),
        modes=_modes(arguments),
        adapter=_adapter(arguments.adapter),
        invoke_mode=InvokeMode(arguments.invoke_mode) if arguments.invoke_mode else None,
        explain=arguments.explain,
        baseline=arguments.baseline,
        thresholds=tuple(
            _read("--fail-if", Threshold.parse, text)
            for text in dict.fromkeys(arguments.fail_if or ([DEFAULT] if arguments.baseline else []))
        ),
        save_baseline=arguments.save_baseline,
    )


def writable(option: str, file: Path | None) -> None:
    """Make sure that a file can be written, as far as that can be known before.

    Args:
        option: What names it.
        file: It, if it is wanted.

    Raises:
        UsageError: It can't.
    """
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise UsageError(f"{option} {file}: this is no file in a directory that exists")


def _read(option: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _adapter(name: str) -> LwaBinary | None:
    from ddlwa.simulator import AdapterFailedError, LwaBinary  # noqa: PLC0415  # as in options

    try:
        return None if name == "builtin" else LwaBinary.named(name)
    except AdapterFailedError as error:
        raise UsageError(f"--adapter {name}: {error}") from None


def _modes(arguments: argparse.Namespace) -> tuple[Mode, ...]:
    from ddlwa.report.model import Mode  # noqa: PLC0415  # as in options

    if arguments.compare:
        return Mode.PLAIN, Mode.DDLWA
    return (Mode.PLAIN if arguments.plain else Mode.DDLWA,)
