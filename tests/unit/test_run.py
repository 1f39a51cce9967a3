"""`ddlwa-run` up to the moment at which it becomes the command."""

import importlib.util
import os
from pathlib import Path

import pytest

import ddlwa
from ddlwa import run


@pytest.fixture
def executed(monkeypatch):
    """Note what would be executed, and in which environment."""
    calls = []
    monkeypatch.setattr(os, "execvpe", lambda file, words, env: calls.append((file, words, env)))
    return calls


def test_executes_the_command_with_both_bootstraps(executed, monkeypatch):
    """The command is executed with ddtrace's folder, ddlwa's, and the user's own on PYTHONPATH."""
    monkeypatch.setenv("PYTHONPATH", "mine")
    run.main(["uvicorn", "main:app", "--port", "1"])
    [(file, words, env)] = executed
    assert (file, words) == ("uvicorn", ["uvicorn", "main:app", "--port", "1"])
    first, second, third = env["PYTHONPATH"].split(os.pathsep)
    assert Path(first, "sitecustomize.py").is_file()
    assert Path(first).parent.name == "ddtrace"
    assert Path(second, "sitecustomize.py").is_file()
    assert Path(second).parent == Path(ddlwa.__file__).parent
    assert third == "mine"


@pytest.mark.parametrize(
    ("option", "variable"),
    [
        ("-d", "DD_TRACE_DEBUG"),
        ("--debug", "DD_TRACE_DEBUG"),
        ("-p", "DD_PROFILING_ENABLED"),
        ("--profiling", "DD_PROFILING_ENABLED"),
    ],
)
def test_switches(option, variable, executed, monkeypatch):
    """ddtrace-run's switches set ddtrace's variables, and are not the command's."""
    monkeypatch.delenv(variable, raising=False)
    run.main([option, "server", option])
    [(_, words, env)] = executed
    assert words == ["server", option]
    assert env[variable] == "true"


@pytest.mark.parametrize("words", [[], ["-d"], ["--nonsense", "uvicorn"]])
def test_wrong_usage(words, executed, capsys):
    """No command, or an unknown option, gives the usage and exit code 2."""
    assert run.main(words) == 2
    assert "usage: ddlwa-run" in capsys.readouterr().err
    assert executed == []


def test_help_and_version(capsys):
    """--help and --version answer on standard output."""
    assert run.main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: ddlwa-run")
    assert run.main(["--version"]) == 0
    assert capsys.readouterr().out == f"ddlwa {ddlwa.__version__}\n"


def test_command_that_does_not_exist(capsys):
    """A command that is not there is a clear error and 127, as in a shell."""
    assert run.main(["no-such-command-anywhere"]) == 127
    assert "command not found: 'no-such-command-anywhere'" in capsys.readouterr().err


def test_command_that_is_not_executable(tmp_path, capsys):
    """A file that cannot be executed is a clear error and 126, with a hint."""
    script = tmp_path / "main.py"
    script.write_text("print()")
    assert run.main([str(script)]) == 126
    assert f"Did you mean `ddlwa-run python {script}`?" in capsys.readouterr().err


def test_arguments_of_the_process(monkeypatch):
    """Called without arguments it takes the process's own."""
    monkeypatch.setattr("sys.argv", ["ddlwa-run", "--version"])
    assert run.main() == 0


def test_without_ddtrace(monkeypatch, capsys):
    """Without ddtrace there is nothing to run with, and it says so."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit) as exit_:
        run.main(["uvicorn"])
    assert exit_.value.code == 1
    assert "ddtrace is not installed" in capsys.readouterr().err
