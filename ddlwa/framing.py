"""Which ASGI message completes an HTTP/1.1 response on the wire (RFC 9112, section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

START = "http.response.start"
BODY = "http.response.body"
TRAILERS = "http.response.trailers"
PATHSEND = "http.response.pathsend"
ZEROCOPYSEND = "http.response.zerocopysend"

_FIRST_FINAL = 200
_WITHOUT_CONTENT = frozenset({204, 304})
_WITH_CONTENT = frozenset({BODY, ZEROCOPYSEND})


class Framing:
    """Follows one response, message by message, as the client that counts its bytes sees it.

    The client has never heard of `more_body`: a response with a content-length is complete when its
    last byte has left, one without content when its header has.

    Args:
        scope: The request's ASGI HTTP scope.

    Source: RFC 9112 section 6.3; the ASGI HTTP specification 2.5 and its extensions.
    """

    __slots__ = ("_announced_trailers", "_has_body", "_remaining", "_scope", "_started")

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope
        self._announced_trailers = False
        self._remaining: int | None = None
        self._started = False
        self._has_body = False

    def completes(self, message: Mapping[str, Any]) -> bool:
        """Say whether the response is complete once this message has left.

        To be asked about each message in its order, up to the first that completes the response.
        An order that ASGI forbids is the server's to refuse; here it completes nothing.

        Raises:
            Exception: The message is not shaped as ASGI says.
        """
        kind = message["type"]
        if kind == START:
            return not self._started and self._starts(message)
        if not self._started:
            return False
        if kind == BODY:
            return self._carries(len(message.get("body", b"")), message)
        if kind == ZEROCOPYSEND:
            # Without a count it reaches to the end of a file whose size is not known here.
            count = message.get("count")
            return self._carries(self._remaining or 0 if count is None else count, message)
        if kind == TRAILERS:
            return self._announced_trailers and self._remaining is None and is_last(message)
        return kind == PATHSEND and not self._has_body

    def is_exact(self) -> bool:
        """Say whether the response has exactly the bytes that it announced; also if it announced none."""
        return not self._remaining

    def _starts(self, message: Mapping[str, Any]) -> bool:
        self._started = True
        status = message["status"]
        if self._scope["method"] == "HEAD" or status < _FIRST_FINAL or status in _WITHOUT_CONTENT:
            return True
        self._remaining = _content_length(message.get("headers", ()))
        # A server that cannot send trailers ignores the announcement.
        offered = message.get("trailers", False) and TRAILERS in (self._scope.get("extensions") or ())
        self._announced_trailers = bool(offered)
        return self._remaining == 0

    def _carries(self, size: int, message: Mapping[str, Any]) -> bool:
        self._has_body = True
        if self._remaining is None:
            return is_last(message) and not self._announced_trailers
        self._remaining -= size
        return self._remaining <= 0


def is_last(message: Mapping[str, Any]) -> bool:
    """Say whether the app means this to be the last message of its body, or of its trailers."""
    kind = message.get("type")
    if kind in _WITH_CONTENT:
        return not message.get("more_body", False)
    if kind == TRAILERS:
        return not message.get("more_trailers", False)
    return kind == PATHSEND


def _content_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Give the announced length, or None where the body is delimited otherwise (RFC 9112, 6.3)."""
    length: int | None = None
    for raw_name, value in headers:
        name = raw_name.lower()
        if name == b"transfer-encoding":
            return None
        if name == b"content-length" and length is None and value.strip().isdigit():
            length = int(value)
    return length
