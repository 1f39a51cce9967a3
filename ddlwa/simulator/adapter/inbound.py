"""The HTTP request that LWA makes of an event, as its library lambda_http does."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from ddlwa.simulator.adapter.contexts import request_context
from ddlwa.simulator.events import EventSource, source_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ddlwa.simulator.adapter.options import AdapterOptions

__all__ = ["AppRequest", "app_request"]

_FORMAT_2 = (EventSource.FUNCTION_URL, EventSource.HTTP_API)
# WHATWG URL: the path and the special-query percent-encode sets, as the characters that stay.
_PATH_SAFE = "!$%&'()*+,-./:;=@[]^_|~"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_QUERY = re.compile(r"[\x00-\x20\x22\x23<>\x7f]")
_QUERY_SAFE = "!$%&()*+,-./:;=?@[\\]^_`{|}~"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRequest:
    """What is sent to the app.

    Args:
        source: What the event came from, None for a pass-through event.
        method: The HTTP method.
        target: The path with its query string.
        headers: Lower-case names and values, in order; without the body's length.
        body: The body.
    """

    source: EventSource | None
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def app_request(payload: bytes, *, lambda_context: Mapping[str, Any], options: AdapterOptions) -> AppRequest:
    """Return the request that an event becomes.

    Source: lambda_http 1.1.0-rc1, src/request.rs; aws/aws-lambda-web-adapter 1.0.0-rc1, src/lib.rs.

    Args:
        payload: The event's JSON.
        lambda_context: What the app is told of the invocation.
        options: The adapter's options.

    Raises:
        ValueError: LWA's handling of the event would panic: its query string has characters that no URI
            has, or its body is no base64.
    """
    event = json.loads(payload)
    source = source_of(event)
    headers = None if source is None else _headers(event, source)
    if source is None or headers is None:
        source, method, target, body = None, "POST", _path(options.pass_through_path), payload
        headers = {"content-type": ["application/json"]}
    else:
        method = event["requestContext"]["http"]["method"] if source in _FORMAT_2 else event["httpMethod"]
        target = _target(event, source, base_path=options.base_path)
        text = event.get("body") or ""
        body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    if lambda_context["xray_trace_id"]:
        headers["x-amzn-trace-id"] = [lambda_context["xray_trace_id"]]
    headers["x-amzn-request-context"] = [_compact(request_context(event, source))]
    headers["x-amzn-lambda-context"] = [_compact(lambda_context)]
    if lambda_context["tenant_id"]:
        headers["x-amz-tenant-id"] = [lambda_context["tenant_id"]]
    if options.authorization_source in headers:
        headers["authorization"] = headers.pop(options.authorization_source)[:1]
    for name in ("content-length", "transfer-encoding"):  # they are the sender's, who knows the body
        headers.pop(name, None)
    return AppRequest(
        source=source,
        method=method,
        target=target,
        headers=tuple((name, value) for name, values in headers.items() for value in values),
        body=body,
    )


def _headers(event: Mapping[str, Any], source: EventSource) -> dict[str, list[str]] | None:
    """Return the values of the event's headers, or None if LWA would not take it for a request's."""
    headers: dict[str, list[str]] = {}
    if source not in _FORMAT_2:
        for name, values in (event.get("multiValueHeaders") or {}).items():
            headers.setdefault(name.lower(), []).extend([values] if isinstance(values, str) else values)
    for name, value in (event.get("headers") or {}).items():
        headers[name.lower()] = [value] if isinstance(value, str) else list(value)
    if not all(_is_value(value) for values in headers.values() for value in values):
        return None
    if source in _FORMAT_2 and event.get("cookies") is not None:
        headers["cookie"] = [";".join(event["cookies"])]
    return headers


def _is_value(value: object) -> bool:
    return isinstance(value, str) and not _CONTROL.search(value)


def _target(event: Mapping[str, Any], source: EventSource, *, base_path: str) -> str:
    if source in _FORMAT_2:
        path, query = event.get("rawPath") or "", event.get("rawQueryString") or ""
        if _NO_QUERY.search(query):
            raise ValueError(f"not a query string: {query!r}")
    else:
        path = event.get("path") or ""
        several, single = event.get("multiValueQueryStringParameters"), event.get("queryStringParameters")
        parameters = [
            (name, value)
            for name, values in (several or single or {}).items()
            for value in ([values] if isinstance(values, str) else values)
        ]
        if source is not EventSource.REST_API:
            # A load balancer does not decode; LWA decodes names and values together.
            encoded = unquote(_form(parameters), errors="replace")
            parameters = parse_qsl(encoded, keep_blank_values=True, errors="replace")
        query = _form(parameters)
    while base_path and path.startswith(base_path):
        path = path[len(base_path) :]
    return _path(path) + (f"?{quote(query, safe=_QUERY_SAFE)}" if query else "")


def _form(parameters: Iterable[tuple[str, str]]) -> str:
    """Write parameters as a form does (WHATWG URL, section 5.2)."""
    return "&".join(
        f"{quote_plus(name, safe='*')}={quote_plus(value, safe='*')}".replace("~", "%7E")
        for name, value in parameters
    )


def _path(path: str) -> str:
    """Write a path as a URL's, dot segments resolved (WHATWG URL, section 4.4, path state)."""
    segments: list[str] = []
    parts = path.replace("\\", "/").removeprefix("/").split("/")
    for index, part in enumerate(parts):
        dots = part.lower().replace("%2e", ".")
        if dots == "..":
            del segments[-1:]
        elif dots != ".":
            segments.append(part)
        if dots in (".", "..") and index == len(parts) - 1:
            segments.append("")
    return "/" + quote("/".join(segments), safe=_PATH_SAFE)


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
