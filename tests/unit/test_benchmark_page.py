"""The page of the benchmarks says what was measured, and no more."""

from __future__ import annotations

import re

import pytest

from benchmarks.approaches import APPROACHES, EXTENSION, HOLD, INLINE, PLAIN
from benchmarks.columns import Column, percent, ratio, verdicts
from benchmarks.page import render
from benchmarks.results import (
    ColdStart,
    Correctness,
    Growth,
    Latency,
    Machine,
    Memory,
    Results,
    Throughput,
    load,
    save,
)

MACHINE = Machine("2026-11-26", cores=2, system="Linux", python="3.12.1", ddtrace="4.16.0", ddlwa="0.1.0")


def make_results(*, hold_p50=1.2, inline_right=100, missing=()):
    def correct(name, right):
        return Correctness(name, "routes", 100, right, right, {} if right == 100 else {"late": 100 - right})

    return Results(
        machine=MACHINE,
        missing=list(missing),
        correctness=[
            correct(PLAIN, 0),
            correct(INLINE, inline_right),
            correct(HOLD, 100),
            correct(EXTENSION, 100),
        ],
        latency=[
            Latency(PLAIN, "healthy", 300, [1.0, 1.0], [1.0, 1.0]),
            Latency(INLINE, "healthy", 300, [1.1, 1.3], [1.5, 1.5]),
            Latency(HOLD, "healthy", 300, [hold_p50, hold_p50], [1.5, 1.5]),
        ],
        throughput=[Throughput(name, level, [0.9]) for name in (PLAIN, HOLD) for level in (1, 64)],
        cold_start=[ColdStart(name, times=[1.0, 1.1], modules=900, rss=[1.0]) for name in (PLAIN, HOLD)],
        growth=[
            Growth(name, work, size, [1.0])
            for name in (PLAIN, HOLD)
            for work in ("spans", "body", "chunks")
            for size in (1, 1_000)
        ],
        memory=[Memory(HOLD, count, 1.0) for count in (1_000, 100_000)],
    )


@pytest.mark.parametrize(
    ("share", "shown"),
    [(1.0, "100 %"), (0.9999, "99.9 %"), (0.5, "50 %"), (0.0001, "0.1 %"), (0.0, "0 %")],
)
def test_no_share_is_shown_as_all_or_nothing_that_is_not(share, shown):
    """One invocation of ten thousand that is wrong shows, and so does one that is right."""
    assert percent(share) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1, "1.00"), (0.949, "0.95"), (9.99, "9.99"), (1234.5, "1,234")]
)
def test_ratios_have_as_many_digits_as_tell(value, shown):
    """Two decimals, or none where there are many digits before them."""
    assert ratio(value) == shown


def test_the_best_is_bold_whoever_it_is():
    """Also where it is not ddlwa; what looks the same is as good."""
    column = Column("latency", {PLAIN: 1.0, INLINE: 1.001, HOLD: 1.2}, ratio)
    assert [column.cell(name) for name in (PLAIN, INLINE, HOLD, EXTENSION)] == [
        "**1.00**",
        "**1.00**",
        "1.20",
        "-",
    ]
    assert Column("right", {PLAIN: 0.0, HOLD: 1.0}, percent, more_is_better=True).leaders == [HOLD]


def test_where_ddlwa_does_not_lead_the_page_says_who_does_and_what_that_is_worth():
    """A leader whose traces are wrong is told from one whose traces are right."""
    lines = verdicts(make_results(inline_right=61))
    assert (
        "latency p50, agent healthy: plain ddtrace has 1.00, **ddlwa** hold 1.20. "
        "But 0 % of its traces are right, 0 % in time."
    ) in lines
    assert lines[0].startswith("ddlwa leads, alone or not, in ")
    assert "right, delivered in time" in lines[0]
    assert "p50" not in lines[0]


def test_nobody_is_talked_down():
    """Where a leader's traces are all right, the page says that, too."""
    latency = [Latency(INLINE, "healthy", 300, [1.0], [1.0]), Latency(HOLD, "healthy", 300, [1.5], [1.0])]
    results = Results(machine=MACHINE, correctness=make_results().correctness, latency=latency)
    (line,) = (line for line in verdicts(results) if line.startswith("latency p50"))
    assert line.endswith("Its traces are all right and in time, too.")


def test_each_table_has_its_rows_and_columns():
    """Every approach that was measured is there, and every line of a table has as many cells."""
    page = render(make_results())
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        lines = table.splitlines()
        assert len(lines) > 2
        assert len({line.count("|") for line in lines}) == 1
    assert "| wrapped `send`, inline flush | 1.20 (1.10 to 1.30) | 1.50 | 300 |" in page
    assert "\n\n\n" not in page


def test_what_was_not_measured_is_left_out():
    """No heading without numbers, and no plot."""
    page = render(Results(machine=MACHINE, correctness=make_results().correctness))
    assert re.findall(r"^## (.*)", page, re.MULTILINE) == [
        "Right traces in a sandbox that freezes",
        "Repeat it",
    ]
    assert re.findall(r"\((benchmarks/.*)\)", page) == ["benchmarks/correctness.svg"]


def test_an_approach_that_this_python_is_too_old_for_is_named():
    """Its row is not just gone."""
    page = render(make_results(missing=["lambda_otel_lite"]))
    assert "lambda-otel-lite was not measured: it needs Python 3.12 or newer." in page


def test_every_approach_is_explained():
    """In a sentence, that ends once."""
    page = render(make_results())
    for one in APPROACHES.values():
        assert f"- {one.label}: {one.idea}.\n" in page


def test_what_is_saved_is_loaded(tmp_path):
    """Numbers can be rendered again later."""
    save(make_results(), tmp_path / "data.json")
    assert load(tmp_path / "data.json") == make_results()
