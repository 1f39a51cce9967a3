"""A seeded plan of invocations, freezes and agent faults, carried out in a simulated Lambda."""

import asyncio
import contextlib
import json
import math
import random
import sys
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from modes import PARENT_ID, QUIET

from ddlwa.simulator import FreezeMoment, HttpRequest, Invocation, Sandbox

APPS = Path(__file__).parent / "chaos_apps"
MS = 1_000_000
GONE = 1_000_000_000
"""What is added to an invocation's number for the request beside it whose client goes away."""
LARGE = bytes(range(256)) * 4096
FILE = b"0123456789abcdef" * 8192  # a multiple of Starlette's chunk: the last message is empty
KINDS = {  # and how often they come
    "json": 6,
    "head": 2,
    "nothing": 2,
    "stream": 3,
    "large": 1,
    "file": 2,
    "error": 3,
    "background": 3,
    "after": 2,
    "deferred": 3,
    "beside": 1,
}
MOMENTARY = (
    *("refused", "hung", "mute", "slow:20", "slow:500", "closing", "resetting", "garbage", "trickle", "half"),
    *("status:429", "status:500", "status:503"),
)
FOR_GOOD = ("status:302", "status:400", "status:404", "status:413")
"""The agent will not take these traces the next time either, so they are dropped."""
LONGEST_FREEZE_S = 3 * 3600
_HANGS_S = 20.0
_SETTLES_S = 30.0
_EVENTS = 20


@dataclass(frozen=True)
class Setting:
    """What is the same for all invocations of a run.

    Attributes:
        mode: `DDLWA_MODE`.
        moment: When the sandbox is frozen.
        lossy: The retention is small, and faults are among those that lose traces.
        outage: How probable it is that the agent begins to fail, per invocation.
    """

    mode: str
    moment: FreezeMoment
    lossy: bool
    outage: float

    def __str__(self):
        return f"{self.mode}-{self.moment.value}-{'lossy' if self.lossy else 'lossless'}"


@dataclass(frozen=True)
class Step:
    """One invocation, and what happens around it.

    Attributes:
        number: Its number, which is its trace id.
        kind: How its response ends.
        ms: How long what comes after the response takes.
        freeze_ns: By how much the clock moves while the sandbox is frozen after it.
        rest_s: How long it is frozen besides, in real time.
        before: What the agent becomes before it.
        during: What the agent becomes meanwhile.
        delay_s: When, after the beginning.
    """

    number: int
    kind: str
    ms: float = 0
    freeze_ns: int = 0
    rest_s: float = 0
    before: str | None = None
    during: str | None = None
    delay_s: float = 0

    @property
    def request(self):
        number, method, path = self.number, "GET", f"/{self.kind}/{self.number}"
        if self.kind == "head":
            method, path = "HEAD", f"/json/{number}"
        elif self.kind == "beside":
            path += f"/{number + GONE}"
        elif self.kind in {"background", "after", "deferred"}:
            path += f"/{self.ms}"
        return HttpRequest(method=method, path=path, headers=tuple(_headers(number).items()))

    @property
    def answer(self):
        """What the client is to get: status and body."""
        special = {
            "head": (200, b""),
            "nothing": (204, b""),
            "stream": (200, "".join(f"{self.number}.{part}\n" for part in range(4)).encode()),
            "large": (200, LARGE),
            "file": (200, FILE),
            "error": (500, b"Internal Server Error"),
        }
        return special.get(self.kind, (200, b'{"number":%d}' % self.number))

    @property
    def traces(self):
        """The traces that it makes."""
        number = self.number
        more = {
            "background": [f"background {number}"],
            "after": [f"after {number}"],
            "deferred": [f"deferred {number}", f"critical {number}"],
            "beside": [f"request {number + GONE}"],
        }
        return [f"request {number}", *more.get(self.kind, ())]

    @property
    def works_ms(self):
        """How long its response takes by itself."""
        return {"stream": 10, "deferred": min(self.ms, 5) + 2, "large": 10, "file": 10}.get(self.kind, 0)


