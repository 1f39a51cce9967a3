"""Each thing is said once, or seldom."""

import logging
from types import SimpleNamespace

import pytest

from ddlwa import log
from ddlwa.log import warn_once, warn_seldom


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now_s=1000.0)
    monkeypatch.setattr(log, "time", SimpleNamespace(monotonic=lambda: clock.now_s))
    return clock


def test_once(clock, warnings_said):
    """What is to be said once is said once, however often and with whatever arguments."""
    for number in range(3):
        warn_once("a", "first of %d", number)
        clock.now_s += 10_000
    warn_once("b", "another")
    assert warnings_said() == ["first of 0", "another"]


def test_seldom(clock, warnings_said):
    """What is to be said seldom is said again once a minute has passed since it was said."""
    for at_s in (0, 1, 59.9, 60, 61, 119.9, 120):
        clock.now_s = 1000 + at_s
        warn_seldom("a", "at %g", at_s)
    assert warnings_said() == ["at 0", "at 60", "at 120"]


def test_seldom_just_after_the_machine_has_started(clock, warnings_said):
    """The first time counts, even if the clock began a moment ago."""
    clock.now_s = 0.0
    warn_seldom("a", "early")
    assert warnings_said() == ["early"]


def test_kinds_are_independent(clock, warnings_said):
    """What is said of one kind does not silence another."""
    warn_seldom("a", "a")
    warn_seldom("b", "b")
    warn_seldom("a", "a")
    assert warnings_said() == ["a", "b"]


def test_levels(caplog):
    """Everything is a WARNING of the one logger, with a traceback where one is asked for."""
    try:
        int("no number")
    except ValueError:
        warn_once("a", "it failed", exc_info=True)
    warn_seldom("b", "seldom")
    assert {(record.name, record.levelno) for record in caplog.records} == {("ddlwa", logging.WARNING)}
    assert [record.exc_info is None for record in caplog.records] == [False, True]
    assert [record.getMessage() for record in caplog.records] == ["it failed", "seldom"]
