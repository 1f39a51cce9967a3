from __future__ import annotations

import dataclasses
import json

from report_samples import make_report, make_run, make_span

from ddlwa.report import json_
from ddlwa.report.model import Explained, Fault, Finding, Mode, OtherTrace, TracedSpan


def test_the_document_has_a_version_and_all_that_was_found():
    """Runs, routes, invocations, spans, findings and the timeline are all there."""
    other = OtherTrace(spans=(make_span(),), findings=(Finding(Fault.OUTSIDE_RUN, "early"),))
    report = make_report(make_run(Mode.PLAIN, wrong=True), make_run(Mode.DDLWA, others=(other,)))
    document = json.loads(json_.render(report))
    assert document["schema_version"] == json_.SCHEMA_VERSION
    assert document["right"] is False
    plain, ddlwa = document["runs"]
    assert [plain["mode"], ddlwa["mode"]] == ["plain", "ddlwa"]
    route = plain["routes"][1]
    assert route["path"] == "/items/1"
    assert route["faults"] == ["late", "frozen time"]
    span = route["invocations"][0]["spans"][0]
    assert span["frozen_ns"] == 3 * 3_600_000_000_000
    assert route["invocations"][0]["findings"][0]["fault"] == "late"
    assert ddlwa["others"][0]["findings"] == [{"fault": "outside the run", "message": "early"}]
    assert ddlwa["timeline"][1]["frozen"] is True


def test_ids_survive_a_browser():
    """Ids are strings, as 64 bits do not fit a JavaScript number."""
    document = json.loads(json_.render(make_report(make_run(Mode.DDLWA))))
    assert document["runs"][0]["routes"][0]["invocations"][0]["trace_id"] == str(1 << 63)


def test_explained_invocations_are_there_with_all_tags():
    """Programs get the noise too; without `--explain` the list is empty."""
    report = make_report(make_run(Mode.DDLWA))
    assert json.loads(json_.render(report))["explained"] == []
    span = TracedSpan(
        trace_id=1 << 63,
        span_id=2,
        parent_id=0,
        name="fastapi.request",
        resource="POST /events",
        service="shop",
        start_ns=5,
        duration_ns=7,
        error=False,
        tags={"_dd.top_level": "1", "Ж": "é"},
    )
    one = Explained(source="SQS", request="POST /events", status=None, error=None, spans=(span,))
    document = json.loads(json_.render(dataclasses.replace(report, explained=(one,))))
    assert document["explained"] == [
        {
            "source": "SQS",
            "request": "POST /events",
            "status": None,
            "error": None,
            "spans": [
                {
                    "trace_id": str(1 << 63),
                    "span_id": "2",
                    "parent_id": "0",
                    "name": "fastapi.request",
                    "resource": "POST /events",
                    "service": "shop",
                    "start_ns": 5,
                    "duration_ns": 7,
                    "error": False,
                    "tags": {"_dd.top_level": "1", "Ж": "é"},
                }
            ],
        }
    ]
