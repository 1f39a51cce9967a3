from __future__ import annotations

import dataclasses
import json

from report_samples import HOUR_NS, make_invocation, make_report, make_run, make_span

from ddlwa.report.html.packing import NO_ROUTE, pack
from ddlwa.report.model import Fault, Finding, Mode, OtherTrace, RouteResult, Window

OTHER = OtherTrace(spans=(make_span(),), findings=(Finding(Fault.OUTSIDE_RUN, "early"),))
EPOCH_NS = 1_796_000_000_000_000_000
JAVASCRIPT_MAX = (1 << 53) - 1


def test_each_invocation_is_a_row_in_order_of_its_number():
    """None is lost, whatever its route; each has its route's name and its status."""
    packed = pack(make_report(make_run(Mode.DDLWA)))
    assert [row[0] for row in packed["rows"]] == [1, 2, 3, 4, 5, 6]
    assert [packed["texts"][row[1]] for row in packed["rows"][:2]] == ["GET /", "GET /items/1"]
    assert {row[2][0] for row in packed["rows"]} == {200}


def test_the_same_invocation_of_both_modes_is_one_row():
    """Plain ddtrace's comes first, and only its findings are there."""
    packed = pack(make_report(make_run(Mode.PLAIN, wrong=True), make_run(Mode.DDLWA)))
    assert packed["modes"] == ["plain", "ddlwa"]
    assert len(packed["rows"]) == 6
    for _, _, plain, ddlwa in packed["rows"]:
        assert [packed["texts"][fault] for fault, _ in plain[3]] == ["late", "frozen time"]
        assert ddlwa[3] == []


def test_a_trace_of_no_invocation_is_a_row_of_its_own():
    """It stands last, in its own mode only, even if the other mode has one as well."""
    packed = pack(make_report(make_run(Mode.PLAIN, others=(OTHER,)), make_run(Mode.DDLWA, others=(OTHER,))))
    plain, ddlwa = packed["rows"][-2:]
    assert (plain[0], packed["texts"][plain[1]], plain[3]) == (0, NO_ROUTE, None)
    assert (ddlwa[0], packed["texts"][ddlwa[1]], ddlwa[2]) == (0, NO_ROUTE, None)


def test_a_span_has_its_place_and_what_it_records():
    """Its start and end count from its invocation's, its duration and frozen time are what was judged."""
    packed = pack(make_report(make_run(Mode.DDLWA, wrong=True)))
    (span,) = packed["rows"][0][2][2]
    name, resource, depth, start, end, duration, frozen, flags = span
    assert packed["texts"][name] == "fastapi.request"
    assert packed["texts"][resource] == "GET /items/{item_id}"
    assert (depth, start, flags) == (0, 0, 0)
    assert duration == 3 * HOUR_NS + 4_200_000
    assert frozen == 3 * HOUR_NS
    assert end == 3 * HOUR_NS + 4_200_000


def test_numbers_fit_a_browser():
    """Epoch ns would not."""

    def numbers(value):
        if isinstance(value, list):
            return [number for one in value for number in numbers(one)]
        return [value] if isinstance(value, int) else []

    span = dataclasses.replace(make_span(), start_ns=EPOCH_NS + 5)
    invocation = dataclasses.replace(
        make_invocation(1), started_ns=EPOCH_NS, stopped_ns=EPOCH_NS + 9, spans=(span,)
    )
    run = dataclasses.replace(
        make_run(Mode.DDLWA, others=(dataclasses.replace(OTHER, spans=(span,)),)),
        routes=(RouteResult("GET", "/", (invocation,)),),
        timeline=(Window(EPOCH_NS - 5, EPOCH_NS + 10**9, frozen=False),),
    )
    packed = pack(make_report(run))
    assert max(numbers(packed["rows"])) <= JAVASCRIPT_MAX


def test_texts_do_nothing():
    """A line separator or a change of direction is written out, as it is in the page."""
    route = RouteResult("GET", "/\u2028\u202e", (make_invocation(1),))
    packed = pack(make_report(dataclasses.replace(make_run(Mode.DDLWA), routes=(route,))))
    assert packed["texts"][packed["rows"][0][1]] == "GET /\\u2028\\u202e"


def test_texts_are_there_once():
    """However often a name is used, it is written once."""
    packed = pack(make_report(make_run(Mode.PLAIN, wrong=True), make_run(Mode.DDLWA)))
    assert len(set(packed["texts"])) == len(packed["texts"])
    assert json.dumps(packed).count("fastapi.request records 3h 0m.") == 1
