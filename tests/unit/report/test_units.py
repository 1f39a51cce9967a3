from __future__ import annotations

import pytest

from ddlwa.report.units import duration


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.0 µs"),
        (883_000, "883 µs"),
        (4_200_000, "4.2 ms"),
        (22_400_000, "22 ms"),
        (1_250_000_000, "1.2 s"),
        (59_000_000_000, "59 s"),
        (125_000_000_000, "2m 5s"),
        (10_800_004_000_000, "3h 0m"),
        (-5_000_000, "-5.0 ms"),
    ],
)
def test_a_duration_has_the_figures_that_matter(duration_ns, text):
    """Each size has its unit."""
    assert duration(duration_ns) == text
