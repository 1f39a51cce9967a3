"""What the Lambda Web Adapter (LWA) tells of an invocation in two headers of its request."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ddlwa.log import warn_once

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTEXT = b"x-amzn-lambda-context"
_REQUEST_CONTEXT = b"x-amzn-request-context"
_HEADERS = frozenset({_CONTEXT, _REQUEST_CONTEXT})

# Lambda takes a client context of at most 3,583 bytes; all else in the header comes to less than 4 KiB.
_CONTEXT_BYTES = 16 * 1024
# An authorizer's claims come from a request whose headers a load balancer limits to 64 KiB in all, and API
# Gateway to 10 KiB.
_REQUEST_CONTEXT_BYTES = 64 * 1024
# Log groups and streams may have 512 characters, ARNs, tenants and trace headers fewer.
_TEXT_CHARACTERS = 1024
# serde_json, with which LWA has read the event, goes no deeper.
_DEPTH = 128
_LAST_MS = 253_402_300_799_999  # of the year 9999
_LARGEST_MB = 2**31 - 1  # LWA's type for it

counts: Counter[str] = Counter()
"""Under "malformed": headers that were not what LWA sends, in part or as a whole, each counted once."""


class _RequestContext:
    """The header that most requests need not have decoded; decodes it when asked for the first time."""

    __slots__ = ("_raw", "_value")

    def __init__(self, raw: bytes | None) -> None:
        self._raw = raw
        self._value: dict[str, Any] | None = None

    def get(self) -> dict[str, Any] | None:
        raw = self._raw  # another thread may be at it
        if raw is not None:
            part = _Part(_decode(raw, limit_bytes=_REQUEST_CONTEXT_BYTES))
            self._value = part.fields or None
            self._raw = None
            if not part.sound:
                _note_malformed()
        return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One invocation of the function.

    What the header lacks, or has in another shape than LWA gives it, is empty: "", 0 or None. Texts are
    printable ASCII. What is in the three dicts is the client's or the event's, and only known to be JSON.

    Attributes:
        request_id: Lambda's request id, never empty.
        deadline_s: When Lambda ends the invocation, in seconds since the epoch.
        function_arn: The ARN that was invoked, with its version or alias if there was one.
        xray_trace_id: The X-Ray trace header.
        client_context: What a caller with an AWS SDK has sent along.
        identity: The Cognito identity of such a caller.
        tenant_id: The tenant, for a function with tenant isolation.
        function_name: The function's name.
        memory_mb: Its memory, in MiB.
        version: Its version.
        log_stream: Where this sandbox logs to.
        log_group: Where the function logs to.

    Source: aws/aws-lambda-web-adapter 1.0.0, src/lib.rs; lambda_runtime 1.1, src/types.rs.
    """

    request_id: str
    deadline_s: float
    function_arn: str = ""
    xray_trace_id: str | None = None
    client_context: dict[str, Any] | None = field(default=None, repr=False)
    identity: dict[str, Any] | None = field(default=None, repr=False)
    tenant_id: str | None = None
    function_name: str = ""
    memory_mb: int = 0
    version: str = ""
    log_stream: str = ""
    log_group: str = ""
    _request_context: _RequestContext = field(
        default_factory=lambda: _RequestContext(None), repr=False, compare=False
    )

    @property
    def request_context(self) -> dict[str, Any] | None:
        """The event's request context; None for a pass-through event, or where it is malformed."""
        return self._request_context.get()

    def remaining_time_ms(self, now_s: float | None = None) -> int:
        """Give the time until the deadline, in milliseconds; 0 once it has passed.

        Args:
            now_s: The time, in seconds since the epoch; the clock's if None.
        """
        return max(0, round((self.deadline_s - (time.time() if now_s is None else now_s)) * 1000))


