"""Flushes what else a freeze would lose, in the libraries that the app has loaded.

None of them is ever imported: they are looked up in `sys.modules`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ddlwa.breaker import Breaker
from ddlwa.log import warn_once
from ddlwa.settings import OUTLETS
from ddlwa.worker import THREADS, here

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    # Blocks; is told how long it will be waited for, in seconds; says whether it worked.
    _Flush = Callable[[float], bool]
    _Find = Callable[[Mapping[str, Any]], _Flush | None]


def _breaker(label: str) -> Breaker:
    return Breaker(label, pause_s=1.0, longest_s=60.0)


class Outlets:
    """The buffers beside the traces, each flushed on a thread of its own.

    Args:
        names: Which of `OUTLETS` to look after.
        modules: The loaded modules.
        breaker: Makes a breaker; is given what it guards, for the log.
    """

    def __init__(
        self,
        names: Collection[str] = OUTLETS,
        *,
        modules: Mapping[str, Any] = sys.modules,
        breaker: Callable[[str], Breaker] = _breaker,
    ) -> None:
        self._outlets = [
            Outlet(name, partial(find, modules), label=label, breaker=partial(breaker, label))
            for name, (label, find) in _KNOWN.items()
            if name in names
        ]

    def in_use(self) -> list[Outlet]:
        """Give those whose library is loaded and buffers; this costs a few microseconds."""
        return [outlet for outlet in self._outlets if outlet.in_use()]

    async def flush(self, *, timeout_s: float) -> None:
        """Flush those in use, all at once, and return when that is done or the time is over.

        Args:
            timeout_s: How long to wait, in seconds; nothing is begun where there is no time.
        """
        loop = asyncio.get_running_loop()
        flights: dict[asyncio.Future[None], _Flight] = {}
        for outlet in self.in_use():
            over = loop.create_future()
            flight = outlet.begin(partial(_resolve, loop, over), timeout_s=timeout_s)
            if flight is not None:
                flights[over] = flight
        if flights:
            await asyncio.wait(flights, timeout=timeout_s)
        for flight in flights.values():
            flight.outlet.late(flight)

    def flush_blocking(self, *, timeout_s: float) -> None:
        """Do the same from a thread.

        Args:
            timeout_s: How long to wait, in seconds; nothing is begun where there is no time.
        """
        until_s = time.monotonic() + timeout_s
        flights: dict[threading.Event, _Flight] = {}
        for outlet in self.in_use():
            over = threading.Event()
            flight = outlet.begin(over.set, timeout_s=timeout_s)
            if flight is not None:
                flights[over] = flight
        for over, flight in flights.items():
            over.wait(max(until_s - time.monotonic(), 0))
            flight.outlet.late(flight)

    def stats(self) -> dict[str, dict[str, int]]:
        """Count what became of the flushes of each outlet: flushed, failed, late, skipped."""
        return {outlet.name: dict(outlet.counts) for outlet in self._outlets}

    def stop(self) -> None:
        """End the threads once they have done what they were asked for; a later flush starts new ones."""
        for outlet in self._outlets:
            outlet.stop()


class Outlet:
    """One library's buffer, with a thread that flushes it, once at a time.

    Args:
        name: One of `OUTLETS`.
        find: Gives what flushes it, or None when there is nothing to flush.
        label: What the log calls it.
        breaker: Makes a breaker.

    Attributes:
        name: One of `OUTLETS`.
        counts: How many flushes worked, failed, were not over in time, or were not begun because an earlier
            one was still under way, the outlet is rested, or there was no time. Each is counted once.
    """

    def __init__(
        self,
        name: str,
        find: Callable[[], _Flush | None],
        *,
        label: str,
        breaker: Callable[[], Breaker],
    ) -> None:
        self.name = name
        self.counts = dict.fromkeys(("flushed", "failed", "late", "skipped"), 0)
        self._find = find
        self._label = label
        self._make_breaker = breaker
        self._breaker = breaker()
        self._lock = threading.Lock()
        self._busy = False
        self._thread: threading.Thread | None = None
        self._queue: SimpleQueue[_Flight | None] | None = None

    def in_use(self) -> bool:
        """Say whether its library is loaded and buffers."""
        return self._look() is not None

    def begin(self, over: Callable[[], object], *, timeout_s: float) -> _Flight | None:
        """Begin a flush, unless there is nothing to flush or this is not the time for it.

        Args:
            over: Called from the outlet's thread when it is over, however late.
            timeout_s: How long it will be waited for, in seconds.
        """
        flush = self._look()
        if flush is None:
            return None
        self._forget_the_parent()
        with self._lock:
            ready = timeout_s > 0 and not self._busy
            allowed = self._breaker.allows()
            if not ready or not (allowed or self._breaker.may_probe()):
                self.counts["skipped"] += 1
                return None
            self._busy = True
        flight = _Flight(self, flush, over, timeout_s=timeout_s, probe=not allowed)
        try:
            self._worker_queue().put(flight)
        except RuntimeError:  # no thread can be started: there are too many, or the process is ending
            self._end(flight, worked=False)
            return None
        return flight

    def late(self, flight: _Flight) -> None:
        """Take note that a flush is waited for no longer; if it is over, that changes nothing."""
        self._settle(flight, "late", "%s was not done within %d ms", self._label, flight.timeout_s * 1000)

    def stop(self) -> None:
        """End the thread once it has done what it was asked for."""
        if self._queue is not None:
            self._queue.put(None)
            self._queue = None

    def _look(self) -> _Flush | None:
        try:
            return self._find()
        except Exception:  # noqa: BLE001 - a library of another shape must not break the app
            warn_once(f"outlets.{self.name}", "%s is left out: ddlwa does not know this version", self._label)
            return None

    def _forget_the_parent(self) -> None:
        if self._thread is not None and not self._thread.is_alive():
            # After a fork the thread is the parent's, and may have held the lock or been in a flush.
            self._lock = threading.Lock()
            self._busy = False
            self._breaker = self._make_breaker()
            self._thread = self._queue = None

    def _worker_queue(self) -> SimpleQueue[_Flight | None]:
        if self._queue is None:
            queue: SimpleQueue[_Flight | None] = SimpleQueue()
            thread = threading.Thread(
                target=self._work, args=(queue,), name=f"{THREADS}-outlet-{self.name}", daemon=True
            )
            thread.start()
            self._thread, self._queue = thread, queue
        return self._queue

    def _work(self, queue: SimpleQueue[_Flight | None]) -> None:
        here.is_ours = True
        while (flight := queue.get()) is not None:
            worked = False
            try:
                worked = flight.flush(flight.timeout_s)
            except Exception:  # noqa: BLE001 - the worker outlives every failure of what it calls
                warn_once(f"outlets.{self.name}", "%s failed", self._label, exc_info=True)
            finally:
                self._end(flight, worked=worked)

    def _end(self, flight: _Flight, *, worked: bool) -> None:
        self._busy = False
        self._settle(flight, "flushed" if worked else "failed", "%s failed", self._label)
        flight.over()

    def _settle(self, flight: _Flight, outcome: str, message: str, *args: object) -> None:
        with self._lock:
            if flight.settled:
                return
            flight.settled = True
            self.counts[outcome] += 1
        worked = outcome == "flushed"
        if not worked:
            warn_once(f"outlets.{self.name}", message, *args)
        if flight.probe:
            self._breaker.probed(succeeded=worked)
        elif worked:
            self._breaker.succeeded()
        else:
            self._breaker.failed()


class _Flight:
    """A flush under way; settled when it is known what became of it, as far as whoever waits is concerned."""

    __slots__ = ("flush", "outlet", "over", "probe", "settled", "timeout_s")

    def __init__(
        self, outlet: Outlet, flush: _Flush, over: Callable[[], object], *, timeout_s: float, probe: bool
    ) -> None:
        self.outlet = outlet
        self.flush = flush
        self.over = over
        self.timeout_s = timeout_s
        self.probe = probe
        self.settled = False


def _resolve(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    with suppress(RuntimeError):  # the loop closed meanwhile, and nobody waits any more
        loop.call_soon_threadsafe(future.set_result, None)


def _llmobs(modules: Mapping[str, Any]) -> _Flush | None:
    """Find LLM Observability (ddtrace/llmobs/_llmobs.py, 4.16); its failures it keeps to itself."""
    module = modules.get("ddtrace.llmobs")
    if module is None or not vars(module)["LLMObs"].enabled:
        return None
    return partial(_call, vars(module)["LLMObs"].flush)


def _dogstatsd(modules: Mapping[str, Any]) -> _Flush | None:
    """Find the DogStatsD clients that buffer; by default they do not (datadog/dogstatsd/base.py, 0.56)."""
    module = modules.get("datadog.dogstatsd.base")
    if module is None:
        return None
    clients = {vars(module)["statsd"]}
    with suppress(RuntimeError):  # a client was made meanwhile, elsewhere
        clients.update(vars(module).get("_instances", ()))
    buffering = [client for client in clients if _buffers(client)]
    return partial(_flush_clients, buffering) if buffering else None


def _buffers(client: Any) -> bool:
    # Its public properties would wait for whoever holds the client's lock, on the event loop.
    return (
        not client._disable_buffering  # noqa: SLF001 - see above
        or not getattr(client, "_disable_aggregation", True)
        or getattr(client, "_queue", None) is not None
    )


def _flush_clients(clients: list[Any], timeout_s: float) -> bool:
    flushes = [
        partial(_call, getattr(client, flush))
        for client in clients
        for flush in ("flush_aggregated_metrics", "flush")
        if hasattr(client, flush)
    ]
    return _each([*flushes, *(partial(_wait_for_sender, client) for client in clients)], timeout_s)


def _wait_for_sender(client: Any, left_s: float) -> object:
    if getattr(client, "_queue", None) is None:
        return True
    try:
        return client.wait_for_pending(left_s)
    except TypeError:  # datadog up to 0.53 waits without a limit
        return client.wait_for_pending()


def _lambda_metrics(modules: Mapping[str, Any]) -> _Flush | None:
    """Find datadog-lambda's own metrics; with its extension it buffers none (metric.py, 8.130)."""
    module = modules.get("datadog_lambda.metric")
    if module is None or not hasattr(vars(module)["lambda_stats"], "thread_stats"):
        return None
    return partial(_call, vars(module)["flush_stats"])


