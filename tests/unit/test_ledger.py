"""Frozen or merely busy: the ledger tells by the clocks."""

import hashlib
import threading
import time

import pytest

from ddlwa.ledger import Ledger

MS = 1_000_000
HOUR = 3_600_000 * MS


class Clocks:
    """A wall clock and a processor clock that a test moves."""

    def __init__(self):
        self.wall = 10 * HOUR
        self.cpu = 0

    def run(self, wall_ms, *, cpu_ms=0):
        self.wall += wall_ms * MS
        self.cpu += cpu_ms * MS


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def ledger(clocks, monkeypatch):
    """Give a ledger whose heart beats only when the test says so."""
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    return Ledger(wall_ns=lambda: clocks.wall, cpu_ns=lambda: clocks.cpu)


def serve(ledger):
    ledger.arrived()
    ledger.released()


def test_a_freeze_after_the_response(ledger, clocks):
    """Time that passed between a response and the next request, with the process idle, was a freeze."""
    serve(ledger)
    start = clocks.wall
    clocks.run(3 * 3_600_000)
    ledger.arrived()
    assert ledger.latest_ns() == clocks.wall
    assert ledger.frozen_ns(start - 5 * MS, clocks.wall + 5 * MS) == 3 * HOUR
    assert ledger.frozen_ns(0, start) == 0


def test_a_span_that_begins_beside_a_freeze(ledger, clocks):
    """A span that began between the last beat and the freeze loses it; one after the thaw does not."""
    serve(ledger)
    start = clocks.wall
    clocks.run(3 * 3_600_000)
    ledger.arrived()
    assert ledger.frozen_ns(start + 5 * MS, clocks.wall + 5 * MS) == 3 * HOUR - 5 * MS
    assert ledger.frozen_ns(clocks.wall - 5 * MS, clocks.wall + HOUR) == 0


def test_a_span_that_ends_before_the_heart_beats(ledger, clocks):
    """A span that finishes right after the thaw already sees the freeze."""
    serve(ledger)
    clocks.run(3 * 3_600_000)
    assert ledger.latest_ns() == clocks.wall


def test_time_that_the_process_ran(ledger, clocks):
    """Beats that come in time find nothing, however long they go on."""
    serve(ledger)
    for _ in range(1000):
        clocks.run(10)
        ledger.beat()
        assert ledger.latest_ns() == 0


@pytest.mark.parametrize("share", [1.0, 0.5, 0.07], ids=["CPU-bound", "half", "throttled to 128 MB"])
@pytest.mark.parametrize("wall_ms", [20, 100, 1000, 60_000])
def test_a_busy_process_is_not_taken_for_frozen(share, wall_ms, ledger, clocks):
    """A beat that is late because the process was busy, be it throttled, is no freeze."""
    serve(ledger)
    clocks.run(wall_ms, cpu_ms=wall_ms * share)
    ledger.beat()
    clocks.run(5)
    ledger.arrived()
    assert ledger.latest_ns() == 0


def test_no_freeze_while_a_request_is_served(ledger, clocks):
    """What happens while any request is under way cannot be a freeze."""
    ledger.arrived()
    ledger.arrived()
    ledger.released()
    clocks.run(60_000)
    ledger.beat()
    assert ledger.latest_ns() == 0
    ledger.released()
    clocks.run(60_000)
    assert ledger.frozen_ns(clocks.wall - 90_000 * MS, clocks.wall) == 0
    assert ledger.latest_ns() == clocks.wall
    assert ledger.frozen_ns(clocks.wall - 90_000 * MS, clocks.wall) == 60_000 * MS


def test_many_freezes(ledger, clocks):
    """An interval over many freezes contains each of them."""
    start = clocks.wall
    for _ in range(100):
        serve(ledger)
        clocks.run(3_600_000)
        ledger.arrived()
        ledger.released()
        ledger.arrived()
        clocks.run(7)
        ledger.released()
    assert ledger.frozen_ns(start, clocks.wall) == 100 * HOUR
    fiftieth = start + 50 * (HOUR + 7 * MS)
    assert ledger.frozen_ns(fiftieth, fiftieth + HOUR) == HOUR


def test_a_fork_starts_anew(ledger, clocks):
    """A forked child, in which nothing beats, begins with a request as any process does."""
    serve(ledger)
    ledger.forked()
    clocks.run(3_600_000)
    ledger.beat()
    assert ledger.latest_ns() == 0
    serve(ledger)
    clocks.run(3_600_000)
    assert ledger.latest_ns() == clocks.wall


def busy_python():
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass


def busy_without_the_gil():
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 300_000)


def busy_with_the_gil():
    sorted(range(3_000_000, 0, -1), key=lambda n: -n)


def blocked():
    time.sleep(0.3)


@pytest.mark.parametrize("work", [busy_python, busy_without_the_gil, busy_with_the_gil, blocked])
def test_a_really_busy_process(work):
    """Real work of any kind after the response is not taken for a freeze."""

    def found():
        ledger = Ledger()
        serve(ledger)
        time.sleep(0.03)
        work()
        time.sleep(0.03)
        ledger.arrived()
        ledger.stop()
        return ledger.latest_ns()

    # Neighbours may keep a process off the processor as a freeze does, but not each time.
    assert 0 in (found() for _ in range(3))


def test_a_stopped_heart_beats_no_more():
    """Its thread ends, and no later response starts it again."""

    def hearts():
        return [thread for thread in threading.enumerate() if thread.name == "ddlwa-ledger"]

    before = hearts()
    ledger = Ledger()
    serve(ledger)
    (heart,) = set(hearts()) - set(before)
    ledger.stop()
    heart.join(5)
    assert not heart.is_alive()
    serve(ledger)
    assert set(hearts()) <= set(before)