def invocation_of(scope: Mapping[str, Any]) -> Invocation | None:
    """Read the invocation that an ASGI scope belongs to.

    Args:
        scope: Its headers are to be trusted: only in Lambda does nobody but the adapter set them.

    Returns:
        None where the context header is absent, as on a readiness check (`has_context` tells), or one of
        the two is there twice, which LWA never sends, or there is no request id or deadline to be had.
    """
    found = [header for header in scope["headers"] if header[0] in _HEADERS]
    headers: dict[bytes, bytes] = dict(found)
    if _CONTEXT not in headers:
        return None
    if len(found) > len(headers):
        _note_malformed()
        return None
    context = _Part(_decode(headers[_CONTEXT], limit_bytes=_CONTEXT_BYTES))
    request_id = context.text("request_id")
    deadline_ms = context.integer("deadline", largest=_LAST_MS)
    if not request_id or not deadline_ms:
        _note_malformed()
        return None
    config = _Part(context.object("env_config"))
    invocation = Invocation(
        request_id=request_id,
        deadline_s=deadline_ms / 1000,
        function_arn=context.text("invoked_function_arn") or "",
        xray_trace_id=context.text("xray_trace_id"),
        client_context=context.object("client_context"),
        identity=context.object("identity"),
        tenant_id=context.text("tenant_id"),
        function_name=config.text("function_name") or "",
        memory_mb=config.integer("memory", largest=_LARGEST_MB),
        version=config.text("version") or "",
        log_stream=config.text("log_stream") or "",
        log_group=config.text("log_group") or "",
        _request_context=_RequestContext(headers.get(_REQUEST_CONTEXT)),
    )
    if not (context.sound and config.sound):
        _note_malformed()
    return invocation


def has_context(scope: Mapping[str, Any]) -> bool:
    """Say whether an ASGI scope has LWA's context header, malformed or not; a readiness check has none."""
    return any(name == _CONTEXT for name, _ in scope["headers"])


class _Part:
    """Takes what is known of a decoded object, and takes note of what is not as it should be.

    Args:
        value: The object; None, and so an absent or null field, is an empty one.
    """

    __slots__ = ("fields", "sound")

    def __init__(self, value: object) -> None:
        self.fields: dict[str, Any] = value if isinstance(value, dict) else {}
        self.sound = value is None or isinstance(value, dict)

    def text(self, name: str) -> str | None:
        value = self.fields.get(name)
        if (
            isinstance(value, str)
            and len(value) <= _TEXT_CHARACTERS
            and value.isascii()
            and value.isprintable()
        ):
            return value
        self.sound = self.sound and value is None
        return None

    def integer(self, name: str, *, largest: int) -> int:
        value = self.fields.get(name)
        if type(value) is int and 0 <= value <= largest:  # true is an int as well
            return value
        self.sound = self.sound and value is None
        return 0

    def object(self, name: str) -> dict[str, Any] | None:
        value = self.fields.get(name)
        if isinstance(value, dict):
            return value
        self.sound = self.sound and value is None
        return None


_MALFORMED = object()


def _decode(raw: bytes, *, limit_bytes: int) -> Any:
    """Decode JSON such as serde_json writes; anything else gives an object that is no JSON value."""
    try:
        if len(raw) > limit_bytes:
            return _MALFORMED
        text = str(raw, "utf-8")
        value = _decoder.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # fails on half a surrogate pair
    except (ValueError, TypeError, RecursionError):
        return _MALFORMED
    # Depth is looked at only where there are brackets enough for it.
    shallow = text.count("[") + text.count("{") <= _DEPTH or _depth(value) <= _DEPTH
    return value if shallow else _MALFORMED


def _depth(value: object) -> int:
    """Count the levels of arrays and objects without recursion."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, (dict, list))]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name is there twice")
    return fields


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


# Numbers that JSON does not have, NaN and the infinities, are refused as ones too large for a float are.
_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)


def _note_malformed() -> None:
    counts["malformed"] += 1
    warn_once(
        "invocation",
        "the x-amzn-lambda-context or x-amzn-request-context header of a request is not what LWA sends; "
        "what is wrong in it is ignored",
    )
