"""Lay an invocation's spans over the windows in which its sandbox ran and was frozen."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from ddlwa.report.model import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddlwa.report.model import SpanResult

# The verdict allows spans this much frozen time: two clocks were read, one after the other.
_TOLERANCE_NS = 1_000_000
# A span may outlive thousands of freezes. This many windows at each end can be told apart, the rest is one.
_WINDOWS_AT_EACH_END = 4


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a timeline.

    Attributes:
        length_ns: Of the wall clock.
        freezes: 0 where the sandbox ran, 1 for a freeze, more for several with what ran between them.
    """

    length_ns: int
    freezes: int


class Timeline:
    """When the sandbox ran, for questions about single moments: each takes a binary search."""

    def __init__(self, windows: Sequence[Window]) -> None:
        """Add up once.

        Args:
            windows: Of the whole run, without gaps; before and after them the sandbox counts as running.
        """
        self._windows = windows or (Window(0, 0, frozen=False),)
        self._starts = [window.start_ns for window in self._windows]
        lengths = [0 if one.frozen else one.end_ns - one.start_ns for one in self._windows]
        self._ran = list(accumulate(lengths, initial=0))
        self._freezes = list(accumulate((one.frozen for one in self._windows), initial=0))

    def ran_ns(self, at_ns: int) -> int:
        """Tell how long the sandbox had run by then.

        Args:
            at_ns: Epoch ns of the sandbox's clock.
        """
        index = self._index(at_ns)
        window = self._windows[index]
        return self._ran[index] + (0 if window.frozen else at_ns - window.start_ns)

    def when(self, ran_ns: int) -> int:
        """Tell the first moment at which the sandbox had run for so long, in epoch ns.

        Args:
            ran_ns: Since the run began.
        """
        index = max(bisect_left(self._ran, ran_ns, hi=len(self._windows)) - 1, 0)
        window = self._windows[index]
        return (window.end_ns if window.frozen else window.start_ns) + ran_ns - self._ran[index]

    def end_ns(self, span: SpanResult) -> int:
        """Tell when a span ended, which its duration does not where frozen time was taken off it.

        Args:
            span: As the agent received it.
        """
        end_ns = span.start_ns + max(span.duration_ns, 0)
        began_ns = self.ran_ns(span.start_ns)
        frozen_ns = end_ns - span.start_ns - (self.ran_ns(end_ns) - began_ns)
        if abs(frozen_ns - span.frozen_ns) <= _TOLERANCE_NS:
            return end_ns
        return max(end_ns, self.when(began_ns + max(span.duration_ns - span.frozen_ns, 0)))

    def between(self, start_ns: int, end_ns: int) -> tuple[Stretch, ...]:
        """Cut out what lies between two moments, and the whole of a freeze that has begun by the later one.

        Args:
            start_ns: Epoch ns of the sandbox's clock.
            end_ns: Same clock.
        """
        first, last = self._index(start_ns), self._index(end_ns)

        def part(index: int) -> Stretch:
            window = self._windows[index]
            begin_ns = start_ns if index == first else window.start_ns
            finish_ns = end_ns if index == last and not window.frozen else window.end_ns
            return Stretch(finish_ns - begin_ns, int(window.frozen))

        low, high = first + _WINDOWS_AT_EACH_END, last + 1 - _WINDOWS_AT_EACH_END
        if high - low > 1:
            middle = Stretch(
                self._starts[high] - self._starts[low],
                self._freezes[high] - self._freezes[low],
            )
            parts = [*map(part, range(first, low)), middle, *map(part, range(high, last + 1))]
        else:
            parts = [part(index) for index in range(first, last + 1)]
        return tuple(one for one in parts if one.length_ns > 0)

    def _index(self, at_ns: int) -> int:
        return max(bisect_right(self._starts, at_ns) - 1, 0)
