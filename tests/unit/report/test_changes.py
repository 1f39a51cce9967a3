from __future__ import annotations

from report_samples import make_compared, make_comparison, make_report, make_run

from ddlwa.report.model import Mode
from ddlwa.report.terminal import render


def shown(*compared, measurements=1):
    comparison = make_comparison(*compared, measurements=measurements)
    text = render(make_report(make_run(Mode.DDLWA), comparison=comparison), width=100, color=False)
    return text[text.index("compared with baseline.json") :]


def test_what_is_slower_is_told_with_its_cause():
    """Route, span, both durations, what was allowed, and what has most likely changed."""
    text = shown(make_compared(slower=True), make_compared(), measurements=5)
    assert "GET /items/1  db.query  p50:20%    5.0 ms  8.0 ms    +60%   6.0 ms\n" in text
    assert "✗ slower, GET /items/1\n" in text
    assert "db.query takes 8.0 ms where it took 5.0 ms" in text
    assert "Most likely: db.query comes 8 times" in " ".join(text.split())
    assert text.endswith("✗ 1 of 2 durations slower than allowed, measured 5 times\n")


def test_what_is_as_before_is_told_too():
    """To see how far from its limit a route is, and what was not compared."""
    text = shown(make_compared())
    assert "+10%" in text
    assert "new: GET /new\n" in text
    assert "gone: GET /old\n" in text
    assert "note: ddtrace was 4.15.0, is 4.16.0\n" in text
    assert text.endswith("✓ 0 of 1 durations slower than allowed\n")


def test_the_table_has_an_end():
    """All that is slower, but of the rest only what has grown most."""
    slower = [make_compared(slower=True, route=f"GET /slow/{number}") for number in range(30)]
    rest = [make_compared(route=f"GET /rest/{number}") for number in range(300)]
    text = shown(*rest, *slower)
    assert sum("GET /rest/" in line for line in text.splitlines()) == 10
    assert all(text.count(f"GET /slow/{number} ") == 1 for number in range(30))
