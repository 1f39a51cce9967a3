from __future__ import annotations

import json
import sys
from xml.etree import ElementTree as ET

import pytest
from check_reports import make_report

from ddlwa import cli
from ddlwa.check import command
from ddlwa.check.errors import AppImportError


@pytest.fixture(params=[True, False], ids=["right", "wrong"])
def right(request, monkeypatch):
    """Have the check end so."""

    async def check(options, *, on_progress):
        return make_report(options, right=request.param)

    monkeypatch.setattr(command, "check", check)
    return request.param


@pytest.fixture
def broken(monkeypatch):
    """Have the check not be made."""

    async def check(options, *, on_progress):
        raise AppImportError("main:app", "importing it raised ValueError", output="Traceback …\nValueError")

    monkeypatch.setattr(command, "check", check)


@pytest.fixture
def job(monkeypatch, tmp_path):
    """Run in a job of GitHub Actions; give the file of its summary."""
    summary = tmp_path / "summary.md"
    summary.write_text("# Another step\n", "utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def test_all_reports_can_be_had_at_once(right, tmp_path, capsys):
    """Each is written whether the check passed or not, and the terminal's is printed as always."""
    files = [tmp_path / name for name in ("r.json", "r.xml", "r.html")]
    options = zip(("--json", "--junit", "--html"), files, strict=True)
    code = cli.main(["check", "main:app", *(str(part) for option in options for part in option)])
    assert code == (0 if right else 1)
    assert json.loads(files[0].read_text("utf-8"))["right"] is right
    assert ET.parse(files[1]).getroot().tag == "testsuites"  # noqa: S314  # we wrote it
    assert files[2].read_text("utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().out.startswith("main:app with ddlwa\n")


def test_a_job_of_github_is_told_by_itself(right, job, capsys):
    """Its log has annotations of what is wrong, and the summary stands behind what other steps wrote."""
    cli.main(["check", "main:app"])
    assert ("::error" in capsys.readouterr().out) is not right
    text = job.read_text("utf-8")
    assert text.startswith("# Another step\n")
    assert "main:app" in text


def test_nobody_else_sees_workflow_commands(right, capsys):
    """They would be noise."""
    cli.main(["check", "main:app"])
    assert "::" not in capsys.readouterr().out


@pytest.mark.usefixtures("broken")
def test_a_check_that_could_not_be_made_is_no_success(job, tmp_path, capsys):
    """A CI server that finds no test case might take that for good news."""
    file = tmp_path / "r.xml"
    assert cli.main(["check", "main:app", "--junit", str(file)]) == 2
    assert ET.parse(file).getroot().get("errors") == "1"  # noqa: S314  # we wrote it
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "::error" in captured.err
    assert "importing it raised ValueError" in captured.err
    assert "importing it raised ValueError" in job.read_text("utf-8")


@pytest.mark.usefixtures("broken")
def test_what_the_app_printed_gives_no_commands(job, capsys):
    """It stands between commands that only ddlwa knows the end of; the annotation comes behind them."""
    cli.main(["check", "main:app"])
    begin, *text, end, annotation = capsys.readouterr().err.splitlines()
    assert begin.removeprefix("::stop-commands::") == end.strip(":")
    assert len(end) > 40
    assert text[1:] == ["Traceback …", "ValueError"]
    assert annotation.startswith("::error ")


def test_the_report_gives_no_commands_but_its_own(right, job, capsys):
    """A route may be called like one."""
    cli.main(["check", "main:app"])
    begin, _, *rest = capsys.readouterr().out.splitlines()
    (end,) = (line for line in rest if line.strip(":") == begin.removeprefix("::stop-commands::"))
    assert all(line.startswith("::error ") for line in rest[rest.index(end) + 1 :])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a file that is always full")
def test_a_file_that_cannot_be_written_is_wrong_usage(right, capsys):
    """The message names it; the exit code is not that of a check."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "main:app", "--json", "/dev/full"])
    assert ended.value.code == 2
    assert "cannot write /dev/full: No space left on device" in capsys.readouterr().err