def plan(rng, setting, count):
    """Make a plan; the same of the same random generator."""
    faults = [*MOMENTARY, *(FOR_GOOD if setting.lossy else ())]
    present = "healthy"
    steps = []
    for number in range(1, count + 1):
        change = None
        if present == "healthy":
            if rng.random() < setting.outage:
                change = rng.choice(faults)
        elif rng.random() < 0.25:
            change = "healthy" if rng.random() < 0.6 else rng.choice(faults)
        rests = change == "healthy" or rng.random() < 0.05
        present = change or present
        during = rng.random() < 0.5
        # Moved by whole seconds, as libfaketime sets the two parts of the time one after the other.
        moved_s = round(_log_uniform(rng, 1, LONGEST_FREEZE_S)) if rng.random() < 0.6 else 0
        steps.append(
            Step(
                number=number,
                kind=rng.choices(list(KINDS), KINDS.values())[0],
                ms=rng.choice([0, 1, 5, 40]),
                freeze_ns=moved_s * 1000 * MS,
                rest_s=rng.uniform(0.05, 0.3) if rests else 0 if moved_s else _log_uniform(rng, 0.001, 0.1),
                before=None if during else change,
                during=change if during else None,
                delay_s=rng.uniform(0, 0.01),
            )
        )
    return steps


def _log_uniform(rng, least, most):
    return math.exp(rng.uniform(math.log(least), math.log(most)))


@dataclass
class Served:
    """What became of a step.

    Attributes:
        step: The step.
        invocation: What the simulator says.
        begun_ns: When it began, on this machine's clock.
        healthy: The agent was well from the beginning to the freeze.
    """

    step: Step
    invocation: Invocation
    begun_ns: int
    healthy: bool

    @property
    def moved_ns(self):
        """How far the sandbox's clock was ahead of this machine's."""
        return self.invocation.started_ns - self.begun_ns


