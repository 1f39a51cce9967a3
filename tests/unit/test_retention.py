"""What is retained is bounded, ordered by age, and accounted for."""

import sys
import threading
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ddlwa.payload import Payload
from ddlwa.retention import Retention

NOW_S = 1_000_000.0


class Kept:
    """A retention, and what it says it has dropped."""

    def __init__(self, *, limit_bytes=100, limit_s=60):
        self.now_s = NOW_S
        self.dropped = Counter()
        self.retention = Retention(
            limit_bytes=limit_bytes, limit_s=limit_s, dropped=self.drop, wall_s=lambda: self.now_s
        )

    def drop(self, reason, traces):
        self.dropped[reason] += traces

    def keep(self, size, *, age_s=0.0, traces=1):
        payload = Payload(bytes(size), traces, None, self.now_s - age_s)
        self.retention.keep(payload)
        return payload

    def take_all(self):
        return list(iter(self.retention.take, None))


@pytest.fixture
def kept():
    return Kept()


def test_oldest_first(kept):
    """Payloads leave in the order of their age, whatever the order in which they came."""
    second = kept.keep(1, age_s=2)
    third = kept.keep(1, age_s=1)
    first = kept.keep(1, age_s=3)
    assert kept.take_all() == [first, second, third]
    assert kept.take_all() == []


def test_order_of_equal_age(kept):
    """Payloads of the same age leave in the order in which they came."""
    payloads = [kept.keep(1) for _ in range(4)]
    assert kept.take_all() == payloads


def test_bytes(kept):
    """More bytes than may be kept push out the oldest, which are counted by their traces."""
    kept.keep(60, age_s=3, traces=3)
    kept.keep(30, age_s=2, traces=5)
    kept.keep(10, age_s=1, traces=7)
    assert (kept.retention.size, kept.retention.traces) == (100, 15)
    assert not kept.dropped
    kept.keep(1)
    assert (kept.retention.size, kept.retention.traces) == (41, 13)
    assert kept.dropped == {"bytes": 3}


def test_oldest_that_comes_last(kept):
    """What is older than all that is kept is itself the first to go."""
    kept.keep(100)
    kept.keep(1, age_s=1, traces=9)
    assert kept.retention.size == 100
    assert kept.dropped == {"bytes": 9}


def test_larger_than_everything(kept):
    """What could never be kept does not push out what can."""
    other = kept.keep(100)
    kept.keep(101, traces=2)
    assert kept.dropped == {"bytes": 2}
    assert kept.take_all() == [other]


def test_nothing_may_be_kept():
    """A limit of no bytes keeps nothing but what has none."""
    kept = Kept(limit_bytes=0)
    kept.keep(1)
    empty = kept.keep(0)
    assert kept.take_all() == [empty]
    assert kept.dropped == {"bytes": 1}


def test_age(kept):
    """What has become too old is not given any more, but counted; the rest is."""
    kept.keep(1, age_s=10, traces=4)
    young = kept.keep(1)
    kept.now_s += 60
    assert kept.take_all() == [young]
    assert kept.dropped == {"age": 4}
    assert kept.retention.size == 0


def test_clock_that_goes_back(kept):
    """What is from the future is not too old."""
    payload = kept.keep(1, age_s=-1000)
    assert kept.take_all() == [payload]


def test_forked(kept):
    """A forked child has nothing to deliver that was its parent's, and drops nothing either."""
    kept.keep(1)
    kept.retention.forked()
    assert (kept.retention.size, kept.retention.traces) == (0, 0)
    assert kept.take_all() == []
    assert not kept.dropped


def test_wall_clock_by_default():
    """The age goes on while the process is frozen: it is told by the time of day."""
    retention = Retention(limit_bytes=10, limit_s=60, dropped=lambda *_: None)
    retention.keep(Payload(b"x", 1, None, NOW_S))
    assert retention.take() is None


@pytest.fixture
def hectic():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_many_threads(hectic):
    """Threads that keep, take and count at once neither fail nor lose nor double anything."""
    kept = Kept(limit_bytes=50)
    rounds, threads = 300, 4
    taken = [0] * threads
    failures = []
    counting = threading.Lock()

    def drop(reason, traces):
        with counting:
            kept.dropped[reason] += traces

    kept.retention._dropped = drop

    def work(number):
        try:
            for _ in range(rounds):
                for size in (1, 2, 20):
                    kept.keep(size)
                assert 0 <= kept.retention.traces <= 50
                if (payload := kept.retention.take()) is not None:
                    taken[number] += payload.traces
        except BaseException as error:  # noqa: BLE001 - it is the test that fails, not the thread
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert failures == []
    left = sum(payload.traces for payload in kept.take_all())
    assert sum(taken) + left + kept.dropped["bytes"] == rounds * threads * 3
    assert kept.retention.size == 0


class Model(RuleBasedStateMachine):
    """A retention beside a plain list of what has to be in it."""

    LIMIT_BYTES, LIMIT_S = 40, 100.0

    def __init__(self):
        super().__init__()
        self.kept = Kept(limit_bytes=self.LIMIT_BYTES, limit_s=self.LIMIT_S)
        self.inside = []
        self.came = self.taken = 0

    @rule(size=st.integers(0, 45), traces=st.integers(0, 5), age_s=st.floats(-5, 120))
    def keep(self, size, traces, age_s):
        self._kept(self.kept.keep(size, traces=traces, age_s=age_s))
        self.came += traces

    @rule(again=st.booleans())
    def take(self, again):
        while self.inside and self.kept.now_s - self.inside[0].made_s > self.LIMIT_S:
            self.inside.pop(0)
        payload = self.kept.retention.take()
        assert payload is (self.inside.pop(0) if self.inside else None)
        if payload is None:
            return
        if again:  # it could not be delivered
            self.kept.retention.keep(payload)
            self._kept(payload)
        else:
            self.taken += payload.traces

    @rule(passed_s=st.floats(-10, 90))
    def time_passes(self, passed_s):
        self.kept.now_s += passed_s

    @precondition(lambda self: self.inside)
    @rule()
    def fork(self):
        self.kept.retention.forked()
        self.taken += sum(payload.traces for payload in self.inside)
        self.inside = []

    @invariant()
    def is_within_its_limit(self):
        assert self.kept.retention.size == sum(len(payload.body) for payload in self.inside)
        assert self.kept.retention.size <= self.LIMIT_BYTES

    @invariant()
    def nothing_is_lost(self):
        assert self.kept.retention.traces == sum(payload.traces for payload in self.inside)
        assert self.came == self.taken + self.kept.retention.traces + sum(self.kept.dropped.values())

    def _kept(self, payload):
        if len(payload.body) > self.LIMIT_BYTES:
            return
        self.inside.append(payload)
        self.inside.sort(key=lambda kept: kept.made_s)
        while sum(len(kept.body) for kept in self.inside) > self.LIMIT_BYTES:
            self.inside.pop(0)


TestModel = Model.TestCase
TestModel.__doc__ = "Whatever happens, it is bounded, in order, and every trace is accounted for."
TestModel.settings = settings(max_examples=60, stateful_step_count=40)
