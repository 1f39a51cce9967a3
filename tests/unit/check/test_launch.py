from __future__ import annotations

import sys

import pytest

from ddlwa.check.launch import command, environment
from ddlwa.report.model import Mode


@pytest.mark.parametrize(
    ("mode", "tracer", "enabled"),
    [(Mode.PLAIN, "ddtrace.commands.ddtrace_run", "false"), (Mode.DDLWA, "ddlwa.run", "true")],
)
def test_the_mode_decides_what_traces_the_app(mode, tracer, enabled):
    """The same uvicorn command runs under ddtrace-run or ddlwa-run."""
    words = command("main:app", mode=mode)
    assert words[:5] == [sys.executable, "-m", tracer, sys.executable, "-m"]
    assert words[5] == "uvicorn"
    assert words[-1] == "main:app"
    assert "{port}" in words
    assert environment({}, mode=mode)["DDLWA_ENABLED"] == enabled


def test_the_users_telemetry_settings_stand():
    """Telemetry and remote configuration are off unless the user set them."""
    user = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "true"}
    added = environment(user, mode=Mode.PLAIN)
    assert "DD_INSTRUMENTATION_TELEMETRY_ENABLED" not in added
    assert added["DD_REMOTE_CONFIGURATION_ENABLED"] == "false"
