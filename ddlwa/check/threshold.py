"""How much slower is too slow: the grammar of `--fail-if`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

STATISTICS = ("min", "mean", "p50", "p75", "p90", "p95", "p99", "max")
"""What can be compared; a baseline has all of them."""

STEADY = frozenset({"min", "p50"})
"""Those that an interruption here and there leaves as they are."""

DEFAULT = "p50:20%"
_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}
_GRAMMAR = re.compile(r"(?P<statistic>\w+):(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>%|ns|us|µs|ms|s)")
# Below this a relative change says more about the scheduler than about the app.
_NOTICEABLE_NS = 100_000


@dataclass(frozen=True, slots=True)
class Threshold:
    """By how much a statistic may grow.

    Attributes:
        text: As it was written.
        statistic: One of `STATISTICS`.
        share: Relative growth that is allowed, 0.2 for 20 %; 0 for an absolute threshold.
        growth_ns: Absolute growth that is allowed, in nanoseconds.
    """

    text: str
    statistic: str
    share: Fraction
    growth_ns: int

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read `p95:20%` or `p50:5ms`.

        Args:
            text: A statistic, then how much it may grow, in per cent or as a time in ns, us, ms or s.

        Raises:
            ValueError: It is neither.
        """
        match = _GRAMMAR.fullmatch(text.strip())
        statistic = match["statistic"].replace("median", "p50") if match else ""
        if match is None or statistic not in STATISTICS:
            raise ValueError(
                f"{text!r} is not a threshold: write one of {', '.join(STATISTICS)}, a colon, and how much "
                "it may grow, such as p95:20% or p50:5ms"
            )
        number = Fraction(match["number"])
        if match["unit"] == "%":
            return cls(text.strip(), statistic, number / 100, _NOTICEABLE_NS)
        return cls(text.strip(), statistic, Fraction(0), int(number * _UNITS_NS[match["unit"]]))

    def limit_ns(self, before_ns: int) -> int:
        """Say what a statistic must not exceed.

        Args:
            before_ns: What it was.
        """
        return before_ns + max(int(before_ns * self.share), self.growth_ns)
