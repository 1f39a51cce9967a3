"""The error of a test's tools that cannot do what they are asked."""

from __future__ import annotations

from ddlwa.errors import DdlwaError

__all__ = ["FixtureError"]


class FixtureError(DdlwaError):
    """A sandbox or a clock cannot be had, or is used in a way that makes no sense."""
