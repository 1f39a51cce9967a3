"""Finds a Python that is new enough for every approach, and makes an environment of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.approaches import APPROACHES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROOT = Path(__file__).parents[1]
_NEEDED = max(one.python for one in APPROACHES.values())
_VERSIONS = [f"{_NEEDED[0]}.{minor}" for minor in range(_NEEDED[1], 14)]  # as far as ddlwa is tested
_START_S, _INSTALL_S = 30, 600


def is_complete(python: str) -> bool:
    """Say whether a Python can run every approach.

    Args:
        python: Its path.
    """
    code = "from benchmarks.approaches import APPROACHES as a; exit(any(one.obstacle for one in a.values()))"
    return _runs([python, "-c", code], limit_s=_START_S)


def make(say: Callable[[str], object]) -> str | None:
    """Make an environment, once for this user, of the first Python that is new enough.

    Args:
        say: Told what is being done.

    Returns:
        The path of its Python; None if there is none, or nothing can be installed.
    """
    for python, version in _candidates():
        folder = Path("~/.cache/ddlwa").expanduser() / f"benchmarks-{version}"
        made = str(folder / "bin" / "python")
        say(f"an environment with Python {version} in {folder}")
        if (
            _runs([python, "-m", "venv", str(folder)], limit_s=_INSTALL_S)
            and _runs([made, "-m", "pip", "install", "--editable", f"{_ROOT}[bench]"], limit_s=_INSTALL_S)
            and is_complete(made)
        ):
            return made
    return None


def _candidates() -> Iterator[tuple[str, str]]:
    """Give those on PATH, and those that pyenv has; a shim of pyenv's may stand for nothing."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for version in _VERSIONS:
        found = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))]
        for python in filter(None, found):
            if _runs([python, "-c", ""], limit_s=_START_S):
                yield python, version
                break


def _runs(command: list[str], *, limit_s: float) -> bool:
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=limit_s, check=False)  # noqa: S603 - our own commands
    except (OSError, subprocess.TimeoutExpired):
        return False
    if done.returncode and "pip" in command:
        sys.stderr.write(done.stderr.decode(errors="replace"))
    return done.returncode == 0
