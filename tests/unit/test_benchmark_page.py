"""The page of the benchmarks says what was measured, and no more."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from benchmarks.approaches import APPROACHES, EXTENSION, HOLD, INLINE, PLAIN
from benchmarks.columns import Column, columns, growths, percent, ratio, verdicts
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


def make_latency(name, p50, p99=(1.0,), *, agent="healthy"):
    return Latency(name, agent, 300, list(p50), list(p99), list(p50), list(p99))


def make_results(*, hold_p50=1.2, inline_right=100, hold_right=100, missing=()):
    def correct(name, right):
        faults = {} if right == 100 else {"late": 100 - right}
        return Correctness(name, "routes", 100, right=right, timed=right, delivered=right, faults=faults)

    return Results(
        machine=MACHINE,
        missing=dict(missing),
        correctness=[
            correct(PLAIN, 0),
            correct(INLINE, inline_right),
            correct(HOLD, hold_right),
            correct(EXTENSION, 100),
        ],
        latency=[
            make_latency(PLAIN, [1.0, 1.0]),
            make_latency(INLINE, [1.1, 1.3], [1.5, 1.5]),
            make_latency(HOLD, [hold_p50, hold_p50], [1.5, 1.5]),
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
    column = Column("latency", {PLAIN: [1.0], INLINE: [0.5, 1.001, 7.0], HOLD: [1.2]})
    assert [column.cell(name) for name in (PLAIN, INLINE, HOLD, EXTENSION)] == [
        "**1.00**",
        "**1.00**",
        "1.20",
        "-",
    ]
    right = Column("right", {PLAIN: [0.0], HOLD: [1.0]}, percent, more_is_better=True)
    assert [right.cell(name) for name in (PLAIN, HOLD)] == ["0 %", "**100 %**"]


def test_a_leader_is_one_of_those_that_are_asked_about():
    """And of these only what was measured counts."""
    column = Column("latency", {PLAIN: [1.0], INLINE: [1.1], HOLD: [1.2]})
    assert column.leaders([INLINE, HOLD, EXTENSION]) == [INLINE]
    assert column.leaders([EXTENSION]) == []


def test_where_ddlwa_does_not_lead_the_page_says_who_does_and_what_that_is_worth():
    """A leader whose traces are wrong is told from one whose traces are right."""
    lines = verdicts(make_results(inline_right=61))
    assert (
        "latency p50, agent healthy: plain ddtrace has 1.00, **ddlwa** hold 1.20. "
        "But 0 % of its traces are right, 0 % in time."
    ) in lines
    assert lines[0].startswith("ddlwa leads, alone or not, in ")
    assert "right durations; delivered in time" in lines[0]
    assert "p50" not in lines[0]


@pytest.mark.parametrize(("hold_right", "end"), [(100, "in time, too."), (99, "in time.")])
def test_nobody_is_talked_down(hold_right, end):
    """Where a leader's traces are all right, the page says so, and "too" only if ddlwa's are."""
    correctness = make_results(hold_right=hold_right).correctness
    latency = [make_latency(INLINE, [1.0]), make_latency(HOLD, [1.5])]
    results = Results(machine=MACHINE, correctness=correctness, latency=latency)
    (line,) = (line for line in verdicts(results) if line.startswith("latency p50"))
    assert line.endswith(f"Its traces are all right and {end}")


def test_the_right_are_compared_with_each_other():
    """The others are not among them, however quick they are."""
    lines = verdicts(make_results(inline_right=99, hold_p50=1.15))
    (line,) = (line for line in lines if line.startswith("Of those"))
    assert "(**ddlwa** hold, **ddlwa** extension)" in line
    assert "latency p50, agent healthy" in line
    lines = verdicts(make_results(inline_right=100, hold_p50=1.25))
    (line,) = (line for line in lines if line.startswith("Of those"))
    assert "wrapped `send`, inline flush" in line
    assert "latency p50, agent healthy" not in line


def test_ddlwa_is_not_said_to_be_right_where_it_is_not():
    """One invocation of a hundred is enough."""
    lines = verdicts(make_results(hold_right=99))
    assert "Not all traces of **ddlwa** hold are right and in time: 99 % are." in lines
    (line,) = (line for line in lines if line.startswith("Of those"))
    assert "hold" not in line
    assert not any("Not all" in line for line in verdicts(make_results()))


@pytest.mark.parametrize(("slowest", "is_chance"), [(1.3, True), (1.1, False)])
def test_a_difference_within_the_noise_is_called_one(slowest, is_chance):
    """Where the ranges have a value in common nobody can say who is better."""
    latency = [make_latency(INLINE, [1.0, 1.05, slowest]), make_latency(HOLD, [1.2, 1.25, 1.4])]
    (line,) = (line for line in verdicts(Results(MACHINE, latency=latency)) if line.startswith("latency p50"))
    assert ("overlap" in line) is is_chance


def test_what_was_too_slow_to_be_asked_again_is_not_the_best():
    """The slowest of one request is no p99."""
    rows = [make_latency(INLINE, [0.5]), make_latency(PLAIN, [1.0]), make_latency(HOLD, [1.2])]
    rows[0] = replace(rows[0], requests=1)
    column = next(
        one for one in columns(Results(MACHINE, latency=rows)) if one.title.startswith("latency p50")
    )
    assert [column.cell(name) for name in (INLINE, PLAIN, HOLD)] == ["0.50", "**1.00**", "1.20"]


def test_what_grows_is_told_where_it_costs_the_most():
    """And what it costs at the largest size, which may be the same."""
    rows = [Growth(HOLD, "spans", size, [cost]) for size, cost in ((1, 1.5), (10, 1.7), (5_000, 1.1))]
    rows += [Growth(EXTENSION, "body", size, [cost]) for size, cost in ((1_024, 1.5), (4_096, 2.0))]
    assert growths(Results(MACHINE, growth=rows)) == [
        "spans: **ddlwa** hold takes 1.10 at 5,000, and 1.70 at 10, the most of all sizes.",
        "body: **ddlwa** extension takes 2.00 at 4,096, the most of all sizes.",
    ]


def test_each_table_has_its_rows_and_columns():
    """Every approach that was measured is there, and every line of a table has as many cells."""
    page = render(make_results())
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        lines = table.splitlines()
        assert len(lines) > 2
        assert len({line.count("|") for line in lines}) == 1
    spread = "1.20 (1.10 to 1.30)"
    assert f"| wrapped `send`, inline flush | {spread} | 1.50 | {spread} | 1.50 | 300 |" in page
    assert "\n\n\n" not in page


def test_what_was_not_measured_is_left_out():
    """No heading without numbers, and no plot."""
    page = render(Results(machine=MACHINE, correctness=make_results().correctness))
    assert re.findall(r"^## (.*)", page, re.MULTILINE) == [
        "Right traces in a sandbox that freezes",
        "Repeat it",
    ]
    assert re.findall(r"\((benchmarks/.*)\)", page) == ["benchmarks/correctness.svg"]


def test_an_approach_that_could_not_be_measured_keeps_its_row():
    """It says so, and below the table why."""
    page = render(make_results(missing={"lambda_otel_lite": "it needs Python 3.12"}))
    assert re.search(r"^\| lambda-otel-lite \| not measured \| - \|( - \|)+$", page, re.MULTILINE)
    assert "- lambda-otel-lite was not measured: it needs Python 3.12.\n" in page


def test_every_approach_is_explained():
    """In a sentence, that ends once."""
    page = render(make_results())
    for one in APPROACHES.values():
        assert f"- {one.label}: {one.idea}.\n" in page


def test_what_is_saved_is_loaded(tmp_path):
    """Numbers can be rendered again later."""
    save(make_results(), tmp_path / "data.json")
    assert load(tmp_path / "data.json") == make_results()
