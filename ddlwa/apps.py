"""Finds ASGI apps that were built too early to be traced."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def untraced_apps(middleware: type) -> list[str]:
    """Describe each Starlette or FastAPI app that exists but will not get ddtrace's middleware.

    ddtrace adds its middleware when a Starlette app is created, but only when a FastAPI app serves
    its first ASGI call (the server's lifespan call included).

    Args:
        middleware: ddtrace's ASGI middleware.
    """
    applications = sys.modules.get("starlette.applications")
    if applications is None:
        return []
    fastapi = sys.modules.get("fastapi")
    return [
        _describe(app)
        for app in _instances(applications.Starlette)
        if (
            not isinstance(app.middleware_stack, (middleware, type(None)))
            if fastapi is not None and isinstance(app, fastapi.FastAPI)
            else all(entry.cls is not middleware for entry in app.user_middleware)
        )
    ]


def _instances(root: type) -> Iterator[Any]:
    classes = [root]
    for cls in classes:
        classes += cls.__subclasses__()
    return (thing for thing in gc.get_referrers(*classes) if isinstance(thing, root))


def _describe(app: Any) -> str:
    title = getattr(app, "title", None)
    return f"{type(app).__name__} {title!r}" if title else type(app).__name__
