"""What a failing trace agent costs: stock ddtrace with an inline flush beside ddlwa, fault by fault.

`python -m benchmarks.faults` prints a table in Markdown. Each half of a row is a run of its own: a small
FastAPI app under uvicorn in a child process, with a trace agent that is well at first, then fails, then is
well again. Added latency is what a request takes while the agent fails, less the median while it is well.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ddlwa
from benchmarks.faulty_agent import FaultyAgent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

FAULTS = {
    "refused": "nobody listens",
    "hung": "never answers",
    "mute": "never reads",
    "slow:50": "answers after 50 ms",
    "slow:500": "answers after 500 ms",
    "trickle": "answers 50 bytes a second",
    "closing": "closes the connection",
    "resetting": "resets the connection",
    "half": "breaks off its answer",
    "garbage": "does not speak HTTP",
    "status:429": "answers 429",
    "status:500": "answers 500",
    "status:503": "answers 503",
    "status:404": "answers 404",
    "status:413": "answers 413",
}
# What an agent will not take the next time either: counted as dropped, and not kept.
FOR_GOOD = frozenset({"status:404", "status:413"})
# An agent that is slow, but within the budget, is waited for.
AWAITED_MS = {"slow:50": 50}

WARM_UP, WELL, FAILING, LEAST = 20, 30, 30, 3
BUDGET_MS = 200
ALLOWANCE_MS = 20
LATER_MS = 1
_PAUSE_S = 0.02
_STOCK_LIMIT_S, _STOCK_AT_ONCE = 4.0, 3
_RECOVERY_S = 15.0
_START_S = 30.0
_SLOWEST_S = 120.0
_STATE = "/benchmark/state"
_INLINE_FLUSH = "BENCHMARK_INLINE_FLUSH"
_OURS = ("DD_", "DDLWA_", "AWS_", "COVERAGE_", "BENCHMARK_")
_BEGIN, _END = "<!-- benchmarks.faults: begin -->", "<!-- benchmarks.faults: end -->"
_ROOT = Path(__file__).parents[1]


# -- in the child


def app() -> Any:
    """Make what uvicorn serves: a small app, and beside it, untraced, a look into its process."""
    from fastapi import FastAPI  # noqa: PLC0415 - only the child needs it, once it is patched

    shop = FastAPI()

    @shop.get("/")
    async def root() -> dict[str, bool]:
        return {"ok": True}

    if os.environ.get(_INLINE_FLUSH):
        shop.add_middleware(InlineFlush)

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == _STATE:
            await _send_json(send, _state())
        else:
            await shop(scope, receive, send)

    return serve


class InlineFlush:
    """What is done today: finish the span before the last message leaves, and flush right there."""

    def __init__(self, app: Any) -> None:
        from ddtrace.contrib.asgi import span_from_scope  # noqa: PLC0415 - only the child needs it
        from ddtrace.trace import tracer  # noqa: PLC0415 - only the child needs it

        self._app = app
        self._span_from_scope = span_from_scope
        self._tracer = tracer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request."""

        async def flush_and_send(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                span = self._span_from_scope(scope)
                if span is not None:
                    span.finish()
                self._tracer.flush()
            await send(message)

        await self._app(scope, receive, flush_and_send)


def _state() -> dict[str, Any]:
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    return {"stats": ddlwa.stats(), "traced_bytes": traced}


async def _send_json(send: Any, content: Any) -> None:
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# -- in the parent


class Server:
    """The app in a process of its own, as in Lambda behind the adapter, and one connection to it.

    Args:
        agent_url: Where its traces go.
        stock: Stock ddtrace with an inline flush, instead of ddlwa.
        env: More of its environment.
    """

    def __init__(self, agent_url: str, *, stock: bool = False, env: Mapping[str, str] | None = None) -> None:
        self._port = _free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        uvicorn = [sys.executable, "-m", "uvicorn", "--factory", "benchmarks.faults:app"]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [
                *(sys.executable, "-m", "ddtrace.commands.ddtrace_run" if stock else "ddlwa.run"),
                *uvicorn,
                *("--port", str(self._port), "--log-level", "warning", "--timeout-keep-alive", "600"),
            ],
            cwd=_ROOT,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
                "AWS_LAMBDA_FUNCTION_NAME": "shop",
                "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
                "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
                "DD_REMOTE_CONFIGURATION_ENABLED": "false",
                "DD_TRACE_AGENT_URL": agent_url,
                "DD_TRACE_PROPAGATION_STYLE_EXTRACT": "datadog",
                "DD_TRACE_STARTUP_LOGS": "false",
                "DDLWA_ENABLED": "false" if stock else "true",
                _INLINE_FLUSH: "true" if stock else "",
                **(env or {}),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SLOWEST_S)

    @property
    def pid(self) -> int:
        """The app's process."""
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_SLOWEST_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()

    def request(self, trace_id: int) -> float:
        """Make a request of this trace, as the adapter does; give how long it took in milliseconds."""
        context = {"request_id": f"{trace_id:x}", "deadline": int((time.time() + 300) * 1000)}
        headers = {
            "x-amzn-lambda-context": json.dumps(context),
            "x-datadog-trace-id": str(trace_id),
            "x-datadog-parent-id": "1",
            "x-datadog-sampling-priority": "2",
        }
        begun_ns = time.perf_counter_ns()
        self._get("/", headers)
        return (time.perf_counter_ns() - begun_ns) / 1e6

    def state(self) -> dict[str, Any]:
        """Look into the process: `ddlwa.stats()`, and what tracemalloc sees, if it is on."""
        state: dict[str, Any] = json.loads(self._get(_STATE, {}))
        return state

    def log(self) -> str:
        """Give what the process has printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _get(self, path: str, headers: Mapping[str, str]) -> bytes:
        self._connection.request("GET", path, headers=dict(headers))
        response = self._connection.getresponse()
        body = response.read()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the app answered {response.status}:\n{self.log()}")
        return body

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + _START_S
        while not self._connects():
            if self._process.poll() is not None or time.monotonic() >= deadline_s:
                raise RuntimeError(f"the app does not start:\n{self.log()}")
            time.sleep(0.02)

    def _connects(self) -> bool:
        try:
            self._connection.connect()
        except OSError:
            return False
        return True


@dataclass
class Outcome:
    """What a fault did.

    Attributes:
        first_ms: The latency that it added to the first request.
        later_ms: ... to the later ones, the median.
        failing: The requests that were made meanwhile.
        lost: How many of their traces never arrived.
        lost_else: How many other traces never arrived.
        twice: How many traces arrived more than once.
        stats: `ddlwa.stats()` at the end; empty without ddlwa.
    """

    first_ms: float
    later_ms: float
    failing: int
    lost: int
    lost_else: int
    twice: int
    stats: dict[str, Any] = field(repr=False)

    @property
    def counted(self) -> int:
        """How many traces ddlwa says it has dropped."""
        return sum(self.stats["delivery"]["dropped"].values()) if self.stats else 0


def measure(fault: str, *, stock: bool) -> Outcome:
    """Let the agent have this fault for a while, and look at what became of latency and traces."""
    with FaultyAgent() as agent:
        with Server(agent.url, stock=stock) as server:
            before = [new_trace_id() for _ in range(WARM_UP + WELL)]
            well_ms = statistics.median([_paced(server, one) for one in before][WARM_UP:])
            agent.become(fault)
            failing: dict[int, float] = {}
            begun_s = time.monotonic()
            while len(failing) < FAILING:
                took_too_long = stock and time.monotonic() - begun_s > _STOCK_LIMIT_S
                if took_too_long and len(failing) >= LEAST:
                    break
                one = new_trace_id()
                failing[one] = _paced(server, one)
            agent.become("healthy")
            after = _recover(server, agent, {*before, *failing}, stock=stock)
            stats = {} if stock else server.state()["stats"]
        # The server has ended: what has not arrived by now never will.
        arrived = _arrived(agent)
        malformed = agent.malformed
    if malformed:
        raise RuntimeError(f"{malformed} requests to the agent were malformed")
    first_ms, *later_ms = failing.values()
    return Outcome(
        first_ms=first_ms - well_ms,
        later_ms=statistics.median(later_ms) - well_ms,
        failing=len(failing),
        lost=sum(not arrived[one] for one in failing),
        lost_else=sum(not arrived[one] for one in (*before, *after)),
        twice=sum(count > 1 for count in arrived.values()),
        stats=stats,
    )


def _recover(server: Server, agent: FaultyAgent, sent: set[int], *, stock: bool) -> list[int]:
    """Go on now that the agent is well, until all has arrived or there is no hope; give the new traces."""
    after: list[int] = []
    deadline_s = time.monotonic() + _RECOVERY_S
    hope = True
    while hope:
        after.append(new_trace_id())
        server.request(after[-1])
        if len(after) >= LEAST:
            if agent.wait(partial(_all_arrived, wanted=sent.union(after)), timeout_s=0.2):
                break
            # Stock ddtrace sends what it has at once, or has dropped it.
            hope = not stock and server.state()["stats"]["delivery"]["retained_traces"] > 0
            hope = hope and time.monotonic() < deadline_s
    return after


def _paced(server: Server, trace_id: int) -> float:
    took_ms = server.request(trace_id)
    time.sleep(_PAUSE_S)
    return took_ms


def _arrived(agent: FaultyAgent) -> Counter[int]:
    return Counter(chunk[0].trace_id for chunk in agent.chunks())


def _all_arrived(agent: FaultyAgent, *, wanted: set[int]) -> bool:
    return wanted <= _arrived(agent).keys()


def new_trace_id() -> int:
    """Give a trace id that no other request has."""
    return random.getrandbits(63) or 1


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- the table


def check(fault: str, ours: Outcome) -> list[str]:
    """Say what of ddlwa's outcome is not as it must be."""
    awaited_ms = AWAITED_MS.get(fault, 0)
    may_lose = ours.counted if fault in FOR_GOOD else 0
    problems = {
        f"the first request waited {ours.first_ms:.1f} ms": ours.first_ms > BUDGET_MS + ALLOWANCE_MS,
        f"later requests waited {ours.later_ms:.2f} ms": ours.later_ms >= awaited_ms + LATER_MS,
        f"{ours.lost} traces are lost, {ours.counted} are counted": ours.lost != may_lose,
        f"{ours.lost_else} traces from before or after are lost": ours.lost_else,
        f"{ours.twice} traces arrived twice": ours.twice,
    }
    return [f"{fault}: {problem}" for problem, wrong in problems.items() if wrong]


