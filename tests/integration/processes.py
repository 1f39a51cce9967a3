"""Python processes of the tests' own, in which any warning is an error."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Finished:
    """A process that ended well.

    Attributes:
        lines: Its standard output.
        log: Its standard error: ddlwa's warnings, a line each.
    """

    lines: list
    log: list

    @property
    def outcomes(self):
        """What `child.request` printed, for each request."""
        return [json.loads(line.split(" ", 1)[1]) for line in self.lines if line.startswith("outcome ")]


def python(code, *, env=None, under=()):
    """Run code in a new Python.

    Args:
        code: May import `child` and what else lies here.
        env: Added to an environment that says nothing of Datadog, Lambda or ddlwa; by default that ddlwa
            is wanted.
        under: A command to put before.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DD_", "DDLWA_", "AWS_"))}
    quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    wanted = {"DDLWA_ENABLED": "true", "DDLWA_FLUSH_TIMEOUT_MS": "20000", "DDLWA_HOLD_TIMEOUT_MS": "20000"}
    done = subprocess.run(
        [*under, sys.executable, "-W", "error", "-c", code],
        env={**clean, **quiet, "PYTHONPATH": str(HERE), **(wanted if env is None else env)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Finished(done.stdout.splitlines(), done.stderr.splitlines())
