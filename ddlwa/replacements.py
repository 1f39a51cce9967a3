"""Replaces attributes of other people's objects, and puts back exactly what it replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ddlwa.log import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable


class Replacements:
    """A set of replaced attributes that is undone as one.

    Attributes:
        active: False once undone. A replacement that somebody else has wrapped cannot be taken out;
            it looks here and does nothing but call what it replaced.
    """

    def __init__(self) -> None:
        self.active = True
        self._undo: list[Callable[[], None]] = []

    def replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        """Set an attribute that `owner` itself has to what `make` makes of its value.

        Args:
            owner: A class, a module, or an instance with a `__dict__`.
            name: The attribute.
            make: Gets the present value; gives the new one.

        Raises:
            KeyError: The owner itself has no such attribute.
        """
        original = vars(owner)[name]
        replacement = make(original)
        setattr(owner, name, replacement)

        def put_back() -> None:
            if vars(owner)[name] is replacement:
                setattr(owner, name, original)
            else:
                warn_once(
                    f"unpatch.{name}",
                    "%s of %r was replaced by somebody else since; ddlwa's part stays there and is idle",
                    name,
                    owner,
                )

        self._undo.append(put_back)

    def on_undo(self, action: Callable[[], None]) -> None:
        """Have something done in its turn when the replacements are undone."""
        self._undo.append(action)

    def undo(self) -> None:
        """Put back each value that is still ours, last first."""
        self.active = False
        while self._undo:
            self._undo.pop()()
