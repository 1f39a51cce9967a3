"""What all requests of the process share, and how each is served in the mode that is its own."""

from __future__ import annotations

import asyncio
import math
import os
import time
from typing import TYPE_CHECKING, Any

from ddlwa.coldstart import Sandbox
from ddlwa.delivery import Delivery
from ddlwa.expiry import Expiry
from ddlwa.gate import Gate
from ddlwa.ledger import Ledger
from ddlwa.log import warn_once
from ddlwa.outlets import Outlets
from ddlwa.postresponse import around
from ddlwa.request_trace import RequestTrace, Untold
from ddlwa.settings import Mode, OpenSpans, Settings
from ddlwa.tracer.upstream import continuing
from ddlwa.tracer.writer import Buffer
from ddlwa.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ddlwa.extension import Extension
    from ddlwa.gate import App, Receive, Scope, Send
    from ddlwa.tracer.lambda_span import Library


# Nobody waits for a flush after the response but the sandbox, which is billed meanwhile.
_UNHELD_FLUSH_S = 2.0
# Requests have been served at the same time so lately that this is taken to go on.
_MOMENT_S = 0.1
# Lambda gives a sandbox that shuts down two seconds, in which the server has its own work to do.
_LAST_FLUSH_S = 1.0


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

    def report_work(self) -> None:
        """Send metrics of what came of the work after responses, where that is asked for."""
        if self._report is None:
            return
        try:
            self._report()
        except OSError:
            warn_once("metrics", "cannot send metrics", exc_info=True)
