"""The first invocation of a sandbox is told from the others, and one started ahead from a cold one."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddlwa import coldstart
from ddlwa.coldstart import WARM, Sandbox, process_age_s


class Clock:
    """The time of day, as a test wants it."""

    now_s = 1_700_000_000.0

    def __call__(self):
        return self.now_s


@pytest.mark.parametrize(("after_s", "cold"), [(0, True), (9.9, True), (10.1, False), (3600, False)])
def test_only_the_first_is_cold_or_proactive(after_s, cold):
    """A sandbox that has waited for more than ten seconds was not started for its first invocation."""
    clock = Clock()
    sandbox = Sandbox(wall_s=clock)
    clock.now_s += after_s
    first = sandbox.invoked()
    assert (first.cold, first.proactive) == (cold, not cold)
    assert [sandbox.invoked() for _ in range(3)] == [WARM] * 3


def test_a_readiness_check_is_no_invocation():
    """It ends the start, but the first invocation is cold all the same."""
    sandbox = Sandbox()
    sandbox.ready()
    time.sleep(0.05)
    sandbox.ready()
    age_s = process_age_s()
    first = sandbox.invoked()
    assert first.cold
    assert 0 < first.init_ms <= (age_s - 0.05) * 1000 + 1


def test_the_age_of_a_process():
    """It counts from the process's own start, not from that of the import."""
    code = "import time; time.sleep(0.3); from ddlwa.coldstart import process_age_s; print(process_age_s())"
    begun_s = time.monotonic()
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert 0.3 <= float(output) <= time.monotonic() - begun_s + 0.02


@pytest.mark.parametrize("text", ["", "1 (a) S", "1 (a) " + "x " * 30, None])
def test_where_it_cannot_be_known(text, monkeypatch, tmp_path):
    """Without /proc, or with another one, there is no init time and no failure."""
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    monkeypatch.setattr(coldstart, "Path", lambda _: Path(stat))
    assert process_age_s() is None
    sandbox = Sandbox()
    sandbox.ready()
    assert sandbox.invoked().init_ms is None
