"""A small shop that has everything real apps have, to check or to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddlwa.demo.shop import app

__all__ = ["app"]


def __getattr__(name: str) -> object:
    """Build the app the first time it is asked for: its list of requests can be had without FastAPI."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ddlwa.demo.shop import app  # noqa: PLC0415  # lazily, see above

    return app
