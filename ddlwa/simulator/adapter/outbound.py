"""What LWA posts for the app's HTTP response, as its libraries lambda_http and lambda_runtime do."""

from __future__ import annotations

import base64
import codecs
import http.client
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddlwa.simulator.events import EventSource

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AppResponse", "buffered", "prelude", "stream_error"]

_TEXT_PREFIXES = (
    "text",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/yaml",
)
_TEXT_SUFFIXES = ("+xml", "+yaml", "+json")
# WHATWG Encoding: these labels name windows-1252.
_LATIN = ("ascii", "iso8859-1")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class AppResponse:
    """The head of the app's response.

    Args:
        status: The HTTP status.
        headers: The values of each header, by lower-case name; without ``transfer-encoding``.
    """

    status: int
    headers: dict[str, list[str]]

    @classmethod
    def read(cls, status: int, raw_headers: Iterable[tuple[bytes, bytes]]) -> AppResponse:
        """Read a response's head as it was on the wire.

        Args:
            status: The HTTP status.
            raw_headers: Names and values, in order.
        """
        headers: dict[str, list[str]] = {}
        for name, value in raw_headers:
            headers.setdefault(name.decode("ascii").lower(), []).append(
                value.decode(errors="surrogateescape")
            )
        headers.pop("transfer-encoding", None)
        return cls(status, headers)


def buffered(head: AppResponse, body: bytes, *, source: EventSource | None) -> bytes:
    """Return the JSON document of a whole response.

    Source: lambda_http 1.1.0-rc1, src/response.rs.

    Args:
        head: The response's head.
        body: Its body.
        source: What the event came from, None for a pass-through event.

    Raises:
        UnicodeEncodeError: A header is not UTF-8; LWA exits over it.
    """
    text = _text(body, head.headers)
    if source is None:
        return _json_or_null(text)
    # A header's further values are dropped where the format has room for one.
    first = {name: values[0] for name, values in head.headers.items()}
    answer: dict[str, Any] = {"statusCode": head.status}
    if source is EventSource.REST_API:
        answer |= {"headers": {}, "multiValueHeaders": head.headers}
    elif source in (EventSource.ALB, EventSource.ALB_MULTI_VALUE):
        answer |= {
            "statusDescription": f"{head.status} {http.client.responses.get(head.status, '')}",
            "headers": first,
            "multiValueHeaders": head.headers,
        }
    else:
        cookies = head.headers.get("set-cookie", [])
        first.pop("set-cookie", None)
        answer |= {"headers": first, "multiValueHeaders": {}, "cookies": cookies}
    answer["body"] = base64.b64encode(body).decode("ascii") if text is None else text
    answer["isBase64Encoded"] = text is None
    return _compact(answer)


def prelude(head: AppResponse) -> bytes:
    """Return what comes before the body of a streamed response.

    Source: lambda_runtime 1.1.0-rc1, src/requests.rs; lambda_http 1.1.0-rc1, src/streaming.rs.

    Args:
        head: The response's head.
    """
    headers = dict(head.headers)
    cookies = headers.pop("set-cookie", [])
    headers.setdefault("content-type", ["application/octet-stream"])
    answer = {
        "statusCode": head.status,
        "headers": {name: _one_or_more(values) for name, values in headers.items()},
        "cookies": [_legible(cookie) for cookie in cookies],
    }
    return _compact(answer) + b"\0" * 8


def stream_error(message: str) -> bytes:
    """Return what is posted, as a part of the body, when the app's response breaks off.

    Source: lambda_runtime 1.1.0-rc1, src/types.rs: meant as trailers, sent as data.

    Args:
        message: What happened.
    """
    encoded = base64.b64encode(message.encode()).decode("ascii")
    return (
        "Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\n"
        f"Lambda-Runtime-Function-Error-Body: {encoded}\r\n"
    ).encode()


def _one_or_more(values: list[str]) -> str | list[str]:
    """Return a header's only value, or the list of those that are ASCII: others are dropped."""
    readable = [value for value in values if value.isascii()]
    return readable[0] if readable and len(values) == 1 else readable


def _legible(value: str) -> str:
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _text(body: bytes, headers: dict[str, list[str]]) -> str | None:
    """Return a body as text, or None if it is posted as base64."""
    if "content-encoding" in headers:
        return None
    media_type = headers.get("content-type", ["text"])[0]
    textual = (
        media_type.startswith(_TEXT_PREFIXES)
        or media_type.strip().partition(";")[0].endswith(_TEXT_SUFFIXES)
        or headers.get("x-lambda-http-content-encoding", [""])[0] == "text"
    )
    return _decode(body, media_type) if textual else None


def _decode(body: bytes, media_type: str) -> str:
    """Decode as browsers do: a byte order mark decides, and what is malformed is replaced."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    label = re.search(r';\s*charset="?([^\s;"]+)', media_type, re.IGNORECASE)
    try:
        encoding = codecs.lookup(label[1] if label else "utf-8").name
        return body.decode("cp1252" if encoding in _LATIN else encoding, "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _json_or_null(text: str | None) -> bytes:
    """Return the value that the app answered a pass-through event with: JSON, or null."""
    try:
        return _compact(json.loads(text or ""))
    except ValueError:
        return b"null"
