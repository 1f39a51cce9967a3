"""The HTTP response that a caller gets for what a function returned."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from ddlwa.simulator.events.source import EventSource
from ddlwa.simulator.types import HttpResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["http_response", "streamed_http_response"]

_PRELUDE_END = b"\0" * 8
_Pairs = tuple[tuple[str, str], ...]


def http_response(payload: bytes, *, source: EventSource = EventSource.FUNCTION_URL) -> HttpResponse:
    """Return the response that an event source makes of what the function returned.

    Args:
        payload: The JSON that was posted to the Runtime API.
        source: What the event came from.

    Raises:
        ValueError: The payload is no such response.
    """
    try:
        answer = json.loads(payload)
        body = answer.get("body") or ""
        return HttpResponse(
            status=int(answer["statusCode"]),
            headers=_headers(answer, source),
            body=base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode(),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"not a response in the payload format of {source.value}: {_begin(payload)}"
        ) from error


def streamed_http_response(payload: bytes) -> HttpResponse:
    r"""Return the response that a streamed payload stands for: JSON, eight NUL bytes, the body.

    Source: AWS Lambda Developer Guide, "Response streaming for Lambda functions"; content type
    ``application/vnd.awslambda.http-integration-response``.

    Args:
        payload: All that was posted to the Runtime API.

    Raises:
        ValueError: The payload has no such prelude.
    """
    prelude, separator, body = payload.partition(_PRELUDE_END)
    try:
        answer = json.loads(prelude if separator else b"")
        return HttpResponse(
            status=int(answer.get("statusCode", 200)),
            headers=_headers(answer, EventSource.FUNCTION_URL),
            body=body,
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"not a streamed HTTP response: {_begin(payload)}") from error


def _headers(answer: dict[str, Any], source: EventSource) -> _Pairs:
    single = tuple(_pairs(answer.get("headers")))
    multiple = tuple(_pairs(answer.get("multiValueHeaders")))
    if source is EventSource.ALB:
        return single
    if source is EventSource.ALB_MULTI_VALUE:
        return multiple
    if source is EventSource.REST_API:
        return (*single, *(pair for pair in multiple if pair not in single))
    return (*single, *(("set-cookie", str(cookie)) for cookie in answer.get("cookies") or ()))


def _pairs(headers: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    for name, value in (headers or {}).items():
        for one in value if isinstance(value, list) else [value]:
            yield name.lower(), str(one)


def _begin(payload: bytes) -> str:
    return repr(payload[:200])
