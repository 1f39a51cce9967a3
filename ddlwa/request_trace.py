"""One request's trace: what is known of it, told in it, and done to it before its response may leave."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from ddlwa import tracer
from ddlwa.coldstart import WARM
from ddlwa.invocation import has_context, invocation_of
from ddlwa.log import warn_once
from ddlwa.postresponse import do_critical, registered
from ddlwa.request import Request, current
from ddlwa.tracer.timeout import time_out
from ddlwa.trigger import function_tags, request_tags

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ddlwa.gate import App, Release, Scope
    from ddlwa.serve import Serving
    from ddlwa.tracer.lambda_span import LambdaSpan

# What ddtrace knows better than the event: the route by its pattern, what is the same in both, its own kind.
_BETTER_KNOWN = ("http.method", "http.route", "http.useragent", "span.kind")


def note_begin(*_: object) -> None:
    """Take note that ddtrace has begun the trace of the request being served."""
    request = current.get()
    if request is not None:
        request.begun()


class Untold(Request):
    """A request of which nothing is to be told, as it is no invocation's, and which is not held.

    Args:
        serving: What all requests share.
    """

    __slots__ = ("_serving",)

    def __init__(self, serving: Serving) -> None:
        super().__init__(None, registered())
        self._serving = serving

    def ended(self) -> None:
        """Take note that its app is done."""
        self._serving.release()
        self._serving.report_work()


class RequestTrace(Request):
    """One request's trace: what a gate holds the response for; see `ddlwa.gate.Trace`.

    Args:
        serving: What all requests share.
        scope: The request's ASGI scope.

    Attributes:
        start: How its invocation found the sandbox.
    """

    __slots__ = ("_comes_first", "_lambda_span", "_outer", "_scope", "_serving", "_span", "start")

    def __init__(self, serving: Serving, scope: Scope) -> None:
        invocation = invocation_of(scope) if serving.in_lambda else None
        super().__init__(
            invocation,
            registered(),
            None if invocation is None else invocation.deadline_s - serving.settings.deadline_margin_s,
        )
        serving.sandbox.ready()
        self._serving = serving
        self._scope = scope
        self._outer = tracer.current_span()
        self._span: Any = None
        self._comes_first = False
        self._lambda_span: LambdaSpan | None = None
        self.start = WARM
        if invocation is not None:
            self.start = serving.sandbox.invoked()
            serving.watchdog.watch(invocation.deadline_s - serving.settings.timeout_margin_s, self.time_out)

    def begun(self) -> None:
        """Take note of the request span while ddtrace still has it in the scope."""
        if self._span is not None:
            return
        self._span = span = tracer.request_span(self._scope)
        buffer = self._serving.buffer
        if span is not None and buffer.sorts:
            if self._is_readiness_check() and not self._serving.settings.trace_readiness:
                buffer.ignored.add(span.trace_id)
                return
            self._comes_first = True
            buffer.requests[span.trace_id] += 1
            self._describe(span)

    def _is_readiness_check(self) -> bool:
        # Mangum is another way from Lambda to the app, without headers and without readiness checks.
        return self.invocation is None and not has_context(self._scope) and "aws.event" not in self._scope

    def _describe(self, span: Any) -> None:
        """Tell in the request span what is known of its invocation."""
        if self.invocation is None or not self._serving.settings.lambda_tags:
            return
        start = self.start
        try:
            tags = request_tags(self.invocation, self._scope, self.event)
            for name in _BETTER_KNOWN:
                tags.pop(name, None)
            tags |= function_tags(self.invocation, cold_start=start.cold, proactive=start.proactive)
            span.set_tags(tags)
            if start.init_ms is not None:
                span.set_metric("ddlwa.init_ms", start.init_ms)
        except Exception:  # noqa: BLE001 - guards the request from our own code
            warn_once("describe", "cannot tell what is known of an invocation", exc_info=True)

    def within_lambda_span(self, app: App) -> App:
        """Give an app that is called within the span of the invocation, where that is to be made."""
        library = self._serving.library
        if self.invocation is None or library is None:
            return app
        from ddlwa.tracer.lambda_span import LambdaSpan  # noqa: PLC0415 - loaded with the library's class

        self._lambda_span = LambdaSpan(
            self.invocation,
            self._scope,
            start=self.start,
            library=library,
            error_statuses=self._serving.settings.error_statuses,
        )
        return self._lambda_span.around(app)

    def ending_lambda_span(self, served: Awaitable[Any]) -> Awaitable[Any]:
        """Give what serves a request that is not held, and then finishes the span of its invocation."""
        return served if self._lambda_span is None else self._ending(self._lambda_span, served)

    async def _ending(self, lambda_span: LambdaSpan, served: Awaitable[Any]) -> Any:
        try:
            return await served
        finally:
            lambda_span.finish(self._span, event=self.event)

    def time_out(self) -> None:
        """Have the trace end as timed out; called on the watchdog's thread."""
        span = self._span
        # A response that is not held has left when its span has ended: Lambda waits for nothing else of it.
        if span is not None and not (self.hold is None and span.finished):
            if self._lambda_span is not None:
                self._lambda_span.tell(span, event=self.event)
            # A span around the server ends with the sandbox, too, unless it is others' as well.
            time_out(span, None if self._serving.settings.one_at_a_time else self._outer)

    def ended(self) -> None:
        """Take note that its app is done."""
        if self._lambda_span is not None:
            self._lambda_span.finish(self._span, event=self.event)  # as a rule it has ended with the response
        if self._comes_first:
            self._is_late()
        if self.invocation is not None:
            self._serving.watchdog.discard(self.time_out)
        if self._span is not None:
            self._serving.buffer.ignored.discard(self._span.trace_id)

    def _is_late(self) -> None:
        """Take note that what comes of this trace from now on has to come after a later request's."""
        self._comes_first = False
        requests, trace_id = self._serving.buffer.requests, self._span.trace_id
        requests[trace_id] -= 1
        if requests[trace_id] <= 0:  # else another request of the same upstream trace is served
            del requests[trace_id]

    async def deliver(self, reason: Release) -> None:
        """Do the critical work, finish what is still open, so that the trace is whole, and flush."""
        serving = self._serving
        try:
            if self.jobs:
                await do_critical(self)
            span = self._span
            complete = span is None or tracer.is_complete(span)
            try:
                if not complete and serving.finishes_open_spans:
                    within = None if self._lambda_span is None else self._lambda_span.span
                    tracer.finish_open_spans(span, within or self._outer, reason.value)
                if self._lambda_span is not None:
                    self._lambda_span.finish(span, event=self.event)
                complete = complete or tracer.is_complete(span)
            finally:
                limit_s = math.inf if self.deadline_s is None else self.deadline_s - time.time()
                await serving.flush(limit_s, leftovers=complete)
        finally:
            self.deadline_s = None
            if self._comes_first:
                self._is_late()
            if self.invocation is not None:
                serving.watchdog.discard(self.time_out)
            serving.release()
