"""How an adapter is configured: LWA's environment variables."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AdapterOptions", "InvokeMode"]


class InvokeMode(enum.Enum):
    """How an adapter posts a response."""

    BUFFERED = "buffered"
    """As one JSON document, when the app's response is complete."""

    RESPONSE_STREAM = "response_stream"
    """Piece by piece, as the app sends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterOptions:
    """The options of LWA, with its defaults.

    Args:
        invoke_mode: How responses are posted.
        readiness_port: The port of the readiness check, None for the app's.
        readiness_path: Its path.
        readiness_by_tcp: Whether a connection is enough.
        healthy: The statuses that mean ready.
        async_init: Whether to stop waiting before Lambda's init phase ends.
        base_path: What is taken off the begin of a request's path, empty for nothing.
        pass_through_path: Where events that are no HTTP request's are posted.
        authorization_source: The header that becomes ``authorization``, empty for none.
        error_statuses: The statuses that make an invocation fail.
        concurrency: How many invocations are served at a time.
    """

    invoke_mode: InvokeMode = InvokeMode.BUFFERED
    readiness_port: int | None = None
    readiness_path: str = "/"
    readiness_by_tcp: bool = False
    healthy: frozenset[int] = frozenset(range(100, 500))
    async_init: bool = False
    base_path: str = ""
    pass_through_path: str = "/events"  # noqa: S105 -- no password
    authorization_source: str = ""
    error_statuses: frozenset[int] = frozenset()
    concurrency: int = 1

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> AdapterOptions:
        """Read the options as LWA does: what makes no sense is ignored.

        Source: aws/aws-lambda-web-adapter 1.0.0-rc1, src/lib.rs, with the names from before 1.0.

        Args:
            environment: The function's variables.
        """

        def get(name: str, default: str = "") -> str:
            return environment.get(f"AWS_LWA_{name}", environment.get(name, default))

        own = {
            name.removeprefix("AWS_LWA_"): value
            for name, value in environment.items()
            if name.startswith("AWS_LWA_")
        }
        healthy = own.get("READINESS_CHECK_HEALTHY_STATUS")
        if healthy is None:
            below = _number(own.get("READINESS_CHECK_MIN_UNHEALTHY_STATUS", ""), default=500)
            healthy = f"100-{below - 1}"
        streams = own.get("INVOKE_MODE", "").lower() == InvokeMode.RESPONSE_STREAM.value
        return cls(
            invoke_mode=InvokeMode.RESPONSE_STREAM if streams else InvokeMode.BUFFERED,
            readiness_port=_number(get("READINESS_CHECK_PORT"), default=0) or None,
            readiness_path=get("READINESS_CHECK_PATH", "/"),
            readiness_by_tcp=get("READINESS_CHECK_PROTOCOL").lower() == "tcp",
            healthy=_statuses(healthy),
            async_init=get("ASYNC_INIT") == "true",
            base_path=get("REMOVE_BASE_PATH"),
            pass_through_path=own.get("PASS_THROUGH_PATH", "/events"),
            authorization_source=own.get("AUTHORIZATION_SOURCE", "").lower(),
            error_statuses=_statuses(own.get("ERROR_STATUS_CODES", "")),
            concurrency=max(1, _number(environment.get("AWS_LAMBDA_MAX_CONCURRENCY", ""), default=1)),
        )


def _number(text: str, *, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() else default


def _statuses(text: str) -> frozenset[int]:
    """Read a list such as ``200-299,404``."""
    statuses: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low = _number(first, default=0)
        high = _number(last, default=0) if dash else low
        if low and high:
            statuses.update(range(low, high + 1))
    return frozenset(statuses)
