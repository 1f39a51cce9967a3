from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from simulator_support import APPS, Playground


@pytest.fixture
def playground(tmp_path):
    return Playground(tmp_path / "notes")


@pytest.mark.parametrize("state", ["running", "frozen", "extended"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_simulator(playground, number, state):
    """However the simulating process ends, the app and the agent end with it, frozen or not."""
    command = [sys.executable, str(APPS / "session.py"), state]
    with subprocess.Popen(
        command, env={**os.environ, **playground.env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout.readline() == b"ready\n"
        assert len(playground.processes()) >= 3
        program.send_signal(number)
        program.communicate(timeout=20)
    assert program.returncode != 0
    assert playground.wait_until_empty(timeout_s=5) == []


@pytest.mark.parametrize("delay_s", [0.3, 0.6, 1.0, 1.4, 1.8, 2.2])
def test_ctrl_c_at_any_moment(playground, delay_s):
    """Ctrl-C leaves nothing, also while the agent, the extensions and the app are being started."""
    with subprocess.Popen(
        [sys.executable, str(APPS / "session.py"), "extended"],
        env={**os.environ, **playground.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(delay_s)
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=20)
    assert playground.wait_until_empty(timeout_s=5) == []
