from __future__ import annotations

from ddlwa.check.explain import assign, traced

BEFORE_NS, STARTED_NS = 90, 100


def make_raw(trace_id=1, *, start=STARTED_NS, links=(), **fields):
    return {
        "trace_id": (3 << 64) + trace_id,
        "span_id": 2,
        "parent_id": None,
        "name": "fastapi.request",
        "resource": "GET /",
        "start": start,
        "duration": 20,
        "span_links": [{"trace_id": link} for link in links],
        **fields,
    }


def test_a_new_trace_belongs_to_the_last_invocation():
    """What has an owner keeps it, whenever more of it arrives."""
    traces = {1: [make_raw(1)], 2: [make_raw(2)]}
    assert assign(traces, {1: 0}, number=4, started_ns=STARTED_NS) == {2: 4}


def test_work_after_a_response_belongs_to_the_invocation_that_it_is_linked_to():
    """Its trace comes with a later invocation, and is not that one's."""
    traces = {1: [make_raw(1)], 2: [make_raw(2), make_raw(2, links=[7, 1])]}
    assert assign(traces, {1: 0}, number=1, started_ns=STARTED_NS) == {2: 0}


def test_a_trace_from_before_the_invocation_belongs_to_none():
    """A readiness check is no invocation; a span made to begin earlier does not make it one."""
    early, inferred = make_raw(1, start=BEFORE_NS), make_raw(2, start=BEFORE_NS)
    traces = {1: [early], 2: [inferred, make_raw(2)]}
    assert assign(traces, {}, number=0, started_ns=STARTED_NS) == {2: 0}


def test_all_that_datadog_shows_of_a_span_is_read():
    """Numbers become text as they are read by people; what is absent is empty."""
    span = traced(
        make_raw(
            service="shop",
            error=1,
            meta={"http.method": "GET"},
            metrics={"process_id": 12.0, "ddlwa.init_ms": 1446.74052000119, "odd": float("nan")},
        )
    )
    assert (span.trace_id, span.parent_id, span.service, span.error) == (1, 0, "shop", True)
    assert span.tags == {
        "http.method": "GET",
        "process_id": "12",
        "ddlwa.init_ms": "1446.741",
        "odd": "nan",
    }
    bare = traced(make_raw(service=None, meta=None))
    assert (bare.service, bare.error, bare.tags) == ("", False, {})
