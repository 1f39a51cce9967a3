"""`ddlwa-run` with real commands: servers answer traced, exit codes and signals are the child's."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
APP = """
import ddlwa.patch
from ddtrace.trace import tracer
from fastapi import FastAPI

app = FastAPI()

@app.get("/")
def root():
    return {"gated": ddlwa.patch._installation is not None, "traced": tracer.current_span() is not None}
"""
SERVE = """
import uvicorn
uvicorn.run("main:app", port=0)
"""


@pytest.fixture
def env(tmp_path):
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "serve.py").write_text(SERVE)
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DD_", "DDLWA_", "AWS_"))
        },
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "AWS_LAMBDA_FUNCTION_NAME": "shop",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
    }


def ddlwa_run(*words, env, cwd, **options):
    return subprocess.run(
        [shutil.which("ddlwa-run", path=env["PATH"]), *words],
        env=env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["uvicorn", "main:app", "--port", "0"],
        ["python", "-m", "uvicorn", "main:app", "--port", "0"],
        ["hypercorn", "main:app", "--bind", "127.0.0.1:0"],
        ["python", "serve.py"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_servers(words, env, tmp_path):
    """A server started by ddlwa-run traces its app behind the gate, and ends on SIGTERM as it always does."""
    server = subprocess.Popen(
        [BIN / "ddlwa-run", *words],
        env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    watchdog = threading.Timer(60, server.kill)
    watchdog.start()
    try:
        output = ""
        for line in server.stdout:
            output += line
            if found := re.search(r"unning on (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail(f"the server did not start:\n{output}")
        with urllib.request.urlopen(found[1], timeout=30) as answer:  # noqa: S310 - our own server
            assert json.load(answer) == {"gated": True, "traced": True}
        server.send_signal(signal.SIGTERM)
        server.stdout.read()
        assert server.wait(30) in {0, -signal.SIGTERM}
    finally:
        watchdog.cancel()
        server.kill()
        server.stdout.close()
        server.wait()


def test_exit_code_is_the_childs(env, tmp_path):
    """The command's exit code is ddlwa-run's."""
    assert ddlwa_run("python", "-c", "raise SystemExit(7)", env=env, cwd=tmp_path).returncode == 7


def test_signals_are_the_childs(env, tmp_path):
    """The command has ddlwa-run's own process id, so a signal reaches it."""
    code = "import os, signal; os.kill(os.getppid(), 0); os.kill(os.getpid(), signal.SIGUSR1)"
    assert ddlwa_run("python", "-c", code, env=env, cwd=tmp_path).returncode == -signal.SIGUSR1
    child = subprocess.Popen(
        [BIN / "ddlwa-run", "python", "-c", "import os; print(os.getpid())"],
        env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert int(child.communicate(timeout=60)[0]) == child.pid


def test_wrong_usage_and_missing_command(env, tmp_path):
    """No command is 2, a command that does not exist is 127, each with a message."""
    wrong = ddlwa_run(env=env, cwd=tmp_path)
    assert (wrong.returncode, "usage: ddlwa-run" in wrong.stderr) == (2, True)
    missing = ddlwa_run("no-such-command", env=env, cwd=tmp_path)
    assert missing.returncode == 127
    assert (
        missing.stderr == "ddlwa-run: command not found: 'no-such-command'. Is it installed, and on PATH?\n"
    )


def test_users_sitecustomize_still_runs(env, tmp_path):
    """The `sitecustomize` that the user has on PYTHONPATH runs too, after ddlwa's."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import ddlwa.patch; print('mine', ddlwa.patch._installation is not None)"
    )
    run = ddlwa_run("python", "-c", "print('main')", env={**env, "PYTHONPATH": str(hidden)}, cwd=tmp_path)
    # The interpreter that runs ddlwa-run itself is the first to find it.
    assert (run.stdout, run.returncode) == ("mine False\nmine True\nmain\n", 0)


@pytest.mark.parametrize(
    ("change", "gated"),
    [
        ({"DDLWA_ENABLED": "false"}, False),
        ({"AWS_LAMBDA_FUNCTION_NAME": ""}, False),
        ({"AWS_LAMBDA_FUNCTION_NAME": "", "DDLWA_ENABLED": "true"}, True),
    ],
)
def test_stock_ddtrace_where_it_is_off(change, gated, env, tmp_path):
    """Where ddlwa is off, ddlwa-run is ddtrace-run."""
    code = (
        "import fastapi, ddlwa.patch\n"
        "print(ddlwa.patch._installation is not None, getattr(fastapi, '_datadog_patch', False))"
    )
    run = ddlwa_run("python", "-c", code, env={**env, **change}, cwd=tmp_path)
    assert (run.stdout, run.stderr) == (f"{gated} True\n", "")
