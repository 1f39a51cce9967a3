"""The published schemas are those of what is written, no more and no less."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from report_samples import make_compared, make_comparison, make_report, make_run, make_span

from ddlwa.check import baseline
from ddlwa.check.samples import Timed, sample
from ddlwa.report import json_
from ddlwa.report.model import Explained, Fault, Finding, Mode, OtherTrace, TracedSpan

DOCS = Path(__file__).parents[3] / "docs"
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
    schema = json.loads((DOCS / f"{request.param}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return full_report() if request.param == "report" else full_baseline(tmp_path), Draft202012Validator(
        schema
    )


def places(value, path=()):
    """Give the path of each object within a document, the document itself first."""
    if isinstance(value, dict):
        yield path
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, one in entries:
        yield from places(one, (*path, key))


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
    validator = Draft202012Validator(json.loads((DOCS / "report.schema.json").read_text("utf-8")))
    validator.validate(json.loads(json_.render(make_report(make_run(Mode.DDLWA)))))


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


def test_each_fault_is_known():
    """A new one is not to surprise readers."""
    schema = json.loads((DOCS / "report.schema.json").read_text("utf-8"))
    assert schema["$defs"]["fault"]["enum"] == [fault.value for fault in Fault]
    assert schema["properties"]["schema_version"]["const"] == json_.SCHEMA_VERSION
