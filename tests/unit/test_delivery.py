"""Whatever the agent does, nobody waits longer than its budget, and every trace is accounted for."""

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import msgpack
import pytest
import uvloop
from agent_server import ScriptedAgent, answer

from benchmarks.faulty_agent import FaultyAgent
from ddlwa import agent as agent_module
from ddlwa import delivery as module
from ddlwa.agent import Address
from ddlwa.delivery import Delivery
from ddlwa.payload import Payload
from ddlwa.rounds import Round

TIMEOUT_S = 10
BUDGET_S = 0.1
ALLOWANCE_S = 0.15
LONG_S = 5.0
REJECTING = ["status:302", "status:400", "status:404", "status:413"]
FAILING_AT_ONCE = ["refused", "closing", "resetting", "garbage", "half", "status:429", "status:500"]
TAKING_TOO_LONG = ["hung", "mute", "slow:400", "trickle"]


class Target:
    """Where the payloads of a test go: to an address, or into `sent` where there is none."""

    def __init__(self, address=None):
        self.address = address
        self.sent = []
        self.contents = []
        self.unsupported_statuses = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.error = None

    def request(self, payload):
        head = f"POST /v0.4/traces HTTP/1.1\r\nhost: agent\r\ncontent-length: {len(payload.body)}\r\n\r\n"
        return head.encode() + payload.body

    def send(self, payload):
        self.entered.set()
        self.open.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        self.sent += ids(msgpack.unpackb(payload.body))

    def accepted(self, content):
        self.contents.append(content)

    def unsupported(self, status):
        self.unsupported_statuses.append(status)

    def probe(self):
        return Payload(b"\x90", 0, self, time.time())


class Source:
    """Traces that a test has finished; each is a payload of its own, with its number as its id."""

    def __init__(self, target):
        self._target = target
        self._own = []
        self._others = []
        self._lock = threading.Lock()
        self.finished = 0
        self.collected = 0

    def finish(self, traces=1, *, others=False, padding=0, age_s=0.0):
        with self._lock:
            for _ in range(traces):
                self.finished += 1
                span = {"name": "x", "trace_id": self.finished, "span_id": 1, "start": 1, "duration": 1}
                body = msgpack.packb([[{**span, "meta": {"padding": "x" * padding}}]])
                payload = Payload(body, 1, self._target, time.time() - age_s)
                (self._others if others else self._own).append(payload)
            return self.finished

    def collect(self, *, leftovers):
        with self._lock:
            self.collected += 1
            own, self._own = self._own, []
            others = []
            if leftovers:
                others, self._others = self._others, []
            return own, others

    def target(self):
        return self._target

    @property
    def waiting(self):
        return len(self._own) + len(self._others)


def ids(chunks):
    return [chunk[0]["trace_id"] for chunk in chunks]


class Sender:
    """A delivery with its source and its target, and what a test wants to know of it."""

    def __init__(self, target, *, timeout_s=BUDGET_S, retain_bytes=1 << 24, retain_s=3600.0):
        self.target = target
        self.source = Source(target)
        self.finish = self.source.finish
        self.delivery = Delivery(
            self.source, timeout_s=timeout_s, retain_bytes=retain_bytes, retain_s=retain_s
        )

    def flush(self, **options):
        """Flush on a loop of its own, which is closed then; give how long that took."""
        begun_s = time.monotonic()
        asyncio.run(self.delivery.flush(**options))
        return time.monotonic() - begun_s

    def flush_blocking(self, *, limit_s=None, **options):
        """Flush from this thread, with the same budget; give how long that took."""
        timeout_s = self.delivery._timeout_s if limit_s is None else limit_s
        begun_s = time.monotonic()
        self.delivery.flush_blocking(timeout_s=timeout_s, **options)
        return time.monotonic() - begun_s

    def settle(self):
        """Wait until the thread has done all that it was given."""
        done = threading.Event()
        self.delivery._worker.do(done.set)
        assert done.wait(TIMEOUT_S)

    def prepare(self):
        self.delivery.prepare()
        self.settle()

    def probe(self):
        """Have the breaker's pause over, and a request come."""
        self.delivery._breaker._until_s = 0.0
        self.prepare()

    def fail(self, times=3):
        """Have so many flushes fail."""
        for _ in range(times):
            self.finish()
            self.flush_blocking(limit_s=LONG_S)

    def recover(self):
        """Deliver everything to an agent that has become healthy."""
        ends_s = time.monotonic() + TIMEOUT_S
        self.settle()
        self.prepare()
        while self.stats()["breaker"] != "closed":
            assert time.monotonic() < ends_s
            self.probe()
        while self.stats()["retained_traces"] or self.source.waiting:
            assert time.monotonic() < ends_s
            self.prepare()
            self.flush_blocking(limit_s=LONG_S)

    def stats(self):
        return self.delivery.stats()

    def dropped(self):
        return {reason: traces for reason, traces in self.stats()["dropped"].items() if traces}

    def assert_accounted(self):
        """Every trace that was finished is sent, retained, dropped, or still where it came from."""
        stats = self.stats()
        known = stats["sent"] + stats["retained_traces"] + sum(stats["dropped"].values())
        assert known + self.source.waiting == self.source.finished

    def stop(self):
        self.target.open.set()
        self.delivery.stop()

    def close(self):
        """Close what is still open; its thread has ended, and so has its agent."""
        round_ = self.delivery._round
        if round_ is not None and round_.exchange is not None:
            round_.exchange.abandon()  # its loop is closed
        if self.delivery._connection is not None:
            self.delivery._connection.close()


@pytest.fixture
def agent():
    with FaultyAgent() as agent:
        yield agent


@pytest.fixture
def make():
    """Give a function that makes a sender, to an agent or to a target."""
    senders, agents = [], []
    before = set(threading.enumerate())

    def made(to, **options):
        if isinstance(to, FaultyAgent):
            agents.append(to)
            to = Target(Address("127.0.0.1", to.port, ""))
        elif isinstance(to, ScriptedAgent):
            to = Target(to.address)
        senders.append(Sender(to, **options))
        return senders[-1]

    yield made
    for agent in agents:
        agent.become("refused")  # a thread that waits for it need not any more
    for sender in senders:
        sender.stop()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "ddlwa-delivery":
            thread.join(TIMEOUT_S)
            assert not thread.is_alive()
    for sender in senders:
        sender.close()


