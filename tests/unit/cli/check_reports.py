"""Reports as a check would end in, for tests of the command."""

from __future__ import annotations

from ddlwa.report.model import Fault, Finding, InvocationResult, Report, RouteResult, Run, Window


def make_report(options, *, right):
    findings = () if right else (Finding(Fault.LOST, "No span ever arrived."),)
    invocation = InvocationResult(
        number=1,
        trace_id=1,
        status=200,
        started_ns=1,
        stopped_ns=2,
        delivered=right,
        spans=(),
        findings=findings,
    )
    run = Run(
        mode=options.modes[-1],
        routes=(RouteResult("GET", "/", (invocation,)),),
        others=(),
        timeline=(Window(0, 3, frozen=False),),
        clock_jumped=True,
        elapsed_s=0.1,
    )
    return Report(
        app=options.app,
        version="0",
        ddtrace_version="0",
        adapter=options.adapter_label,
        freeze_ns=options.freeze_ns,
        runs=(run,),
    )
