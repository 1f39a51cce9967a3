from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest
from check_reports import make_report

import ddlwa
from ddlwa import cli
from ddlwa.check import command
from ddlwa.check.errors import AppImportError
from ddlwa.check.plan import Planned
from ddlwa.check.threshold import Threshold
from ddlwa.report.model import Mode
from ddlwa.simulator import InvokeMode


@pytest.fixture
def checked(monkeypatch):
    """Replace the check by one that notes its options and is right."""
    seen = []

    async def check(options, *, on_progress):
        seen.append(options)
        on_progress(options.modes[0], 1, 1)
        return make_report(options, right=True)

    monkeypatch.setattr(command, "check", check)
    return seen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--demo"),
        (["main:app", "--demo"], "--demo"),
        (["main"], "MODULE:ATTR"),
        (["main:"], "MODULE:ATTR"),
        ([":app"], "MODULE:ATTR"),
        (["main:app", "--plain", "--compare"], "not allowed with"),
        (["main:app", "--route", "items"], "GET /items/1"),
        (["main:app", "--requests", "0"], "at least 1"),
        (["main:app", "--requests", "many"], "invalid int"),
        (["main:app", "--freeze", "soon"], "--freeze"),
        (["main:app", "--json", "/no/such/folder/report.json"], "--json"),
        (["main:app", "--json", "/"], "--json"),
        (["main:app", "--adapter", "/no/such/adapter"], "cargo install lambda_web_adapter"),
        (["main:app", "--invoke-mode", "streaming"], "response_stream"),
        (["main:app", "--explain", "--plain"], "--compare"),
        (["main:app", "--fail-if", "p50:20%"], "--baseline"),
        (["main:app", "--baseline", "b.json", "--fail-if", "20%"], "p95:20% or p50:5ms"),
        (["main:app", "--save-baseline", "/no/such/folder/b.json"], "--save-baseline"),
        (["main:app", "--junit", "/no/such/folder/report.xml"], "--junit"),
        (["main:app", "--html", "/"], "--html"),
        (["main:app", "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2(capsys, checked, arguments, said):
    """What is wrong is named on stderr, and nothing is run."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", *arguments])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out
    assert not checked


def test_the_version_is_printed(capsys):
    """`ddlwa --version` names the package's version."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"ddlwa {ddlwa.__version__}\n"


def test_a_missing_package_is_named_with_its_extra(capsys, monkeypatch):
    """Without the extra the command says what to install."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "aiohttp" else find_spec(name)
    )
    assert cli.main(["check", "--demo"]) == 2
    error = capsys.readouterr().err
    assert "aiohttp" in error
    assert "pip install 'ddlwa[check]'" in error


def test_a_right_report_is_exit_code_0(capsys, checked):
    """Only the report goes to stdout, and nothing to stderr where that is no terminal."""
    assert cli.main(["check", "main:app"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("main:app with ddlwa\n")
    assert not captured.err


def test_a_wrong_report_is_exit_code_1(monkeypatch, capsys):
    """A check that failed is not an error of the command."""

    async def check(options, *, on_progress):
        return make_report(options, right=False)

    monkeypatch.setattr(command, "check", check)
    assert cli.main(["check", "--demo", "--plain"]) == 1
    assert "✗ lost" in capsys.readouterr().out


def test_the_options_reach_the_check(checked):
    """Each option has its effect, a route given twice counts once."""
    arguments = ["--route", "GET /items/1", "--route", "/items/1", "--requests", "7", "--freeze", "90s"]
    cli.main(["check", "main:app", "--compare", "--invoke-mode", "response_stream", *arguments])
    cli.main(["check", "--demo", "--plain"])
    cli.main(["check", "--demo", "--explain"])
    assert checked == [
        command.Options(
            app="main:app",
            routes=(Planned("GET", "/items/1"),),
            total=7,
            freeze_ns=90_000_000_000,
            modes=(Mode.PLAIN, Mode.DDLWA),
            invoke_mode=InvokeMode.RESPONSE_STREAM,
        ),
        command.Options(
            app=command.DEMO_APP, routes=(), total=None, freeze_ns=10_800_000_000_000, modes=(Mode.PLAIN,)
        ),
        command.Options(
            app=command.DEMO_APP,
            routes=(),
            total=None,
            freeze_ns=10_800_000_000_000,
            modes=(Mode.DDLWA,),
            explain=True,
        ),
    ]


def test_what_is_compared_reaches_the_check(checked):
    """Thresholds are read in their order, each once; without one it is the default."""
    cli.main(["check", "main:app", "--baseline", "b.json", "--save-baseline", "new.json"])
    twice = ["--fail-if", "p95:20%", "--fail-if", "p50:5ms", "--fail-if", "p95:20%"]
    cli.main(["check", "main:app", "--baseline", "b.json", *twice])
    assert (checked[0].baseline, checked[0].save_baseline) == (Path("b.json"), Path("new.json"))
    assert checked[0].thresholds == (Threshold.parse("p50:20%"),)
    assert checked[1].thresholds == (Threshold.parse("p95:20%"), Threshold.parse("p50:5ms"))


def test_a_baseline_of_a_wrong_run_is_not_announced(monkeypatch, capsys, tmp_path):
    """What is wrong is no measure for what comes; the command says that nothing was saved."""

    async def check(options, *, on_progress):
        return make_report(options, right=False)

    monkeypatch.setattr(command, "check", check)
    assert cli.main(["check", "main:app", "--save-baseline", str(tmp_path / "b.json")]) == 1
    assert "is not written" in capsys.readouterr().err


def test_the_adapter_is_named_in_the_report(capsys, checked, monkeypatch, tmp_path):
    """The report says which adapter it was, in which mode, by whatever means it was chosen."""
    binary = tmp_path / "lambda-adapter"
    binary.write_bytes(b"lambda_web_adapter-0.9.1/")
    binary.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AWS_LWA_INVOKE_MODE", "response_stream")
    cli.main(["check", "--demo"])
    cli.main(["check", "--demo", "--adapter", "lwa", "--invoke-mode", "buffered"])
    output = capsys.readouterr().out
    assert "adapter: built-in, response_stream\n" in output
    assert "adapter: Lambda Web Adapter 0.9.1, buffered\n" in output


def test_the_report_is_written_as_json(checked, tmp_path):
    """`--json` writes the same report to a file."""
    file = tmp_path / "report.json"
    assert cli.main(["check", "main:app", "--json", str(file)]) == 0
    assert json.loads(file.read_text(encoding="utf-8"))["app"] == "main:app"


def test_an_app_that_can_not_be_imported_is_exit_code_2(monkeypatch, capsys):
    """The reason comes with what the app printed, its traceback above all."""

    async def check(options, *, on_progress):
        raise AppImportError(options.app, "importing it raised ValueError", output="Traceback …\nValueError")

    monkeypatch.setattr(command, "check", check)
    assert cli.main(["check", "main:app"]) == 2
    error = capsys.readouterr().err
    assert "main:app: importing it raised ValueError" in error
    assert error.endswith("Traceback …\nValueError\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_check_and_lets_it_clean_up(monkeypatch, capsys, number, code):
    """The exit code is the shell's for that signal, and a second signal does not cut the cleaning short."""
    cleaned = []

    async def check(options, *, on_progress):
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.01)
            cleaned.append(True)

    monkeypatch.setattr(command, "check", check)
    assert cli.main(["check", "main:app"]) == code
    assert cleaned
    assert number.name in capsys.readouterr().err
