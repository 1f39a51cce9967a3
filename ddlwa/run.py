"""`ddlwa-run COMMAND …`: like ddtrace-run, with `ddlwa.patch_all()` in the Python that it starts."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = """\
usage: ddlwa-run [-d] [-p] COMMAND [ARG ...]

Run a Python command with ddtrace and ddlwa, as in

    ddlwa-run uvicorn main:app
    ddlwa-run python -m uvicorn main:app

options:
  -d, --debug      ddtrace's debug mode (DD_TRACE_DEBUG=true)
  -p, --profiling  ddtrace's profiler (DD_PROFILING_ENABLED=true)
  -h, --help       show this
  --version        show the version
"""
_SWITCHES = {
    "-d": "DD_TRACE_DEBUG",
    "--debug": "DD_TRACE_DEBUG",
    "-p": "DD_PROFILING_ENABLED",
    "--profiling": "DD_PROFILING_ENABLED",
}
# Exit codes as shells give them for a command.
_USAGE_ERROR, _CANNOT_EXECUTE, _NOT_FOUND = 2, 126, 127


def main(argv: Sequence[str] | None = None) -> int:
    """Replace this process by the command, prepared to be traced; return only when that is impossible.

    Args:
        argv: What follows `ddlwa-run` on the command line; None: this process's arguments.

    Returns:
        The exit code: 0 after `--help` or `--version`, 2 for wrong usage, 126 for a command that is
        not executable, 127 for one that does not exist. Otherwise the process is the command's.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    env = dict(os.environ)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word in {"-h", "--help"}:
            sys.stdout.write(_USAGE)
            return 0
        if word == "--version":
            from ddlwa import __version__  # noqa: PLC0415 - seldom asked for

            sys.stdout.write(f"ddlwa {__version__}\n")
            return 0
        if word not in _SWITCHES:
            return _fail(f"no option {word!r}\n\n{_USAGE}", _USAGE_ERROR)
        env[_SWITCHES[word]] = "true"
    if not words:
        return _fail(f"no command given\n\n{_USAGE}", _USAGE_ERROR)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [*_bootstraps(), env.get("PYTHONPATH")]))
    try:
        os.execvpe(words[0], words, env)  # noqa: S606 - running the user's command is what this is for
    except FileNotFoundError:
        return _fail(f"command not found: {words[0]!r}. Is it installed, and on PATH?", _NOT_FOUND)
    except OSError as error:
        hint = f"Did you mean `ddlwa-run python {words[0]}`?"
        return _fail(f"cannot execute {words[0]!r}: {error.strerror}. {hint}", _CANNOT_EXECUTE)


def _bootstraps() -> list[str]:
    """Give the folders of the `sitecustomize` modules to be run: ddtrace's, which then runs ours."""
    ddtrace = importlib.util.find_spec("ddtrace")
    if ddtrace is None or not ddtrace.submodule_search_locations:
        raise SystemExit(_fail("ddtrace is not installed in this environment; pip install ddlwa", 1))
    return [
        str(Path(ddtrace.submodule_search_locations[0], "bootstrap")),
        str(Path(__file__).with_name("bootstrap")),
    ]


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"ddlwa-run: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
