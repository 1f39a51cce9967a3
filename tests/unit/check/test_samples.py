from __future__ import annotations

import pytest
from measured_samples import MS, make_run, make_span, steady

from ddlwa.check.samples import BLOCK, Timed, sample
from ddlwa.check.threshold import STATISTICS


def only(run, span="fastapi.request"):
    return sample([Timed(run)])["GET /"][span]


def test_statistics_are_those_of_the_durations():
    """Percentiles lie between the invocations that are next to them."""
    invocations = [[make_span("fastapi.request", number * MS)] for number in range(1, 12)]
    found = {name: one.ns for name, one in only(make_run({"/": invocations})).statistics.items()}
    assert found == {
        "min": 1 * MS,
        "mean": 6 * MS,
        "p50": 6 * MS,
        "p75": 8_500_000,
        "p90": 10 * MS,
        "p95": 10_500_000,
        "p99": 10_900_000,
        "max": 11 * MS,
    }
    assert tuple(found) == STATISTICS


def test_one_invocation_is_enough():
    """Then each statistic is its duration."""
    assert {one.ns for one in only(make_run({"/": steady(7 * MS, count=1)})).statistics.values()} == {7 * MS}


def test_the_quietest_block_counts():
    """A machine that was busy for a while has not made the app slower."""
    run = make_run(
        {"/": steady(9 * MS, count=BLOCK) + steady(5 * MS, count=BLOCK) + steady(8 * MS, count=BLOCK)}
    )
    p50 = only(run).statistics["p50"]
    assert (p50.ns, p50.noise_ns) == (5 * MS, 3 * MS)  # and how much more the median block has


def test_the_blocks_of_all_runs_count_together():
    """A measurement that is made again can only be better."""
    slow, quick = (make_run({"/": steady(took, count=BLOCK)}) for took in (9 * MS, 5 * MS))
    found = sample([Timed(slow), Timed(quick)])["GET /"]["fastapi.request"]
    assert found.statistics["max"].ns == 5 * MS


def test_how_fast_the_machine_was_meanwhile_is_known():
    """It is that of the quickest block, by the numbers of its invocations, be they of several routes."""
    run = make_run(
        {"/a": steady(5 * MS, count=BLOCK) + steady(9 * MS, count=BLOCK), "/b": steady(MS, count=1)}
    )
    machine_ns = (2 * MS,) * BLOCK + (MS,) * BLOCK + (7 * MS,)
    found = sample([Timed(run, machine_ns)])
    assert found["GET /a"]["fastapi.request"].machine_ns == MS
    assert found["GET /b"]["fastapi.request"].machine_ns == 7 * MS


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 5 * BLOCK + 3])
def test_no_invocation_is_left_out(count):
    """Blocks are of the same size or a little more: the slowest invocation is in one of them."""
    invocations = [[make_span("fastapi.request", MS)] for _ in range(count - 1)] + [
        [make_span("other", 2 * MS)]
    ]
    assert only(make_run({"/": invocations}), "other").statistics["max"].ns == 2 * MS


def test_spans_of_one_name_are_taken_together():
    """A query that comes three times where it came once is slower, though each is as quick as before."""
    spans = [make_span("db.query", 2 * MS, span_id=number) for number in range(1, 4)]
    found = only(make_run({"/": [spans] * 20}), "db.query")
    assert (found.statistics["p50"].ns, found.spans) == (6 * MS, 3)


def test_an_invocation_without_such_a_span_says_nothing_of_it():
    """A cache that hits every other time must not halve the query's duration."""
    run = make_run({"/": [[make_span("db.query", 2 * MS)], []] * 10})
    assert only(run, "db.query").statistics["min"].ns == 2 * MS


def test_own_time_is_that_outside_of_the_spans_within():
    """A child that outlives its parent takes no more of it than it overlaps with."""
    parent = make_span("fastapi.request", 10 * MS, span_id=1)
    within = make_span("db.query", 4 * MS, span_id=2, parent_id=1, start_ns=2 * MS)
    beyond = make_span("task", 50 * MS, span_id=3, parent_id=1, start_ns=9 * MS)
    run = make_run({"/": [[parent, within, beyond]] * 20})
    assert only(run).own_ns == 5 * MS
    assert only(run, "db.query").own_ns == 4 * MS


def test_children_that_run_at_the_same_time_leave_no_negative_time():
    """Their sum may be more than their parent's duration."""
    parent = make_span("fastapi.request", 10 * MS, span_id=1)
    children = [make_span("fetch", 9 * MS, span_id=number, parent_id=1) for number in (2, 3)]
    assert only(make_run({"/": [[parent, *children]] * 20})).own_ns == 0


def test_frozen_time_is_not_compared():
    """The sandbox did not run, and how wrong a duration is says the verdict."""
    run = make_run({"/": [[make_span("fastapi.request", 3 * MS, frozen_ns=10**13)]] * 20})
    assert only(run).statistics["max"].ns == 3 * MS
