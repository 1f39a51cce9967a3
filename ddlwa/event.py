"""Looks into what was decoded from other people's JSON."""

from __future__ import annotations

from typing import Any


def inner(value: object, *names: str) -> Any:
    """Give what is at a place in nested objects, None where there is no such place."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
