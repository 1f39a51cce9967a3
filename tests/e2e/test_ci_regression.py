"""A user's CI fails when somebody adds a middleware that keeps a span open, and passes when it is gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

APP = Path(__file__).parent / "ci_apps" / "main.py"
TEST = """
from ddlwa.testing import assert_right


def test_root(lambda_sandbox):
    lambda_sandbox.invoke("/")
    lambda_sandbox.freeze("3h")
    assert_right(lambda_sandbox.trace())
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Make a project with an app, a test, and a baseline of how it is without the middleware."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(APP, folder)
    (folder / "test_traces.py").write_text(TEST, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nddlwa_app = main:app\n", "utf-8")
    done = check(folder, "--save-baseline", "baseline.json")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def check(folder, *arguments, **env):
    """Run the command as the user's CI does."""
    command = Path(sys.executable).with_name("ddlwa")
    return run([command, "check", "main:app", *arguments], folder, **env)


def run(command, folder, **env):
    ours = {name: value for name, value in os.environ.items() if name not in {"GITHUB_ACTIONS", "PYTHONPATH"}}
    return subprocess.run(
        command, cwd=folder, env={**ours, **env}, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.fixture(scope="module")
def slower(project):
    """Check the app with a middleware that keeps a span open for 10 ms, in a job of GitHub's."""
    summary = project / "summary.md"
    env = {"AUDIT": "slow", "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    reports = ("--junit", "r.xml", "--json", "r.json", "--html", "r.html")
    return check(project, "--baseline", "baseline.json", "--fail-if", "p50:20%", *reports, **env)


def test_the_command_fails_when_a_middleware_keeps_a_span_open(slower, project):
    """Terminal, JUnit, annotation, summary and page name the route, the span, both durations, the cause."""
    assert slower.returncode == 1, slower.stdout + slower.stderr
    (found,) = (
        one
        for one in json.loads((project / "r.json").read_text("utf-8"))["comparison"]["compared"]
        if one["slower"]
    )
    assert (found["route"], found["span"]) == ("GET /", "fastapi.request")
    assert found["now_ns"] - found["before_ns"] > 9_000_000
    assert found["cause"].startswith("audit is new, and takes 1")
    (failure,) = ET.parse(project / "r.xml").iter("failure")  # noqa: S314  # we wrote it
    told = failure.get("message")
    assert told.startswith("fastapi.request takes 1")
    assert " where it took " in told
    assert "Most likely: audit is new" in told
    terminal = " ".join(slower.stdout.split())
    assert f"✗ slower, GET / {told}" in terminal
    assert "::error title=ddlwa check main%3Aapp%3A slower%3A GET /::fastapi.request takes 1" in terminal
    for page in ("summary.md", "r.html"):
        text = (project / page).read_text("utf-8")
        assert "GET /" in text
        assert "audit is new, and takes 1" in text


def test_the_command_passes_when_it_is_gone(slower, project):
    """The same baseline, the same thresholds."""
    done = check(project, "--baseline", "baseline.json", "--fail-if", "p50:20%")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ 0 of 3 durations slower than allowed" in done.stdout


def test_without_ddlwa_at_work_an_open_span_needs_no_baseline(project):
    """Where ddlwa is told to keep spans open, the trace is not delivered in time: no tolerance for that."""
    done = check(project, "--requests", "3", AUDIT="open", DDLWA_OPEN_SPANS="keep")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "What to do: " in done.stdout
    assert check(project, "--requests", "3", DDLWA_OPEN_SPANS="keep").returncode == 0


def test_pytest_fails_and_passes_in_the_same_way(project):
    """The plugin judges as the command does; by default ddlwa finishes the span, and all is right."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    failed = run(command, project, AUDIT="open", DDLWA_OPEN_SPANS="keep")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "AssertionError: GET /: the trace is wrong" in failed.stdout
    assert "What to do: " in failed.stdout
    assert run(command, project, AUDIT="open").returncode == 0
    assert run(command, project).returncode == 0
