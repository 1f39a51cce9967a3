from __future__ import annotations

import dataclasses

import pytest
from report_samples import make_report, make_run

from ddlwa.report import terminal, tree
from ddlwa.report.model import Explained, Mode, TracedSpan

NESTED = ((1, 0), (2, 1), (3, 1), (4, 3))


def make_span(span_id=1, parent_id=0, *, start_ns=None, trace_id=9, error=False, **tags):
    return TracedSpan(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        name=f"span {span_id}",
        resource=f"what {span_id} does",
        service="shop",
        start_ns=span_id if start_ns is None else start_ns,
        duration_ns=1_500_000,
        error=error,
        tags=tags,
    )


def explain(*spans, status=200, error=None):
    return Explained(source="SQS", request="POST /events", status=status, error=error, spans=spans)


def shape(branches):
    """Give a tree as nested pairs of span ids and children."""
    return [(branch.span.span_id, shape(branch.children)) for branch in branches]


def render(*explained):
    report = dataclasses.replace(make_report(make_run(Mode.DDLWA)), explained=explained)
    whole = terminal.render(report, width=100, color=False)
    return whole.partition("with frozen time\n\n")[2]


@pytest.mark.parametrize("order", [NESTED, NESTED[::-1]])
def test_spans_hang_on_their_parents(order):
    """In whichever order spans arrive, the tree is that of their parents, siblings by start."""
    spans = [make_span(*ids) for ids in order]
    assert shape(tree.grow(spans)) == [(1, [(2, []), (3, [(4, [])])])]


def test_a_child_may_begin_before_its_parent():
    """Clocks differ: only the parent's id counts."""
    assert shape(tree.grow([make_span(1, start_ns=8), make_span(2, 1, start_ns=5)])) == [(1, [(2, [])])]


def test_several_traces_are_several_roots():
    """A parent's id counts in its own trace only."""
    spans = [make_span(1), make_span(2, 1, trace_id=10), make_span(3, 1)]
    assert shape(tree.grow(spans)) == [(1, [(3, [])]), (2, [])]


def test_an_orphan_is_a_root_that_says_so():
    """A span whose parent did not arrive is shown with its own children; a true root says nothing."""
    spans = [make_span(1), make_span(5, 77), make_span(6, 5)]
    assert shape(tree.grow(spans)) == [(1, []), (5, [(6, [])])]
    first, second, third = (line for line in render(explain(*spans)).splitlines() if "span " in line)
    assert "(its parent is not here)" in second
    assert "not here" not in first + third


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([(1, 1)], [(1, [])]),
        ([(1, 2), (2, 1)], [(2, [(1, [])])]),
        ([(1, 3), (2, 1), (3, 2)], [(3, [(1, [(2, [])])])]),
        ([(1, 0), (1, 0), (2, 1)], [(1, [(2, [])]), (1, [])]),
    ],
)
def test_impossible_parents_neither_hang_nor_lose_a_span(ids, expected):
    """Spans that are their own or each other's parents, or share an id, come out once each."""
    assert shape(tree.grow([make_span(*pair) for pair in ids])) == expected


def test_no_spans_give_no_branches():
    """Nothing grows from nothing."""
    assert tree.grow([]) == []


def test_lambdas_tags_come_first_and_noise_not_at_all():
    """Function, cold start, trigger, HTTP, the rest; inside of a group by name."""
    wanted = [
        "function_arn",
        "functionname",
        "memorysize",
        "cold_start",
        "request_id",
        "function_trigger.event_source",
        "http.method",
        "http.url",
        "asgi.version",
        "db.name",
        "strange\nname",
    ]
    noise = ["_dd.p.dm", "_sampling_priority_v1", "runtime-id", "language", "process_id"]
    tags = dict.fromkeys(sorted(wanted + noise), "x")
    assert [name for name, _ in tree.tags_to_show(tags)] == wanted


def test_an_invocation_is_a_tree_under_its_source():
    """The source, the request and the status head it; each span has what identifies it, and its tags."""
    spans = (make_span(1, cold_start="true"), make_span(2, 1, error=True))
    assert render(explain(*spans)).splitlines() == [
        "SQS  POST /events, 200",
        "└── span 1  what 1 does  shop  1.5 ms",
        "    cold_start  true",
        "    └── span 2  what 2 does  shop  1.5 ms  error",
    ]


def test_what_is_missing_is_said():
    """An invocation without an end, or without a trace, shows why, or that."""
    text = render(explain(status=None, error="it was not over within 30 s"))
    assert text.splitlines() == [
        "SQS  POST /events",
        "├── it was not over within 30 s",
        "└── no trace arrived",
    ]


def test_values_can_not_act_on_the_terminal():
    """Escape sequences are written out, line breaks break lines, an empty value is one."""
    text = render(explain(make_span(odd="red \x1b[31m\r\tend", stack="first\n  second", void="")))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[2:] == ["odd    red \\x1b[31m\\r    end", "stack  first", "second", "void"]


@pytest.mark.parametrize("depth", [1, 9, 60])
def test_long_values_are_wrapped_and_not_cut(depth):
    """At 100 columns nothing is lost and nothing sticks out, unless the depth itself takes more."""
    url = "https://shop.example/" + 40 * "0123456789"
    spans = [make_span(number, number - 1, url=url) for number in range(1, depth + 1)]
    text = render(explain(*spans))
    assert max(map(len, text.splitlines())) <= max(100, 60 + 4 * depth)
    joined = "".join(piece for piece in text.split() if piece not in {"│", "└──"})
    assert joined.count(40 * "0123456789") == depth
