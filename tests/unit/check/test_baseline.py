from __future__ import annotations

import json
from dataclasses import replace

import pytest
from measured_samples import MS, make_report, make_run, make_span, steady

from ddlwa.check.baseline import Baseline, load, save
from ddlwa.check.errors import BaselineError
from ddlwa.check.samples import Timed, sample


def make_baseline(took_ns=5 * MS):
    run = make_run({"/": steady(took_ns), "/items": [[make_span("db.query", MS)]] * 20})
    return Baseline.of(make_report(run), samples=sample([Timed(run, (MS,) * 40)]))


def test_what_is_saved_is_loaded(tmp_path):
    """Nothing is lost on the way."""
    file = tmp_path / "baseline.json"
    save(make_baseline(), file)
    assert load(file) == make_baseline()


def test_a_baseline_can_be_kept_in_a_repository(tmp_path):
    """The same measurement is the same text, which ends in a line break, and has a line for each number."""
    save(make_baseline(), tmp_path / "one.json")
    save(make_baseline(), tmp_path / "two.json")
    text = (tmp_path / "one.json").read_text("utf-8")
    assert text == (tmp_path / "two.json").read_text("utf-8")
    assert text.endswith("}\n")
    assert '"ns": 5000000,\n' in text


def test_what_may_explain_a_difference_is_told():
    """Another ddtrace, or another Python, is worth a word; the same is not."""
    before = make_baseline()
    now = replace(before, circumstances={**before.circumstances, "ddtrace": "5.0.0"})
    assert before.differences(now) == ("ddtrace was 4.16.0, is 5.0.0",)
    assert before.differences(before) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "schema_version is None"),
        ("{}", "schema_version is None"),
        ('{"schema_version": 99}', "schema_version is 99, not 1"),
        ('{"schema_version": 1}', "not whole"),
        ('{"schema_version": 1, "circumstances": [], "routes": {}}', "not whole"),
        ('{"schema_version": 1, "circumstances": {}, "routes": {"GET /": {"a": 1}}}', "not whole"),
        (
            '{"schema_version": 1, "circumstances": {}, "routes": {"GET /": {"a": {}}}}',
            "not whole",
        ),
        ("\x00\xff", "no JSON"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path, text, said):
    """The message names the file, says what is wrong with it and what to do."""
    file = tmp_path / "baseline.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BaselineError) as error:
        load(file)
    assert str(file) in str(error.value)
    assert said in str(error.value)
    assert "--save-baseline" in str(error.value)


def test_a_number_is_never_missing_in_silence(tmp_path):
    """Any statistic that is gone makes the whole baseline unusable."""
    file = tmp_path / "baseline.json"
    save(make_baseline(), file)
    document = json.loads(file.read_text("utf-8"))
    measured = document["routes"]["GET /"]["fastapi.request"]
    for key in list(measured):
        damaged = {name: value for name, value in measured.items() if name != key}
        document["routes"]["GET /"]["fastapi.request"] = damaged
        file.write_text(json.dumps(document), "utf-8")
        with pytest.raises(BaselineError, match=key):
            load(file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """Reading says how to make one, writing why it can't."""
    with pytest.raises(BaselineError, match=r"none\.json.*--save-baseline"):
        load(tmp_path / "none.json")
    with pytest.raises(BaselineError, match="No such file or directory"):
        save(make_baseline(), tmp_path / "none" / "b.json")
