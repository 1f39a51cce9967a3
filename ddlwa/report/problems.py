"""Everything that is wrong in a run, by its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddlwa.report.advice import advise
from ddlwa.report.model import Fault

if TYPE_CHECKING:
    from ddlwa.report.model import Run


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of fault.

    Attributes:
        fault: The kind.
        count: How often it was found.
        routes: Where, as `--route` takes them; empty for traces of no invocation.
        example: What was found the first time.
        route: Where that was; empty for a trace of no invocation.
        number: The invocation in which that was, None for a trace of none.
        advice: What to do about it.
    """

    fault: Fault
    count: int
    routes: tuple[str, ...]
    example: str
    route: str
    number: int | None
    advice: str


def problems(run: Run) -> tuple[Problem, ...]:
    """Sort what is wrong by its kind, in the order in which `Fault` names them.

    Args:
        run: One pass over the requests.
    """
    found = [
        (finding, route.label, invocation.number)
        for route in run.routes
        for invocation in route.invocations
        for finding in invocation.findings
    ]
    others = [(finding, "", None) for trace in run.others for finding in trace.findings]
    return tuple(
        Problem(
            fault=fault,
            count=len(cases),
            routes=tuple(dict.fromkeys(label for _, label, _ in cases if label)),
            example=cases[0][0].message,
            route=cases[0][1],
            number=cases[0][2],
            advice=advise(fault, mode=run.mode),
        )
        for fault in Fault
        if (cases := [case for case in (*found, *others) if case[0].fault is fault])
    )
