"""What an event says of the trace that its invocation continues, where no header of the request says it."""

from __future__ import annotations

import base64
import enum
import hashlib
import json
import re
from collections import deque
from typing import TYPE_CHECKING, Any

from ddlwa.event import inner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from ddlwa.invocation import Invocation

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Headers = dict[str, str]

# No service that a context travels with hands over a larger message: 1 MiB is the most for SQS, EventBridge
# and any asynchronous invocation, 256 KiB for SNS and Step Functions. A batch may have 6 MiB, but the context
# is that of its first record; and decoding more would keep the event loop from its other work.
EVENT_BYTES = 1 << 20
# As ddtrace's limit for baggage, the longest of these headers.
_VALUE_CHARACTERS = 8192
_ID_LIMIT = 1 << 64

_REQUEST_CONTEXT = b"x-amzn-request-context"

_VISIBLE = re.compile(r"[ -~]+")
_NUMBER = re.compile(r"[0-9]{1,20}")
_SPAN_ID = r"(?!0{16})[0-9a-f]{16}"
_TRACE_ID = r"(?!0+\b)(?:[0-9a-f]{32}|[0-9a-f]{16})"
_FORMS = {
    "x-datadog-trace-id": _NUMBER,
    "x-datadog-parent-id": _NUMBER,
    "x-datadog-sampling-priority": re.compile(r"-?[0-9]{1,3}"),
    "x-datadog-origin": _VISIBLE,
    "x-datadog-tags": _VISIBLE,
    "traceparent": re.compile(
        rf"(?!ff)[0-9a-f]{{2}}-(?!0{{32}})[0-9a-f]{{32}}-{_SPAN_ID}-[0-9a-f]{{2}}(?:-[ -~]+)?"
    ),
    "tracestate": _VISIBLE,
    "b3": re.compile(rf"{_TRACE_ID}-{_SPAN_ID}-[01d](?:-[0-9a-f]{{16}})?"),
    "x-b3-traceid": re.compile(_TRACE_ID),
    "x-b3-spanid": re.compile(_SPAN_ID),
    "x-b3-sampled": re.compile(r"[01]"),
    "x-b3-flags": re.compile(r"1"),
    "baggage": _VISIBLE,
}
_IDS = frozenset({"x-datadog-trace-id", "x-datadog-parent-id"})
# What a context needs in each style, the sampling decision included, and what may go with it.
_STYLES = (
    (
        ("x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority"),
        ("x-datadog-origin", "x-datadog-tags"),
    ),
    (("traceparent",), ("tracestate",)),
    (("b3",), ()),
    (("x-b3-traceid", "x-b3-spanid", "x-b3-sampled"), ()),
    (("x-b3-traceid", "x-b3-spanid", "x-b3-flags"), ()),
)

_BATCH = re.compile(r'\s*\{\s*"Records"\s*:\s*\[\s*(?=\{)')
_DECODER = json.JSONDecoder()

# X-Ray's form of a trace id of Datadog's: after the time come 32 zero bits where X-Ray's own are random.
_ZEROS = "-00000000"
_XRAY = re.compile(
    r"Root=1-[0-9a-fA-F]{8}-0{8}([0-9a-fA-F]{16});Parent=([0-9a-fA-F]{16});Sampled=([01])(?:;|\Z)"
)
_TID = re.compile(r"(?:^|,)_dd\.p\.tid=([0-9a-f]{16})(?:,|$)")
_CHECKPOINT = re.compile(r"_datadog_([0-9]{1,18})")


class Where(enum.Enum):
    """Where an invocation may tell of a trace, besides the headers that a client or a tracer has set."""

    NOWHERE = enum.auto()
    CONTEXT = enum.auto()
    """In what LWA says of it."""
    EVENT = enum.auto()
    """In the pass-through event, the request's body, too."""


def where(scope: Mapping[str, Any], invocation: Invocation) -> Where:
    """Say where to look for an invocation's trace; costs next to nothing, for most tell of none.

    Args:
        scope: The ASGI scope of its request.
        invocation: The invocation.
    """
    request_context = b""
    for name, value in scope["headers"]:
        if name == _REQUEST_CONTEXT:
            request_context = value
            break
    if request_context == b"null" and invocation.request_context is None:
        return Where.EVENT
    if (
        b"_datadog" in request_context
        or invocation.client_context is not None
        or _ZEROS in (invocation.xray_trace_id or "")
    ):
        return Where.CONTEXT
    return Where.NOWHERE


def context_of(
    request_context: Mapping[str, Any] | None,
    xray_trace_id: str | None,
    *,
    client_context: Mapping[str, Any] | None = None,
) -> Headers | None:
    """Give the trace context that comes with an invocation, as propagation headers.

    Args:
        request_context: Has what a traced authorizer has put into its answer, and API Gateway has not cached.
        xray_trace_id: Counts only if the trace id in it is Datadog's.
        client_context: Has what a traced caller of Lambda's Invoke has put there.

    Returns:
        None where there is none, or not all of it: trace id, parent id, sampling decision.

    Source: datadog-lambda 8.130, datadog_lambda/tracing.py.
    """
    custom = inner(client_context, "custom")
    return (
        _carried(_from_authorizer(request_context))
        or _carried(inner(custom, "_datadog") or custom)
        or _from_xray(xray_trace_id)
    )


