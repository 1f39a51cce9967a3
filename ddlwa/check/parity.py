"""Compare spans with those of plain ddtrace, which records the same of the same requests, but for times."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ddlwa.check.spans import title
from ddlwa.report.model import Fault, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ddlwa.report.model import InvocationResult, RouteResult, Run, SpanResult

# What is not all there has been found wrong already, or is nothing to go by.
_UNFIT = frozenset({Fault.NO_RESPONSE, Fault.LOST, Fault.NOT_WHOLE})


def beside_plain(plain: Run, ddlwa: Run) -> Run:
    """Find the routes whose spans are not those of plain ddtrace.

    An app may well do something else once in a while. So a route is judged if it has a few invocations that
    plain ddtrace traces alike, and it differs if most of its invocations do.

    Args:
        plain: A run with plain ddtrace.
        ddlwa: One of the same requests with ddlwa.

    Returns:
        The second, with what was found.
    """
    beside = {route.label: route for route in plain.routes}
    return replace(ddlwa, routes=tuple(_judge(route, beside[route.label]) for route in ddlwa.routes))


class _Kind(NamedTuple):
    """What a span is, whichever request it is of."""

    name: str
    resource: str
    error: bool

    @classmethod
    def of(cls, span: SpanResult) -> _Kind:
        return cls(span.name, span.resource, span.error)

    def __str__(self) -> str:
        return title(self.name, self.resource) + (", marked as failed," if self.error else "")


class _Place(NamedTuple):
    """A span and its parent, None for the one that has come with the request."""

    span: _Kind
    parent: _Kind | None

    def __str__(self) -> str:
        return str(self.span) if self.parent is None else f"{self.span} within {self.parent}"


@dataclass(frozen=True, slots=True)
class _Spans:
    """The spans of one invocation, counted.

    Attributes:
        own: Those of the request's trace.
        all: These, and those of work after the response in traces of its own.
        placed: Those of the request's trace, with their parents.
        in_time: Of these those that had begun when the response was complete.
    """

    own: Counter[_Kind]
    all: Counter[_Kind]
    placed: Counter[_Place]
    in_time: Counter[_Place]

    @classmethod
    def of(cls, invocation: InvocationResult) -> _Spans:
        own = [span for span in invocation.spans if span.trace_id == invocation.trace_id]
        kinds = {span.span_id: _Kind.of(span) for span in own}

        def placed(spans: Iterable[SpanResult]) -> Counter[_Place]:
            return Counter(_Place(_Kind.of(span), kinds.get(span.parent_id)) for span in spans)

        return cls(
            own=Counter(kinds.values()),
            all=Counter(map(_Kind.of, invocation.spans)),
            placed=placed(own),
            in_time=placed(span for span in own if not span.background),
        )

    def difference(self, plain: _Spans) -> str | None:
        """Say what is not as with plain ddtrace, if anything is."""
        # With plain ddtrace work after the response may be in the request's trace, without it has its own.
        for kind in plain.own - self.all:
            return _say(kind, self.all[kind], plain.own[kind])
        for place in self.in_time - plain.placed:
            # Around the request ddlwa may have been told to put the invocation's span.
            if (place.span if place.parent is None else place.parent) in plain.own:
                return _say(place, self.in_time[place], plain.placed[place])
        return None


def _judge(route: RouteResult, plain: RouteResult) -> RouteResult:
    known = [_Spans.of(one) for one in plain.invocations if _is_fit(one)]
    patterns = [spans for number, spans in enumerate(known) if spans not in known[:number]]
    if not known or 2 * len(patterns) > len(known):
        return route
    judged = [one for one in route.invocations if _is_fit(one)]
    unlike = {one.number: found for one in judged if (found := _difference(_Spans.of(one), patterns))}
    if 2 * len(unlike) <= len(judged):
        return route
    return replace(
        route,
        invocations=tuple(
            replace(one, findings=(*one.findings, Finding(Fault.DIFFERENT, unlike[one.number])))
            if one.number in unlike
            else one
            for one in route.invocations
        ),
    )


def _is_fit(invocation: InvocationResult) -> bool:
    return not any(finding.fault in _UNFIT for finding in invocation.findings)


def _difference(spans: _Spans, patterns: Iterable[_Spans]) -> str | None:
    """Say what is not as in the first pattern, unless all is as in one of them."""
    differences = [spans.difference(plain) for plain in patterns]
    return differences[0] if all(differences) else None


def _say(what: _Kind | _Place, here: int, plain: int) -> str:
    return f"{what} is recorded {_times(here)}, by plain ddtrace {_times(plain)}."


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
