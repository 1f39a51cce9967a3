"""Each loaded library's buffer is flushed on its own thread, and waited for no longer than asked."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from ddlwa import outlets as module
from ddlwa.breaker import Breaker
from ddlwa.outlets import Outlets
from ddlwa.settings import OUTLETS


class Library:
    """An LLM Observability that a test can block, and that notes where it runs."""

    enabled = True

    def __init__(self):
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.threads = []
        self.error = None

    def flush(self):
        self.threads.append(threading.current_thread())
        self.entered.set()
        self.open.wait(10)
        if self.error is not None:
            raise self.error


class Client:
    """A DogStatsD client."""

    def __init__(self, *, buffering=False, aggregation=False, sender=None, works=True):
        self._disable_buffering = not buffering
        self._disable_aggregation = not aggregation
        self._queue = sender
        self._works = works
        self.calls = []

    def flush_aggregated_metrics(self):
        self.calls.append("aggregated")

    def flush(self):
        self.calls.append("buffered")
        return self._works

    def wait_for_pending(self, timeout=None):
        self.calls.append("pending")


class Provider:
    """An OpenTelemetry provider of a single signal."""

    def __init__(self, flush=lambda _: True):
        self.asked_ms = []
        self._flush = flush

    def force_flush(self, timeout_millis=30_000):
        self.asked_ms.append(timeout_millis)
        return self._flush(timeout_millis)


def llmobs(library):
    return {"ddtrace.llmobs": SimpleNamespace(LLMObs=library)}


def dogstatsd(default, *others):
    return {"datadog.dogstatsd.base": SimpleNamespace(statsd=default, _instances={default, *others})}


def opentelemetry(tracer=None, meter=None, logger=None):
    return {
        "opentelemetry.trace": SimpleNamespace(_TRACER_PROVIDER=tracer),
        "opentelemetry.metrics._internal": SimpleNamespace(_METER_PROVIDER=meter),
        "opentelemetry._logs._internal": SimpleNamespace(_LOGGER_PROVIDER=logger),
    }


def counted(outlets, name="llmobs"):
    """Give what was counted of one outlet, without the zeros."""
    return {outcome: count for outcome, count in outlets.stats()[name].items() if count}


made = []


def make(*args, **kwargs):
    """Make outlets whose threads end with the test."""
    made.append(Outlets(*args, **kwargs))
    return made[-1]


@pytest.fixture(autouse=True)
def stopped():
    yield
    while made:
        made.pop().stop()


def names(outlets):
    return [outlet.name for outlet in outlets.in_use()]


@pytest.fixture
def library():
    library = Library()
    yield library
    library.open.set()


@pytest.fixture
def outlets(library):
    return make(modules=llmobs(library))


def over(outlets, name="llmobs"):
    """Wait until no flush of an outlet is under way."""
    (outlet,) = (outlet for outlet in outlets._outlets if outlet.name == name)
    until_s = time.monotonic() + 10
    while outlet._busy:
        assert time.monotonic() < until_s
        time.sleep(0.001)


def test_nothing_loaded():
    """Without any of the libraries there is nothing to do, and no thread that does it."""
    outlets = make(modules={})
    before = threading.active_count()
    asyncio.run(outlets.flush(timeout_s=1))
    outlets.flush_blocking(timeout_s=1)
    outlets.stop()
    assert outlets.in_use() == []
    assert threading.active_count() <= before
    assert outlets.stats().keys() == OUTLETS
    assert not any(counted(outlets, name) for name in OUTLETS)


def test_names_select(library):
    """Only what is asked for is looked after."""
    modules = llmobs(library) | dogstatsd(Client(buffering=True))
    assert sorted(names(make(modules=modules))) == ["dogstatsd", "llmobs"]
    assert names(make({"llmobs"}, modules=modules)) == ["llmobs"]
    assert list(make(frozenset(), modules=modules).stats()) == []


def test_flushed_before_it_returns(library, outlets):
    """A flush is over when the wait for it ends, and has run on a daemon thread of its own."""
    asyncio.run(outlets.flush(timeout_s=5))
    outlets.flush_blocking(timeout_s=5)
    assert [thread.name for thread in library.threads] == ["ddlwa-outlet-llmobs"] * 2
    assert library.threads[0] is library.threads[1]
    assert library.threads[0].daemon
    assert counted(outlets) == {"flushed": 2}


def test_looking_is_cheap(library):
    """A request pays a few microseconds to learn what there is to flush."""
    modules = llmobs(library) | dogstatsd(Client(buffering=True), Client()) | opentelemetry(Provider())
    outlets = make(modules=modules)

    def costs_s():
        begun = time.perf_counter()
        for _ in range(100):
            outlets.in_use()
        return (time.perf_counter() - begun) / 100

    assert min(costs_s() for _ in range(20)) < 50e-6


def test_guarantee_2_flush_is_bounded(library, outlets, warnings_said):
    """A flush that hangs is waited for as long as asked, while the loop goes on."""
    library.open.clear()
    ticks = []

    async def main():
        async def tick():
            while True:
                ticks.append(None)
                await asyncio.sleep(0.005)

        ticker = asyncio.ensure_future(tick())
        begun = time.monotonic()
        await outlets.flush(timeout_s=0.05)
        ticker.cancel()
        return time.monotonic() - begun

    assert 0.04 <= asyncio.run(main()) < 1
    assert len(ticks) > 1
    assert counted(outlets) == {"late": 1}
    assert warnings_said() == ["the flush of LLM Observability was not done within 50 ms"]


def test_guarantee_2_blocking_flush_is_bounded(library, outlets):
    """A thread waits no longer than a task does."""
    library.open.clear()
    begun = time.monotonic()
    outlets.flush_blocking(timeout_s=0.05)
    assert 0.04 <= time.monotonic() - begun < 1
    assert counted(outlets) == {"late": 1}


def test_a_stuck_flush_is_not_waited_for_again(library, outlets):
    """While a flush is under way the next is skipped; once it is over, it is counted no second time."""
    library.open.clear()
    asyncio.run(outlets.flush(timeout_s=0.01))
    begun = time.monotonic()
    asyncio.run(outlets.flush(timeout_s=10))
    outlets.flush_blocking(timeout_s=10)
    assert time.monotonic() - begun < 5
    assert counted(outlets) == {"late": 1, "skipped": 2}
    library.open.set()
    over(outlets)
    asyncio.run(outlets.flush(timeout_s=5))
    assert counted(outlets) == {"late": 1, "skipped": 2, "flushed": 1}
    assert len(library.threads) == 2


@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
def test_a_stuck_flush_holds_up_no_other(library, blocking):
    """The others are flushed at the same time, and all wait together no longer than one may."""
    library.open.clear()
    client = Client(buffering=True)
    provider = Provider(lambda _: library.open.wait(10))
    outlets = make(modules=llmobs(library) | dogstatsd(client) | opentelemetry(provider))
    begun = time.monotonic()
    if blocking:
        outlets.flush_blocking(timeout_s=0.5)
    else:
        asyncio.run(outlets.flush(timeout_s=0.5))
    assert time.monotonic() - begun < 0.95
    assert counted(outlets) == counted(outlets, "opentelemetry") == {"late": 1}
    assert counted(outlets, "dogstatsd") == {"flushed": 1}


def test_disabled_meanwhile(library, outlets):
    """A library that is disabled after it was looked for has nothing to flush."""
    (outlet,) = outlets.in_use()
    library.enabled = False
    assert outlet.begin(lambda: None, timeout_s=5) is None
    assert counted(outlets) == {}


@pytest.mark.parametrize("timeout_s", [0, -1])
def test_no_time_left(library, outlets, timeout_s):
    """Nothing is begun that the freeze would cut in two."""
    asyncio.run(outlets.flush(timeout_s=timeout_s))
    outlets.flush_blocking(timeout_s=timeout_s)
    assert library.threads == []
    assert counted(outlets) == {"skipped": 2}


def test_guarantee_6_a_flush_that_fails(library, outlets, warnings_said, caplog):
    """A library that raises is counted and logged once, and the thread goes on."""
    library.error = OSError("refused")
    asyncio.run(outlets.flush(timeout_s=5))
    outlets.flush_blocking(timeout_s=5)
    assert counted(outlets) == {"failed": 2}
    assert len(set(library.threads)) == 1
    assert warnings_said() == ["the flush of LLM Observability failed"]
    assert "refused" in caplog.text


@pytest.mark.parametrize("late", [False, True], ids=["failed", "late"])
def test_three_failures_mean_a_rest(library, late):
    """After three in a row nothing is tried before the pause is over; a probe that works ends it."""
    now = SimpleNamespace(s=0.0)
    outlets = make(
        modules=llmobs(library),
        breaker=lambda label: Breaker(label, pause_s=1.0, longest_s=60.0, clock=lambda: now.s),
    )

    def fail():
        if late:
            library.open.clear()
        else:
            library.error = OSError("refused")
        asyncio.run(outlets.flush(timeout_s=0.01 if late else 5))
        library.error = None
        library.open.set()
        over(outlets)

    def tried():
        before = len(library.threads)
        asyncio.run(outlets.flush(timeout_s=5))
        return len(library.threads) > before

    for _ in range(3):
        fail()
    assert not tried()
    now.s += 1
    fail()
    now.s += 1
    assert not tried()
    now.s += 1
    assert [tried(), tried()] == [True, True]
    assert counted(outlets) == {"late" if late else "failed": 4, "skipped": 2, "flushed": 2}


def test_rests_by_default(library, outlets):
    """The fourth flush after three failures is left out."""
    library.error = OSError("refused")
    for _ in range(4):
        asyncio.run(outlets.flush(timeout_s=5))
    assert counted(outlets) == {"failed": 3, "skipped": 1}


def test_loop_that_closes_meanwhile(library, outlets):
    """An answer for a loop that is gone is nobody's, and the next loop is served."""
    library.open.clear()
    asyncio.run(outlets.flush(timeout_s=0.01))
    library.open.set()
    over(outlets)
    asyncio.run(outlets.flush(timeout_s=5))
    assert counted(outlets) == {"late": 1, "flushed": 1}