def context_of_event(event: object) -> Headers | None:
    """Give the trace context that a message or an event carries, of a batch its first; see `context_of`.

    Args:
        event: A decoded event that is not of an HTTP request, whatever it is.
    """
    if not isinstance(event, dict):
        return None
    if "request" in event:
        return _carried(_headers(event["request"]))
    if "headers" in event or "multiValueHeaders" in event:
        return _carried(_headers(event))
    record = _first(event.get("Records"))
    read = _RECORDS.get(_text(inner(record, "eventSource") or inner(record, "EventSource")))
    if read is not None:
        return read(record)
    if event.get("detail-type"):
        detail = event.get("detail")
        by_aws = event.get("source") == "aws.events" or inner(detail, "EventCategories") is not None
        return None if by_aws else _from_carrier(inner(detail, "_datadog"))
    return _from_step_functions(event) or _from_durable_execution(event)


def decode_event(body: bytes, *, complete: bool) -> object:
    """Decode an event; of a batch of records only the first, and of one that is cut off nothing else.

    Args:
        body: Its JSON.
        complete: Whether that is all of it.

    Returns:
        None where it is not to be had.
    """
    text = str(body, "utf-8", "replace")
    batch = _BATCH.match(text)
    if batch is None:
        return _json(text) if complete else None
    try:
        return {"Records": [_DECODER.raw_decode(text, batch.end())[0]]}
    except (ValueError, RecursionError):
        return None


