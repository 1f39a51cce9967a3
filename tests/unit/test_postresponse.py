"""Work after the response: its order, its limits, and what became of it."""

import asyncio
import functools
import socket
import threading
import time

import pytest
from virtual_time import run

import ddlwa
from ddlwa import metrics, postresponse
from ddlwa.postresponse import around, before_freeze, defer, do_critical, registered
from ddlwa.request import Request, current


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(postresponse, "_handlers", [])
    postresponse.counts.clear()
    yield
    postresponse.counts.clear()


def counted():
    return {outcome: n for outcome, n in postresponse.counts.items() if n}


def serve(app, *, deadline_s=None):
    """Serve one request whose app this is, and return what it does."""
    return asyncio.run(served(app, deadline_s=deadline_s))


async def served(app, *, deadline_s=None):
    """Serve it on a loop that runs."""
    request = Request(None, jobs=registered(), deadline_s=deadline_s)
    current.set(request)
    return await around(request, app())


def test_critical_work_comes_first():
    """What is critical is done before what is not, each in the order in which it was left."""
    done = []

    async def note(name):
        done.append(name)

    async def app():
        defer(note, 1)
        defer(note, 2, critical=True)
        defer(done.append, 3)
        defer(done.append, 4, critical=True)
        return "response"

    assert serve(app) == "response"
    assert done == [2, 4, 1, 3]
    assert counted() == {"completed": 4}


def test_before_freeze_runs_at_the_end_of_every_invocation():
    """A registered function runs after each request, and stays the function that it was."""
    done = []

    @before_freeze(critical=True)
    async def flush_cache():
        done.append("cache")

    async def app():
        defer(done.append, "deferred", critical=True)

    serve(app)
    serve(app)
    assert done == ["cache", "deferred"] * 2
    assert asyncio.iscoroutinefunction(flush_cache)


def test_sync_work_runs_in_a_thread():
    """Sync work does not block the event loop."""
    threads = []

    async def app():
        defer(lambda: threads.append(threading.current_thread()))

    serve(app)
    assert threads != [threading.main_thread()]


def test_a_callable_that_returns_an_awaitable():
    """A callable whose result is to be awaited is awaited."""
    done = []

    async def work():
        done.append(1)

    async def app():
        defer(functools.partial(work))
        defer(lambda: work())  # noqa: PLW0108 - it is no coroutine function, and returns a coroutine

    serve(app)
    assert done == [1, 1]


def test_a_failure_is_logged_once_and_goes_no_further(warnings_said):
    """Work that fails is counted each time, logged once by its name, and never reaches the response."""

    async def send_receipt():
        raise ValueError("smtp")

    async def app():
        defer(send_receipt)
        defer(send_receipt, critical=True)
        return "response"

    assert serve(app) == "response"
    assert counted() == {"failed": 2}
    [warning] = warnings_said()
    assert "send_receipt" in warning
    assert "smtp" not in warning


def test_work_that_takes_too_long(warnings_said):
    """Work is waited for as long as it may take; an async one is cancelled then."""
    cancelled = []

    async def slow():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(asyncio.get_running_loop().time())
            raise

    async def app():
        defer(slow, timeout_s=2.0)

    run(served(app))
    assert cancelled == [2.0]
    assert counted() == {"timed_out": 1}
    assert len(warnings_said()) == 1


def test_the_deadline_cuts_work_off(warnings_said):
    """No work goes on past the invocation's deadline."""

    async def app():
        defer(asyncio.sleep, 60)

    begun = time.monotonic()
    serve(app, deadline_s=time.time() + 0.05)
    assert time.monotonic() - begun < 5
    assert counted() == {"timed_out": 1}


def test_work_that_outlives_its_invocation():
    """Work that a freeze interrupted is not cut off by the deadline of an invocation that is over."""
    done = []

    async def app():
        defer(done.append, 1)
        current.get().deadline_s = None

    serve(app, deadline_s=time.time() - 3600)
    assert done == [1]


def test_critical_work_by_itself():
    """What is critical can be done before the rest, which then is all that is left."""
    done = []

    async def app():
        defer(done.append, "rest")
        defer(done.append, "critical", critical=True)
        await do_critical(current.get())
        done.append("released")

    serve(app)
    assert done == ["critical", "released", "rest"]


def test_work_after_an_app_that_raised():
    """An app's exception passes through, after the work that it left."""
    done = []

    async def app():
        defer(done.append, 1)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        serve(app)
    assert done == [1]


def test_abandoned_work():
    """Work that a shutdown does not let begin, or end, is counted as abandoned."""

    async def app():
        defer(asyncio.sleep, 60)
        defer(asyncio.sleep, 60)
        defer(asyncio.sleep, 60)

    async def endless():
        defer(asyncio.sleep, 60)
        await asyncio.sleep(60)

    async def main():
        tasks = [asyncio.ensure_future(served(one)) for one in (app, endless)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())
    assert counted() == {"abandoned": 4}


def test_work_left_by_work():
    """Work may leave more work."""
    done = []

    async def first():
        defer(done.append, 2)
        done.append(1)

    async def app():
        defer(first)

    serve(app)
    assert done == [1, 2]


def test_outside_a_request():
    """Where no request is served it begins at once, as a task of the running loop."""

    async def main():
        done = asyncio.Event()

        async def work():
            done.set()

        defer(work)
        await done.wait()
        await asyncio.gather(*postresponse._running)

    asyncio.run(main())
    assert counted() == {"completed": 1}
    with pytest.raises(RuntimeError):
        defer(print)


def test_stats():
    """The counters are there from the start, as numbers."""
    assert ddlwa.stats()["work"] == {"completed": 0, "failed": 0, "timed_out": 0, "abandoned": 0}
    postresponse.counts["failed"] += 2
    assert ddlwa.stats()["work"]["failed"] == 2


def test_metrics_are_what_is_new():
    """Each report sends what has been counted since the last, as DogStatsD counters."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        report = metrics.reporter(server.getsockname())
        report()
        postresponse.counts.update(completed=2, failed=1)
        report()
        assert server.recv(1024).split() == [
            b"ddlwa.work:2|c|#outcome:completed",
            b"ddlwa.work:1|c|#outcome:failed",
        ]
        postresponse.counts.update(failed=1)
        report()
        report()
        assert server.recv(1024) == b"ddlwa.work:1|c|#outcome:failed"
