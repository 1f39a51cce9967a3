"""A request to an ASGI app that is called without a server."""

from __future__ import annotations

from typing import Any


def scope(context: bytes) -> dict[str, Any]:
    """Make the scope of a small GET request of an invocation.

    Args:
        context: The adapter's x-amzn-lambda-context header.
    """
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"x-amzn-lambda-context", context)],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1),
    }


async def receive() -> dict[str, Any]:
    """Give the request's body, which is empty."""
    return {"type": "http.request", "body": b"", "more_body": False}
