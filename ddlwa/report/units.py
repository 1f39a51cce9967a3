"""Durations as people read them."""

from __future__ import annotations

_SMALL = ((1_000, "µs"), (1_000_000, "ms"))
_SECOND_NS = 1_000_000_000
_MINUTE_NS = 60 * _SECOND_NS
_ONE_DECIMAL_BELOW = 10


def duration(duration_ns: int) -> str:
    """Write a duration with the two figures that matter: `4.2 ms`, `12.5 s`, `2m 5s`, `3h 0m`.

    Args:
        duration_ns: In nanoseconds; may be negative.
    """
    if duration_ns < 0:
        return f"-{duration(-duration_ns)}"
    if duration_ns < _SMALL[0][0]:
        return f"{duration_ns} ns"
    for unit_ns, unit in _SMALL:
        if duration_ns < 1_000 * unit_ns:
            return f"{_figures(duration_ns / unit_ns)} {unit}"
    if duration_ns < _MINUTE_NS:
        return f"{_figures(duration_ns / _SECOND_NS)} s"
    minutes, seconds = divmod(round(duration_ns / _SECOND_NS), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours}h {minutes_left}m" if hours else f"{minutes}m {seconds}s"


def _figures(value: float) -> str:
    """Write one decimal where it matters."""
    return f"{value:.1f}" if value < _ONE_DECIMAL_BELOW else f"{value:.0f}"
