"""The parts of an HTTP request in the forms that events have them in."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["decode_query", "encode_body", "group", "split_query"]

_TEXT_TYPES = ("text/", "application/json", "application/javascript", "application/xml")
_TEXT_SUFFIXES = ("+json", "+xml")


def group(pairs: Iterable[tuple[str, str]], *, lower: bool = False) -> dict[str, list[str]]:
    """Return the values of each name, in order; of names that differ in case, the first one's case is kept.

    Args:
        pairs: Names and values.
        lower: Whether names are made lower-case.
    """
    names: dict[str, str] = {}
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        kept = names.setdefault(name.lower(), name.lower() if lower else name)
        grouped.setdefault(kept, []).append(value)
    return grouped


def split_query(query: str) -> dict[str, list[str]]:
    """Return the values of each query parameter as they are, percent-encoded.

    Args:
        query: The query string, without the question mark.
    """
    values: dict[str, list[str]] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        values.setdefault(name, []).append(value)
    return values


def decode_query(query: str) -> dict[str, list[str]]:
    """Return the decoded values of each query parameter.

    Args:
        query: The query string, without the question mark.
    """
    values: dict[str, list[str]] = {}
    for name, found in split_query(query).items():
        values.setdefault(unquote_plus(name), []).extend(map(unquote_plus, found))
    return values


def encode_body(body: bytes, headers: dict[str, list[str]]) -> tuple[str, bool]:
    """Return a body as text, and whether that is base64.

    A body is text if its media type is a textual one, or is not given, and it can be decoded; forms are
    not. Source: Elastic Load Balancing, "Lambda functions as targets"; AWS documents the rule there only.

    Args:
        body: The body as it is on the wire.
        headers: The values of the request's headers, by their lower-case names.
    """
    media_type = headers.get("content-type", [""])[-1].partition(";")[0].strip().lower()
    textual = not media_type or media_type.startswith(_TEXT_TYPES) or media_type.endswith(_TEXT_SUFFIXES)
    if textual and "content-encoding" not in headers:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode("ascii"), True
