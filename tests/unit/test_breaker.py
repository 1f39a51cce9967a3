"""A breaker opens soon, asks seldom, and closes only for a probe."""

import pytest

from ddlwa.breaker import Breaker, State


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("the agent", pause_s=1, longest_s=5, clock=clock)


@pytest.fixture
def opened(breaker):
    breaker.failed(dear=True)
    return breaker


def test_closed_at_first(breaker):
    """At first everything is allowed, and there is nothing to probe."""
    assert breaker.allows()
    assert not breaker.may_probe()
    assert (breaker.state, breaker.opened, breaker.closed) == (State.CLOSED, 0, 0)


def test_three_failures_in_a_row(breaker):
    """The third failure in a row opens it; a success in between begins the count anew."""
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert not breaker.allows()
    assert (breaker.state, breaker.opened) == (State.OPEN, 1)


def test_one_dear_failure(breaker):
    """One failure that was dear is enough."""
    breaker.failed(dear=True)
    assert not breaker.allows()
    assert breaker.opened == 1


def test_failing_while_open(opened, clock):
    """Failures that come late neither count as another opening nor put the probe off."""
    clock.now_s += 0.9
    for _ in range(5):
        opened.failed(dear=True)
    assert opened.opened == 1
    clock.now_s += 0.1
    assert opened.may_probe()


def test_late_success_does_not_close(opened, clock):
    """A success that was no probe closes nothing, neither an open breaker nor a half-open one."""
    opened.succeeded()
    assert opened.state is State.OPEN
    clock.now_s += 1
    assert opened.may_probe()
    opened.succeeded()
    opened.failed()
    assert opened.state is State.HALF_OPEN
    assert not opened.allows()


def test_one_probe_at_a_time(opened, clock):
    """One is told to probe once the pause is over; nobody else until that has ended."""
    assert not opened.may_probe()
    clock.now_s += 1
    assert opened.may_probe()
    assert opened.state is State.HALF_OPEN
    clock.now_s += 100
    assert not opened.may_probe()


def test_probe_that_succeeds(opened, clock):
    """A probe that succeeds closes it, and forgets the failures before."""
    clock.now_s += 1
    assert opened.may_probe()
    opened.probed(succeeded=True)
    assert opened.allows()
    assert (opened.opened, opened.closed) == (1, 1)
    opened.failed()
    opened.failed()
    assert opened.allows()


def test_pause_doubles_up_to_a_limit(opened, clock):
    """Each probe that fails doubles the pause, up to a limit; opening again begins with the first."""
    for pause_s in (1, 2, 4, 5, 5):
        clock.now_s += pause_s - 0.01
        assert not opened.may_probe()
        clock.now_s += 0.01
        assert opened.may_probe()
        opened.probed(succeeded=False)
        assert opened.state is State.OPEN
    assert (opened.opened, opened.closed) == (1, 0)
    clock.now_s += 5
    assert opened.may_probe()
    opened.probed(succeeded=True)
    opened.failed(dear=True)
    clock.now_s += 1
    assert opened.may_probe()


def test_says_so_seldom(breaker, clock, warnings_said):
    """Opening and closing are logged, but not each time that it flaps."""
    for _ in range(3):
        breaker.failed(dear=True)
        clock.now_s += 1
        assert breaker.may_probe()
        breaker.probed(succeeded=True)
    assert warnings_said() == [
        "the agent does not work; it is left alone for a while",
        "the agent works again",
    ]


def test_default_pauses():
    """Without being told otherwise, it asks after a tenth of a second, and at least every five."""
    breaker = Breaker("x", clock=(clock := Clock()))
    breaker.failed(dear=True)
    clock.now_s += 0.1
    assert breaker.may_probe()
    for _ in range(10):
        breaker.probed(succeeded=False)
        clock.now_s += 5
        assert breaker.may_probe()
