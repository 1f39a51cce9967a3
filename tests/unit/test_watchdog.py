"""What is watched is called when its time has come, and only then; what is taken out in time never is."""

import math
import os
import sys
import threading
import time
from functools import partial

import pytest

from ddlwa.watchdog import _PERIOD_S, Watchdog
from ddlwa.worker import THREADS

TIMEOUT_S = 10
SOON_S = 0.2
LATER_S = 0.5
# How late a busy machine may make it.
ALLOWANCE_S = 1.0


class Clock:
    """A clock that can be set."""

    def __init__(self, now_s):
        self._now_s = now_s
        self.ahead_s = 0.0

    def __call__(self):
        return self._now_s() + self.ahead_s


class Kennel:
    """A watchdog with clocks of its own, and what it has called.

    Attributes:
        calls: Each with its name, when it came (seconds since the test's begin), and in which thread.
    """

    def __init__(self):
        self.calls = []
        self.called = threading.Semaphore(0)
        self.wall_s = Clock(time.time)
        self.monotonic_s = Clock(time.monotonic)
        self.watchdog = Watchdog(self.action("then"), wall_s=self.wall_s, monotonic_s=self.monotonic_s)
        self._begun_s = time.monotonic()

    def action(self, name):
        def act():
            self.calls.append((name, time.monotonic() - self._begun_s, threading.current_thread()))
            self.called.release()

        return act

    def watch(self, left_s, name="one"):
        action = self.action(name)
        self.watchdog.watch(self.wall_s() + left_s, action)
        return action

    def wait(self, count=1):
        for _ in range(count):
            assert self.called.acquire(timeout=TIMEOUT_S)

    @property
    def names(self):
        return [name for name, *_ in self.calls]


@pytest.fixture
def kennel():
    kennel = Kennel()
    yield kennel
    kennel.watchdog.stop()
    for thread in threads():
        thread.join(TIMEOUT_S)
    assert threads() == []


def threads():
    return [thread for thread in threading.enumerate() if thread.name == f"{THREADS}-watchdog"]


def looked(kennel):
    """Wait until the thread has looked and sleeps again, with nothing due."""
    kennel.watchdog.discard(kennel.watch(SOON_S))
    until_s = time.monotonic() + TIMEOUT_S
    while kennel.watchdog._looks_s == math.inf or kennel.watchdog._wake.is_set():
        assert time.monotonic() < until_s
        time.sleep(0.001)


# -- when


def test_is_called_when_its_time_has_come(kennel):
    """Not before, hardly later, once, and then what comes after it."""
    kennel.watch(LATER_S)
    kennel.wait(2)
    assert kennel.names == ["one", "then"]
    _, at_s, thread = kennel.calls[0]
    assert LATER_S - 0.01 <= at_s < LATER_S + ALLOWANCE_S
    assert [thread] == threads()
    looked(kennel)
    assert len(kennel.calls) == 2


@pytest.mark.parametrize("times_s", [(SOON_S, LATER_S), (LATER_S, SOON_S)])
def test_several_at_once(times_s, kennel):
    """Each has its own time, whichever came first."""
    for time_s in times_s:
        kennel.watch(time_s, time_s)
    kennel.wait(4)
    assert kennel.names == [SOON_S, "then", LATER_S, "then"]
    for name, at_s, _ in kennel.calls:
        assert name == "then" or name - 0.01 <= at_s < name + ALLOWANCE_S


def test_all_that_is_due_comes_before_what_follows(kennel):
    """What may take its time is done once, for all that are due at the same time."""
    until_s = kennel.wall_s() + SOON_S
    for number in range(3):
        kennel.watchdog.watch(until_s, kennel.action(number))
    kennel.wait(4)
    assert kennel.names == [0, 1, 2, "then"]


def test_what_is_discarded_is_never_called(kennel):
    """Nor does it keep another from being called; nor is anything wrong with discarding it again."""
    gone = kennel.watch(SOON_S, "gone")
    kennel.watch(LATER_S, "there")
    kennel.watchdog.discard(gone)
    kennel.wait(2)
    kennel.watchdog.discard(gone)
    assert kennel.names == ["there", "then"]


def test_what_another_discards_while_it_is_due(kennel):
    """What is due, too, but is taken out by what is called before it, is not called."""
    until_s = kennel.wall_s() + SOON_S
    second = kennel.action("second")
    kennel.watchdog.watch(until_s, lambda: kennel.watchdog.discard(second))
    kennel.watchdog.watch(until_s, second)
    kennel.wait()
    assert kennel.names == ["then"]


