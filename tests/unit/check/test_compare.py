from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from measured_samples import MS, make_report, make_run, make_span, steady

from ddlwa.check.baseline import Baseline
from ddlwa.check.compare import Expected, compare
from ddlwa.check.errors import BaselineError
from ddlwa.check.samples import Timed, sample
from ddlwa.check.threshold import Threshold


def measured(routes, *, machine_ns=MS):
    run = make_run(routes)
    return Baseline.of(make_report(run), samples=sample([Timed(run, (machine_ns,) * len(run.invocations))]))


def compared(before, now, *thresholds):
    thresholds = thresholds or ("p50:20%",)
    expected = Expected(Path("b.json"), before, tuple(map(Threshold.parse, thresholds)))
    return compare(expected, now, measurements=1)


def slower(before, now, *thresholds):
    return [(one.route, one.span, one.threshold) for one in compared(before, now, *thresholds).slower]


def tree(own_ns, *, queries=1, query_ns=MS):
    """Give the spans of an invocation: a request, and within it queries."""
    within = queries * query_ns
    root = make_span("fastapi.request", own_ns + within, span_id=1)
    return [
        root,
        *(
            make_span("db.query", query_ns, span_id=2 + number, parent_id=1, start_ns=number * query_ns)
            for number in range(queries)
        ),
    ]


@pytest.mark.parametrize(("now_ms", "found"), [(5, []), (6, []), (6.001, ["/"]), (3, [])])
def test_slower_is_what_exceeds_the_limit(now_ms, found):
    """The limit itself is allowed, and quicker is never wrong."""
    before, now = measured({"/": steady(5 * MS)}), measured({"/": steady(int(now_ms * MS))})
    assert [route for route, *_ in slower(before, now)] == [f"GET {path}" for path in found]


def test_routes_spans_and_thresholds_are_compared_each_for_itself():
    """A quick route does not make up for a slow one."""
    before = measured({"/a": steady(5 * MS), "/b": steady(5 * MS)})
    now = measured({"/a": steady(1 * MS), "/b": steady(7 * MS)})
    assert slower(before, now, "p50:20%", "max:3ms", "min:1ms") == [
        ("GET /b", "fastapi.request", "p50:20%"),
        ("GET /b", "fastapi.request", "min:1ms"),
    ]
    assert len(compared(before, now, "p50:20%", "max:3ms").compared) == 4


def test_a_machine_that_is_slower_now_is_allowed_for():
    """It takes twice as long for the same work, so twice as long is no regression; a note says so."""
    before = measured({"/": steady(5 * MS)})
    assert slower(before, measured({"/": steady(10 * MS)}, machine_ns=2 * MS)) == []
    assert slower(before, measured({"/": steady(13 * MS)}, machine_ns=2 * MS)) != []
    assert "2.00 times" in compared(before, measured({"/": steady(5 * MS)}, machine_ns=2 * MS)).notes[0]


def test_reference_work_that_was_disturbed_hides_nothing():
    """Like durations it counts where it was quickest, not where the durations happened to be."""
    before = measured({"/": steady(5 * MS)})
    run = make_run({"/": steady(7 * MS) + steady(8 * MS)})

    def now(*machine_ns):
        times = tuple(one for one in machine_ns for _ in range(20))
        return Baseline.of(make_report(run), samples=sample([Timed(run, times)]))

    assert slower(before, now(2 * MS, MS)) == [("GET /", "fastapi.request", "p50:20%")]
    assert slower(before, now(2 * MS, 2 * MS)) == []


def test_a_machine_whose_speed_is_not_known_is_taken_as_it_is():
    """An older baseline, say."""
    before = measured({"/": steady(5 * MS)}, machine_ns=0)
    assert slower(before, measured({"/": steady(7 * MS)})) != []


def test_a_machine_that_is_faster_now_raises_no_alarm():
    """What it hides could only be guessed."""
    before = measured({"/": steady(5 * MS)})
    assert slower(before, measured({"/": steady(5 * MS)}, machine_ns=MS // 2)) == []


def test_a_tail_counts_beyond_what_is_noise():
    """Where blocks of the same run differ by 60 %, 40 % prove nothing, and a note says so."""
    noisy = {"/": steady(5 * MS) + steady(8 * MS) + steady(8 * MS)}
    before, now = measured(noisy), measured({"/": steady(7 * MS)})
    assert [one[2] for one in slower(before, now, "p50:20%", "p95:20%", "max:20%")] == ["p50:20%"]
    assert any(
        "2 of 3 limits are wider" in note
        for note in compared(before, now, "p50:20%", "p95:20%", "max:20%").notes
    )
    beyond = measured({"/": steady(9 * MS)})
    assert [one[2] for one in slower(before, beyond, "p95:20%")] == ["p95:20%"]


@pytest.mark.parametrize(
    ("now", "span", "cause"),
    [
        (tree(9 * MS), "fastapi.request", "fastapi.request itself takes 5.0 ms more, outside"),
        (tree(4 * MS, query_ns=6 * MS), "fastapi.request", "db.query itself takes 5.0 ms more"),
        (tree(4 * MS, queries=8), "fastapi.request", "db.query comes 8 times where it came 1: 7.0 ms more"),
        (
            [*tree(4 * MS)[1:], make_span("fastapi.request", 25 * MS, span_id=1),
             make_span("http.request", 20 * MS, span_id=9, parent_id=1, start_ns=2 * MS)],
            "fastapi.request",
            "http.request is new, and takes 20 ms",
        ),
    ],
)  # fmt: skip
def test_the_cause_is_named(now, span, cause):
    """A slow request is blamed on the span whose own time has grown."""
    before = measured({"/": [tree(4 * MS)] * 20})
    found = {one.span: one.cause for one in compared(before, measured({"/": [now] * 20})).slower}
    assert found[span].startswith(cause)


def test_where_no_span_stands_out_no_cause_is_invented():
    """Everything is a little slower: that is the machine, or what all spans share."""
    names = ("fastapi.request", "a", "b", "c", "d")

    def spans(own_ns):
        return [
            make_span(
                name,
                own_ns * (len(names) - depth),
                span_id=depth + 1,
                parent_id=depth,
                start_ns=own_ns * depth // 2,
            )
            for depth, name in enumerate(names)
        ]

    found = compared(measured({"/": [spans(MS)] * 20}), measured({"/": [spans(2 * MS)] * 20})).slower
    assert "no single kind of span" in next(one.cause for one in found if one.span == "fastapi.request")


def test_what_is_new_or_gone_is_told_and_fails_nothing():
    """A new route has nothing to be compared with, and one that is gone can't be slow."""
    before = measured({"/": steady(5 * MS), "/old": steady(5 * MS)})
    now = measured(
        {"/": [*[[make_span("fastapi.request", 5 * MS), make_span("db.query", MS)]] * 20], "/new": steady(MS)}
    )
    comparison = compared(before, now)
    assert comparison.new == ("GET /: db.query", "GET /new")
    assert comparison.gone == ("GET /old",)
    assert not comparison.slower


def test_a_baseline_of_something_else_is_refused():
    """To compare nothing would always pass."""
    with pytest.raises(BaselineError, match=r"b\.json: it knows none of the routes.*GET /b.*knows GET /a"):
        compared(measured({"/a": steady(MS)}), measured({"/b": steady(MS)}))


def test_other_circumstances_are_noted():
    """They may be the cause."""
    before = measured({"/": steady(MS)})
    now = replace(before, circumstances={**before.circumstances, "Python": "3.99"})
    assert any(note.endswith("is 3.99") for note in compared(before, now).notes)
