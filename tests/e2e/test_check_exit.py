from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from check_command import TIMEOUT_S, start

APP = (
    "import asyncio, pathlib\n"
    "from fastapi import FastAPI\n"
    "app = FastAPI()\n"
    "@app.get('/wait')\n"
    "async def wait():\n"
    "    pathlib.Path('reached').touch()\n"
    "    await asyncio.sleep(60)\n"
)
GONE_WITHIN_S = 10


def list_descendants(pid):
    """Find the processes that a process started, directly or not."""
    listed = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], check=True, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    children = {}
    for line in listed.stdout.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return set(found)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, *, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_process(tmp_path, number, code):
    """Ctrl-C in the middle of an invocation ends the command with 130, and the app and the agent with it."""
    (tmp_path / "waiting.py").write_text(APP)
    with start("waiting:app", "--route", "/wait", cwd=tmp_path) as process:
        try:
            wait_until((tmp_path / "reached").exists, timeout_s=TIMEOUT_S)
            started = list_descendants(process.pid)
            assert len(started) >= 2  # the app and the agent
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.terminate()
    assert (process.returncode, stdout) == (code, "")
    assert number.name in stderr
    wait_until(lambda: not any(map(is_alive, started)), timeout_s=GONE_WITHIN_S)
