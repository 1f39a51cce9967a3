"""What the suite measures, as plain data: what the page is rendered from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """Where and when it was measured; none of it is a result."""

    date: str
    cores: int
    system: str
    python: str
    ddtrace: str
    ddlwa: str


@dataclass(frozen=True)
class Correctness:
    """One pass over the demo's routes, with a freeze after each invocation.

    Attributes:
        approach: How it was traced.
        app: The demo's `routes` alone, its routes behind its `http` middleware, or the `demo` as it is.
        invocations: How many there were.
        right: Of how many nothing was wrong.
        timed: Of how many nothing was wrong but that spans came late.
        delivered: Of how many the request's trace had arrived before the freeze.
        faults: How many invocations had each kind of fault.
    """

    approach: str
    app: str
    invocations: int
    right: int
    timed: int
    delivered: int
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """What a request takes, as a multiple of what it takes with plain ddtrace and the agent in that state.

    Attributes:
        approach: How it was traced.
        agent: The state of the trace agent.
        requests: How many were measured in each round, at least.
        p50: Until the response is complete, at the median, by round.
        p99: The same at the 99th percentile.
        busy_p50: Until the sandbox can be frozen, at the median, by round.
        busy_p99: The same at the 99th percentile.
    """

    approach: str
    agent: str
    requests: int
    p50: list[float]
    p99: list[float]
    busy_p50: list[float]
    busy_p99: list[float]


@dataclass(frozen=True)
class Throughput:
    """How many requests a second are served.

    Attributes:
        approach: How they were traced.
        concurrency: How many are under way at a time.
        shares: As a share of what plain ddtrace served in the same round, by round.
    """

    approach: str
    concurrency: int
    shares: list[float]


@dataclass(frozen=True)
class ColdStart:
    """What the start of a process takes that imports a small app and its tracing.

    Attributes:
        approach: How it is traced.
        times: As a multiple of what it takes with plain ddtrace, by round.
        modules: How many modules are loaded after it.
        rss: The largest resident memory, as a multiple of plain ddtrace's, by round.
    """

    approach: str
    times: list[float]
    modules: int
    rss: list[float]


@dataclass(frozen=True)
class Growth:
    """What a request takes whose work is of some size.

    Attributes:
        approach: How it was traced.
        work: What grows: `spans`, `body` (bytes) or `chunks`.
        size: How much of it there is.
        ratios: As a multiple of what it takes with plain ddtrace, by round.
    """

    approach: str
    work: str
    size: int
    ratios: list[float]


@dataclass(frozen=True)
class Memory:
    """The resident memory after many invocations.

    Attributes:
        approach: How they were traced.
        invocations: How many there had been.
        ratio: As a multiple of the memory after the warm-up.
    """

    approach: str
    invocations: int
    ratio: float


@dataclass(frozen=True)
class Results:
    """All of one run; a section that was not measured is empty.

    Attributes:
        missing: The approaches that could not be measured, and why.
    """

    machine: Machine
    missing: dict[str, str] = field(default_factory=dict)
    correctness: list[Correctness] = field(default_factory=list)
    latency: list[Latency] = field(default_factory=list)
    throughput: list[Throughput] = field(default_factory=list)
    cold_start: list[ColdStart] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)


_ROWS: dict[str, type[Any]] = {
    "correctness": Correctness,
    "latency": Latency,
    "throughput": Throughput,
    "cold_start": ColdStart,
    "growth": Growth,
    "memory": Memory,
}
SECTIONS = tuple(_ROWS)


def save(results: Results, path: Path) -> None:
    """Write results as JSON."""
    path.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """Read results that `save` has written.

    Raises:
        TypeError: It has other fields.
        ValueError: It is no JSON.
    """
    raw = json.loads(path.read_text(encoding="utf-8"))
    rows = {name: [kind(**row) for row in raw[name]] for name, kind in _ROWS.items()}
    return Results(machine=Machine(**raw["machine"]), missing=raw["missing"], **rows)


assert {one.name for one in fields(Results)} == {"machine", "missing", *SECTIONS}  # noqa: S101 - each is loaded
