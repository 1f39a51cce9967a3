"""One thread, there only once it is needed, that does things in order and outlives their failures."""

import subprocess
import sys
import threading
from functools import partial

import pytest

from ddlwa.worker import THREADS, Worker

TIMEOUT_S = 10


@pytest.fixture
def worker():
    worker = Worker("unit")
    yield worker
    worker.stop()
    for thread in ours():
        thread.join(TIMEOUT_S)


def done(worker):
    """Wait until the worker has done what it was given before; give its thread."""
    threads = []
    event = threading.Event()

    def action():
        threads.append(threading.current_thread())
        event.set()

    worker.do(action)
    assert event.wait(TIMEOUT_S)
    return threads[0]


def ours():
    return [thread for thread in threading.enumerate() if thread.name == f"{THREADS}-unit"]


def test_no_thread_before_it_is_needed(worker):
    """There is a thread only once something is to be done, and then one, a daemon."""
    assert ours() == []
    worker.stop()
    assert ours() == []
    thread = done(worker)
    assert done(worker) is thread
    assert ours() == [thread]
    assert thread.daemon
    assert thread.name == "ddlwa-unit"


def test_in_order(worker):
    """What is given by one is done in the order in which it was given."""
    order = []
    for number in range(100):
        worker.do(partial(order.append, number))
    done(worker)
    assert order == list(range(100))


def test_many_threads(worker):
    """However many threads ask at once, there is one thread, and everything is done once."""
    counts = []
    ready = threading.Barrier(8)

    def ask():
        ready.wait(TIMEOUT_S)
        for _ in range(50):
            worker.do(partial(counts.append, 1))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    done(worker)
    assert len(counts) == 8 * 50
    assert len(ours()) == 1


def test_stop(worker):
    """Stopping lets the thread do what it was given, then ends it; more to do starts another."""
    go_on = threading.Event()
    order = []
    worker.do(partial(go_on.wait, TIMEOUT_S))
    worker.do(partial(order.append, 1))
    (first,) = ours()
    worker.stop()
    worker.stop()
    go_on.set()
    first.join(TIMEOUT_S)
    assert not first.is_alive()
    assert order == [1]
    assert done(worker) is not first


def test_outlives_a_failure(worker, warnings_said):
    """Something that raises is logged once, and what comes after it is done by the same thread."""
    thread = done(worker)
    for _ in range(2):
        worker.do(lambda: 1 / 0)
    assert done(worker) is thread
    assert warnings_said() == ["something failed on a thread of ddlwa"]


def test_asking_for_more_from_within(worker):
    """What the thread does may ask for more, which is done after it."""
    order = []

    def first():
        worker.do(partial(order.append, "second"))
        order.append("first")

    worker.do(first)
    done(worker)
    done(worker)
    assert order == ["first", "second"]


def test_no_thread_to_be_had(worker, monkeypatch):
    """Where no thread can be started any more, it is done here and now; later there may be one again."""

    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert done(worker) is threading.current_thread()
        assert done(worker) is threading.current_thread()
    assert done(worker) is not threading.current_thread()


_AT_EXIT = """
import atexit, threading
from ddlwa.worker import Worker

def last():
    event = threading.Event()
    worker.do(event.set)
    assert event.wait(10)
    print("done")

worker = Worker("unit")
atexit.register(last)
"""


def test_interpreter_on_its_way_out():
    """What is asked for while the interpreter ends is done, on a thread or without one."""
    result = subprocess.run([sys.executable, "-c", _AT_EXIT], capture_output=True, timeout=30, check=True)
    assert (result.stdout, result.stderr) == (b"done\n", b"")
