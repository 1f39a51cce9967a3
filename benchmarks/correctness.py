"""Which approaches have right traces, delivered before the freeze, by the check's own judge."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

from benchmarks.results import Correctness
from ddlwa.check.errors import CheckError
from ddlwa.check.plan import Planned
from ddlwa.check.session import measure as check
from ddlwa.demo.tour import TOUR
from ddlwa.report.model import Fault, Mode
from ddlwa.simulator import SimulatorError, TraceAgent, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.approaches import Approach
    from ddlwa.report.model import Run

FREEZE = "3h"
APPS = {
    "routes": "the demo's routes",
    "http": 'its routes behind an `@app.middleware("http")`',
    "demo": "the demo as it is, with an ASGI middleware that traces too",
}


async def measure(
    approaches: Sequence[Approach], *, apps: Sequence[str], say: Callable[[str], object]
) -> list[Correctness]:
    """Take each approach over the demo's routes.

    Args:
        approaches: Which.
        apps: How much of the demo stands before the routes.
        say: Told what is being done.
    """
    found = []
    async with AsyncExitStack() as stack:
        datadog = await stack.enter_async_context(TraceAgent())
        otlp: TraceAgent | None = None
        for approach in approaches:
            agent = datadog
            if approach.otlp:
                from benchmarks.otlp_receiver import otlp_receiver  # noqa: PLC0415 - only they need OTLP

                otlp = otlp or cast("TraceAgent", await stack.enter_async_context(otlp_receiver()))
                agent = otlp
            for app in apps:
                say(f"correctness: {approach.name}, {app}")
                found.append(await _one(approach, app, agent=agent))
    return found


async def _check(app: str, **options: Any) -> Run:
    try:
        return await check(app, **options)
    except (CheckError, SimulatorError) as error:
        raise RuntimeError(f"{error}\n{error.output}") from error


async def _one(approach: Approach, app: str, *, agent: TraceAgent) -> Correctness:
    requests = tuple(
        Planned(one.method, one.path, headers=one.headers, expected_status=one.status) for one in TOUR
    )
    run = await _check(
        app,
        mode=Mode.PLAIN,  # the command says what traces it
        requests=requests,
        freeze_ns=parse_duration(FREEZE),
        agent=agent,
        command=approach.server(app, port="{port}"),
        on_invocation=lambda _: None,
    )
    invocations = [one for route in run.routes for one in route.invocations]
    faults = Counter(fault for one in invocations for fault in {found.fault.value for found in one.findings})
    return Correctness(
        approach.name,
        app,
        invocations=len(invocations),
        right=run.right_invocations,
        timed=sum({found.fault for found in one.findings} <= {Fault.LATE} for one in invocations),
        delivered=run.delivered,
        faults=dict(faults.most_common()),
    )
