"""The errors that ddlwa raises."""

from __future__ import annotations


class DdlwaError(Exception):
    """Base of every error that ddlwa raises on purpose."""


class UnsupportedError(DdlwaError):
    """This ddtrace, or this app, cannot be patched."""
