"""The `DDLWA_*` environment, read once into a frozen dataclass."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ddlwa.log import warn_once

if TYPE_CHECKING:
    from collections.abc import Mapping


OUTLETS = frozenset({"llmobs", "dogstatsd", "lambda_metrics", "opentelemetry"})
"""What can be flushed besides the traces (`DDLWA_OUTLETS`)."""


class Mode(enum.Enum):
    """How the response is treated (`DDLWA_MODE`)."""

    HOLD = "hold"
    EXTENSION = "extension"
    OFF = "off"


class OpenSpans(enum.Enum):
    """What becomes of spans that are still open when the response is released (`DDLWA_OPEN_SPANS`)."""

    FINISH = "finish"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment asks for.

    Attributes:
        mode: `OFF` leaves stock ddtrace.
        runtime_api: Host and port of Lambda's APIs; empty outside Lambda, where the headers of an
            invocation are not to be trusted either.
        one_at_a_time: There is never more than one request to be served.
        snap_start: The process is to be restored from a snapshot.
        hold_timeout_s: How long the completing message may wait for the app to unwind, in seconds.
        flush_timeout_s: How long a release may wait for the trace agent, in seconds.
        deadline_margin_s: How long before an invocation's deadline its work ends, in seconds.
        timeout_margin_s: How long before it an invocation that is still under way counts as timed out, in
            seconds.
        open_spans: What becomes of spans that are still open at the release.
        retain_bytes: How many bytes of traces are kept that could not be delivered.
        retain_s: How long, in seconds.
        outlets: Which other buffers are flushed with the traces (of `OUTLETS`).
        trace_readiness: Keep the traces of readiness checks.
        lambda_tags: Tell in the request span what is known of its invocation.
        lambda_span: Make the span of the invocation, and that of its trigger.
        error_statuses: Statuses of a response that the adapter makes an error of the invocation.
        statsd: Where to send metrics of the work after responses, or None.
    """

    mode: Mode = Mode.HOLD
    runtime_api: str = ""
    one_at_a_time: bool = True
    snap_start: bool = False
    hold_timeout_s: float = 0.1
    flush_timeout_s: float = 0.2
    deadline_margin_s: float = 0.5
    timeout_margin_s: float = 0.5
    open_spans: OpenSpans = OpenSpans.FINISH
    retain_bytes: int = 4 << 20
    retain_s: float = 21_600.0
    outlets: frozenset[str] = OUTLETS
    trace_readiness: bool = False
    lambda_tags: bool = True
    lambda_span: bool = False
    error_statuses: frozenset[int] = frozenset()
    statsd: tuple[str, int] | None = None

    @property
    def in_lambda(self) -> bool:
        """Whether this is Lambda, where only the adapter sets the headers of an invocation."""
        return bool(self.runtime_api)


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_LONGEST_MS = 60_000.0
_LONGEST_S = 604_800.0
_MOST_BYTES = 1 << 30
_STATUSES = re.compile(r"\+?([0-9]+)(?:-\+?([0-9]+))?")
_LARGEST_STATUS = 2**16 - 1  # LWA's type for it
_LAST_STATUS = 999
_E = TypeVar("_E", bound=enum.Enum)


def load(env: Mapping[str, str]) -> Settings:
    """Read the settings; a value that makes no sense means the default and one warning.

    Args:
        env: The process's environment.
    """
    default = Settings()
    margin_s = _milliseconds(env, "DDLWA_DEADLINE_MARGIN_MS", default.deadline_margin_s)
    return Settings(
        mode=_mode(env),
        runtime_api=env.get("AWS_LAMBDA_RUNTIME_API", "") if _in_lambda(env) else "",
        one_at_a_time=_in_lambda(env) and not _concurrent(env),
        snap_start=env.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start",
        hold_timeout_s=_milliseconds(env, "DDLWA_HOLD_TIMEOUT_MS", default.hold_timeout_s),
        flush_timeout_s=_milliseconds(env, "DDLWA_FLUSH_TIMEOUT_MS", default.flush_timeout_s),
        deadline_margin_s=margin_s,
        # ddtrace's own name for just this, in functions of datadog-lambda's.
        timeout_margin_s=_milliseconds(env, "DD_APM_FLUSH_DEADLINE_MILLISECONDS", margin_s),
        open_spans=_choice(env, "DDLWA_OPEN_SPANS", default.open_spans),
        retain_bytes=int(
            _number(env, "DDLWA_RETAIN_BYTES", default.retain_bytes, "bytes", limit=_MOST_BYTES)
        ),
        retain_s=_number(env, "DDLWA_RETAIN_S", default.retain_s, "seconds", limit=_LONGEST_S),
        outlets=_outlets(env),
        lambda_tags=_boolean(env, "DDLWA_LAMBDA_TAGS", default=default.lambda_tags),
        lambda_span=_lambda_span(env),
        error_statuses=_statuses(env.get("AWS_LWA_ERROR_STATUS_CODES", "")),
        trace_readiness=_boolean(env, "DDLWA_TRACE_READINESS", default=default.trace_readiness),
        statsd=_statsd(env) if _boolean(env, "DDLWA_METRICS", default=False) else None,
    )


