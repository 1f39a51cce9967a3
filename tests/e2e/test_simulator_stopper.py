from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ddtrace
import pytest
from simulator_support import Playground, run

import ddlwa.simulator
from ddlwa.simulator import HttpRequest

STOPPER = Path(ddlwa.simulator.__file__).parent / "stopper"
BOOTSTRAP = Path(ddtrace.__file__).parent / "bootstrap"
REPORT = "import sys; print(*sorted(sys.modules)); print(*map(type, sys.meta_path)); print(sys.path)"


def python(code, *path, stopper="file"):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "DDLWA_SIMULATOR_STOPPER": stopper,
        "DD_TRACE_ENABLED": "false",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def other(tmp_path):
    """Return a folder with somebody else's sitecustomize."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("print('other here')\nvalue = 1\n")
    return folder


def test_the_next_sitecustomize_runs(other):
    """A sitecustomize that the stopper hides runs once, and is the module of that name."""
    result = python("import sitecustomize; print(sitecustomize.value)", STOPPER, other)
    assert (result.stdout, result.stderr) == ("other here\n1\n", "")


@pytest.mark.parametrize("order", [(STOPPER, BOOTSTRAP), (BOOTSTRAP, STOPPER)])
def test_ddtraces_bootstrap_and_the_users_run_too(other, order):
    """With ddtrace's bootstrap before or behind it, all three are loaded, each once."""
    result = python(REPORT, *order, other)
    greeting, modules, finders, path = result.stdout.splitlines()
    assert greeting == "other here"
    assert "ddtrace.bootstrap.preload" in modules.split()
    assert finders.count("ServerFinder") == 1
    assert all(str(folder) in path for folder in (STOPPER, BOOTSTRAP, other))
    assert "Traceback" not in result.stderr


def test_alone_it_leaves_no_trace_but_its_finder():
    """With no other sitecustomize, the stopper loads nothing else and the path is as it was."""
    plain = python(REPORT).stdout.splitlines()
    result = python(REPORT, STOPPER)
    modules, finders, path = result.stdout.splitlines()
    assert set(modules.split()) - set(plain[0].split()) <= {"sitecustomize", "__future__"}
    assert "ServerFinder" in finders
    assert str(STOPPER) in path
    assert result.stderr == ""


def test_outside_a_sandbox_it_hooks_nothing():
    """Without the sandbox's variable there is no finder."""
    assert "ServerFinder" not in python(REPORT, STOPPER, stopper="").stdout


def test_errors_of_the_next_one_are_shown(tmp_path):
    """An error in the user's sitecustomize is reported as Python does, and hooks stay."""
    (tmp_path / "sitecustomize.py").write_text("import no_such_module\n")
    result = python("import sys; print(*map(type, sys.meta_path))", STOPPER, tmp_path)
    assert "no_such_module" in result.stderr
    assert "ServerFinder" in result.stdout


def test_a_name_that_only_looks_like_it_is_not_swallowed(tmp_path):
    """A folder without a sitecustomize changes nothing."""
    result = python("print('ran')", STOPPER, tmp_path)
    assert (result.stdout, result.stderr) == ("ran\n", "")


def test_under_ddtrace_run(tmp_path):
    """An app under ddtrace-run stops at the completing byte all the same."""
    playground = Playground(tmp_path / "notes")
    ddtrace_run = str(Path(sys.executable).with_name("ddtrace-run"))
    command = [ddtrace_run, sys.executable, "-m", "uvicorn", "endings:app", "--port", "{port}"]
    env = {"DD_TRACE_AGENT_URL": "http://127.0.0.1:9", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}

    async def scenario():
        async with playground.sandbox(command=[*command, "--lifespan", "off"], env=env) as sandbox:
            invocation = await sandbox.invoke(HttpRequest(path="/length-more"))
            assert invocation.response.body == b"ab"
            assert playground.notes()[-1] == "/length-more 0"

    run(scenario())
    assert playground.processes() == []
