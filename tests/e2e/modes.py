"""A traced app in a sandbox, in the mode that a test wants, and what its traces say."""

import sys
import time
from pathlib import Path

from ddlwa.simulator import HttpRequest, Sandbox

APPS = Path(__file__).parent / "mode_apps"
QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_PROPAGATION_STYLE_EXTRACT": "datadog",
    "DDLWA_ENABLED": "true",
}
PARENT_ID = 7


def sandbox(agent, *, mode, env=None, server=(), **options):
    """Put the background app into a sandbox."""
    # An app whose coverage is measured is too slow to be judged to the millisecond.
    command = ["env", "--unset=COVERAGE_PROCESS_CONFIG", "--unset=COVERAGE_PROCESS_START"]
    command += [sys.executable, "-m", "ddlwa.run", sys.executable, "-m", "uvicorn", "background:app"]
    command += ["--port", "{port}", "--log-level", "warning", *server]
    return Sandbox(
        command, env={**QUIET, "DDLWA_MODE": mode, **(env or {})}, cwd=APPS, agent=agent, **options
    )


def request(trace_id, path):
    """Ask for something, as part of a trace that the test knows."""
    return HttpRequest(
        path=path,
        headers=(
            ("x-datadog-trace-id", str(trace_id)),
            ("x-datadog-parent-id", str(PARENT_ID)),
            ("x-datadog-sampling-priority", "2"),
        ),
    )


def named(traces, name):
    """Give the spans of this name, by their start."""
    spans = [span for spans in traces.values() for span in spans if span["name"] == name]
    return sorted(spans, key=lambda span: span["start"])


def frozen_ns(span, timeline):
    """Add up how much of the time from a span's start to its end the sandbox was frozen, and that end."""
    end_ns = span["start"] + span["duration"] + round(span["metrics"].get("ddlwa.frozen_ms", 0) * 1e6)
    return sum(
        max(0, min(end_ns, window.end_ns) - max(span["start"], window.start_ns))
        for window in timeline
        if window.frozen
    )


def is_misread(span):
    """Say whether a time of a span is the machine's, which is hours behind after the first freeze.

    libfaketime 3.0 gives the one instead of the other if two threads look at once.
    """
    return min(span["start"], span["start"] + span["duration"]) < time.time_ns()
