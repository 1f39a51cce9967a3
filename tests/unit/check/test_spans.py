from __future__ import annotations

import json
from dataclasses import replace

from ddlwa.check.spans import Span, attribute, parse

RAW = {
    "trace_id": (5 << 64) + 7,
    "span_id": 2,
    "parent_id": None,
    "name": "fastapi.request",
    "resource": "GET /",
    "start": 1_000,
    "duration": 20,
    "meta": {},
}


def make_span(trace_id, span_id, *, start=0, links=()):
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=0,
        name="work",
        resource="",
        error=False,
        start_ns=start,
        duration_ns=1,
        links=frozenset(links),
    )


def test_a_span_is_read_from_the_agents_form():
    """Of a 128 bit trace id the low half counts; a missing parent is 0."""
    span = Span(7, 2, 0, "fastapi.request", "GET /", error=False, start_ns=1_000, duration_ns=20)
    assert parse(RAW) == span
    assert parse({**RAW, "error": 1}) == replace(span, error=True)


def test_links_are_read_from_their_field():
    """Newer encoders send links as a field with numbers."""
    assert parse({**RAW, "span_links": [{"trace_id": (1 << 64) + 3, "span_id": 1}]}).links == {3}


def test_links_are_read_from_their_tag():
    """Older encoders send links as a tag with hexadecimal ids."""
    tag = json.dumps([{"trace_id": f"{(1 << 64) + 10:032x}", "span_id": "1"}])
    assert parse({**RAW, "meta": {"_dd.span_links": tag}}).links == {10}


def test_spans_are_sorted_by_invocation():
    """A trace belongs to an invocation by its id, or by a link to it, or to none."""
    spans = [
        make_span(1, 11, start=5),
        make_span(1, 10, start=4),
        make_span(20, 21, links=[1]),
        make_span(20, 22, start=1),
        make_span(30, 31, links=[77]),
    ]
    found = attribute(spans, trace_ids={1, 2})
    assert [span.span_id for span in found.request[1]] == [10, 11]
    assert [span.span_id for span in found.linked[1]] == [21, 22]
    assert list(found.others) == [30]