def _mode(env: Mapping[str, str]) -> Mode:
    if not _boolean(env, "DDLWA_ENABLED", default=_in_lambda(env)):
        return Mode.OFF
    return _choice(env, "DDLWA_MODE", Mode.OFF if _concurrent(env) else Mode.HOLD)


def _in_lambda(env: Mapping[str, str]) -> bool:
    return bool(env.get("AWS_LAMBDA_FUNCTION_NAME"))


def _concurrent(env: Mapping[str, str]) -> bool:
    # Lambda Managed Instances serve many invocations at once and are not frozen between them.
    concurrency = env.get("AWS_LAMBDA_MAX_CONCURRENCY", "")
    return concurrency.isdecimal() and int(concurrency) > 1


def _statsd(env: Mapping[str, str]) -> tuple[str, int]:
    # Both names as the Datadog libraries read them; the Datadog extension listens on the defaults.
    port = env.get("DD_DOGSTATSD_PORT", "")
    return env.get("DD_AGENT_HOST") or "127.0.0.1", int(port) if port.isdecimal() else 8125


def _lambda_span(env: Mapping[str, str]) -> bool:
    wanted = _boolean(env, "DDLWA_LAMBDA_SPAN", default=False)
    if wanted and env.get("AWS_LWA_LAMBDA_RUNTIME_API_PROXY"):
        warn_once(
            "settings.DDLWA_LAMBDA_SPAN",
            "DDLWA_LAMBDA_SPAN has no effect: with AWS_LWA_LAMBDA_RUNTIME_API_PROXY the Datadog extension "
            "makes the spans of an invocation",
        )
        return False
    return wanted


def _statuses(text: str) -> frozenset[int]:
    """Read a list such as "500,502-504" as the adapter does (LWA 1.0.0, src/lib.rs, parse_status_codes)."""
    statuses: set[int] = set()
    for part in text.split(","):
        match = _STATUSES.fullmatch(part.strip())
        if match is not None:
            first, last = int(match[1]), int(match[2] or match[1])
            if max(first, last) <= _LARGEST_STATUS:
                statuses.update(range(first, min(last, _LAST_STATUS) + 1))
    return frozenset(statuses)


def _outlets(env: Mapping[str, str]) -> frozenset[str]:
    text = env.get("DDLWA_OUTLETS", "").strip().lower()
    if not text:
        return OUTLETS
    names = frozenset(name.strip() for name in text.split(","))
    if names == {"none"}:
        return frozenset()
    allowed = f"none, or some of {','.join(sorted(OUTLETS))}"
    return names if names <= OUTLETS else _reject("DDLWA_OUTLETS", text, allowed, OUTLETS)


def _boolean(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name, "").strip()
    if not text:
        return default
    value = _BOOLEANS.get(text.lower())
    return _reject(name, text, "true or false", default) if value is None else value


def _milliseconds(env: Mapping[str, str], name: str, default_s: float) -> float:
    return _number(env, name, default_s * 1000, "milliseconds", limit=_LONGEST_MS) / 1000


def _number(env: Mapping[str, str], name: str, default: float, unit: str, *, limit: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 <= value <= limit:
        return value
    return _reject(name, text, f"a number of {unit} from 0 to {limit:.0f}", default)


def _choice(env: Mapping[str, str], name: str, default: _E) -> _E:
    text = env.get(name, "").strip()
    if not text:
        return default
    choices = type(default)
    try:
        return choices(text.lower())
    except ValueError:
        return _reject(name, text, " or ".join(str(choice.value) for choice in choices), default)


_T = TypeVar("_T")


def _reject(name: str, found: str, allowed: str, default: _T) -> _T:
    shown = default.value if isinstance(default, enum.Enum) else default
    if isinstance(default, frozenset):
        shown = ",".join(sorted(default))
    warn_once(f"settings.{name}", "%s=%r is not %s; using %s", name, found[:80], allowed, shown)
    return default
