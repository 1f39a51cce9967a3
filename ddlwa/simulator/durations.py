"""Durations as people write them, such as ``3h`` or ``1h30m``."""

from __future__ import annotations

import re

__all__ = ["parse_duration"]

_UNIT_NS = {
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)"


def parse_duration(text: str) -> int:
    """Return the nanoseconds that a text such as ``3h``, ``250ms``, ``1.5s`` or ``1h30m`` stands for.

    Args:
        text: Numbers, each followed by its unit: ``ms``, ``s``, ``m``, ``h``, ``d`` or ``w``.

    Raises:
        ValueError: The text is no duration, or is zero.
    """
    if not re.fullmatch(f"(?:{_PART})+", text.strip(), re.ASCII):
        raise ValueError(
            f"not a duration: {text!r}; write numbers with units, such as 250ms, 90s, 3h or 1h30m"
        )
    duration_ns = 0
    for number, unit in re.findall(_PART, text):
        whole, _, fraction = number.partition(".")
        # Integers throughout: a float would lose nanoseconds of long durations.
        duration_ns += int(whole + fraction) * _UNIT_NS[unit] // 10 ** len(fraction)
    if not duration_ns:
        raise ValueError(f"the duration is zero: {text!r}; it must be positive")
    return duration_ns
