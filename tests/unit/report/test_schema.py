"""The published schemas are those of what is written, no more and no less."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from generated_reports import reports
from hypothesis import given
from jsonschema import Draft202012Validator
from report_samples import make_compared, make_comparison, make_report, make_run, make_span

from ddlwa.check import baseline
from ddlwa.check.samples import Timed, sample
from ddlwa.check.threshold import STATISTICS
from ddlwa.report import json_
from ddlwa.report.model import Explained, Fault, Finding, Mode, OtherTrace, TracedSpan

DOCS = Path(__file__).parents[3] / "docs"


def validator_of(name):
    schema = json.loads((DOCS / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


REPORT, BASELINE = validator_of("report"), validator_of("baseline")
EXPLAINED = Explained(
    source="SQS",
    request="POST /events",
    status=None,
    error=None,
    spans=(
        TracedSpan(1, 2, 0, "fastapi.request", "POST /events", "shop", 1, 2, error=False, tags={"a": "1"}),
    ),
)
OTHER = OtherTrace((make_span(),), (Finding(Fault.LOST, "It never came."),))


def full_report():
    """Make a report with something in each place."""
    report = make_report(
        make_run(Mode.PLAIN, wrong=True, others=(OTHER,)),
        make_run(Mode.DDLWA),
        comparison=make_comparison(make_compared(slower=True), make_compared()),
    )
    return json.loads(json_.render(report)) | {"explained": [json_._explained(EXPLAINED)]}


def full_baseline(tmp_path):
    run = make_run(Mode.DDLWA)
    baseline.save(baseline.Baseline.of(make_report(run), samples=sample([Timed(run)])), tmp_path / "b.json")
    return json.loads((tmp_path / "b.json").read_text("utf-8"))


@pytest.fixture(params=["report", "baseline"])
def document(request, tmp_path):
    """Give a document, and what validates it."""
    return (full_report(), REPORT) if request.param == "report" else (full_baseline(tmp_path), BASELINE)


def places(value, path=(), *, kind=dict):
    """Give the path of each value of a kind within a document, from the outside."""
    if isinstance(value, kind):
        yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, one in entries:
        yield from places(one, (*path, key), kind=kind)


def at(document, path):
    for key in path:
        document = document[key]
    return document


# Objects whose keys are names of the app's.
FREE = ("tags", "circumstances", "routes")


def test_what_is_written_is_valid(document):
    """Each report and each baseline, with everything that can be in it."""
    written, validator = document
    assert [error.message for error in validator.iter_errors(written)] == []


def test_a_report_without_a_comparison_is_valid():
    """Most have none."""
    REPORT.validate(json.loads(json_.render(make_report(make_run(Mode.DDLWA)))))


def test_a_key_that_is_missing_or_unknown_is_not_valid(document):
    """Wherever it stands: a change of what is written is a change of the schema."""
    written, validator = document
    changed = 0
    for path in places(written):
        free = any(name in FREE for name in path[-2:]) and not isinstance(at(written, path[:-1]), list)
        known = list(at(written, path))
        for key in known:
            if free:
                continue
            damaged = copy.deepcopy(written)
            del at(damaged, path)[key]
            assert not validator.is_valid(damaged), f"valid without {key} in {path}"
            changed += 1
        if not free:
            damaged = copy.deepcopy(written)
            at(damaged, path)["unknown"] = 1
            assert not validator.is_valid(damaged), f"valid with an unknown key in {path}"
    assert changed > 15


# In place of a value stands one that is neither of its type nor null.
WRONG = {str: 7, bool: "true", int: "7", float: "7", dict: [], list: {}, type(None): []}


def test_a_value_of_another_type_is_not_valid(document):
    """Wherever it stands, be it a number for a text or an object for a list."""
    written, validator = document
    paths = [path for path in places(written, kind=object) if path]
    for path in paths:
        damaged = copy.deepcopy(written)
        at(damaged, path[:-1])[path[-1]] = WRONG[type(at(written, path))]
        assert not validator.is_valid(damaged), f"valid with {at(damaged, path)!r} in {path}"
    assert len(paths) > 15


@given(report=reports())
def test_any_report_is_valid(report):
    """Whatever was found, and whatever the app has named."""
    text = json_.render(report)
    REPORT.validate(json.loads(text.encode()))
    labels = [route["method"] + " " + route["path"] for route in json.loads(text)["runs"][-1]["routes"]]
    assert labels == [route.label for route in report.judged.routes]


def test_each_fault_is_known():
    """A new one is not to surprise readers."""
    schema = REPORT.schema
    assert schema["$defs"]["fault"]["enum"] == [fault.value for fault in Fault]
    assert schema["properties"]["schema_version"]["const"] == json_.SCHEMA_VERSION


def test_each_statistic_is_in_a_baseline():
    """Beside how many spans there are, how long they run by themselves, and what the machine was like."""
    found = BASELINE.schema["$defs"]["measured"]["required"]
    assert found == ["spans", "own_ns", "machine_ns", *STATISTICS]
    assert BASELINE.schema["properties"]["schema_version"]["const"] == baseline.SCHEMA_VERSION
