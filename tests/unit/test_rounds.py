"""A round gives what is to be sent, until one fails, its time is over, or it is given up."""

import time

import pytest

from ddlwa.payload import Payload
from ddlwa.retention import Retention
from ddlwa.rounds import Round, Waiter

LONG_S = 1000.0


def payload(made_s=None):
    return Payload(b"x", 1, None, time.time() if made_s is None else made_s)


def waiter(budget_s=LONG_S):
    return Waiter(lambda: None, budget_s=budget_s, leftovers=True)


@pytest.fixture
def retention():
    return Retention(limit_bytes=1000, limit_s=LONG_S, dropped=pytest.fail)


def all_of(round_):
    return list(iter(round_.next, None))


def passed(round_, passed_s):
    """Have a round begun so long ago."""
    round_.begun_s -= passed_s


def test_own_first(retention):
    """What was given comes first, in its order, then what is retained, the oldest first."""
    own = [payload(), payload()]
    retained = [payload(time.time() - age_s) for age_s in (3, 2, 1)]
    for one in retained:
        retention.keep(one)
    assert all_of(Round([waiter()], own, retention)) == own + retained


def test_what_was_taken_is_not_given_back():
    """What turns out to have been accepted is not among what was not sent."""
    own = [payload(), payload()]
    round_ = Round([waiter()], own)
    assert round_.taken() == 0
    assert round_.next() is own[0]
    assert round_.taken() == 1
    assert list(round_.give_up(uncertain=True)) == own[1:]


def test_without_retention(retention):
    """A round that is not to send leftovers leaves what is retained alone."""
    retention.keep(payload())
    own = [payload()]
    assert all_of(Round([waiter()], own)) == own
    assert retention.traces == 1


def test_round_for_nobody(retention):
    """A round for nobody is of nothing."""
    retention.keep(payload())
    assert all_of(Round()) == []
    assert all_of(Round([], [], retention)) == []


def test_half_of_the_longest_budget_is_for_what_is_retained(retention):
    """What is retained is begun as long as half of the longest budget is left."""
    for _ in range(2):
        retention.keep(payload())
    round_ = Round([waiter(1), waiter(LONG_S), waiter(2)], [], retention)
    passed(round_, LONG_S / 2 - 100)
    assert round_.next() is not None
    passed(round_, 100)
    assert round_.next() is None
    assert retention.traces == 1


def test_budget_that_is_spent():
    """Once nobody waits any more nothing is begun, and what is left can be taken."""
    own = [payload(), payload(), payload()]
    round_ = Round([waiter()], own)
    assert round_.next() is own[0]
    passed(round_, LONG_S)
    assert round_.next() is None
    assert list(round_.unsent()) == own[1:]


def test_failure_ends_it(retention):
    """With the first that fails it is over; that one and what comes after it can be taken, once."""
    retention.keep(payload())
    own = [payload(), payload(), payload()]
    round_ = Round([waiter()], own, retention)
    round_.next()
    round_.fail(round_.next())
    assert round_.next() is None
    assert list(round_.unsent()) == own[1:]
    assert list(round_.unsent()) == []
    assert retention.traces == 1


def test_again():
    """What is to be sent once more is the next."""
    own = [payload(), payload()]
    round_ = Round([waiter()], own)
    round_.again(round_.next())
    assert all_of(round_) == own


@pytest.mark.parametrize("uncertain", [True, False])
def test_given_up(uncertain):
    """Giving up takes all that was not sent, with what is under way, which may have arrived."""
    own = [payload(), payload(), payload()]
    round_ = Round([waiter()], own)
    round_.next()
    round_.next()
    assert list(round_.give_up(uncertain=uncertain)) == own[1:]
    assert [one.uncertain for one in own] == [False, uncertain, False]
    assert round_.given_up
    assert round_.next() is None


def test_given_up_between_payloads():
    """Where nothing is under way, giving up takes what was to come."""
    own = [payload(), payload()]
    round_ = Round([waiter()], own)
    assert list(round_.give_up(uncertain=True)) == own
    assert not own[0].uncertain
    round_ = Round([waiter()], own)
    all_of(round_)
    assert list(round_.give_up(uncertain=True)) == []


def test_given_up_with_more_to_come(retention):
    """A round that was given up takes nothing more, not even what is retained."""
    retention.keep(payload())
    own = [payload(), payload()]
    round_ = Round([waiter()], own, retention)
    round_.give_up(uncertain=False)
    assert round_.next() is None
    assert retention.traces == 1
