from __future__ import annotations

import dataclasses

from report_samples import make_span

from ddlwa.report.branches import grow, walk


def link(span_id, parent_id, *, start_ns=0):
    return dataclasses.replace(make_span(), span_id=span_id, parent_id=parent_id, start_ns=start_ns)


def test_branches_are_walked_as_they_are_read():
    """After a parent comes all that hangs on it, before its next sibling."""
    spans = [link(1, 0), link(2, 1, start_ns=1), link(3, 1, start_ns=2), link(4, 2, start_ns=3)]
    found = [(branch.span.span_id, branch.depth) for branch in walk(grow(spans))]
    assert found == [(1, 0), (2, 1), (4, 2), (3, 1)]


def test_impossible_parents_lose_no_span():
    """Spans that are each other's parents come out once each."""
    spans = [link(1, 3), link(2, 1), link(3, 2)]
    assert sorted(branch.span.span_id for branch in walk(grow(spans))) == [1, 2, 3]
