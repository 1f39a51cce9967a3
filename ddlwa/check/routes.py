"""The routes that are checked when none are named: those of the app's own route table."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys

from ddlwa.check.errors import AppImportError
from ddlwa.check.plan import Planned

_KILL_TIMEOUT_S = 5.0
_NO_TRACING = {
    "DD_TRACE_ENABLED": "false",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DDLWA_ENABLED": "false",
}


async def discover(target: str, *, timeout_s: float) -> tuple[Planned, ...]:
    """Import the app in a child process and ask for `/` and its GET routes without path parameters.

    Args:
        target: `MODULE:ATTR`.
        timeout_s: How long the import may take, in seconds.

    Raises:
        AppImportError: The app can't be imported.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ddlwa.check.routetable",
        target,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **_NO_TRACING},
        start_new_session=True,  # Ctrl-C is for the check, which then ends this process
    )
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), timeout_s)
    except asyncio.TimeoutError:
        raise AppImportError(target, f"importing it took longer than {timeout_s:g} s", output="") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait_for(process.wait(), _KILL_TIMEOUT_S)
    output = stderr.decode(errors="replace")
    try:
        answer = json.loads(stdout)
    except ValueError:
        reason = f"importing it ended the process with exit code {process.returncode}"
        raise AppImportError(target, reason, output=output) from None
    if "error" in answer:
        raise AppImportError(target, answer["error"], output=output)
    return tuple(Planned("GET", path) for path in dict.fromkeys(["/", *answer["paths"]]))
