"""The errors that end a check before it has a verdict."""

from __future__ import annotations

from ddlwa.errors import DdlwaError


class CheckError(DdlwaError):
    """The check could not be made.

    Args:
        what: The app or the route.
        reason: Why not.
        output: What the app printed.
    """

    def __init__(self, what: str, reason: str, *, output: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.output = output


class AppImportError(CheckError):
    """The app can't be imported."""


class InvocationFailedError(CheckError):
    """An invocation had no end, so that there is nothing to judge."""


class BaselineError(CheckError):
    """A baseline can't be read, written, or compared with."""
