from __future__ import annotations

import pytest

from ddlwa.check.threshold import DEFAULT, STATISTICS, Threshold

MS = 1_000_000


@pytest.mark.parametrize(
    ("text", "before_ns", "limit_ns"),
    [
        ("p95:20%", 10 * MS, 12 * MS),
        ("p50:5ms", 10 * MS, 15 * MS),
        ("median:5ms", 10 * MS, 15 * MS),
        ("max:0.5s", 10 * MS, 510 * MS),
        ("min:250us", 10 * MS, 10_250_000),
        ("min:250µs", 10 * MS, 10_250_000),
        ("mean:1000000ns", 10 * MS, 11 * MS),
        ("p99:2.5%", 100 * MS, 102_500_000),
        (" p75:10 % ", 10 * MS, 11 * MS),
        ("p50:100%", 10 * MS, 20 * MS),
    ],
)
def test_a_statistic_may_grow_by_a_share_or_by_a_time(text, before_ns, limit_ns):
    """The grammar is that of pytest-benchmark's compare-fail, with percentiles."""
    assert Threshold.parse(text).limit_ns(before_ns) == limit_ns


def test_a_share_of_next_to_nothing_is_not_noticed():
    """20 % of a span of 50 µs is less than one interruption; an absolute threshold means itself."""
    assert Threshold.parse("p50:20%").limit_ns(50_000) == 150_000
    assert Threshold.parse("p50:10us").limit_ns(50_000) == 60_000
    assert Threshold.parse("p50:0ms").limit_ns(50_000) == 50_000


@pytest.mark.parametrize(
    "text",
    ["", "p95", "p95:", "p95:20", "20%", "p42:20%", "p95:-5%", "p95:5m", "p95:5 apples", "p95:1e3ms", ":5%"],
)
def test_anything_else_is_refused_with_an_example(text):
    """The message has the statistics, and one example of each kind."""
    with pytest.raises(ValueError, match=r"p95:20% or p50:5ms") as error:
        Threshold.parse(text)
    assert all(name in str(error.value) for name in STATISTICS)


def test_the_default_is_a_threshold():
    """It is that of the steadiest statistic that sees half of the invocations."""
    assert Threshold.parse(DEFAULT).statistic == "p50"