@pytest.fixture
def sender(make, agent):
    return make(agent)


@pytest.fixture
def patient(make, agent):
    """Give a sender that can afford to wait."""
    return make(agent, timeout_s=LONG_S)


@pytest.fixture
def foreign(make):
    """Give a sender that only ddtrace knows the way for."""
    return make(Target())


def taken(agent):
    """Give the ids of the traces that an agent has taken, in their order."""
    return [chunk[0].trace_id for chunk in agent.chunks()]


class Thread(threading.Thread):
    """A thread whose failure is the test's."""

    def __init__(self, action):
        super().__init__(daemon=True)
        self._action = action
        self._error = None
        self.start()

    def run(self):
        try:
            self._action()
        except BaseException as error:  # noqa: BLE001 - raised where it is joined
            self._error = error

    def end(self):
        self.join(TIMEOUT_S)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error


def until(condition):
    """Wait for what no event tells of."""
    ends_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < ends_s
        time.sleep(0.001)


# -- budgets


@pytest.mark.parametrize("fault", [*REJECTING, *FAILING_AT_ONCE, *TAKING_TOO_LONG])
@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "unprepared"])
@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
def test_guarantee_2_flush_is_bounded(way, prepared, fault, agent, sender):
    """Whatever the agent does, a flush takes no longer than its budget, and loses nothing uncounted."""
    agent.become(fault)
    if prepared:
        sender.prepare()
    sender.finish()
    assert getattr(sender, way)() < BUDGET_S + ALLOWANCE_S
    assert sender.stats()["late"] == (fault in TAKING_TOO_LONG)
    agent.become("healthy")
    sender.recover()
    sender.assert_accounted()
    assert sender.dropped() == ({"rejected": 1} if fault in REJECTING else {})
    assert set(taken(agent)) == (set() if fault in REJECTING else {1})
    assert len(taken(agent)) - len(set(taken(agent))) <= sender.stats()["repeated"]


def test_sends_before_it_returns(agent, sender):
    """When a flush has returned, the agent has what was finished, over one connection."""
    for number in range(1, 4):
        sender.prepare()
        sender.finish()
        sender.flush()
        assert taken(agent)[-1] == number
    assert sender.stats()["sent"] == 3
    assert sender.stats()["late"] == sender.stats()["failed"] == 0
    assert sender.target.contents == [b'{"rate_by_service": {}}'] * 3


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_loop_goes_on(new_loop, agent, sender, warnings_said):
    """While a flush waits in vain, its loop serves others; then that is counted and said."""
    agent.become("hung")
    sender.prepare()
    sender.finish()
    ticks = []

    async def main():
        async def tick():
            while True:
                ticks.append(None)
                await asyncio.sleep(0.005)

        ticker = asyncio.ensure_future(tick())
        begun_s = time.monotonic()
        await sender.delivery.flush()
        took_s = time.monotonic() - begun_s
        ticker.cancel()
        return took_s

    loop = new_loop()
    assert BUDGET_S - 0.01 <= loop.run_until_complete(main()) < BUDGET_S + ALLOWANCE_S
    loop.close()
    assert len(ticks) > 3
    assert sender.stats()["late"] == 1
    assert sender.stats()["breaker"] == "open"
    assert set(warnings_said()) == {
        "the trace agent does not work; it is left alone for a while",
        "the trace agent did not take the traces within 100 ms; they stay behind",
    }


def test_without_a_budget(agent, sender):
    """With no time at all nothing is sent, and what is finished is retained; from a thread likewise."""
    for limit_s in (0, -1):
        sender.finish()
        sender.flush(limit_s=limit_s)
        sender.finish()
        sender.flush_blocking(limit_s=limit_s)
    assert agent.requests == []
    assert sender.stats()["retained_traces"] == 4
    assert sender.stats()["late"] == 0
    sender.recover()
    assert taken(agent) == [1, 2, 3, 4]


@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
def test_lower_limit(way, agent, sender):
    """A flush that had less than the budget says little about the agent: three such open the breaker."""
    agent.become("hung")
    sender.prepare()
    for late in (1, 2, 3):
        assert sender.stats()["breaker"] == "closed"
        sender.finish()
        assert getattr(sender, way)(limit_s=0.01) < 0.01 + ALLOWANCE_S
        assert sender.stats()["late"] == late
    assert sender.stats()["breaker"] == "open"


def test_standing_still(sender, monkeypatch):
    """A request that is alone may have its loop stand still for an agent that answers at once."""
    monkeypatch.setattr(module, "_GRACE_S", LONG_S)
    sender.prepare()
    sender.finish()

    async def main():
        with pytest.raises(StopIteration):  # it has ended without waiting
            sender.delivery.flush(alone=True).send(None)

    asyncio.run(main())
    assert sender.stats()["sent"] == 1


# -- the breaker


@pytest.mark.parametrize("fault", FAILING_AT_ONCE)
def test_three_quick_failures(fault, agent, sender):
    """The third failure in a row opens the breaker; from then on nobody waits, and all is retained."""
    agent.become(fault)
    for failures in (1, 2, 3):
        assert sender.stats()["breaker"] == "closed"
        sender.fail(1)
        assert sender.stats()["failed"] == failures
    assert (sender.stats()["breaker"], sender.stats()["opened"]) == ("open", 1)
    agent.clear()
    begun_s = time.monotonic()
    for _ in range(20):
        sender.finish()
        sender.flush()
        sender.finish(others=True)
        sender.flush_blocking()
    assert time.monotonic() - begun_s < BUDGET_S + ALLOWANCE_S
    assert agent.requests == []
    assert sender.stats()["retained_traces"] == 43


def test_one_dear_failure(agent, sender):
    """One flush that has used up its budget opens the breaker; the next returns at once."""
    agent.become("hung")
    sender.finish()
    sender.flush_blocking()
    assert sender.stats()["breaker"] == "open"
    sender.finish()
    assert sender.flush() < ALLOWANCE_S


