"""Sends finished traces, one round at a time, and never lets whoever waits wait longer than its budget."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ddlwa.agent import Answer, AnswerError, Connection
from ddlwa.breaker import Breaker
from ddlwa.log import warn_once, warn_seldom
from ddlwa.retention import Retention
from ddlwa.rounds import Round, Waiter
from ddlwa.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddlwa.payload import Payload, Target

_NAME = "the trace agent"
# How long an exchange may go on once nobody waits for it any more.
_EXCHANGE_TIMEOUT_S = 2.0
# A healthy agent on this machine answers in a fifth of it.
_GRACE_S = 0.0005
# An event loop that does not turn once in this time is blocked.
_PATIENCE_S = 0.05
_OVERDUE_S = _EXCHANGE_TIMEOUT_S + 0.5
# Whose traces an agent has refused so often will not have them taken the next time.
_ATTEMPTS = 5
_UNSUPPORTED = frozenset({404, 415})
_FIRST_REDIRECT, _FIRST_SERVER_ERROR = 300, 500
# Refusals that say something about the moment, not about the payload.
_PASSING = frozenset({401, 403, 408, 425, 429})


class Source(Protocol):
    """Where finished traces come from."""

    def collect(self, *, leftovers: bool) -> tuple[list[Payload], list[Payload]]:
        """Take what is finished: the traces of requests, and, if wanted, those that come after them."""

    def target(self) -> Target | None:
        """Say where traces go at present; None if they are not for sending."""


class Delivery:
    """The one sender.

    A flush is a round: it sends what is finished when it begins, and then, as long as half of the budget
    is left, what was retained. Who asks for one while another is under way shares the next. A round is
    driven by the event loop of whoever began it, without blocking it; where there is no connection yet,
    or only ddtrace knows the way, by a thread.

    Args:
        source: Where finished traces come from.
        timeout_s: The budget: how long a flush may be waited for, in seconds.
        retain_bytes: How many bytes of payloads are kept that were not accepted.
        retain_s: How long, in seconds.

    Attributes:
        counts: Of traces `sent`, `repeated` and dropped (`dropped_<reason>`); of flushes that were `late`,
            of `failed` sends, of `probes`.
    """

    def __init__(self, source: Source, *, timeout_s: float, retain_bytes: int, retain_s: float) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._lock = threading.RLock()  # a signal handler may come in between
        self._breaker = Breaker(_NAME)
        self._retention = Retention(limit_bytes=retain_bytes, limit_s=retain_s, dropped=self.drop)
        self._connection: Connection | None = None
        self._waiters: list[Waiter] = []
        self._round: Round | None = None
        self._worker = Worker("delivery")
        self.counts: Counter[str] = Counter()

    def prepare(self) -> None:
        """Use the time that a request takes: connect, or find out whether the agent works again."""
        if self._round is not None:
            self._give_up_overdue()
        if not self._breaker.allows():
            self.try_again()
            return
        with self._lock:  # who drives a round has the connection for itself
            if self._round is None and not self._is_connected():
                self._alone(self._connect)

    def try_again(self) -> None:
        """Have it found out whether an agent that did not work does again, if it is time for that."""
        if self._round is None and self._breaker.may_probe() and not self._alone(self._probe):
            self._breaker.probed(succeeded=False)

    async def flush(self, *, limit_s: float = math.inf, leftovers: bool = True, alone: bool = False) -> None:
        """Send what is finished, and return when that is done or the budget is spent.

        Args:
            limit_s: A limit that is lower than the budget, in seconds.
            leftovers: Send what is not of a request, too.
            alone: No other request is being served that could not bear the event loop to stand still for
                half a millisecond.
        """
        budget_s = min(self._timeout_s, limit_s)
        if budget_s <= 0 or not self._breaker.allows():
            self.put_by()
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def answer() -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                if asyncio._get_running_loop() is loop:  # noqa: SLF001 - the one that does not raise
                    _resolve(done, True)  # noqa: FBT003 - as a loop callback passes it
                else:
                    loop.call_soon_threadsafe(_resolve, done, True)  # noqa: FBT003 - passes no keywords

        round_ = self._join(Waiter(answer, budget_s=budget_s, leftovers=leftovers, loop=loop))
        if round_ is not None:
            round_.grace_s = min(budget_s, _GRACE_S) if alone else 0.0
            self._drive(round_, loop)
            if done.done():
                return
        timer = loop.call_later(budget_s, _resolve, done, False)  # noqa: FBT003 - passes no keywords
        try:
            in_time = await done
        finally:
            timer.cancel()
        if not in_time:
            self._note_late(budget_s)

    def flush_blocking(self, *, timeout_s: float, leftovers: bool = True, force: bool = False) -> None:
        """Do the same from a thread, with another budget.

        Args:
            timeout_s: How long to wait, in seconds.
            leftovers: Send what is not of a request, too.
            force: Try even an agent that does not work, and do not wait for an event loop that is blocked:
                there may be no other time.
        """
        if not force and (timeout_s <= 0 or not self._breaker.allows()):
            self.put_by()
            return
        deadline_s = time.monotonic() + timeout_s
        done = threading.Event()
        self._give_up_overdue()
        if force:
            self._give_up_stuck(min(_PATIENCE_S, timeout_s / 4))
        round_ = self._join(Waiter(done.set, budget_s=timeout_s, leftovers=leftovers, force=force))
        if round_ is not None:
            self._worker.do(partial(self._work, round_))
        else:
            self._help(deadline_s)
        if not done.wait(max(deadline_s - time.monotonic(), 0)):
            self._note_late(timeout_s)

    def put_by(self) -> None:
        """Retain what is finished, without trying to send it."""
        with self._lock:  # a round that begins meanwhile finds them in the one place or the other
            for payloads in self._source.collect(leftovers=True):
                for payload in payloads:
                    self._retention.keep(payload)

    def drop(self, reason: str, traces: int) -> None:
        """Count traces that are lost.

        Args:
            reason: Why.
            traces: How many.
        """
        self.counts[f"dropped_{reason}"] += traces
        if reason != "readiness":
            warn_seldom(f"delivery.dropped.{reason}", "%d traces are lost (%s)", traces, reason)

    def close(self, *, timeout_s: float) -> None:
        """Try once more to deliver everything, and count what stays behind: the process ends.

        Args:
            timeout_s: How long that may take, in seconds.
        """
        self.flush_blocking(timeout_s=timeout_s, force=True)
        self.put_by()
        self._give_up()
        left = sum(payload.traces for payload in iter(self._retention.take, None))
        if left:
            self.drop("shutdown", left)
        self.stop()

    def stop(self) -> None:
        """End the thread once it has done what it was asked for, and the connection if it is idle.

        A later flush makes new ones.
        """
        self._worker.stop()
        with self._lock:
            if self._round is None and self._connection is not None:
                self._connection.close()

    def forked(self) -> None:
        """Start anew in a forked child: connection, threads and what is retained are the parent's."""
        self._lock = threading.RLock()
        self._worker = Worker("delivery")
        self._breaker = Breaker(_NAME)
        self._retention.forked()
        self._waiters = []
        self._round = None
        if self._connection is not None:
            self._connection.close()

    def stats(self) -> dict[str, Any]:
        """Give the counters, the breaker's state, and how much is retained."""
        counts = self.counts
        return {
            "breaker": self._breaker.state.value,
            "opened": self._breaker.opened,
            "closed": self._breaker.closed,
            **{name: counts[name] for name in ("probes", "sent", "late", "failed", "repeated")},
            "retained_traces": self._retention.traces,
            "retained_bytes": self._retention.size,
            "dropped": {
                reason: counts[f"dropped_{reason}"]
                for reason in ("bytes", "age", "rejected", "readiness", "encoding", "full", "shutdown")
            },
        }

    # -- rounds

    def _join(self, waiter: Waiter) -> Round | None:
        """Wait with the others; give the round to be driven, if the waiter is to drive one."""
        with self._lock:
            self._waiters.append(waiter)
            return self._next_round() if self._round is None else None

    def _next_round(self) -> Round | None:
        if not self._waiters:
            return None
        waiters, self._waiters = self._waiters, []
        leftovers = any(waiter.leftovers for waiter in waiters)
        try:
            own, others = self._source.collect(leftovers=leftovers)
        except Exception:  # noqa: BLE001 - guards those who wait from what ddtrace may do
            warn_once("delivery.collect", "cannot take the traces from ddtrace", exc_info=True)
            own, others = [], []
        self._round = Round(waiters, own + others, self._retention if leftovers else None)
        return self._round

    def _end(self, round_: Round) -> Round | None:
        """Let those who wait go; give the next round, if somebody waits for one."""
        with self._lock:
            for payload in round_.unsent():
                self._retention.keep(payload)
            if self._round is not round_:  # given up meanwhile
                return None
            self._round = None
            shut = not self._breaker.allows() and not any(waiter.force for waiter in self._waiters)
            unheard = self._waiters if shut else []
            if shut:
                self._waiters = []
            next_round = self._next_round()
        if unheard:
            self.put_by()
        for waiter in (*round_.waiters, *unheard):
            waiter.answer()
        return next_round

    def _drive(self, round_: Round, loop: asyncio.AbstractEventLoop) -> None:
        """Go on with a round on the running loop, until it waits for an answer, or a thread has taken it."""
        following: Round | None = round_
        while following is not None:
            round_ = following
            while (payload := round_.next()) is not None:
                connection = self._connection_to(payload.target)
                if connection is None:
                    self._worker.do(partial(self._work, round_, payload))
                    return
                outcome = self._begin(round_, payload, connection, loop)
                if outcome is None:
                    return
                self._settle(round_, payload, outcome)
            following = self._end(round_)
            if following is not None and not following.is_for(loop):
                # This loop may end while another still waits.
                self._worker.do(partial(self._work, following))
                return

    def _begin(
        self, round_: Round, payload: Payload, connection: Connection, loop: asyncio.AbstractEventLoop
    ) -> Answer | Exception | None:
        try:
            round_.exchange = connection.begin(self._request(payload))
            on_end = partial(self._answered, round_, payload, loop)
            return round_.exchange.run_on(loop, on_end, grace_s=round_.grace_s)
        except Exception as error:  # noqa: BLE001 - it is how this payload ends, not the round
            return error

    def _answered(
        self, round_: Round, payload: Payload, loop: asyncio.AbstractEventLoop, outcome: Answer | Exception
    ) -> None:
        self._settle(round_, payload, outcome)
        self._drive(round_, loop)

    def _work(self, round_: Round, payload: Payload | None = None) -> None:
        """Drive a round, and those that follow it, in this thread."""
        following: Round | None = round_
        while following is not None:
            round_ = following
            while (payload := payload or round_.next()) is not None:
                self._settle(round_, payload, self._send(round_, payload))
                payload = None  # what follows is the round's to say
            following = self._end(round_)

    def _help(self, deadline_s: float) -> None:
        """Drive the round that this very thread's event loop would drive if it were not waiting here."""
        while True:
            round_ = self._round
            exchange = None if round_ is None else round_.exchange
            left_s = deadline_s - time.monotonic()
            if exchange is None or not exchange.is_driven_here() or left_s <= 0:
                return
            exchange.finish(left_s)

    def _send(self, round_: Round, payload: Payload) -> Answer | Exception:
        try:
            if payload.target.address is None:
                payload.target.send(payload)
                return Answer(200, b"", reusable=True)
            connection = self._connection_to(payload.target) or self._connected(payload.target)
            round_.exchange = connection.begin(self._request(payload))
            return round_.exchange.block(_EXCHANGE_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - whatever ddtrace raises, the worker outlives it
            return error

    def _request(self, payload: Payload) -> bytes:
        if payload.uncertain:
            payload.uncertain = False
            self.counts["repeated"] += payload.traces
        return payload.target.request(payload)

    def _settle(self, round_: Round, payload: Payload, outcome: Answer | Exception) -> None:
        """Decide what becomes of a payload."""
        exchange, round_.exchange = round_.exchange, None
        if round_.given_up:
            return
        if isinstance(outcome, Answer) and outcome.status < _FIRST_REDIRECT:
            self._breaker.succeeded()
            self.counts["sent"] += payload.traces
            _safely(payload.target.accepted, outcome.content)
            return
        self.counts["failed"] += 1
        if isinstance(outcome, Answer):
            self._refused(round_, payload, outcome.status)
            return
        if not isinstance(outcome, (OSError, AnswerError)):
            warn_once("delivery.failed", "sending traces failed: %r", type(outcome))
        if exchange is not None and exchange.sent:
            payload.uncertain = True
            if exchange.reused and not exchange.answered and not isinstance(outcome, TimeoutError):
                # The agent has closed a connection that was idle, as it may: that is not its failure.
                round_.again(payload)
                return
        self._breaker.failed()
        round_.fail(payload)

    def _refused(self, round_: Round, payload: Payload, status: int) -> None:
        if status in _UNSUPPORTED:
            _safely(payload.target.unsupported, status)
        payload.attempts += 1
        if (status < _FIRST_SERVER_ERROR and status not in _PASSING) or payload.attempts >= _ATTEMPTS:
            self.drop("rejected", payload.traces)
            return
        self._breaker.failed()
        round_.fail(payload)

    # -- the connection

    def _is_connected(self) -> bool:
        target = self._source.target()
        return target is None or target.address is None or self._connection_to(target) is not None

    def _connection_to(self, target: Target) -> Connection | None:
        connection = self._connection
        if connection is not None and connection.address == target.address and connection.is_open():
            return connection
        return None

    def _connected(self, target: Target) -> Connection:
        assert target.address is not None  # noqa: S101 - the caller has looked
        if self._connection is not None:
            self._connection.close()
        self._connection = Connection(target.address)
        self._connection.connect(_EXCHANGE_TIMEOUT_S)
        return self._connection

    def _alone(self, action: Callable[[Round], None]) -> bool:
        """Do something on the thread while no round is under way; say whether that could be had."""
        with self._lock:
            if self._round is not None:
                return False
            self._round = round_ = Round()
        self._worker.do(partial(self._do_alone, round_, action))
        return True

    def _do_alone(self, round_: Round, action: Callable[[Round], None]) -> None:
        try:
            action(round_)
        except Exception:  # noqa: BLE001 - what follows it has to be driven on
            warn_once("delivery.alone", "cannot look after the trace agent", exc_info=True)
        following = self._end(round_)
        if following is not None:
            self._work(following)

    def _connect(self, _: Round) -> None:
        with suppress(Exception):  # the flush will find out, and count it
            target = self._source.target()
            if target is not None and target.address is not None:
                self._connected(target)

    def _probe(self, round_: Round) -> None:
        self.counts["probes"] += 1
        begun_s = time.monotonic()
        works = False
        try:
            target = self._source.target()
            outcome = None if target is None else self._send(round_, target.probe())
            works = target is None or (isinstance(outcome, Answer) and outcome.status < _FIRST_REDIRECT)
        finally:
            in_time = time.monotonic() - begun_s <= self._timeout_s
            self._breaker.probed(succeeded=works and in_time)

    def _note_late(self, budget_s: float) -> None:
        self.counts["late"] += 1
        self._breaker.failed(dear=budget_s >= self._timeout_s)
        warn_once(
            "delivery.late",
            "the trace agent did not take the traces within %d ms; they stay behind",
            budget_s * 1000,
        )

    def _give_up_overdue(self) -> None:
        """Take back a round that nothing drives any more: its loop was closed, or blocked for long."""
        round_ = self._round
        exchange = None if round_ is None else round_.exchange
        if round_ is None or exchange is None or not exchange.is_on_loop:
            return
        if time.monotonic() - round_.begun_s >= _OVERDUE_S or exchange.is_orphaned():
            self._give_up()

    def _give_up_stuck(self, patience_s: float) -> None:
        """Take back a round that another thread's event loop does not get on with: the app blocks it."""
        round_ = self._round
        exchange = None if round_ is None else round_.exchange
        if round_ is not None and exchange is not None and exchange.is_stuck(patience_s):
            with self._lock:
                if round_ is self._round and round_.exchange is exchange:
                    self._give_up()

    def _give_up(self) -> None:
        """Take back what the round that is under way has not sent, and let those who wait go."""
        with self._lock:
            round_, self._round = self._round, None
            if round_ is None:
                return
            exchange = round_.exchange
            answer = None if exchange is None else exchange.peek()
            if answer is not None and answer.status < _FIRST_REDIRECT:
                self.counts["sent"] += round_.taken()
            for payload in round_.give_up(uncertain=exchange is None or exchange.sent):
                self._retention.keep(payload)
            if exchange is not None:
                exchange.abandon()
            self.counts["failed"] += 1
            waiters, self._waiters = self._waiters, []
        for waiter in (*round_.waiters, *waiters):
            waiter.answer()


def _resolve(done: asyncio.Future[bool], in_time: bool) -> None:  # noqa: FBT001 - a loop callback
    if not done.done():
        done.set_result(in_time)


def _safely(action: Callable[[Any], None], argument: object) -> None:
    try:
        action(argument)
    except Exception:  # noqa: BLE001 - what ddtrace makes of an answer is not to stop the delivery
        warn_once("delivery.answer", "cannot make anything of what the trace agent answers", exc_info=True)
