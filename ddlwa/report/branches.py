"""Hang spans on their parents."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Linked(Protocol):
    """A span that knows its parent's id."""

    @property
    def trace_id(self) -> int:
        """64 bits."""

    @property
    def span_id(self) -> int:
        """64 bits."""

    @property
    def parent_id(self) -> int:
        """64 bits; 0 for none."""

    @property
    def start_ns(self) -> int:
        """In epoch ns."""


SpanT = TypeVar("SpanT", bound=Linked)


@dataclass(eq=False, slots=True)
class Branch(Generic[SpanT]):
    """A span with those that it is the parent of.

    Attributes:
        span: The span.
        children: In order of their start.
        parent: The branch that it hangs on; None for a root, and where the parent is missing.
    """

    span: SpanT
    children: list[Branch[SpanT]] = field(default_factory=list)
    parent: Branch[SpanT] | None = None

    @property
    def depth(self) -> int:
        """Count the branches above it."""
        return sum(1 for _ in upwards(self.parent))


def grow(spans: Iterable[SpanT]) -> list[Branch[SpanT]]:
    """Hang each span on its parent; return the roots, and what has no parent here, in order of their start.

    Args:
        spans: Of any traces. Each comes out once, also where spans are each other's parents or share an id.
    """
    branches = [Branch(span) for span in sorted(spans, key=lambda span: span.start_ns)]
    by_id: dict[tuple[int, int], Branch[SpanT]] = {}
    for branch in branches:
        by_id.setdefault((branch.span.trace_id, branch.span.span_id), branch)
    for branch in branches:
        parent = by_id.get((branch.span.trace_id, branch.span.parent_id))
        if parent is not None and not any(above is branch for above in upwards(parent)):
            branch.parent = parent
            parent.children.append(branch)
    return [branch for branch in branches if branch.parent is None]


def walk(roots: Iterable[Branch[SpanT]]) -> Iterator[Branch[SpanT]]:
    """Go through branches as they are read: each parent, then all that hangs on it, then the next.

    Args:
        roots: Where to begin.
    """
    pending = deque(roots)
    while pending:
        branch = pending.popleft()
        yield branch
        pending.extendleft(reversed(branch.children))


def upwards(branch: Branch[SpanT] | None) -> Iterator[Branch[SpanT]]:
    """Go from a branch to its root.

    Args:
        branch: Where to begin; of None nothing comes.
    """
    while branch is not None:
        yield branch
        branch = branch.parent