def test_success_in_between(agent, sender):
    """Failures that are not in a row do not open it."""
    for _ in range(3):
        agent.become("status:500")
        sender.fail(2)
        agent.become("healthy")
        sender.fail(1)
    assert sender.stats()["opened"] == 0
    assert sender.stats()["retained_traces"] == 0


def test_probe_once_the_pause_is_over(agent, sender):
    """A request begins a probe only when the pause is over; it closes the breaker, and costs nobody."""
    agent.become("status:500")
    sender.fail()
    agent.become("healthy")
    agent.clear()
    sender.delivery._breaker._until_s = time.monotonic() + 100
    sender.prepare()
    assert agent.requests == []
    assert sender.stats()["probes"] == 0
    sender.probe()
    assert agent.probes == sender.stats()["probes"] == 1
    assert (sender.stats()["breaker"], sender.stats()["closed"]) == ("closed", 1)
    assert sender.stats()["sent"] == 0
    sender.recover()
    assert sorted(taken(agent)) == [1, 2, 3]


@pytest.mark.parametrize(
    "fault", ["refused", "closing", "status:302", "status:404", "status:500", "slow:150"]
)
def test_probe_in_vain(fault, agent, sender):
    """A probe that fails, or that succeeds too late to be of use, does not close it; the pause is doubled."""
    agent.become("status:500")
    sender.fail()
    agent.become(fault)
    begun_s = time.monotonic()
    sender.probe()
    assert sender.stats()["breaker"] == "open"
    assert sender.stats()["probes"] == 1
    assert sender.delivery._breaker._until_s >= begun_s + 0.2
    agent.become("healthy")
    sender.probe()
    assert sender.stats()["breaker"] == "closed"


def test_nobody_waits_for_a_probe(agent, sender):
    """While a probe is under way requests go on without waiting, and no other probe begins."""
    agent.become("status:500")
    sender.fail()
    agent.become("hung")
    agent.clear()
    sender.delivery._breaker._until_s = 0.0
    sender.delivery.prepare()
    assert agent.wait(lambda agent: agent.probes == 1)
    assert sender.stats()["breaker"] == "half_open"
    for _ in range(3):
        sender.delivery.prepare()
        sender.finish()
        assert sender.flush() < ALLOWANCE_S
    assert agent.probes == 1
    agent.become("healthy")
    sender.settle()
    assert sender.stats()["breaker"] == "open"
    sender.recover()
    assert sorted(taken(agent)) == [1, 2, 3, 4, 5, 6]


def test_no_probe_beside_a_round(agent, sender):
    """As long as the exchange that used up its budget is under way, there is nothing to be learned."""
    agent.become("hung")
    sender.finish()
    sender.flush_blocking()
    agent.clear()
    for _ in range(3):
        sender.delivery._breaker._until_s = 0.0
        sender.delivery.prepare()
    assert agent.probes == sender.stats()["probes"] == 0
    assert sender.stats()["breaker"] == "open"
    assert sender.delivery._breaker._pause_s == 0.1  # nothing has failed in the meantime
    agent.become("healthy")
    sender.recover()
    assert taken(agent) == [1]


def test_round_that_is_faster_than_the_probe(foreign):
    """A round that somebody else begins in between takes the probe's place; that is tried again later."""
    sender = foreign
    sender.target.error = OSError()
    sender.fail()
    sender.target.error = None
    sender.target.open.clear()
    sender.target.entered.clear()
    others = []

    def clock():
        if not others:
            others.append(Thread(partial(sender.flush_blocking, limit_s=LONG_S, force=True)))
            assert sender.target.entered.wait(TIMEOUT_S)
        return time.monotonic()

    sender.delivery._breaker._until_s = 0.0
    sender.delivery._breaker._clock = clock
    sender.delivery.prepare()
    assert sender.stats()["breaker"] == "open"
    sender.target.open.set()
    others[0].end()
    assert sender.target.sent == [1, 2, 3]
    sender.probe()
    assert sender.stats()["breaker"] == "closed"


def test_traces_that_are_not_for_sending(foreign):
    """Where there is nothing to be sent to, nothing is prepared, and a probe has nothing to find out."""
    sender = foreign
    sender.target.error = OSError()
    sender.fail()
    sender.source.target = lambda: None
    sender.probe()
    assert sender.stats()["breaker"] == "closed"
    sender.prepare()
    assert sender.delivery._connection is None


def test_target_that_goes_while_connecting(agent, sender):
    """Where traces are not for sending any more when the thread gets to it, nothing is connected."""
    targets = [None, sender.target]
    sender.source.target = targets.pop
    sender.prepare()
    assert targets == []
    assert sender.delivery._connection is None


# -- what is retained


def test_own_first_then_retained(agent, sender):
    """The flush after a fault sends its own first, then other traces, then what was retained, in order."""
    agent.become("status:503")
    sender.fail()
    sender.finish()
    sender.flush()
    agent.become("healthy")
    sender.probe()
    agent.clear()
    sender.finish(others=True)
    sender.finish()
    sender.flush_blocking(limit_s=LONG_S)
    assert taken(agent) == [6, 5, 1, 2, 3, 4]
    sender.flush_blocking(limit_s=LONG_S)
    assert taken(agent) == [6, 5, 1, 2, 3, 4]
    assert sender.stats()["retained_bytes"] == 0
    assert sender.stats()["sent"] == 6


def test_order_within_a_flush_that_fails(agent, sender):
    """What one flush could not send keeps its order."""
    agent.become("status:503")
    sender.finish(4)
    sender.flush_blocking(limit_s=LONG_S)
    assert len(agent.requests) == 1
    agent.become("healthy")
    sender.flush_blocking(limit_s=LONG_S)
    assert taken(agent) == [1, 2, 3, 4]


@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
def test_no_leftovers(way, agent, sender):
    """A flush that is not to send leftovers leaves both those and what is retained where they are."""
    sender.finish(others=True)
    sender.flush(limit_s=0)
    sender.finish(others=True)
    sender.finish()
    getattr(sender, way)(leftovers=False)
    assert taken(agent) == [3]
    getattr(sender, way)()
    assert taken(agent) == [3, 2, 1]