@dataclass
class Run:
    """A plan being carried out.

    Attributes:
        agent: The agent, which fails as planned.
        box: The sandbox.
        served: What was asked of it so far.
        seen: What the app saw, by the number of the invocation.
        looks: The counters at the last look.
        readiness: How many readiness checks the app served.
        events: What happened last.
        doing: The number of the invocation under way.
    """

    agent: object
    box: Sandbox
    served: list[Served] = field(default_factory=list)
    seen: dict[int, dict] = field(default_factory=dict)
    stats: dict = field(default_factory=dict)
    readiness: int = 0
    events: deque = field(default_factory=lambda: deque(maxlen=_EVENTS))
    doing: int = 0

    def note(self, what):
        self.events.append(f"{time.monotonic():.4f} s: {what}")

    async def become(self, fault):
        await asyncio.to_thread(self.agent.become, fault)
        self.note(f"the agent becomes {fault}")

    async def carry_out(self, step):
        """Do one step."""
        self.doing = step.number
        if step.before:
            await self.become(step.before)
        healthy = self.agent.fault == "healthy" and step.during is None
        self.note(f"invocation {step.number}: {step.kind}, the agent is {self.agent.fault}")
        begun_ns = time.time_ns()
        asked = [self.box.invoke(step.request)]
        if step.during:
            asked.append(self._become_later(step))
        if step.kind == "beside":
            asked.append(self._leave(step.number + GONE))
        invocation, *_ = await asyncio.wait_for(asyncio.gather(*asked), _HANGS_S)
        took_ms = (invocation.responded_ns - invocation.started_ns) / MS
        status = invocation.response and invocation.response.status
        frozen_s = step.freeze_ns / 1e9 + step.rest_s
        self.note(f"... answered {status} in {took_ms:.1f} ms; then frozen for {frozen_s:.3f} s")
        self.served.append(Served(step, invocation, begun_ns, healthy))
        await self.box.freeze(step.freeze_ns)
        await asyncio.sleep(step.rest_s)
        if step.kind == "error":
            # After an unhandled exception uvicorn closes its connection, and a freeze lets it do so only when
            # the next request is already on its way on it: see docs/simulator.md.
            await self.box._adapter.forget_connections()
        return invocation

    async def look(self):
        """Ask the app for its counters, in an invocation like any other; give the traces of those before."""
        made = {key for one in self.served for key in one.step.traces}
        invocation = await self.carry_out(Step(self.doing + 1, "look"))
        body = json.loads(invocation.response.body)
        self.seen.update({one["number"]: one for one in body["seen"]})
        self.stats, self.readiness = body["stats"], body["readiness"]
        return made

    async def settle(self):
        """Let the agent be well until every trace is accounted for; give up after a while."""
        await self.become("healthy")
        deadline_s = time.monotonic() + _SETTLES_S
        while True:
            # What still runs needs time, and so does the breaker.
            await self.box.run_for(0.1)
            made = await self.look()
            delivery = self.stats["delivery"]
            settled = len(made) == accounted(self.stats) and delivery["breaker"] == "closed"
            if (settled and not delivery["retained_traces"]) or time.monotonic() > deadline_s:
                return made

    async def _become_later(self, step):
        await asyncio.sleep(step.delay_s)
        await self.become(step.during)

    async def _leave(self, trace_id):
        """Be a client that goes away in the middle of a response."""
        context = {"request_id": str(uuid.uuid4()), "deadline": self.box.now_ns() // MS + 30_000}
        headers = {"host": "app", "x-amzn-lambda-context": json.dumps(context), **_headers(trace_id)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        reader, writer = await asyncio.open_connection("127.0.0.1", self.box.port)
        try:
            writer.write(f"GET /endless/{trace_id} HTTP/1.1\r\n{lines}\r\n".encode())
            await reader.readuntil(b"tick\n")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def report(self):
        """Say what is to be known of a failure."""
        lines = [f"at invocation {self.doing}; the last events:", *self.events]
        faults = Counter(request.fault for request in self.agent.requests)
        lines += [f"the last counters: {self.stats}", f"payloads by fault: {dict(faults)}"]
        return "\n".join([*lines, "what the app printed:", self.box.output()[-4000:]])


def accounted(stats):
    """Add up the traces of invocations of which the counters know what became."""
    delivery = stats["delivery"]
    dropped = sum(count for reason, count in delivery["dropped"].items() if reason != "readiness")
    return delivery["sent"] + dropped + delivery["retained_traces"]


def sandbox(agent, setting, *, rng, file):
    """Put the app into a sandbox; what does not matter to the guarantees is left to chance."""
    file.write_bytes(FILE)
    env = {
        **QUIET,
        "CHAOS_FILE": str(file),
        "CHAOS_MIDDLEWARE": rng.choice(["", "true"]),
        "DD_TRACE_AGENT_URL": agent.url,
        "DD_TRACE_API_VERSION": rng.choice(["v0.4", "v0.5"]),
        "DDLWA_MODE": setting.mode,
        "DDLWA_RETAIN_BYTES": "60000" if setting.lossy else str(32 << 20),
        "DDLWA_RETAIN_S": "7200" if setting.lossy else "604800",
    }
    options = {"moment": setting.moment}
    if setting.mode == "extension":
        # Its flush may go on until the deadline less this margin: not for long here.
        env["DDLWA_DEADLINE_MARGIN_MS"] = "9500"
        options["timeout_s"] = 10.0
    server = ["--http", rng.choice(["h11", "httptools"]), "--loop", rng.choice(["asyncio", "uvloop"])]
    # An app whose coverage is measured is too slow to be judged to the millisecond.
    command = ["env", "--unset=COVERAGE_PROCESS_CONFIG", "--unset=COVERAGE_PROCESS_START"]
    command += [sys.executable, "-m", "ddlwa.run", sys.executable, "-m", "uvicorn", "kinds:served"]
    command += ["--port", "{port}", "--log-level", "critical", *server]
    return Sandbox(command, env=env, cwd=APPS, **options)


def _headers(trace_id):
    return {
        "x-datadog-trace-id": str(trace_id),
        "x-datadog-parent-id": str(PARENT_ID),
        "x-datadog-sampling-priority": "2",
    }


def random_of(*seeds):
    """Give the random generator of a run."""
    return random.Random(" ".join(map(str, seeds)))  # noqa: S311 - a test's chance, to be repeated
