"""What a comparison with a baseline found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from ddlwa.report.units import duration


@dataclass(frozen=True, slots=True)
class Compared:
    """One statistic of one span of one route, now and in the baseline.

    Attributes:
        route: As `--route` takes it.
        span: Operation name, such as `fastapi.request`; all those of an invocation together.
        threshold: What was asked for, such as `p95:20%`.
        before_ns: The statistic in the baseline, in nanoseconds of time in which the sandbox ran.
        now_ns: The same now.
        limit_ns: What it must not exceed.
        machine: How much longer the machine takes for the same work than then, which that allows for.
        noisy: Whether that is more than was asked for, as noise would exceed it without a cause.
        cause: What has most likely changed; empty where nothing is slower.
    """

    route: str
    span: str
    threshold: str
    before_ns: int
    now_ns: int
    limit_ns: int
    machine: float = 1.0
    noisy: bool = False
    cause: str = ""

    @property
    def slower(self) -> bool:
        """Say whether it exceeds its limit."""
        return self.now_ns > self.limit_ns

    @property
    def change(self) -> float:
        """Give the relative change: 0.3 for 30 % slower."""
        return self.now_ns / self.before_ns - 1 if self.before_ns else 0.0

    def __str__(self) -> str:
        now, before, limit = map(duration, (self.now_ns, self.before_ns, self.limit_ns))
        text = f"{self.span} takes {now} where it took {before}, and {self.threshold} allows {limit}"
        return f"{text}. Most likely: {self.cause}." if self.cause else text


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was compared.

    Attributes:
        baseline: The file's name.
        thresholds: What was asked for, such as `p95:20%`.
        compared: By route, span and threshold.
        new: What the baseline does not know: routes, and spans as `GET /items: db.query`.
        gone: What only the baseline knows, in the same form.
        notes: What else differs between then and now and may explain a change.
        measurements: How often the routes that looked slower were measured.
    """

    baseline: str
    thresholds: tuple[str, ...]
    compared: tuple[Compared, ...]
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    measurements: int = 1

    @property
    def slower(self) -> tuple[Compared, ...]:
        """List what exceeds its limit, the worst first."""
        return tuple(sorted((one for one in self.compared if one.slower), key=lambda one: -one.change))