def test_too_many_bytes(agent, make):
    """More than may be retained is dropped, the oldest first, and counted and said as such."""
    sender = make(agent, retain_bytes=3500)
    sender.finish(5, padding=1000)
    sender.flush(limit_s=0)
    assert sender.dropped() == {"bytes": 2}
    assert sender.stats()["retained_bytes"] <= 3500
    sender.recover()
    assert taken(agent) == [3, 4, 5]
    sender.assert_accounted()


def test_too_old(agent, make, warnings_said):
    """What has been retained for too long is dropped, counted and said as such."""
    sender = make(agent, retain_s=60)
    sender.finish(2, age_s=100)
    sender.finish()
    sender.flush(limit_s=0)
    sender.recover()
    assert taken(agent) == [3]
    assert sender.dropped() == {"age": 2}
    assert warnings_said() == ["1 traces are lost (age)"]


def test_leftovers_for_one_are_for_all(agent, patient):
    """Where one of those who share a round has leftovers sent, they are."""
    agent.become("slow:20")
    patient.prepare()

    async def main():
        patient.finish()
        first = asyncio.ensure_future(patient.delivery.flush(leftovers=False))
        await asyncio.sleep(0)
        patient.finish(others=True)
        patient.finish()
        flushes = [patient.delivery.flush(leftovers=leftovers) for leftovers in (False, True)]
        await asyncio.gather(first, *flushes)

    asyncio.run(main())
    assert taken(agent) == [1, 3, 2]


# -- what becomes of a payload


@pytest.mark.parametrize("status", [300, 302, 400, 404, 410, 413, 415, 422])
def test_rejected(status, agent, sender, warnings_said):
    """What the agent will never take is dropped, the rest of the flush goes on, the breaker stays closed."""
    agent.become(f"status:{status}")
    for _ in range(2):
        sender.finish(2)
        sender.flush_blocking(limit_s=LONG_S)
    assert sender.dropped() == {"rejected": 4}
    assert sender.stats()["failed"] == 4
    assert sender.stats()["breaker"] == "closed"
    assert sender.target.unsupported_statuses == ([status] * 4 if status in {404, 415} else [])
    assert warnings_said() == ["1 traces are lost (rejected)"]


@pytest.mark.parametrize("status", [401, 403, 408, 425, 429, 500, 503, 599])
def test_refused_for_now(status, agent, sender):
    """What the agent does not take now is tried again; after five refusals it is taken for rejected."""
    agent.become(f"status:{status}")
    sender.finish()
    for _ in range(4):
        sender.flush_blocking(limit_s=LONG_S, force=True)
        assert sender.stats()["retained_traces"] == 1
    assert sender.stats()["breaker"] == "open"
    sender.flush_blocking(limit_s=LONG_S, force=True)
    assert sender.dropped() == {"rejected": 1}
    assert len(agent.requests) == 5
    sender.assert_accounted()


@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
def test_large_payload_that_is_refused_early(way, make):
    """A payload that is too large for the agent is rejected, though the agent did not read it all."""

    def script(peer):
        peer.socket.recv(100)
        peer.say(answer(413, b"", "connection: close"))

    with ScriptedAgent(script) as agent:
        sender = make(agent, timeout_s=LONG_S)
        sender.prepare()
        sender.finish(padding=8 << 20)
        getattr(sender, way)()
        assert sender.dropped() == {"rejected": 1}


@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
def test_large_payload(way, agent, patient):
    """A large payload arrives whole."""
    patient.prepare()
    patient.finish(padding=8 << 20)
    getattr(patient, way)()
    assert taken(agent) == [1]


def test_agent_that_ends_idle_connections(agent, sender, monkeypatch):
    """An idle connection that the agent has ended is found out before anything is sent."""
    monkeypatch.setattr(agent_module, "_SOUND_S", 0)
    sender.fail(1)
    agent.become("refused")
    agent.become("healthy")
    sender.fail(1)
    assert taken(agent) == [1, 2]
    assert sender.stats()["failed"] == 0


@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
def test_agent_that_ends_a_connection_just_then(way, make):
    """Where the connection ends when the request has just left, it is sent once more, and counted."""
    bodies = []

    def script(peer):
        first = agent.connections == 1
        while (body := peer.request()) is not None:
            bodies.append(body)
            if first and len(bodies) == 2:
                return
            peer.say(answer())

    with ScriptedAgent(script) as agent:
        sender = make(agent, timeout_s=LONG_S)
        sender.fail(1)
        sender.finish()
        getattr(sender, way)()
        assert [ids(msgpack.unpackb(body)) for body in bodies] == [[1], [2], [2]]
        assert agent.connections == 2
        assert sender.stats()["sent"] == 2
        assert sender.stats()["repeated"] == 1
        sender.close()


def test_agent_that_hangs_on_a_used_connection(agent, patient, monkeypatch):
    """What is not answered in time on a connection that worked before is not sent once more at once."""
    monkeypatch.setattr(module, "_EXCHANGE_TIMEOUT_S", 0.05)
    patient.fail(1)
    agent.become("hung")
    agent.clear()
    patient.fail(1)
    assert len(agent.requests) == 1
    assert patient.stats()["retained_traces"] == 1
    assert patient.stats()["repeated"] == 0


def test_agent_that_ends_every_connection(agent, sender):
    """It is sent once more at once, not for ever."""
    sender.fail(1)
    agent.become("closing")
    agent.clear()
    sender.finish()
    sender.prepare()
    assert sender.flush(limit_s=LONG_S) < BUDGET_S + ALLOWANCE_S
    assert len(agent.requests) == 2
    assert sender.stats()["retained_traces"] == 1
    agent.become("healthy")
    sender.recover()
    assert sender.stats()["repeated"] == 2
    assert taken(agent) == [2]


def test_repeated_only_if_it_may_have_been_taken(agent, sender, monkeypatch):
    """What certainly did not arrive is not counted as repeated; what may have is, though it did not."""
    monkeypatch.setattr(agent_module, "_SOUND_S", 0)
    agent.become("status:500")
    sender.fail(1)
    agent.become("refused")
    sender.fail(1)
    agent.become("healthy")
    sender.recover()
    assert sender.stats()["repeated"] == 0
    agent.become("half")
    sender.fail(1)
    agent.become("healthy")
    sender.recover()
    assert sender.stats()["repeated"] == 1
    assert taken(agent) == [2, 1, 3] or taken(agent) == [1, 2, 3]


