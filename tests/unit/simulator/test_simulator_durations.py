from __future__ import annotations

import pytest

from ddlwa.simulator import parse_duration

_SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("250ms", 250_000_000),
        ("90s", 90 * _SECOND),
        ("1.5s", 1_500_000_000),
        ("0.000000001s", 1),
        ("2m", 120 * _SECOND),
        ("3h", 10_800 * _SECOND),
        ("2d", 172_800 * _SECOND),
        ("1w", 604_800 * _SECOND),
        ("1h30m", 5_400 * _SECOND),
        ("1m1ms", 60_001_000_000),
        (" 3h ", 10_800 * _SECOND),
    ],
)
def test_reads_numbers_with_units(text, duration_ns):
    """A duration is the sum of its parts, to the nanosecond."""
    assert parse_duration(text) == duration_ns


@pytest.mark.parametrize("text", ["", "3", "h", "-3h", "3 h", "3x", "3h!", "1e3s", ".5s", "3H", "٣h"])
def test_refuses_anything_else(text):
    """What is no duration is named in the error, with examples of what is."""
    with pytest.raises(ValueError, match=r"not a duration: .*1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0s", "0h0m", "0.0000000001s"])
def test_refuses_zero(text):
    """A duration of nothing is refused: a freeze of no length is none."""
    with pytest.raises(ValueError, match="zero"):
        parse_duration(text)
