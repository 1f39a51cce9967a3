from __future__ import annotations

import os
from pathlib import Path

import pytest

from ddlwa.simulator.clock import SandboxClock, find_library

_LIBRARY = Path("/lib/faketime.so")


def test_shows_this_machines_clock_plus_the_jumps(tmp_path):
    """The clock is the machine's until it jumps, then ahead by the sum of its jumps."""
    clock = SandboxClock(library=_LIBRARY, wall_ns=lambda: 1_000)
    assert clock.now_ns() == 1_000
    clock.keep_in(tmp_path)
    clock.jump(10_800_500_000_000)
    clock.jump(1)
    assert clock.now_ns() == 10_800_500_001_001
    assert clock.at(5) == 10_800_500_000_006


@pytest.mark.parametrize(
    ("jump_ns", "content"),
    [(0, "+0.000000000\n"), (1, "+0.000000001\n"), (10_800_500_000_000, "+10800.500000000\n")],
)
def test_writes_the_offset_for_the_library(tmp_path, jump_ns, content):
    """The file holds the offset in seconds, with nanoseconds, and nothing else is left beside it."""
    clock = SandboxClock(library=_LIBRARY)
    clock.keep_in(tmp_path)
    clock.jump(jump_ns)
    file = Path(clock.environment({})["FAKETIME_TIMESTAMP_FILE"])
    assert file.read_text() == content
    assert list(tmp_path.iterdir()) == [file]


def test_keeps_an_existing_preload(tmp_path):
    """A library that is preloaded already still is, behind the clock's."""
    clock = SandboxClock(library=_LIBRARY)
    clock.keep_in(tmp_path)
    assert clock.environment({})["LD_PRELOAD"] == "/lib/faketime.so"
    assert clock.environment({"LD_PRELOAD": "/a.so"})["LD_PRELOAD"] == "/lib/faketime.so:/a.so"


def test_without_a_library_it_changes_nothing(tmp_path):
    """Where no library fits, no variable is set and no process counts as attached."""
    clock = SandboxClock(library=None)
    clock.keep_in(tmp_path)
    assert clock.environment({"LD_PRELOAD": "/a.so"}) == {}
    assert not clock.attached(os.getpid())


def test_knows_whether_a_process_has_the_library():
    """A process that has not loaded the library, or is gone, is not on the clock."""
    clock = SandboxClock(library=_LIBRARY)
    assert not clock.attached(os.getpid())
    assert not clock.attached(2**22 + 1)


@pytest.mark.parametrize(
    ("system", "machine"),
    [("darwin", "arm64"), ("darwin", "x86_64"), ("linux", "aarch64"), ("win32", "x86_64")],
)
def test_has_a_library_on_x86_64_linux_only(monkeypatch, system, machine):
    """The package claims every platform, but its library runs on one."""
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert find_library() is None


def test_needs_the_package(monkeypatch):
    """Without the package there is no library, and no error."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert find_library() is None
