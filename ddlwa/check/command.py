"""From a target to a report: the check as the command line starts it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from ddlwa import __version__
from ddlwa.check.baseline import load, save
from ddlwa.check.compare import Expected
from ddlwa.check.explain import explain
from ddlwa.check.machine import reference_ns
from ddlwa.check.parity import beside_plain
from ddlwa.check.plan import Planned, schedule
from ddlwa.check.repeat import Repeated
from ddlwa.check.routes import discover
from ddlwa.check.samples import BLOCK, BLOCKS, Timed
from ddlwa.check.session import measure
from ddlwa.demo.tour import CLOSE_UP, TOUR
from ddlwa.report.model import Report
from ddlwa.simulator import AdapterOptions, TraceAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ddlwa.check.threshold import Threshold
    from ddlwa.demo.tour import DemoRequest
    from ddlwa.report.model import Explained, Mode, Run
    from ddlwa.simulator import InvokeMode, LwaBinary

DEMO_APP = "ddlwa.demo:app"
_IMPORT_TIMEOUT_S = 60.0
_FIRST_ERROR = 400


@dataclass(frozen=True, slots=True)
class Options:
    """What to check.

    Attributes:
        app: `MODULE:ATTR`.
        routes: What to ask for; empty means the app's own routes, or the demo's tour.
        total: How many invocations per mode; None chooses.
        freeze_ns: How long each freeze lasts.
        modes: In the order in which they run; the last one is judged.
        adapter: The Lambda Web Adapter to use, or None for the built-in one.
        invoke_mode: How it posts responses; None for what the environment says.
        explain: Whether to show a trace of each event source.
        baseline: What the judged run is to be compared with.
        thresholds: How much slower than that is too slow; not empty with a baseline.
        save_baseline: Where the judged run is to be saved as a baseline, if nothing is wrong with it.
    """

    app: str
    routes: tuple[Planned, ...]
    total: int | None
    freeze_ns: int
    modes: tuple[Mode, ...]
    adapter: LwaBinary | None = None
    invoke_mode: InvokeMode | None = None
    explain: bool = False
    baseline: Path | None = None
    thresholds: tuple[Threshold, ...] = ()
    save_baseline: Path | None = None

    @property
    def adapter_label(self) -> str:
        """Name the adapter with what matters of it."""
        name = "built-in" if self.adapter is None else f"Lambda Web Adapter {self.adapter.version}"
        mode = self.invoke_mode or AdapterOptions.read(os.environ).invoke_mode
        return f"{name}, {mode.value}"


async def check(options: Options, *, on_progress: Callable[[Mode, int, int], None]) -> Report:
    """Run the check.

    Args:
        options: What to check.
        on_progress: Called as a mode begins and after each of its invocations, with the mode, how many
            invocations it will have, and how many it has had.

    Raises:
        AppImportError: The app can't be imported.
        BaselineError: The baseline can't be read, written, or compared with.
        InvocationFailedError: An invocation had no end.
        SimulatorError: The app does not get ready, or a part of the simulated Lambda failed.
    """
    expected = None
    if options.baseline is not None:
        expected = Expected(options.baseline, load(options.baseline), options.thresholds)
    # The app's routes are looked up even where they are not needed: an import error shows best here.
    discovered = await discover(options.app, timeout_s=_IMPORT_TIMEOUT_S)
    timed = expected is not None or options.save_baseline is not None
    requests = schedule(
        options.routes or _tour(options.app) or discovered,
        total=options.total,
        rounds=BLOCK * BLOCKS if timed else None,
    )
    explained: tuple[Explained, ...] = ()
    async with TraceAgent() as agent:

        async def run(mode: Mode, requests: Sequence[Planned]) -> Timed:
            machine_ns = []

            def progress(done: int) -> None:
                on_progress(mode, len(requests), done)
                if timed:
                    machine_ns.append(reference_ns())

            on_progress(mode, len(requests), 0)
            found = await measure(
                options.app,
                mode=mode,
                requests=requests,
                freeze_ns=options.freeze_ns,
                agent=agent,
                adapter=options.adapter,
                invoke_mode=options.invoke_mode,
                on_invocation=progress,
            )
            return Timed(found, tuple(machine_ns))

        runs = [await run(mode, requests) for mode in options.modes]
        if len(runs) > 1:
            runs[-1] = replace(runs[-1], run=beside_plain(runs[0].run, runs[-1].run))
        if options.explain:
            explained = await explain(
                options.app,
                request=_close_up(options, runs[-1].run, requests),
                freeze_ns=options.freeze_ns,
                agent=agent,
                adapter=options.adapter,
                invoke_mode=options.invoke_mode,
            )
        report = Report(
            app=options.app,
            version=__version__,
            ddtrace_version=version("ddtrace"),
            adapter=options.adapter_label,
            freeze_ns=options.freeze_ns,
            runs=tuple(one.run for one in runs),
            explained=explained,
        )
        repeated = Repeated(
            report,
            runs[-1],
            again=lambda routes: run(options.modes[-1], [one for one in requests if one.label in routes]),
        )
        if options.save_baseline is not None and (baseline := await repeated.baseline()) is not None:
            save(baseline, options.save_baseline)
        if expected is not None:
            await repeated.compare(expected)
    return repeated.report


def _tour(app: str) -> tuple[Planned, ...]:
    if app != DEMO_APP:
        return ()
    return tuple(_planned(request) for request in TOUR)


def _planned(request: DemoRequest) -> Planned:
    return Planned(request.method, request.path, headers=request.headers, expected_status=request.status)


def _close_up(options: Options, run: Run, requests: Sequence[Planned]) -> Planned:
    """Choose what to look at from every event source: of the GET routes the first that was answered well."""
    if options.app == DEMO_APP and not options.routes:
        return _planned(CLOSE_UP)
    answered = {route.label for route in run.routes if all(_is_good(status) for status in route.statuses)}
    gets = [request for request in requests if request.method == "GET"] or [Planned("GET", "/")]
    return next((request for request in gets if request.label in answered), gets[0])


def _is_good(status: int | None) -> bool:
    return status is not None and status < _FIRST_ERROR
