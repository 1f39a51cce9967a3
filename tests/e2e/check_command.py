"""Starts `ddlwa check` as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("ddlwa"))
TIMEOUT_S = 120


def start(*arguments, cwd, **env):
    """Start the command in a folder and return the process."""
    return subprocess.Popen(
        [PROGRAM, "check", *arguments],
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments, cwd, **env):
    """Run the command to its end: exit code, stdout, stderr."""
    with start(*arguments, cwd=cwd, **env) as process:
        try:
            stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.terminate()
    return process.returncode, stdout, stderr
