from __future__ import annotations

import json

import pytest
from check_command import run
from lwa_support import BINARIES, find

from ddlwa.demo.tour import TOUR

JUMPED_NS, REAL_NS = 10_800_000_000_000, 50_000_000


def read_runs(file):
    """Give the runs of a report by their mode."""
    return {one["mode"]: one for one in json.loads(file.read_text(encoding="utf-8"))["runs"]}


def test_the_demo_shows_the_difference(tmp_path):
    """Every route is right with ddlwa and wrong with plain ddtrace, and none is delivered with that."""
    file = tmp_path / "report.json"
    code, stdout, stderr = run("--demo", "--compare", "--json", str(file), cwd=tmp_path)
    assert (code, stderr) == (0, ""), stdout
    runs = read_runs(file)
    assert len(runs["ddlwa"]["routes"]) == len(runs["plain"]["routes"]) == len(TOUR)
    assert all(route["right"] for route in runs["ddlwa"]["routes"])
    freeze_ns = JUMPED_NS if runs["plain"]["clock_jumped"] else REAL_NS
    for route in runs["plain"]["routes"]:
        assert "late" in route["faults"]
        assert "frozen time" in route["faults"]
        assert route["delivered"] == 0
        assert route["longest_ns"] >= freeze_ns
    assert stdout.splitlines()[-1].startswith("✓ ddlwa          100/100 right")


@pytest.mark.parametrize("invoke_mode", ["buffered", "response_stream"])
@pytest.mark.parametrize("binary", BINARIES)
def test_the_real_adapter_gives_the_same_verdicts(tmp_path, binary, invoke_mode):
    """Behind the real adapter too every route is right with ddlwa and wrong with plain ddtrace."""
    file = tmp_path / "report.json"
    adapter = ("--adapter", str(find(binary).path), "--invoke-mode", invoke_mode)
    once = ("--compare", "--requests", str(len(TOUR)), "--json", str(file))
    code, stdout, stderr = run("--demo", *once, *adapter, cwd=tmp_path)
    assert (code, stderr) == (0, ""), stdout
    assert f"adapter: Lambda Web Adapter {find(binary).version}, {invoke_mode}" in stdout
    runs = read_runs(file)
    assert all(route["right"] for route in runs["ddlwa"]["routes"])
    for route in runs["plain"]["routes"]:
        assert {"late", "frozen time"} <= set(route["faults"])


def test_plain_ddtrace_fails_the_check(tmp_path):
    """Without ddlwa the exit code is 1, and what is wrong is explained."""
    code, stdout, _ = run("--demo", "--plain", "--requests", str(len(TOUR)), cwd=tmp_path)
    assert code == 1
    assert f"✗ late, {len(TOUR)} times, for example in GET /, invocation 1" in stdout
    assert f"✗ plain ddtrace  0/{len(TOUR)} right  0/{len(TOUR)} delivered" in stdout


def test_background_work_over_a_freeze_is_told_from_the_request(tmp_path):
    """A task still running at the next freeze has a message of its own, if its frozen time stays in."""
    (tmp_path / "slow_tasks.py").write_text(
        "import asyncio\n"
        "from fastapi import BackgroundTasks, FastAPI\n"
        "app = FastAPI()\n"
        "@app.get('/start')\n"
        "async def start(tasks: BackgroundTasks):\n"
        "    tasks.add_task(asyncio.sleep, 0.2)\n"
    )
    arguments = ("slow_tasks:app", "--route", "/start", "--requests", "2")
    code, stdout, _ = run(*arguments, "--plain", cwd=tmp_path)
    assert code == 1
    assert "✗ frozen background" in stdout
    code, stdout, _ = run(*arguments, cwd=tmp_path)
    assert code == 0
    assert "2/2 delivered" in stdout


def test_spans_that_plain_ddtrace_does_not_record_are_found(tmp_path):
    """Whatever tracing with ddlwa changes but times is named, where both are run."""
    (tmp_path / "two_faced.py").write_text(
        "import sys\n"
        "from ddtrace.trace import tracer\n"
        "from fastapi import FastAPI\n"
        "app = FastAPI()\n"
        "@app.get('/')\n"
        "async def root():\n"
        "    if 'ddlwa.patch' in sys.modules:\n"
        "        with tracer.trace('only.with.ddlwa'): pass\n"
    )
    code, stdout, _ = run("two_faced:app", "--compare", "--requests", "4", cwd=tmp_path)
    said = " ".join(stdout.split())
    assert code == 1
    assert "✗ different, 4 times" in said
    assert (
        "only.with.ddlwa within fastapi.request (GET /) is recorded once, by plain ddtrace 0 times." in said
    )


def test_an_app_of_the_user_is_found_in_the_current_folder(tmp_path):
    """Its GET routes without parameters and / are asked for when no route is named."""
    (tmp_path / "users_app.py").write_text(
        "from fastapi import FastAPI\n"
        "app = FastAPI()\n"
        "@app.get('/items')\n"
        "def items(): return []\n"
        "@app.get('/items/{number}')\n"
        "def item(number: int): return number\n"
    )
    code, stdout, _ = run("users_app:app", "--requests", "4", cwd=tmp_path)
    rows = [line.split()[:3] for line in stdout.splitlines() if line.startswith("GET")]
    assert rows == [["GET", "/", "404"], ["GET", "/items", "200"]]
    assert code == 0, stdout
