"""Serves each request in the mode that is its own, and does what comes after it in its order."""

from __future__ import annotations

import asyncio
import math
import os
import time
from typing import TYPE_CHECKING, Any

from ddlwa import tracer
from ddlwa.coldstart import WARM, Sandbox
from ddlwa.delivery import Delivery
from ddlwa.expiry import Expiry
from ddlwa.gate import Gate
from ddlwa.invocation import has_context, invocation_of
from ddlwa.ledger import Ledger
from ddlwa.log import warn_once
from ddlwa.outlets import Outlets
from ddlwa.postresponse import around, do_critical, registered
from ddlwa.request import Request, current
from ddlwa.settings import Mode, OpenSpans, Settings
from ddlwa.tracer.timeout import time_out
from ddlwa.tracer.upstream import continuing
from ddlwa.tracer.writer import Buffer
from ddlwa.trigger import function_tags, request_tags
from ddlwa.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ddlwa.extension import Extension
    from ddlwa.gate import App, Receive, Release, Scope, Send
    from ddlwa.invocation import Invocation
    from ddlwa.tracer.lambda_span import LambdaSpan, Library


# Nobody waits for a flush after the response but the sandbox, which is billed meanwhile.
_UNHELD_FLUSH_S = 2.0
# Requests have been served at the same time so lately that this is taken to go on.
_MOMENT_S = 0.1
# What ddtrace knows better than the event: the route by its pattern, what is the same in both, its own kind.
_OF_THE_REQUEST = ("http.method", "http.route", "http.useragent", "span.kind")
# Lambda gives a sandbox that shuts down two seconds, in which the server has its own work to do.
_LAST_FLUSH_S = 1.0


def note_begin(*_: object) -> None:
    """Take note that ddtrace has begun the trace of the request being served."""
    request = current.get()
    if request is not None:
        request.begun()