def test_agent_that_moves(agent, sender):
    """When traces go elsewhere, what is to be sent follows, on another connection."""
    sender.fail(1)
    with FaultyAgent() as other:
        sender.target.address = Address("127.0.0.1", other.port, "")
        sender.fail(1)
        sender.prepare()
        sender.finish()
        sender.flush()
        assert taken(other) == [2, 3]
    assert taken(agent) == [1]


# -- what ddtrace may do


@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
@pytest.mark.parametrize("name", ["accepted", "unsupported"])
def test_target_that_cannot_take_the_answer(name, way, agent, patient, warnings_said):
    """Whatever ddtrace makes of an answer, the delivery goes on."""

    def fail(_):
        raise TypeError("rate_by_service must be a mapping")

    agent.become("healthy" if name == "accepted" else "status:404")
    patient.prepare()
    patient.finish(2)
    setattr(patient.target, name, fail)
    getattr(patient, way)()
    patient.assert_accounted()
    assert patient.stats()["retained_traces"] == 0
    assert "cannot make anything of what the trace agent answers" in warnings_said()
    agent.become("healthy")
    patient.finish()
    patient.prepare()
    getattr(patient, way)()
    assert taken(agent)[-1] == 3


@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
def test_target_that_cannot_write_a_request(way, agent, patient, monkeypatch, warnings_said):
    """A payload that cannot be written is retained, and the delivery goes on."""
    patient.prepare()
    patient.finish()
    monkeypatch.setattr(patient.target, "request", lambda _: 1 / 0)
    getattr(patient, way)()
    assert patient.stats()["retained_traces"] == 1
    assert warnings_said() == [f"sending traces failed: {ZeroDivisionError!r}"]
    monkeypatch.undo()
    patient.recover()
    assert taken(agent) == [1]


@pytest.mark.parametrize("way", ["flush", "flush_blocking"])
def test_source_that_fails(way, agent, patient, monkeypatch):
    """Where the traces cannot be had, nobody waits in vain, and the next flush is none the worse."""
    patient.prepare()
    patient.finish()
    with monkeypatch.context() as patch:
        patch.setattr(patient.source, "collect", lambda **_: 1 / 0)
        took_s = getattr(patient, way)()
    assert took_s < 1
    patient.recover()
    assert taken(agent) == [1]


def test_probe_that_cannot_be_made(agent, sender, monkeypatch):
    """A probe that cannot even be made has failed; the next may succeed."""
    agent.become("status:500")
    sender.fail()
    with monkeypatch.context() as patch:
        patch.setattr(sender.target, "probe", lambda: 1 / 0)
        sender.probe()
    assert sender.stats()["breaker"] == "open"
    agent.become("healthy")
    sender.recover()
    assert sorted(taken(agent)) == [1, 2, 3]


def test_name_that_is_none(make):
    """A host that cannot even be looked up is a failure like another."""
    sender = make(Target(Address(".example", 8126, "")), timeout_s=LONG_S)
    sender.prepare()
    sender.fail(2)
    assert sender.flush() < 1
    assert sender.stats()["failed"] == 3
    assert sender.stats()["retained_traces"] == 2
    assert sender.stats()["breaker"] == "open"


def test_way_that_only_ddtrace_knows(foreign):
    """Without an address a payload goes through ddtrace, on the thread."""
    sender = foreign
    threads = []
    send = sender.target.send
    sender.target.send = lambda payload: (threads.append(threading.current_thread().name), send(payload))
    sender.prepare()
    sender.finish()
    sender.flush(limit_s=LONG_S)
    sender.finish()
    sender.flush_blocking(limit_s=LONG_S)
    assert sender.target.sent == [1, 2]
    assert set(threads) == {"ddlwa-delivery"}
    assert sender.stats()["sent"] == 2


def test_ddtrace_that_raises(foreign, warnings_said):
    """Whatever ddtrace raises, the thread goes on, and the payload is kept."""
    sender = foreign
    sender.target.error = RuntimeError("no")
    sender.fail(1)
    sender.target.error = None
    sender.fail(1)
    assert sender.target.sent == [2, 1]
    assert sender.stats()["failed"] == 1
    assert warnings_said() == [f"sending traces failed: {RuntimeError!r}"]


def test_ddtrace_that_blocks(foreign):
    """What ddtrace does not send in time is late, and counted as sent once it is."""
    sender = foreign
    sender.target.open.clear()
    sender.finish()
    assert BUDGET_S - 0.01 <= sender.flush() < BUDGET_S + ALLOWANCE_S
    sender.target.open.set()
    sender.settle()  # its answer is for a loop that is closed
    assert sender.stats()["sent"] == sender.stats()["late"] == 1
    sender.assert_accounted()


# -- who waits together


def test_flushes_share_rounds(agent, patient):
    """Of fifty flushes at once the first is a round, and all others share the next."""
    agent.become("slow:20")
    patient.prepare()

    async def flush():
        patient.finish()
        await patient.delivery.flush()
        return time.monotonic()

    async def main():
        return await asyncio.gather(*(flush() for _ in range(50)))

    asyncio.run(main())
    assert patient.source.collected <= 3
    assert taken(agent) == list(range(1, 51))
    assert patient.stats()["late"] == 0


def test_flush_that_joins_waits_for_its_own(agent, patient):
    """Who comes while a round is under way is not answered by that one, which has not got its trace."""
    agent.become("slow:50")
    patient.prepare()

    async def main():
        patient.finish()
        first = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        patient.finish()
        await patient.delivery.flush()
        assert taken(agent) == [1, 2]
        assert first.done()

    asyncio.run(main())


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_two_loops(new_loop, agent, make):
    """Loops in several threads deliver each what they have, once, without waiting in vain."""
    sender = make(agent, timeout_s=LONG_S)

    async def serve():
        for _ in range(25):
            sender.finish()
            await asyncio.gather(sender.delivery.flush(), sender.delivery.flush(alone=True))

    def run():
        loop = new_loop()
        loop.run_until_complete(serve())
        loop.close()

    threads = [Thread(run) for _ in range(2)]
    for thread in threads:
        thread.end()
    sender.recover()
    assert sorted(set(taken(agent))) == list(range(1, 51))
    sender.assert_accounted()
    assert len(taken(agent)) - 50 <= sender.stats()["repeated"]