class Ahead:
    """Reads a request's body before the app does, and gives the app what the server gave, as it gave it.

    Args:
        receive: The server's receive.
    """

    __slots__ = ("_error", "_kept", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: deque[Message] = deque()
        self._error: Exception | None = None

    async def read(self, *, limit_bytes: int) -> tuple[bytes, bool]:
        """Read until the body is complete, or longer than the limit.

        An error of the server's is kept for the app. A cancellation goes to the caller.

        Args:
            limit_bytes: How much of it is wanted.

        Returns:
            The body, or what there is of it, cut at the limit, and whether that is all of it.
        """
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= limit_bytes:
            try:
                message = await self._receive()
            except Exception as error:  # noqa: BLE001 - the server's, and the app's to see
                self._error = error
                break
            self._kept.append(message)
            if message["type"] != "http.request":
                break
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            more = message.get("more_body", False)
        return b"".join(parts)[:limit_bytes], not more and size <= limit_bytes

    async def receive(self) -> Message:
        """Give the app what comes next."""
        if self._kept:
            return self._kept.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return await self._receive()


def _carried(carrier: object) -> Headers | None:
    """Take from a mapping what makes a context; nothing else that is in it, nothing malformed."""
    if not isinstance(carrier, dict):
        return None
    sound = {}
    for key, value in carrier.items():
        name = key.lower() if isinstance(key, str) else ""
        if name in _FORMS and _is_sound(name, value):
            sound[name] = value
    headers = {
        name: sound[name]
        for needed, further in _STYLES
        if sound.keys() >= set(needed)
        for name in (*needed, *further)
        if name in sound
    }
    if headers and "baggage" in sound:
        headers["baggage"] = sound["baggage"]
    return headers or None


def _is_sound(name: str, value: object) -> bool:
    if not isinstance(value, str) or len(value) > _VALUE_CHARACTERS or not _FORMS[name].fullmatch(value):
        return False
    return name not in _IDS or 0 < int(value) < _ID_LIMIT


def _from_authorizer(request_context: object) -> object:
    """Give what a Lambda authorizer that datadog-lambda wraps has injected."""
    authorizer = inner(request_context, "authorizer")
    # Format 2.0 has route keys; WebSocket APIs have them as well, but are otherwise as format 1.0.
    routed = inner(request_context, "routeKey") is not None
    of_http_api = routed and not inner(request_context, "messageDirection")
    answer = inner(authorizer, "lambda") if of_http_api else authorizer
    injected = _json(_base64(inner(answer, "_datadog")))
    latency = inner(authorizer, "integrationLatency")
    if isinstance(latency, (int, float)) and latency > 0:
        return injected
    # An answer that API Gateway has cached names an earlier request.
    request_id = inner(injected, "x-datadog-authorizing-requestid")
    return injected if request_id == inner(request_context, "requestId") else None


def _from_xray(text: object) -> Headers | None:
    match = _XRAY.match(_text(text))
    if match is None:
        return None
    trace_id, parent_id, sampled = match.groups()
    return _carried(
        {
            "x-datadog-trace-id": str(int(trace_id, 16)),
            "x-datadog-parent-id": str(int(parent_id, 16)),
            "x-datadog-sampling-priority": sampled,
        }
    )


def _from_carrier(carrier: object) -> Headers | None:
    return _from_step_functions(carrier) or _carried(carrier)


def _from_message(record: object) -> Headers | None:
    """Read a record of SQS or SNS, or what SNS or EventBridge has put into one of SQS."""
    attributes = inner(record, "messageAttributes")
    if attributes is None:
        attributes = inner(record, "Sns", "MessageAttributes")
    body = _text(inner(record, "body"))
    if "_datadog" in body:
        envelope = _json(body)
        carrier = inner(envelope, "detail", "_datadog")
        if isinstance(carrier, dict) and inner(envelope, "detail-type") and inner(envelope, "source"):
            return _from_carrier(carrier)
        if inner(envelope, "Type") == "Notification" and inner(envelope, "TopicArn"):
            attributes = inner(envelope, "MessageAttributes")
    attribute = inner(attributes, "_datadog")
    if not attribute:
        return _from_xray(inner(record, "attributes", "AWSTraceHeader"))
    kind = inner(attribute, "Type") or inner(attribute, "dataType")
    value = inner(attribute, "Value")
    if kind == "Binary":
        return _from_carrier(_json(_base64(inner(attribute, "binaryValue") or value)))
    if kind == "String":
        return _from_carrier(_json(inner(attribute, "stringValue") or value))
    return None


def _from_kinesis(record: object) -> Headers | None:
    return _carried(inner(_json(_base64(inner(record, "kinesis", "data"))), "_datadog"))


_RECORDS = {"aws:kinesis": _from_kinesis, "aws:sns": _from_message, "aws:sqs": _from_message}


def _from_step_functions(event: object) -> Headers | None:
    """Read a state machine's context object: Datadog makes its spans' ids from what is in there."""
    state = inner(event, "Payload") or event
    state = inner(state, "_datadog") or state
    if not (isinstance(state, dict) and {"Execution", "State", "StateMachine"} <= state.keys()):
        return None
    if state.get("serverless-version") == "v1":
        carrier, root = state, state.get("RootExecutionId")
    else:
        carrier, root = inner(state, "Execution", "Input", "_datadog"), inner(state, "Execution", "Id")
    parts = [
        inner(state, *path) for path in (("Execution", "Id"), ("State", "Name"), ("State", "EnteredTime"))
    ]
    counts = [inner(state, *path) or 0 for path in (("State", "RetryCount"), ("Execution", "RedriveCount"))]
    if any(counts):
        parts += counts
    trace_id, high = inner(carrier, "x-datadog-trace-id"), ""
    if trace_id is None and isinstance(root, str):
        first, second = _hashed(root)
        trace_id, high = str(second), f"{first:016x}"
    elif match := _TID.search(_text(inner(carrier, "x-datadog-tags"))):
        high = match[1]
    if not all(isinstance(part, str) or (type(part) is int and 0 <= part < _ID_LIMIT) for part in parts):
        return None
    return _carried(
        {
            "x-datadog-trace-id": trace_id,
            "x-datadog-parent-id": str(_hashed("#".join(map(str, parts)))[0]),
            "x-datadog-sampling-priority": "1",
            "x-datadog-tags": f"_dd.p.tid={high}" if high else None,
        }
    )


def _hashed(text: str) -> tuple[int, int]:
    """Give two positive numbers of 63 bits that stand for a text."""
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    first, second = (int.from_bytes(part, "big") & (1 << 63) - 1 for part in (digest[:8], digest[8:16]))
    return first or 1, second or 1


def _from_durable_execution(event: dict[str, Any]) -> Headers | None:
    """Read the last of the checkpoints that ddtrace leaves in a durable execution's history."""
    if "DurableExecutionArn" not in event:
        return None
    operations = inner(event, "InitialExecutionState", "Operations")
    if isinstance(operations, dict):
        operations = list(operations.values())
    checkpoints = [
        (int(match[1]), inner(operation, "StepDetails", "Result"))
        for operation in (operations if isinstance(operations, list) else ())
        if (match := _CHECKPOINT.fullmatch(_text(inner(operation, "Name"))))
    ]
    _, result = max(checkpoints, key=lambda checkpoint: checkpoint[0], default=(0, None))
    return _carried(_json(result) if isinstance(result, str) else result)


def _headers(request: object) -> object:
    """Give the headers of a request, the first value of each."""
    single = inner(request, "headers")
    if isinstance(single, dict) and single:
        return single
    several = inner(request, "multiValueHeaders")
    if not isinstance(several, dict):
        return None
    return {name: _first(value) if isinstance(value, list) else value for name, value in several.items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _first(value: object) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _base64(text: object) -> bytes | None:
    try:
        return base64.b64decode(text) if isinstance(text, str) and len(text) <= EVENT_BYTES else None
    except ValueError:
        return None


def _json(text: object) -> Any:
    """Decode JSON that is not too long and not too deep for Python."""
    if not isinstance(text, (str, bytes)) or len(text) > EVENT_BYTES:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