# The getters beside these would import a provider that the environment names (opentelemetry-api 1.45).
_PROVIDERS = (
    ("opentelemetry.trace", "_TRACER_PROVIDER"),
    ("opentelemetry.metrics._internal", "_METER_PROVIDER"),
    ("opentelemetry._logs._internal", "_LOGGER_PROVIDER"),
)


def _opentelemetry(modules: Mapping[str, Any]) -> _Flush | None:
    """Find the providers of an OpenTelemetry SDK; ddtrace's own has nothing to flush."""
    flushes = []
    for name, variable in _PROVIDERS:
        module = modules.get(name)
        if module is not None:
            force_flush = getattr(vars(module)[variable], "force_flush", None)
            if force_flush is not None:
                flushes.append(partial(_force_flush, force_flush))
    return partial(_each, flushes) if flushes else None


def _force_flush(force_flush: Callable[[int], object], left_s: float) -> object:
    return force_flush(int(left_s * 1000))


def _call(flush: Callable[[], object], _left_s: float) -> bool:
    return flush() is not False


def _each(calls: Collection[Callable[[float], object]], timeout_s: float) -> bool:
    """Make each call, though others fail; say whether all worked, or raise as the last that did."""
    until_s = time.monotonic() + timeout_s
    error: Exception | None = None
    worked = True
    for call in calls:
        try:
            worked &= call(max(until_s - time.monotonic(), 0)) is not False
        except Exception as raised:  # noqa: BLE001, PERF203 - raised when all have had their turn
            error = raised
    if error is not None:
        raise error
    return worked


# What the log calls them, and where to find them.
_KNOWN: dict[str, tuple[str, _Find]] = {
    "llmobs": ("the flush of LLM Observability", _llmobs),
    "dogstatsd": ("the flush of the DogStatsD clients", _dogstatsd),
    "lambda_metrics": ("the flush of datadog-lambda's metrics", _lambda_metrics),
    "opentelemetry": ("the flush of OpenTelemetry", _opentelemetry),
}