def test_many_threads(agent, sender):
    """Threads that flush at once share rounds, and each returns when its trace is there."""
    agent.become("slow:10")
    ready = threading.Barrier(20)

    def flush():
        ready.wait(TIMEOUT_S)
        number = sender.finish()
        sender.flush_blocking(limit_s=LONG_S)
        assert number in taken(agent)

    for thread in [Thread(flush) for _ in range(20)]:
        thread.end()
    assert sender.source.collected < 20
    assert sorted(taken(agent)) == list(range(1, 21))
    assert sender.stats()["late"] == 0


def test_flush_while_connecting(agent, patient):
    """A flush that comes while a connection is made is served as soon as there is one."""
    target = patient.source.target()
    entered, go_on = threading.Event(), threading.Event()

    def slowly():
        if threading.current_thread().name == "ddlwa-delivery":
            entered.set()
            assert go_on.wait(TIMEOUT_S)
        return target

    patient.source.target = slowly
    patient.delivery.prepare()
    assert entered.wait(TIMEOUT_S)
    patient.finish()

    async def main():
        flush = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        patient.delivery.prepare()  # it is being prepared already
        go_on.set()
        await flush

    asyncio.run(main())
    assert taken(agent) == [1]
    assert patient.stats()["late"] == 0


def test_failure_that_others_wait_behind(foreign):
    """When the breaker opens, those who wait behind the failure are let go, and their traces retained."""
    sender = foreign
    sender.target.open.clear()
    sender.finish()
    sender.flush()  # late: the breaker is open, the send goes on
    sender.delivery._breaker.probed(succeeded=True)
    sender.finish()
    waiting = Thread(partial(sender.flush_blocking, limit_s=TIMEOUT_S))
    until(lambda: sender.delivery._waiters)
    sender.delivery._breaker.failed(dear=True)
    sender.target.error = OSError()
    sender.target.open.set()
    begun_s = time.monotonic()
    waiting.end()
    assert time.monotonic() - begun_s < 1
    assert sender.stats()["retained_traces"] == 2
    assert sender.stats()["late"] == 1


def test_forced_flush_behind_a_failure(foreign):
    """Who wants to try an agent that does not work is heard although the breaker has opened before."""
    sender = foreign
    sender.target.open.clear()
    sender.finish()
    sender.flush()
    sender.finish()
    waiting = Thread(partial(sender.flush_blocking, limit_s=TIMEOUT_S, force=True))
    until(lambda: sender.delivery._waiters)
    sender.target.open.set()
    waiting.end()
    assert sender.target.sent == [1, 2]
    assert sender.stats()["breaker"] == "open"


def test_a_stuck_round_that_ends_meanwhile(sender):
    """A round that has gone on while it was found out whether its loop is stuck is not taken back."""

    class Exchange:
        def is_stuck(self, patience_s):
            sender.delivery._round = None
            return True

    round_ = Round()
    round_.exchange = Exchange()
    sender.delivery._round = round_
    sender.delivery._give_up_stuck(TIMEOUT_S)
    assert not round_.given_up
    assert sender.stats()["failed"] == 0


def test_cancelled_wait(agent, patient):
    """Cancelling the wait does not disturb what is under way."""
    agent.become("slow:30")
    patient.prepare()
    patient.finish()

    async def main():
        waiting = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        patient.finish()
        await patient.delivery.flush()

    asyncio.run(main())
    assert taken(agent) == [1, 2]
    assert patient.stats()["late"] == patient.stats()["failed"] == 0


# -- loops that do not go on


def flushing(sender, new_loop=asyncio.new_event_loop):
    """Begin a flush on a loop, and give both; the loop is not run any more."""
    loop = new_loop()
    task = loop.create_task(sender.delivery.flush())
    loop.run_until_complete(asyncio.sleep(0.01))
    assert not task.done()
    return loop, task


def cancel(loop, task):
    task.cancel()
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


def drop(loop, task):
    loop.close()
    task._log_destroy_pending = False


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("end", [cancel, drop])
@pytest.mark.parametrize("way", ["prepare", "flush_blocking"])
def test_loop_that_is_closed_in_the_middle(way, end, new_loop, agent, patient):
    """A round whose loop is closed is taken back by whoever comes next; nothing is lost."""
    agent.become("hung")
    patient.prepare()
    patient.finish()
    loop, task = flushing(patient, new_loop)
    assert agent.wait(lambda agent: agent.requests)
    end(loop, task)
    agent.become("healthy")
    patient.finish()
    if way == "prepare":
        patient.prepare()
        patient.flush()
    else:
        assert patient.flush_blocking(limit_s=LONG_S) < 1
    assert taken(agent) == [2, 1]
    assert patient.stats()["failed"] == 1
    assert patient.stats()["repeated"] == 1
    patient.assert_accounted()


def test_loop_that_is_closed_while_others_wait(agent, patient):
    """Who waits behind a round whose loop is closed is let go when it is taken back."""
    agent.become("hung")
    patient.prepare()
    patient.finish()
    loop, task = flushing(patient)
    patient.finish()
    waiting = Thread(partial(patient.flush_blocking, limit_s=TIMEOUT_S))
    until(lambda: patient.delivery._waiters)
    assert agent.wait(lambda agent: agent.requests)
    cancel(loop, task)
    agent.become("healthy")
    begun_s = time.monotonic()
    patient.delivery.prepare()
    waiting.end()
    assert time.monotonic() - begun_s < 1
    patient.recover()
    assert sorted(taken(agent)) == [1, 2]