def test_cancelled_wait(library, outlets):
    """Cancelling the wait does not disturb the flush, which is counted when it is over."""
    library.open.clear()

    async def main():
        waiting = asyncio.ensure_future(outlets.flush(timeout_s=10))
        await asyncio.get_running_loop().run_in_executor(None, library.entered.wait)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        library.open.set()

    asyncio.run(main())
    over(outlets)
    asyncio.run(outlets.flush(timeout_s=5))
    assert counted(outlets) == {"flushed": 2}


def test_guarantee_7_each_of_many_flushes_is_counted_once(library, outlets):
    """Of requests that end at the same time one flushes; the others have left that to it, or to the next."""

    async def main():
        for _ in range(20):
            await asyncio.gather(*(outlets.flush(timeout_s=5) for _ in range(10)))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(counted(outlets)) == {"flushed", "skipped"}
    assert sum(counted(outlets).values()) == 400
    assert counted(outlets)["flushed"] == len(library.threads)


def test_stop_ends_the_thread(library, outlets):
    """After stop the thread ends; a later flush starts another."""
    asyncio.run(outlets.flush(timeout_s=5))
    outlets.stop()
    library.threads[0].join(5)
    assert not library.threads[0].is_alive()
    asyncio.run(outlets.flush(timeout_s=5))
    assert library.threads[0] is not library.threads[1]
    assert counted(outlets) == {"flushed": 2}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_gone_is_replaced(library, outlets):
    """A thread that a library has ended, as one that a fork has left behind, gets a successor."""
    library.error = SystemExit()
    asyncio.run(outlets.flush(timeout_s=5))
    library.threads[0].join(5)
    library.error = None
    asyncio.run(outlets.flush(timeout_s=5))
    assert counted(outlets) == {"failed": 1, "flushed": 1}


