"""Compare what a check has measured with a baseline, and say what has most likely changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddlwa.check.errors import BaselineError
from ddlwa.check.threshold import STEADY
from ddlwa.report.comparison import Compared, Comparison
from ddlwa.report.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ddlwa.check.baseline import Baseline
    from ddlwa.check.samples import Measured
    from ddlwa.check.threshold import Threshold

# From here on the machine's speed is worth a word.
_NOTABLE = 1.1
# What has grown by less does not explain what has grown.
_TELLING_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to be compared with.

    Attributes:
        file: The baseline's.
        before: The baseline.
        thresholds: How much slower is too slow, at least one.
    """

    file: Path
    before: Baseline
    thresholds: tuple[Threshold, ...]


def compare(expected: Expected, now: Baseline, *, measurements: int) -> Comparison:
    """Compare.

    Args:
        expected: The baseline, and how much slower is too slow.
        now: What has been measured since.
        measurements: How often the routes that looked slower were measured.

    Raises:
        BaselineError: They have no route in common.
    """
    before, thresholds = expected.before, expected.thresholds
    shared = [route for route in now.samples if route in before.samples]
    if not shared:
        known = ", ".join(before.samples) or "none"
        raise BaselineError(
            f"--baseline {expected.file}",
            f"it knows none of the routes that were checked ({', '.join(now.samples)}); it knows {known}",
            output="",
        )
    compared = tuple(
        one
        for route in shared
        for one in _route(route, before.samples[route], now.samples[route], thresholds)
    )
    notes = list(before.differences(now))
    machine = max((one.machine for one in compared), default=1.0)
    if machine >= _NOTABLE:
        notes.append(
            f"the machine takes up to {machine:.2f} times as long for the same work, which is allowed for: "
            "save a baseline on a machine like this one"
        )
    if noisy := sum(one.noisy for one in compared):
        notes.append(
            f"{noisy} of {len(compared)} limits are wider than asked for, as invocations differ by more than "
            "that among themselves: p50 is steadier than what lies above it"
        )
    return Comparison(
        baseline=str(expected.file),
        thresholds=tuple(threshold.text for threshold in thresholds),
        compared=compared,
        new=tuple(_missing(now.samples, before.samples)),
        gone=tuple(_missing(before.samples, now.samples)),
        notes=tuple(notes),
        measurements=measurements,
    )


def _route(
    route: str,
    before: Mapping[str, Measured],
    now: Mapping[str, Measured],
    thresholds: Sequence[Threshold],
) -> Iterator[Compared]:
    for span in now:
        if span not in before:
            continue
        machine_then_ns = before[span].machine_ns
        # A machine that is slower now is forgiven; what a faster one hides could only be guessed.
        machine = max(1.0, now[span].machine_ns / machine_then_ns) if machine_then_ns else 1.0
        for threshold in thresholds:
            then, this = (
                before[span].statistics[threshold.statistic],
                now[span].statistics[threshold.statistic],
            )
            expected_ns = round(then.ns * machine)
            asked_ns = threshold.limit_ns(expected_ns)
            # A tail is as much the machine's as the app's.
            noise_ns = 0 if threshold.statistic in STEADY else max(then.noise_ns, this.noise_ns)
            limit_ns = max(asked_ns, expected_ns + noise_ns)
            cause = _cause(span, before, now, growth_ns=this.ns - then.ns) if this.ns > limit_ns else ""
            yield Compared(
                route=route,
                span=span,
                threshold=threshold.text,
                before_ns=then.ns,
                now_ns=this.ns,
                limit_ns=limit_ns,
                machine=machine,
                noisy=limit_ns > asked_ns,
                cause=cause,
            )


def _cause(span: str, before: Mapping[str, Measured], now: Mapping[str, Measured], *, growth_ns: int) -> str:
    """Say which spans' own time has grown: that of the slower one, or else whose has grown most."""
    growth_ns_of = {
        name: one.own_ns - (before[name].own_ns if name in before else 0) for name, one in now.items()
    }
    enough_ns = growth_ns * _TELLING_SHARE
    culprit = span if growth_ns_of[span] >= enough_ns else max(growth_ns_of, key=growth_ns_of.__getitem__)
    grown_ns, after = growth_ns_of[culprit], now[culprit]
    if grown_ns < enough_ns:
        return "no single kind of span has grown enough to explain it: look for what all of them share"
    if culprit not in before:
        return f"{culprit} is new, and takes {duration(grown_ns)}"
    then = before[culprit]
    if after.spans > then.spans:
        return f"{culprit} comes {after.spans} times where it came {then.spans}: {duration(grown_ns)} more"
    return f"{culprit} itself takes {duration(grown_ns)} more, outside of any span within it"


def _missing(
    there: Mapping[str, Mapping[str, Measured]], here: Mapping[str, Mapping[str, Measured]]
) -> Iterator[str]:
    for route, spans in there.items():
        if route not in here:
            yield route
        else:
            yield from (f"{route}: {span}" for span in spans if span not in here[route])