def test_loop_that_stands_still(agent, patient, monkeypatch):
    """A round that its loop does not get to for long is taken back; the loop then finds it gone."""
    agent.become("hung")
    patient.prepare()
    patient.finish()

    async def main():
        flush = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        exchange = patient.delivery._round.exchange
        other = Thread(patient.delivery.prepare)
        other.end()
        assert patient.stats()["retained_traces"] == 0  # it is not yet long
        monkeypatch.setattr(module, "_OVERDUE_S", 0)
        other = Thread(patient.delivery.prepare)
        other.end()
        assert patient.stats()["retained_traces"] == 1
        assert not exchange.is_on_loop
        await flush
        assert exchange._socket.fileno() == -1

    asyncio.run(main())
    assert agent.wait(lambda agent: agent.requests)
    assert patient.stats()["late"] == 0
    agent.become("healthy")
    patient.recover()
    assert taken(agent) == [1]


def test_answer_to_a_round_that_was_given_up(agent, patient):
    """What still comes of a round that was given up counts for nothing."""
    agent.become("slow:50")
    patient.finish()
    flushing_ = Thread(partial(patient.flush_blocking, limit_s=LONG_S))
    assert agent.wait(lambda agent: agent.requests)
    round_ = patient.delivery._round
    payloads = list(round_.give_up(uncertain=True))
    flushing_.end()
    assert len(payloads) == 1
    assert patient.stats()["sent"] == 0


def test_blocking_in_the_loops_own_thread(agent, patient):
    """Who blocks the very loop that drives a round drives it instead, and all rounds up to its own."""
    agent.become("slow:20")
    patient.prepare()

    async def main():
        patient.finish()
        first = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        patient.finish()
        assert patient.flush_blocking(limit_s=LONG_S) < 1
        assert taken(agent) == [1, 2]
        await first

    asyncio.run(main())
    assert patient.stats()["late"] == patient.stats()["failed"] == 0


def test_blocking_in_the_loops_own_thread_in_vain(agent, patient):
    """Even there nobody waits longer than told, and what was under way is kept."""
    agent.become("hung")
    patient.prepare()

    async def main():
        patient.finish()
        first = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        assert patient.flush_blocking(limit_s=BUDGET_S) < BUDGET_S + ALLOWANCE_S
        await first

    asyncio.run(main())
    agent.become("healthy")
    patient.recover()
    assert taken(agent) == [1]
    patient.assert_accounted()


def test_blocking_beside_a_loop(agent, patient):
    """A thread waits for a round that another thread's loop drives."""
    agent.become("slow:30")
    patient.prepare()

    async def main():
        patient.finish()
        first = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        patient.finish()
        blocking = partial(patient.flush_blocking, limit_s=LONG_S)
        await asyncio.get_running_loop().run_in_executor(None, blocking)
        assert taken(agent) == [1, 2]
        await first

    asyncio.run(main())
    assert patient.stats()["late"] == 0


@pytest.mark.parametrize(("fault", "repeated"), [("slow:0", 0), ("hung", 1)])
def test_blocking_beside_a_loop_that_is_blocked(fault, repeated, agent, patient):
    """With `force` a thread takes back what a loop is at that the app blocks; an answer it has got counts."""
    agent.become(fault)
    patient.prepare()

    async def main():
        patient.finish()
        first = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        assert agent.wait(lambda agent: agent.requests)
        agent.become("healthy")
        patient.finish()
        blocking = Thread(partial(patient.flush_blocking, limit_s=LONG_S, force=True))
        assert agent.wait(lambda agent: 2 in taken(agent), timeout_s=LONG_S)
        blocking.end()
        await first

    asyncio.run(main())
    patient.recover()
    assert sorted(taken(agent)) == [1, 2]
    assert patient.stats()["repeated"] == repeated
    patient.assert_accounted()


def test_what_is_put_by_while_a_round_begins(agent, patient, monkeypatch):
    """A round sends what another thread is just about to retain: it is never in neither place."""
    collect = patient.source.collect
    collected, never = threading.Event(), threading.Event()

    def slowly(*, leftovers):
        found = collect(leftovers=leftovers)
        if not collected.is_set():
            collected.set()
            never.wait(0.1)
        return found

    monkeypatch.setattr(patient.source, "collect", slowly)
    patient.finish()
    putting = Thread(patient.delivery.put_by)
    assert collected.wait(TIMEOUT_S)
    patient.flush_blocking(limit_s=LONG_S)
    putting.end()
    assert taken(agent) == [1]


def test_a_loop_that_gets_on_with_it_meanwhile(agent, patient, monkeypatch):
    """A round that has ended while it was found out whether its loop is blocked is not taken back."""
    agent.become("hung")
    patient.prepare()

    def end(exchange, patience_s):
        patient.delivery._round = None
        return True

    async def main():
        patient.finish()
        first = asyncio.ensure_future(patient.delivery.flush())
        await asyncio.sleep(0)
        round_ = patient.delivery._round
        monkeypatch.setattr(agent_module.Exchange, "is_stuck", end)
        patient.delivery._give_up_stuck(0.0)
        assert not round_.given_up
        patient.delivery._round = round_
        patient.delivery._give_up()
        await first

    asyncio.run(main())


# -- the end


def test_close_delivers_everything(agent, sender):
    """At the end everything is tried once more: what is finished, what comes after, what is retained."""
    agent.become("status:500")
    sender.fail()
    agent.become("healthy")
    sender.finish()
    sender.finish(others=True)
    sender.delivery.close(timeout_s=LONG_S)
    assert sorted(taken(agent)) == [1, 2, 3, 4, 5]
    assert sender.dropped() == {}


@pytest.mark.parametrize("fault", ["refused", "status:500", "hung", "mute"])
def test_close_counts_what_stays_behind(fault, agent, sender, warnings_said):
    """What cannot be delivered at the end is counted as lost in the shutdown, and said."""
    agent.become(fault)
    sender.finish(2)
    sender.finish(others=True)
    begun_s = time.monotonic()
    sender.delivery.close(timeout_s=BUDGET_S)
    assert time.monotonic() - begun_s < BUDGET_S + ALLOWANCE_S
    assert sender.dropped() == {"shutdown": 3}
    assert "3 traces are lost (shutdown)" in warnings_said()
    agent.become("healthy")
    sender.settle()
    sender.assert_accounted()