def test_a_time_that_has_passed_is_none(kennel):
    """A deadline that was over before its request came is no deadline."""
    kennel.watch(0)
    kennel.watch(-3600)
    kennel.watch(SOON_S, "there")
    kennel.wait(2)
    assert kennel.names == ["there", "then"]


def test_methods_of_the_same_kind(kennel):
    """A method can be watched: it is the same each time it is looked up, and no other object's."""

    class Request:
        def __init__(self):
            self.over = threading.Event()

        def end(self):
            self.over.set()

    quick, slow = Request(), Request()
    until_s = kennel.wall_s() + SOON_S
    kennel.watchdog.watch(until_s, quick.end)
    kennel.watchdog.watch(until_s, slow.end)
    kennel.watchdog.discard(quick.end)
    assert slow.over.wait(TIMEOUT_S)
    assert not quick.over.is_set()


# -- the thread


def test_no_thread_before_there_is_something_to_watch(kennel):
    """There is a thread, a daemon, with the first thing that is watched, and no other with those after it."""
    kennel.watchdog.discard(kennel.action("unknown"))
    assert threads() == []
    kennel.watchdog.discard(kennel.watch(60))
    (thread,) = threads()
    assert thread.daemon
    kennel.watch(60)
    assert threads() == [thread]


def test_requests_do_not_wake_the_thread(kennel, monkeypatch):
    """A thousand that come and go while it sleeps do not wake it; one that is due before it looks does."""
    looked(kennel)
    woken = []
    wake = kennel.watchdog._wake
    monkeypatch.setattr(wake, "set", lambda: woken.append(1))
    for _ in range(1000):
        kennel.watchdog.discard(kennel.watch(3))
    assert woken == []
    kennel.watch(_PERIOD_S / 2)
    assert woken == [1]


def test_sleeps_until_the_earliest_deadline(kennel, monkeypatch):
    """It looks again when the first of those that it watches is due, or, to look at the clocks, before."""
    now_s = time.monotonic()
    monkeypatch.setattr(kennel, "wall_s", lambda: 1e9)
    monkeypatch.setattr(kennel.watchdog, "_wall_s", lambda: 1e9)
    monkeypatch.setattr(kennel.watchdog, "_monotonic_s", lambda: now_s)

    def looks_in_s(left_s):
        until_s = time.monotonic() + TIMEOUT_S
        while kennel.watchdog._looks_s - now_s != pytest.approx(left_s):
            assert time.monotonic() < until_s
            time.sleep(0.001)
        return True

    kennel.watch(60)
    assert looks_in_s(_PERIOD_S)
    soon = kennel.watch(_PERIOD_S / 2)
    kennel.watch(_PERIOD_S / 1.5)
    assert looks_in_s(_PERIOD_S / 2)
    kennel.watchdog.discard(soon)
    assert looks_in_s(_PERIOD_S / 1.5)


def test_threads_that_watch_at_once(kennel):
    """However many threads watch and discard at once, there is one watchdog's, and no call is lost."""
    ready = threading.Barrier(8)
    before = sys.getswitchinterval()

    def use(number):
        ready.wait(TIMEOUT_S)
        for _ in range(500):
            kennel.watchdog.discard(kennel.watch(0.001, "gone"))
        kennel.watch(SOON_S, number)

    users = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    sys.setswitchinterval(1e-5)
    try:
        for user in users:
            user.start()
        for user in users:
            user.join(TIMEOUT_S)
    finally:
        sys.setswitchinterval(before)
    until_s = time.monotonic() + TIMEOUT_S
    while not set(range(8)) <= set(kennel.names):
        assert time.monotonic() < until_s
        kennel.wait()
    assert len(threads()) == 1
    numbers = [name for name in kennel.names if isinstance(name, int)]
    assert sorted(numbers) == list(range(8))


def test_outlives_a_failure(kennel, warnings_said):
    """What raises is logged once; what is due with it, what follows, and what is due later are called."""

    def fail():
        raise ValueError("on purpose")

    until_s = kennel.wall_s() + SOON_S
    for action in (fail, partial(fail), kennel.action("one")):
        kennel.watchdog.watch(until_s, action)
    kennel.wait(2)
    kennel.watch(SOON_S, "later")
    kennel.wait(2)
    assert kennel.names == ["one", "then", "later", "then"]
    assert warnings_said() == ["cannot end a request that times out"]


