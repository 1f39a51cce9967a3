"""Lets a request span continue the trace that only the Lambda event tells of."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import ddtrace
from ddtrace.contrib.trace_utils import activate_distributed_headers, distributed_tracing_enabled
from ddtrace.propagation.http import HTTPPropagator
from ddtrace.trace import tracer

from ddlwa.log import warn_once
from ddlwa.request import current
from ddlwa.upstream import EVENT_BYTES, Ahead, Where, context_of, context_of_event, decode_event, where

if TYPE_CHECKING:
    from ddlwa.gate import App, Receive, Scope, Send
    from ddlwa.invocation import Invocation

__all__ = ["continuing"]


def continuing(app: App, scope: Scope, invocation: Invocation) -> App:
    """Give an app whose request span continues its invocation's trace.

    Args:
        app: A `functools.partial` of a `TraceMiddleware`'s call, that middleware its first argument.
        scope: The request's; the app gets it unchanged.
        invocation: The request's.

    Returns:
        The app itself where the invocation tells of no trace.
    """
    told = where(scope, invocation)
    if told is Where.NOWHERE:
        return app

    async def continued(scope: Scope, receive: Receive, send: Send) -> Any:
        headers = None
        if told is Where.EVENT:
            ahead = Ahead(receive)
            receive = ahead.receive
            headers = await _read(ahead)
        if not _is_wanted(app, scope):
            return await app(scope, receive, send)
        headers = headers or context_of(
            invocation.request_context,
            invocation.xray_trace_id,
            client_context=invocation.client_context,
        )
        if headers is None or not _activate(app, scope, headers):
            return await app(scope, receive, send)
        try:
            result = await app(scope, receive, send)
        except GeneratorExit:
            raise  # nobody knows in whose context this runs: the request's own is gone
        except BaseException:
            tracer.context_provider.activate(None)
            raise
        tracer.context_provider.activate(None)
        return result

    return continued


def _is_wanted(app: App, scope: Scope) -> bool:
    """Say whether the request span would be a root, in a service that is to continue traces."""
    try:
        return (
            tracer.context_provider.active() is None
            and distributed_tracing_enabled(_integration(app))
            and not _carries_context(scope)
        )
    except Exception:  # noqa: BLE001 - guards the request from our own code
        warn_once("upstream.wanted", "cannot tell whether a request has a trace context", exc_info=True)
        return False


def _carries_context(scope: Scope) -> bool:
    """Say whether ddtrace finds a trace context in the request's own headers."""
    context = HTTPPropagator.extract(
        {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    )
    # None with DD_TRACE_PROPAGATION_EXTRACT_FIRST (ddtrace/propagation/http.py); with
    # DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT=restart a link only (ddtrace/_trace/context.py).
    return context is not None and bool(context.trace_id or context._span_links)


async def _read(ahead: Ahead) -> dict[str, str] | None:
    try:
        body, complete = await ahead.read(limit_bytes=EVENT_BYTES)
        event = decode_event(body, complete=complete)
        request = current.get()
        if request is not None:
            request.event = event
        return context_of_event(event)
    except Exception:  # noqa: BLE001 - guards the request from our own code
        warn_once("upstream.event", "cannot look for a trace context in an event", exc_info=True)
        return None


def _activate(app: App, scope: Scope, headers: dict[str, str]) -> bool:
    """Activate a context as ddtrace does for one in a request's headers; say whether one is active now."""
    try:
        # ddtrace looks at the request's own baggage only as long as nothing is active.
        own = (value.decode("latin-1") for name, value in scope["headers"] if name == b"baggage")
        baggage = next(own, headers.get("baggage"))
        carrier = headers if baggage is None else {**headers, "baggage": baggage}
        activate_distributed_headers(tracer, int_config=_integration(app), request_headers=carrier)
    except Exception:  # noqa: BLE001 - guards the request from our own code
        warn_once("upstream.activate", "cannot continue a trace", exc_info=True)
    return tracer.context_provider.active() is not None


def _integration(app: Any) -> Any:
    """Give the settings of the integration whose middleware this is, those of ASGI if it is none."""
    middleware = app.args[0] if isinstance(app, functools.partial) and app.args else None
    return getattr(middleware, "integration_config", ddtrace.config.asgi)