def table(outcomes: Mapping[str, tuple[Outcome | None, Outcome]]) -> str:
    """Write the table in Markdown."""
    head = (
        "| the agent | stock: first request | stock: later | stock: lost "
        "| ddlwa: first request | ddlwa: later | ddlwa: lost |\n"
        "|---|--:|--:|--:|--:|--:|--:|"
    )
    rows = [
        f"| {FAULTS[fault]} (`{fault}`) | {_cells(theirs)} | {_cells(ours)} |"
        for fault, (theirs, ours) in outcomes.items()
    ]
    return "\n".join([head, *rows])


def _cells(outcome: Outcome | None) -> str:
    if outcome is None:
        return "| |"
    lost = f"{outcome.lost} of {outcome.failing}"
    if outcome.lost and outcome.lost == outcome.counted:
        lost += ", counted"
    if outcome.twice:
        lost += f", {outcome.twice} twice"
    return f"{_time(outcome.first_ms)} | {_time(outcome.later_ms)} | {lost}"


def _time(time_ms: float) -> str:
    if time_ms >= 1000:  # noqa: PLR2004 - a second
        return f"{time_ms / 1000:.1f} s"
    if time_ms >= 10:  # noqa: PLR2004 - two digits suffice
        return f"{time_ms:.0f} ms"
    return f"{round(time_ms, 1) + 0.0:.1f} ms"  # the sum has no negative zero


