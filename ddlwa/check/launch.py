"""How the app is started: the command with its environment, per mode."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ddlwa.report.model import Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRACER = {Mode.PLAIN: "ddtrace.commands.ddtrace_run", Mode.DDLWA: "ddlwa.run"}
_SERVER = (
    "-m",
    "uvicorn",
    "--host",
    "127.0.0.1",
    "--port",
    "{port}",
    "--workers",
    "1",
    "--log-level",
    "warning",
)
# Side shows: they ask things of an agent that knows nothing of them, or leave files behind.
_QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_SYMBOL_DATABASE_UPLOAD_ENABLED": "false",
}


def command(app: str, *, mode: Mode) -> list[str]:
    """Build the command line; `{port}` stands for the port to listen on.

    Args:
        app: `MODULE:ATTR`.
        mode: What traces the app.
    """
    return [sys.executable, "-m", _TRACER[mode], sys.executable, *_SERVER, app]


def environment(user: Mapping[str, str], *, mode: Mode) -> dict[str, str]:
    """Build the variables that are set on top of the user's.

    Args:
        user: The user's environment, which decides where the check does not have to.
        mode: What traces the app.
    """
    return {
        **{name: value for name, value in _QUIET.items() if name not in user},
        # The check recognises a request's trace by the id that it sends in Datadog's headers.
        "DD_TRACE_PROPAGATION_STYLE_EXTRACT": "datadog",
        "DDLWA_ENABLED": "true" if mode is Mode.DDLWA else "false",
    }
