"""When a sandbox ran and when it was frozen."""

from __future__ import annotations

from ddlwa.simulator.types import Window

__all__ = ["Timeline"]


class Timeline:
    """Windows without gaps, each begun where the one before it ended.

    Args:
        start_ns: When the sandbox began to run, in nanoseconds since the epoch on its wall clock.
    """

    def __init__(self, start_ns: int) -> None:
        self._windows: list[Window] = []
        self._start_ns = start_ns

    def turn(self, at_ns: int, *, frozen: bool) -> None:
        """End the window that is open, and open the next.

        Args:
            at_ns: When, in nanoseconds since the epoch on the sandbox's wall clock.
            frozen: Whether the sandbox was frozen until then.
        """
        self._windows.append(Window(start_ns=self._start_ns, end_ns=at_ns, frozen=frozen))
        self._start_ns = at_ns

    def windows(self) -> tuple[Window, ...]:
        """Return the windows that have ended."""
        return tuple(self._windows)

    def windows_until(self, at_ns: int, *, frozen: bool) -> tuple[Window, ...]:
        """Return the windows that have ended and the one that is open, as if it ended now."""
        return (*self._windows, Window(start_ns=self._start_ns, end_ns=at_ns, frozen=frozen))