def write(path: Path, text: str) -> None:
    """Put a text between the two markers of a file.

    Raises:
        SystemExit: The markers are not there.
    """
    before, begin, rest = path.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise SystemExit(f"{path} has no {_BEGIN} … {_END}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=main.__doc__)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; repeatable")
    parser.add_argument("--ddlwa-only", action="store_true", help="leave stock ddtrace out")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the file's markers")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless ddlwa's part is as promised")
    options = parser.parse_args(argv)
    if options.write and (options.fault or options.ddlwa_only):
        parser.error("--write wants the whole table")
    faults = options.fault or list(FAULTS)
    theirs: dict[str, Outcome] = {}
    if not options.ddlwa_only:
        # Some at a time: what they do is wait, for seconds.
        with ThreadPoolExecutor(_STOCK_AT_ONCE) as pool:
            theirs = dict(zip(faults, pool.map(partial(measure, stock=True), faults), strict=True))
    outcomes = {fault: (theirs.get(fault), measure(fault, stock=False)) for fault in faults}
    text = table(outcomes)
    sys.stdout.write(f"{text}\n")
    if options.write:
        write(options.write, text)
    problems = [problem for fault, (_, ours) in outcomes.items() for problem in check(fault, ours)]
    if options.check:
        sys.stderr.write("".join(f"not as promised: {problem}\n" for problem in problems))
    return 1 if options.check and problems else 0


if __name__ == "__main__":
    sys.exit(main())