@pytest.mark.parametrize("fault", ["hung", "mute"])
def test_close_after_a_loop(fault, agent, patient):
    """What a loop had under way when it was closed is counted as well."""
    agent.become(fault)
    patient.prepare()
    patient.finish()
    cancel(*flushing(patient))
    patient.finish()
    patient.delivery.close(timeout_s=BUDGET_S)
    assert patient.dropped() == {"shutdown": 2}
    patient.assert_accounted()


def test_close_behind_a_loop_that_has_stopped(agent, patient):
    """What a loop that is not run any more has under way is counted, too."""
    agent.become("hung")
    patient.prepare()
    patient.finish()
    loop, task = flushing(patient)
    patient.finish()
    Thread(partial(patient.delivery.close, timeout_s=BUDGET_S)).end()
    assert patient.dropped() == {"shutdown": 2}
    cancel(loop, task)


def test_close_while_ddtrace_blocks(foreign):
    """What ddtrace has under way is counted as lost; that it arrives after all changes no number."""
    sender = foreign
    sender.target.open.clear()
    sender.finish(2)
    sender.delivery.close(timeout_s=BUDGET_S)
    assert sender.dropped() == {"shutdown": 2}
    sender.target.open.set()
    sender.settle()
    sender.assert_accounted()


def test_close_without_a_trace(agent, sender, warnings_said):
    """An end with nothing to deliver is quiet."""
    sender.delivery.close(timeout_s=LONG_S)
    sender.delivery.close(timeout_s=LONG_S)
    assert sender.dropped() == {}
    assert agent.requests == []
    assert warnings_said() == []


def test_stop_ends_the_thread(agent, sender):
    """After a stop the thread ends; a later flush starts another."""
    sender.fail(1)
    sender.delivery.stop()
    sender.fail(1)
    assert taken(agent) == [1, 2]


def test_no_thread_to_be_had(agent, patient, monkeypatch):
    """Where no thread of ours can be started any more, it is all done here and now."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("ddlwa"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    patient.finish()
    patient.delivery.prepare()
    patient.flush()
    patient.finish()
    patient.flush_blocking()
    agent.become("refused")
    patient.fail(3)
    agent.become("healthy")
    patient.recover()
    assert sorted(taken(agent)) == [1, 2, 3, 4, 5]
    assert patient.stats()["late"] == 0


_AT_EXIT = """
import atexit, sys, time
from ddlwa.agent import Address
from ddlwa.delivery import Delivery
from test_delivery import Source, Target

source = Source(Target(Address("127.0.0.1", int(sys.argv[1]), "")))
delivery = Delivery(source, timeout_s=0.1, retain_bytes=1 << 20, retain_s=60)
source.finish(3)
atexit.register(delivery.close, timeout_s=5)
"""

_FORK = """
import asyncio, os, sys
from ddlwa.agent import Address
from ddlwa.delivery import Delivery
from test_delivery import Source, Target

source = Source(Target(Address("127.0.0.1", int(sys.argv[1]), "")))
delivery = Delivery(source, timeout_s=0.1, retain_bytes=1 << 20, retain_s=60)
source.finish()
delivery.flush_blocking(timeout_s=5)        # there is a connection, and a thread
source.finish()
asyncio.run(delivery.flush(limit_s=0))      # something is retained
child = os.fork()
if child == 0:
    delivery.forked()
    source.finish()
    delivery.flush_blocking(timeout_s=5)
    delivery.close(timeout_s=5)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
source.finished += 1
source.finish()
delivery.flush_blocking(timeout_s=5)
delivery.close(timeout_s=5)
"""


@pytest.mark.parametrize(("code", "expected"), [(_AT_EXIT, [1, 2, 3]), (_FORK, [1, 3, 4, 2])])
def test_processes(code, expected, agent, pytestconfig):
    """A process that ends delivers what is left; of a parent and its child each delivers its own."""
    here = pytestconfig.rootpath
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(agent.port)],
        cwd=here,
        env={"PYTHONPATH": f"{here}:{here / 'tests' / 'unit'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert taken(agent) == expected


@pytest.mark.parametrize("connected", [True, False])
def test_forked(connected, agent, sender):
    """A child begins as if nothing had happened, also while its parent probes."""
    if connected:
        agent.become("status:500")
        sender.fail()
        assert sender.delivery._breaker._clock() < sender.delivery._breaker._until_s + 1
        sender.delivery._breaker._until_s = 0.0
        assert sender.delivery._breaker.may_probe()
    sender.delivery.stop()
    sender.delivery.forked()
    agent.become("healthy")
    assert sender.stats()["breaker"] == "closed"
    assert sender.stats()["retained_traces"] == 0
    sender.finish()
    sender.flush_blocking(limit_s=LONG_S)
    assert taken(agent) == [sender.source.finished]


def test_round_of_the_parent(foreign):
    """What a parent's thread has under way when a child is forked is none of the child's rounds."""
    sender = foreign
    sender.target.open.clear()
    sender.finish()
    sender.flush()
    worker = sender.delivery._worker
    sender.delivery.forked()
    sender.target.open.set()
    done = threading.Event()
    worker.do(done.set)
    worker.stop()
    assert done.wait(TIMEOUT_S)
    sender.fail(1)
    assert sorted(sender.target.sent) == [1, 2]


# -- numbers


def test_stats(sender):
    """The numbers are all there from the beginning."""
    assert sender.stats() == {
        "breaker": "closed",
        "opened": 0,
        "closed": 0,
        "probes": 0,
        "sent": 0,
        "late": 0,
        "failed": 0,
        "repeated": 0,
        "retained_traces": 0,
        "retained_bytes": 0,
        "dropped": {
            "bytes": 0,
            "age": 0,
            "rejected": 0,
            "readiness": 0,
            "encoding": 0,
            "full": 0,
            "shutdown": 0,
        },
    }


def test_drop(sender, warnings_said):
    """What is lost is counted by its reason, and said, unless it was a readiness check."""
    sender.delivery.drop("full", 2)
    sender.delivery.drop("full", 3)
    sender.delivery.drop("readiness", 1)
    assert sender.dropped() == {"full": 5, "readiness": 1}
    assert warnings_said() == ["2 traces are lost (full)"]