def test_outlives_a_failure_of_what_follows(warnings_said):
    """What follows may raise, too."""
    called = threading.Semaphore(0)
    watchdog = Watchdog(lambda: 1 / 0)
    for _ in range(2):
        watchdog.watch(time.time() + SOON_S, called.release)
        assert called.acquire(timeout=TIMEOUT_S)
    (thread,) = threads()
    watchdog.stop()
    thread.join(TIMEOUT_S)
    assert warnings_said() == ["cannot end a request that times out"]


def test_no_thread_to_be_had(kennel, monkeypatch, warnings_said):
    """Where no thread can be started a request is not failed, nor held up again: nothing is watched."""
    tries = []

    def start(thread):
        tries.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(3):
        kennel.watchdog.discard(kennel.watch(SOON_S))
    assert len(tries) == 1
    assert kennel.watchdog._until_s == {}
    assert warnings_said() == ["no thread can be started; timeouts will leave no trace"]


def test_stop(kennel):
    """A stopped watchdog has no thread, calls nothing, and watches nothing any more."""
    kennel.watch(SOON_S)
    (thread,) = threads()
    kennel.watchdog.stop()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    kennel.watch(SOON_S)
    assert threads() == []
    assert kennel.watchdog._until_s == {}
    assert kennel.calls == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked(kennel):
    """A forked child has nothing of what its parent watches, and a thread of its own once it watches."""
    kennel.watch(SOON_S, "the parent's")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - coverage does not follow a fork that ends like this
        kennel.watchdog.forked()
        alone = threads() == []
        kennel.watchdog.watch(time.time() + LATER_S, kennel.action("the child's"))
        kennel.called.acquire(timeout=TIMEOUT_S)
        os.write(write, repr((alone, kennel.names[:1], len(threads()))).encode())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.read(read, 100) == repr((True, ["the child's"], 1)).encode()
    os.close(read)
    os.close(write)
    kennel.wait(2)
    assert kennel.names == ["the parent's", "then"]


def test_forked_before_there_is_something_to_watch(kennel):
    """A child whose parent had no thread yet watches like its parent."""
    kennel.watchdog.forked()
    kennel.watch(SOON_S)
    kennel.wait(2)
    assert kennel.names == ["one", "then"]


# -- freezes, and clocks that are set


def test_a_deadline_that_passed_in_a_freeze(kennel):
    """What is under way when a freeze of hours begins, and is over at its end, is called after it at once."""
    kennel.watch(3600)
    looked(kennel)
    kennel.wall_s.ahead_s = 2 * 3600
    thawed_s = time.monotonic()
    kennel.wait(2)
    assert time.monotonic() - thawed_s < ALLOWANCE_S
    assert kennel.names == ["one", "then"]


@pytest.mark.parametrize("monotonic_goes_on", [False, True])
def test_a_freeze_between_two_requests(monotonic_goes_on, kennel):
    """What was discarded before a freeze is not called after it, and what comes then has all its time."""
    kennel.watchdog.discard(kennel.watch(3600, "gone"))
    looked(kennel)
    kennel.wall_s.ahead_s = 3 * 3600
    if monotonic_goes_on:
        kennel.monotonic_s.ahead_s = 3 * 3600
    begun_s = time.monotonic()
    kennel.watch(LATER_S)
    kennel.wait(2)
    assert kennel.names == ["one", "then"]
    assert LATER_S - 0.01 <= time.monotonic() - begun_s < LATER_S + ALLOWANCE_S


def test_a_clock_that_is_set_back(kennel):
    """What is under way when the clock is set back is called when it would have been."""
    kennel.watch(LATER_S, "under way")
    looked(kennel)
    kennel.wall_s.ahead_s = -3600
    kennel.wait(2)
    assert LATER_S - 0.01 <= kennel.calls[0][1] < LATER_S + ALLOWANCE_S
    kennel.watch(SOON_S, "later")
    kennel.wait(2)
    assert kennel.names == ["under way", "then", "later", "then"]


def test_a_clock_that_is_set_forward(kennel):
    """What is under way, and is not over by the new time, has the rest of its time by that."""
    kennel.watch(3600 + LATER_S)
    looked(kennel)
    set_s = time.monotonic()
    kennel.wall_s.ahead_s = 3600
    kennel.wait(2)
    assert time.monotonic() - set_s < LATER_S + ALLOWANCE_S
    assert kennel.names == ["one", "then"]