def test_guarantee_6_no_thread_to_be_had(library, outlets, monkeypatch, warnings_said):
    """Where no thread can be started the flush has failed, and a later one is free to try."""

    def start(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        outlets.flush_blocking(timeout_s=5)
    assert warnings_said() == ["the flush of LLM Observability failed"]
    outlets.flush_blocking(timeout_s=5)
    assert counted(outlets) == {"failed": 1, "flushed": 1}


@pytest.mark.parametrize(
    "name", ["ddtrace.llmobs", "datadog.dogstatsd.base", "datadog_lambda.metric", "opentelemetry.trace"]
)
def test_guarantee_6_a_library_of_another_shape(name, warnings_said):
    """A library in which nothing is where it was is left out, and one warning says so."""
    outlets = make(modules={name: SimpleNamespace()})
    assert outlets.in_use() == outlets.in_use() == []
    asyncio.run(outlets.flush(timeout_s=5))
    (warning,) = warnings_said()
    assert warning.endswith("is left out: ddlwa does not know this version")


def test_every_name_is_known():
    """What may be asked for is what there is."""
    assert module._KNOWN.keys() == OUTLETS


def test_llmobs_that_is_not_enabled(library):
    """Stock ddtrace loads LLM Observability whether or not it is wanted."""
    library.enabled = False
    assert names(make(modules=llmobs(library))) == []


@pytest.mark.parametrize(
    ("client", "buffers"),
    [
        (Client(), False),
        (Client(buffering=True), True),
        (Client(aggregation=True), True),
        (Client(sender=object()), True),
    ],
    ids=["plain", "buffering", "aggregation", "sender"],
)
def test_dogstatsd_client_that_buffers(client, buffers):
    """A client that sends at once, as it does by default, has nothing to flush."""
    outlets = make(modules=dogstatsd(client))
    assert bool(names(outlets)) is buffers
    outlets.flush_blocking(timeout_s=5)
    sent = ["aggregated", "buffered", *(["pending"] if client._queue else [])]
    assert client.calls == (sent if buffers else [])


def test_dogstatsd_clients_of_the_apps_own():
    """Each client that buffers is flushed, the module's and the app's own."""
    clients = [Client(), Client(buffering=True), Client(buffering=True)]
    make(modules=dogstatsd(*clients)).flush_blocking(timeout_s=5)
    assert [bool(client.calls) for client in clients] == [False, True, True]


def test_dogstatsd_client_that_cannot_send(warnings_said):
    """A client that says that it has not sent has failed."""
    outlets = make(modules=dogstatsd(Client(buffering=True, works=False)))
    outlets.flush_blocking(timeout_s=5)
    assert counted(outlets, "dogstatsd") == {"failed": 1}
    assert warnings_said() == ["the flush of the DogStatsD clients failed"]


def test_dogstatsd_client_made_meanwhile():
    """A client that another thread makes at this moment does not keep the others from being flushed."""

    def growing():
        yield Client()
        raise RuntimeError("Set changed size during iteration")

    modules = {"datadog.dogstatsd.base": SimpleNamespace(statsd=Client(buffering=True), _instances=growing())}
    assert names(make(modules=modules)) == ["dogstatsd"]


def test_dogstatsd_of_old():
    """An older client has no aggregation, tracks no instances, and waits for its sender without a limit."""

    class Old:
        _disable_buffering = False
        _queue = object()

        def __init__(self):
            self.calls = []

        def flush(self):
            self.calls.append("buffered")

        def wait_for_pending(self):
            self.calls.append("pending")

    client = Old()
    outlets = make(modules={"datadog.dogstatsd.base": SimpleNamespace(statsd=client)})
    outlets.flush_blocking(timeout_s=5)
    assert client.calls == ["buffered", "pending"]
    assert counted(outlets, "dogstatsd") == {"flushed": 1}


@pytest.mark.parametrize(
    ("stats", "buffers"),
    [(None, False), (SimpleNamespace(), False), (SimpleNamespace(thread_stats=object()), True)],
    ids=["log", "extension", "api"],
)
def test_lambda_metrics_that_buffer(stats, buffers):
    """datadog-lambda buffers only what it sends to Datadog by itself."""
    flushes = []
    metric = SimpleNamespace(lambda_stats=stats, flush_stats=lambda: flushes.append(None))
    make(modules={"datadog_lambda.metric": metric}).flush_blocking(timeout_s=5)
    assert bool(flushes) is buffers


def test_opentelemetry_without_an_sdk():
    """A provider that cannot be flushed, such as ddtrace's own, is left alone, as is one that is not set."""
    assert names(make(modules=opentelemetry(tracer=object()))) == []
    assert names(make(modules={"opentelemetry.trace": SimpleNamespace(_TRACER_PROVIDER=None)})) == []


def test_opentelemetry_signals():
    """Each signal is flushed, though others fail, and is told how much time is left, in milliseconds."""

    def fail(millis):
        raise OSError("refused")

    providers = [Provider(fail), Provider(lambda _: time.sleep(0.05)), Provider()]
    outlets = make(modules=opentelemetry(*providers))
    outlets.flush_blocking(timeout_s=5)
    ((first,), (second,), (third,)) = [provider.asked_ms for provider in providers]
    assert 4000 < second <= first <= 5000
    assert third <= second - 50
    assert counted(outlets, "opentelemetry") == {"failed": 1}


def test_opentelemetry_that_runs_out_of_time():
    """A signal that says that it was not flushed in time means a failure; none is asked for negative time."""
    providers = [Provider(lambda _: time.sleep(0.02)), Provider(lambda millis: millis > 0)]
    outlets = make(modules=opentelemetry(*providers))
    asyncio.run(outlets.flush(timeout_s=0.01))
    over(outlets, "opentelemetry")
    assert providers[1].asked_ms == [0]
    assert counted(outlets, "opentelemetry") == {"late": 1}