class Serving:
    """What all requests of the process share.

    Args:
        settings: What the environment asks for.

    Attributes:
        in_lambda: Only the adapter sets the headers of an invocation.
        finishes_open_spans: What is still open when a response is released is finished.
        buffer: Has the finished traces.
        delivery: Sends them.
        outlets: What is flushed besides them.
        ledger: Knows when the process was frozen.
        watchdog: Ends the traces of invocations that Lambda is about to end.
        extension: Keeps the sandbox unfrozen after a response; None where every response is held.
        library: Has what makes the spans of invocations; None where they are not to be made.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.in_lambda = settings.in_lambda
        self.finishes_open_spans = settings.open_spans is OpenSpans.FINISH
        self.buffer = Buffer(sorts=settings.in_lambda)
        self.delivery = Delivery(
            self.buffer,
            timeout_s=settings.flush_timeout_s,
            retain_bytes=settings.retain_bytes,
            retain_s=settings.retain_s,
        )
        self.buffer.dropped = self.delivery.drop
        self.outlets = Outlets(settings.outlets)
        self.ledger = Ledger()
        self.watchdog = Watchdog(self.flush_at_the_deadline)
        self.extension: Extension | None = None
        self.sandbox = Sandbox()
        self.library: Library | None = None
        if settings.lambda_span:
            from ddlwa.tracer.lambda_span import Library  # noqa: PLC0415 - seldom asked for

            self.library = Library()
        self._company_until_s = -math.inf
        self._hold = Expiry(settings.hold_timeout_s)
        self._report: Callable[[], None] | None = None
        if settings.statsd is not None:
            from ddlwa.metrics import reporter  # noqa: PLC0415 - seldom asked for

            self._report = reporter(settings.statsd)

    def start(self) -> list[str]:
        """Begin what goes on beside the requests; say what could not be had."""
        os.register_at_fork(after_in_child=self.forked)
        problem = self.extend() if self.settings.mode is Mode.EXTENSION else None
        return [] if problem is None else [f"{problem}; responses are held instead (DDLWA_MODE=hold)"]

    def extend(self) -> str | None:
        """Become an extension; say why not, if not."""
        settings = self.settings
        if not settings.runtime_api:
            return "DDLWA_MODE=extension needs Lambda: AWS_LAMBDA_RUNTIME_API is not set"
        if settings.snap_start:
            return "DDLWA_MODE=extension does not outlive a SnapStart restore"
        from ddlwa.extension import Extension, RefusedError  # noqa: PLC0415 - needed in this mode only

        extension = Extension(
            settings.runtime_api,
            finish=self.flush_blocking,
            ledger=self.ledger,
            margin_s=settings.deadline_margin_s,
        )
        try:
            extension.start()
        except RefusedError as error:
            return f"DDLWA_MODE=extension: {error}"
        self.extension = extension
        return None

    def forked(self) -> None:
        """Forget in a forked child what only its parent has: the extension, threads, their locks."""
        self.extension = None
        self.ledger.forked()
        self.watchdog.forked()
        self.buffer.forked()
        self.delivery.forked()

    def exit(self) -> None:
        """Deliver what is left."""
        try:
            self.delivery.close(timeout_s=_LAST_FLUSH_S)
            self.outlets.flush_blocking(timeout_s=_LAST_FLUSH_S)
            self.outlets.stop()
        except Exception:  # noqa: BLE001 - an app that ends is not to end badly for us
            warn_once("delivery.close", "cannot deliver the last traces", exc_info=True)

    def stop(self) -> None:
        """End what runs: the sender, once it has delivered what is left, the heart, the extension's part."""
        if self.extension is not None:
            self.extension.step_down()
        self.ledger.stop()
        self.watchdog.stop()
        self.exit()

    def serve(self, app: App, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, Any]:
        """Serve one request with an app that ddtrace traces; return or raise what the app does."""
        in_company = self._is_in_company()
        if in_company and not self.in_lambda:
            self._note_company(self.ledger.arrived())
            return around(Untold(self), app(scope, receive, send))
        return self._serve_traced(app, scope, receive, send, in_company=in_company)

    async def _serve_traced(
        self, app: App, scope: Scope, receive: Receive, send: Send, *, in_company: bool
    ) -> Any:
        request = RequestTrace(self, scope)
        if not in_company:
            self.prepare()
        invocation, extension = request.invocation, self.extension
        if invocation is not None:
            app = continuing(request.within_lambda_span(app), scope, invocation)
        try:
            if invocation is not None and extension is not None and extension.takes(invocation.request_id):
                try:
                    return await around(request, request.ending_lambda_span(app(scope, receive, send)))
                finally:
                    extension.ended(invocation.request_id)
            if in_company:
                self._note_company(self.ledger.arrived())
                try:
                    return await around(request, request.ending_lambda_span(app(scope, receive, send)))
                finally:
                    self.release()
            self.ledger.arrived()
            request.hold = gate = Gate(scope, receive, send, trace=request, expiry=self._hold)
            return await around(request, gate.run(app))
        finally:
            request.hold = None  # or only the garbage collector would find the two
            if invocation is not None and self.library is not None:
                self.library.load_soon()
            self.report_work()

    def prepare(self) -> None:
        """Use time in which nobody waits for what a flush will need."""
        try:
            self.delivery.prepare()
        except Exception:  # noqa: BLE001 - guards the request from our own code
            warn_once("prepare", "cannot prepare to deliver a trace", exc_info=True)

    async def flush(self, limit_s: float, *, leftovers: bool) -> None:
        """Deliver what is finished, and flush what else a freeze would lose, within the flush budget.

        Where requests are served at the same time no freeze can come: that is left to ddtrace's own thread.

        Args:
            limit_s: A limit that may be lower, in seconds.
            leftovers: Send traces that are not of a request, too.
        """
        alone = self.settings.one_at_a_time
        if not alone:
            if self.ledger.in_flight == 1:
                await asyncio.sleep(0)  # requests that are here already begin
            self._note_company(self.ledger.in_flight)
            if self._is_in_company():
                return
        traces = self.delivery.flush(limit_s=limit_s, leftovers=leftovers, alone=alone)
        if self.outlets.in_use():
            budget_s = min(self.settings.flush_timeout_s, limit_s)
            await asyncio.gather(traces, self.outlets.flush(timeout_s=budget_s))
        else:
            await traces

    def release(self) -> None:
        """Take note that a response leaves."""
        # The heart that finds freezes costs a busy server some percent of its throughput.
        self.ledger.released(may_freeze=not self._is_in_company())

    def look_around(self) -> None:
        """Do what no request that is alone may come to do; called about once a second."""
        if not self._is_in_company():
            self.ledger.rest()
        try:
            self.delivery.try_again()
        except Exception:  # noqa: BLE001 - guards the sending of traces, which comes next
            warn_once("try_again", "cannot find out whether the trace agent works again", exc_info=True)

    def _is_in_company(self) -> bool:
        """Say whether requests are served at the same time, as far as is known: then no freeze can come."""
        return time.monotonic() <= self._company_until_s

    def _note_company(self, in_flight: int) -> None:
        if in_flight > 1:
            self._company_until_s = time.monotonic() + _MOMENT_S

    def flush_blocking(self, limit_s: float) -> None:
        """Do the same from a thread, after the response.

        Args:
            limit_s: How long it may take, in seconds.
        """
        until_s = time.monotonic() + min(limit_s, _UNHELD_FLUSH_S)
        self.delivery.flush_blocking(timeout_s=until_s - time.monotonic())
        self.outlets.flush_blocking(timeout_s=until_s - time.monotonic())

    def flush_at_the_deadline(self) -> None:
        """Do the same from the watchdog's thread, in the time that an invocation that times out has left."""
        until_s = time.monotonic() + self.settings.timeout_margin_s
        self.delivery.flush_blocking(timeout_s=self.settings.timeout_margin_s, force=True)
        self.outlets.flush_blocking(timeout_s=until_s - time.monotonic())

    def limit_s(self, invocation: Invocation) -> float:
        """Say when everything that an invocation waits for has to be over, in seconds since the epoch."""
        return invocation.deadline_s - self.settings.deadline_margin_s

    def ignores(self, scope: Scope) -> bool:
        """Say whether a request that is no invocation is a readiness check, which leaves no trace."""
        # Mangum is another way from Lambda to the app, without headers and without readiness checks.
        return not (self.settings.trace_readiness or has_context(scope) or "aws.event" in scope)

    def describe(self, span: Any, request: RequestTrace, scope: Scope) -> None:
        """Tell in a request span what is known of its invocation."""
        invocation, start = request.invocation, request.start
        if invocation is None or not self.settings.lambda_tags:
            return
        try:
            tags = request_tags(invocation, scope, request.event)
            for name in _OF_THE_REQUEST:
                tags.pop(name, None)
            span.set_tags(tags | function_tags(invocation, cold_start=start.cold, proactive=start.proactive))
            if start.init_ms is not None:
                span.set_metric("ddlwa.init_ms", start.init_ms)
        except Exception:  # noqa: BLE001 - guards the request from our own code
            warn_once("describe", "cannot tell what is known of an invocation", exc_info=True)

    def report_work(self) -> None:
        """Send metrics of what came of the work after responses, where that is asked for."""
        if self._report is None:
            return
        try:
            self._report()
        except OSError:
            warn_once("metrics", "cannot send metrics", exc_info=True)


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
            invocation, registered(), None if invocation is None else serving.limit_s(invocation)
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
            if self.invocation is None and self._serving.ignores(self._scope):
                buffer.ignored.add(span.trace_id)
                return
            self._comes_first = True
            buffer.requests[span.trace_id] += 1
            self._serving.describe(span, self, self._scope)

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
