"""Any report that a check could end in, and names that an app should not have but may."""

from __future__ import annotations

from hypothesis import strategies as st
from report_samples import make_report, make_span

from ddlwa.report.comparison import Compared, Comparison
from ddlwa.report.model import (
    Failure,
    Fault,
    Finding,
    InvocationResult,
    Mode,
    OtherTrace,
    RouteResult,
    Run,
    Window,
)

NASTY = (
    "::error title=x::y",
    "\n  ::error::y",
    "\r::stop-commands::t",
    "##[error]y",
    "\x1b[31m\x00\x08\x0b",
    "]]>&<'\"",
    "</code></pre><script>",
    "`|*_[x](y)@all",
    "[/red][bold]:smile:",
    "%0A%25",
    "\ud800\ufffe\uffff\x85\u2028\u202e",
)

texts = st.lists(st.sampled_from(NASTY) | st.text(max_size=20), max_size=3).map("".join)
_ns = st.integers(min_value=0, max_value=10**14)
_few = {"max_size": 3}

findings = st.builds(Finding, st.sampled_from(Fault), texts)
_spans = st.builds(
    make_span, duration_ns=st.integers(-(10**9), 10**14), frozen_ns=_ns, delivered=st.booleans()
)
_invocations = st.builds(
    InvocationResult,
    number=st.integers(1, 999),
    trace_id=st.integers(0, 2**64 - 1),
    status=st.none() | st.integers(100, 599),
    started_ns=_ns,
    stopped_ns=_ns,
    delivered=st.booleans(),
    spans=st.lists(_spans, **_few).map(tuple),
    findings=st.lists(findings, **_few).map(tuple),
)
_routes = st.builds(
    RouteResult,
    method=st.sampled_from(("GET", "POST")),
    path=texts.map("/{}".format),
    invocations=st.lists(_invocations, min_size=1, max_size=3).map(tuple),
)
_others = st.builds(
    OtherTrace,
    spans=st.lists(_spans, min_size=1, max_size=2).map(tuple),
    findings=st.lists(findings, min_size=1, max_size=2).map(tuple),
)
_runs = st.builds(
    Run,
    mode=st.sampled_from(Mode),
    routes=st.lists(_routes, min_size=1, max_size=4, unique_by=lambda route: route.label).map(tuple),
    others=st.lists(_others, max_size=1).map(tuple),
    timeline=st.just((Window(0, 1, frozen=False), Window(1, 2, frozen=True))),
    clock_jumped=st.booleans(),
    elapsed_s=st.floats(0, 1e6),
)


@st.composite
def comparisons(draw, labels):
    """Make one of some of these routes, of one that is gone, or of none of them."""
    thresholds = ("p50:20%", "p95:5ms")
    one = st.builds(
        Compared,
        route=st.sampled_from((*labels, "GET /gone")),
        span=texts,
        threshold=st.sampled_from(thresholds),
        before_ns=_ns,
        now_ns=_ns,
        limit_ns=_ns,
        machine=st.floats(1, 9),
        noisy=st.booleans(),
        cause=texts,
    )
    some = st.lists(texts, **_few).map(tuple)
    return draw(
        st.builds(
            Comparison,
            baseline=texts,
            thresholds=st.just(thresholds),
            compared=st.lists(one, max_size=6).map(tuple),
            new=some,
            gone=some,
            notes=some,
            measurements=st.integers(1, 5),
        )
    )


@st.composite
def reports(draw):
    """Make any report; whether it is right says nothing of whether it was compared."""
    run = draw(_runs)
    labels = [route.label for route in run.routes]
    return make_report(run, comparison=draw(st.none() | comparisons(labels)))


failures = st.builds(Failure, app=texts, reason=texts, output=texts)
