"""The ways to get right traces out of a sandbox that freezes, which are measured side by side."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLAIN, INLINE, HOLD, EXTENSION = "plain", "send_wrapper_flush", "ddlwa_hold", "ddlwa_extension"
OURS = (HOLD, EXTENSION)
# Where all would be too many: ours, the nearest, and what all are measured against.
FEW = (PLAIN, INLINE, HOLD, EXTENSION)

_VARIABLE = "BENCHMARK_APPROACH"
_DDTRACE, _DDLWA = "ddtrace.commands.ddtrace_run", "ddlwa.run"
# Side shows of ddtrace: they ask things of an agent that knows nothing of them, or leave files behind.
_QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_SYMBOL_DATABASE_UPLOAD_ENABLED": "false",
    "DD_TRACE_STARTUP_LOGS": "false",
    "DD_TRACE_PROPAGATION_STYLE_EXTRACT": "datadog",
}
_SCRUBBED = ("DD_", "DDLWA_", "AWS_", "OTEL_", "LAMBDA_", "COVERAGE_", "BENCHMARK_")


@dataclass(frozen=True)
class Approach:
    """A way to trace an app.

    Attributes:
        name: Which one.
        label: How the page calls it.
        idea: What it does, in a sentence without a full stop.
        runner: The module that starts the server, None if the server is started as it is.
        module: Has `instrument(app)`, None if the app is served as it is.
        env: Variables that belong to it.
        otlp: It sends OTLP, and not Datadog's format.
        extension: It is a Lambda extension, so it has one invocation at a time.
        python: The oldest Python that it runs on.
        package: What has to be installed for it, beside what the check needs.
    """

    name: str
    label: str
    idea: str
    runner: str | None = _DDTRACE
    module: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    otlp: bool = False
    extension: bool = False
    python: tuple[int, int] = (3, 10)
    package: str | None = None

    @property
    def obstacle(self) -> str | None:
        """Why it cannot run here; None if it can."""
        if sys.version_info < self.python:
            return f"it needs Python {'.'.join(map(str, self.python))} or newer, and there was none"
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"its package {self.package} was not installed"
        return None

    def server(self, app: str, *, port: str, options: Sequence[str] = ()) -> list[str]:
        """Give the command that serves an app.

        Args:
            app: Which one, as `benchmarks.served` names them.
            port: Where it listens.
            options: More of them, for uvicorn.
        """
        uvicorn = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.served:app"]
        uvicorn += ["--host", "127.0.0.1", "--port", port, "--log-level", "critical", "--no-access-log"]
        return self.command(app, [*uvicorn, *options])

    def command(self, app: str, command: Sequence[str]) -> list[str]:
        """Give the command that runs another one with this tracing.

        Args:
            app: As for `server`.
            command: That of a Python that imports `benchmarks.served`.
        """
        env = {**_QUIET, "DDLWA_ENABLED": "false", **self.env, _VARIABLE: self.name, "BENCHMARK_APP": app}
        runner = [sys.executable, "-m", self.runner] if self.runner else []
        return ["env", *(f"{name}={value}" for name, value in env.items()), *runner, *command]


def scrub_environment() -> None:
    """Forget the variables of this process that would change what its children are measured for."""
    for name in [name for name in os.environ if name.startswith(_SCRUBBED)]:
        del os.environ[name]


_HERE = "benchmarks.approaches."
APPROACHES = {
    one.name: one
    for one in (
        Approach(PLAIN, "plain ddtrace", "`ddtrace-run`, nothing else"),
        Approach(
            "send_wrapper",
            "wrapped `send`",
            "the workaround of LWA's issue 466: a middleware finishes the request span before it passes the "
            "message without `more_body` on",
            module=_HERE + "send_wrapper",
        ),
        Approach(
            INLINE,
            "wrapped `send`, inline flush",
            "the same, and `tracer.flush()` before that message",
            module=_HERE + "send_wrapper_flush",
        ),
        Approach(
            "hold_last_message",
            "hold the last message",
            "the message without `more_body` waits until the app has returned and `tracer.flush()` has run",
            module=_HERE + "hold_last_message",
        ),
        Approach(
            "lwa_extension",
            "background-task extension",
            "the idea of LWA's example `fastapi-background-tasks`: an internal extension, whose thread runs "
            "`tracer.flush()` when the app has returned, and only then asks for the next event",
            module=_HERE + "lwa_extension",
            extension=True,
        ),
        Approach(
            "lambda_otel_lite",
            "lambda-otel-lite",
            "its processor and its own extension (`async` mode), told when the app has returned; its spans "
            "are OpenTelemetry's",
            runner=None,
            module=_HERE + "lambda_otel_lite_",
            otlp=True,
            extension=True,
            python=(3, 12),
            package="lambda_otel_lite",
        ),
        Approach(
            "otel_asgi",
            "OpenTelemetry ASGI, `force_flush`",
            "OpenTelemetry's ASGI instrumentation with a batch processor, and `force_flush()` when the app "
            "has returned",
            runner=None,
            module=_HERE + "otel_asgi",
            otlp=True,
        ),
        Approach(
            HOLD,
            "**ddlwa** hold",
            "`ddlwa-run`, nothing else",
            runner=_DDLWA,
            env={"DDLWA_ENABLED": "true"},
        ),
        Approach(
            EXTENSION,
            "**ddlwa** extension",
            "`ddlwa-run` with `DDLWA_MODE=extension`",
            runner=_DDLWA,
            env={"DDLWA_ENABLED": "true", "DDLWA_MODE": "extension"},
            extension=True,
        ),
    )
}


def instrument(app: Any) -> Any:
    """Apply the approach that the environment names to a FastAPI app; give what is to be served."""
    module = APPROACHES[os.environ[_VARIABLE]].module
    return importlib.import_module(module).instrument(app) if module else app
