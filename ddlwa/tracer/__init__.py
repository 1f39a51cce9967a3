"""The only module that touches ddtrace's internals.

Each private name stands with the upstream file in which it was looked up, in ddtrace 3.19.0, 4.1.1 and
4.16.0; `probe` says which of them this ddtrace does not have.
"""

from __future__ import annotations

import functools
import inspect
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ddtrace
from ddtrace._monkey import PATCH_MODULES, _patch_all  # ddtrace/_monkey.py
from ddtrace.contrib.asgi import span_from_scope
from ddtrace.contrib.internal.asgi.middleware import TraceMiddleware  # the file of this name
from ddtrace.internal import atexit, core  # ddtrace/internal/atexit.py, ddtrace/internal/core/__init__.py
from ddtrace.internal.module import ModuleWatchdog  # ddtrace/internal/module.py
from ddtrace.internal.utils.formats import asbool, parse_tags_str  # the file of this name
from ddtrace.internal.writer import writer as writers  # ddtrace/internal/writer/writer.py
from ddtrace.trace import Span, tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ddlwa.ledger import Ledger
    from ddlwa.replacements import Replacements

__all__ = ["TraceMiddleware", "current_span", "request_span", "when_imported"]

request_span = span_from_scope
"""Give the request span that ddtrace keeps in an ASGI scope, or None."""

current_span = tracer.current_span
"""Give the span that is active here, or None."""

when_imported = ModuleWatchdog.register_module_hook
"""Call a function with the module of this name, now if it is loaded, else once it will be."""

_REQUEST_START = "asgi.start_request"  # dispatched by ddtrace/contrib/internal/asgi/middleware.py
_SPAN_START = "trace.span_start"  # dispatched by ddtrace/_trace/tracer.py
_SPAN_FINISH = "trace.span_finish"  # dispatched by ddtrace/_trace/tracer.py before the trace is handed on
_WRITER = (
    *("write", "flush_queue", "periodic", "on_shutdown", "_write_with_client", "_send_payload", "_downgrade"),
    "_set_drop_rate",
)
_LOWEST, _FIRST_UNTRIED = (3, 19), (5,)


def probe() -> str | None:
    """Say why this ddtrace cannot be patched, or None if it can."""
    version = tuple(int(part) for part in ddtrace.__version__.split(".")[:2])
    if not _LOWEST <= version < _FIRST_UNTRIED:
        return f"ddtrace {ddtrace.__version__} is not one of >=3.19,<5"
    if list(inspect.signature(TraceMiddleware.__call__).parameters) != ["self", "scope", "receive", "send"]:
        return "ddtrace's TraceMiddleware.__call__ does not take (scope, receive, send)"
    for owner, name in (
        (writers, "_use_sync_mode"),
        *((writers.NativeWriter, name) for name in _WRITER),
        (getattr(tracer, "_span_aggregator", None), "_traces"),
        (getattr(tracer, "_span_aggregator", None), "writer"),
        (Span, "_parent"),
    ):
        if not hasattr(owner, name):
            return f"ddtrace {ddtrace.__version__} has no {name} in {owner!r}"
    return None


def instrument(integrations: Mapping[str, bool], env: Mapping[str, str]) -> list[str]:
    """Patch the libraries that ddtrace patches.

    Args:
        integrations: ddtrace's keyword form: what to patch besides its defaults, and what not.
        env: The process's environment; `DD_PATCH_MODULES` and `DD_TRACE_<NAME>_ENABLED` hold here too.

    Returns:
        What could not be done as asked, a sentence each.
    """
    problems = [
        f"ddtrace {ddtrace.__version__} has no integration named {name!r}"
        for name in integrations
        if name not in PATCH_MODULES
    ]
    known = {name: wanted for name, wanted in integrations.items() if name in PATCH_MODULES}
    if "ddtrace.bootstrap.sitecustomize" in sys.modules:
        problems += [
            f"{name} is patched by ddtrace-run; set DD_TRACE_{name.upper()}_ENABLED=false to prevent that"
            for name, wanted in known.items()
            if not wanted
        ]
        ddtrace.patch(raise_errors=False, **{name: True for name, wanted in known.items() if wanted})
    else:
        from_env = {k: asbool(v) for k, v in parse_tags_str(env.get("DD_PATCH_MODULES")).items()}
        _patch_all(**{**from_env, **known})
    return problems


def on_request_start(action: Callable[..., None], replacements: Replacements) -> None:
    """Call something, in the request's context, when ddtrace has begun a request and not yet called the app.

    Args:
        action: What to call, with arguments that mean nothing here.
        replacements: Where undoing this belongs.
    """
    core.on(_REQUEST_START, action)
    replacements.on_undo(lambda: core.reset_listeners(_REQUEST_START, action))


def on_exit(action: Callable[[], None], replacements: Replacements) -> None:
    """Call something when the process ends, by itself or by a signal; before ddtrace's own end.

    Args:
        action: What to call; more than once if a signal comes in between.
        replacements: Where undoing this belongs.
    """

    def once_more() -> None:
        if replacements.active:
            action()

    # A server that handles signals raises them again when it is done, and then nothing else is called.
    atexit.register_on_exit_signal(once_more)
    atexit.register(action)
    replacements.on_undo(functools.partial(atexit.unregister, action))


@contextmanager
def work_span(name: str, origin: Span | None) -> Iterator[Span]:
    """Trace work after the response, as a trace of its own that is linked to where it comes from.

    Args:
        name: The span's resource.
        origin: The span that left the work to be done, if any.
    """
    with tracer.start_span("ddlwa.work", resource=name, child_of=None, activate=True) as span:
        if origin is not None:
            span.link_span(origin.context)
        yield span


def correct_durations(ledger: Ledger, replacements: Replacements) -> None:
    """Take frozen time off each span as it finishes, and keep it in the metric `ddlwa.frozen_ms`.

    Args:
        ledger: Knows the frozen time.
        replacements: Where undoing this belongs.
    """

    def correct(span: Span) -> None:
        start_ns = span.start_ns
        # What a span tells of that was inferred from an event went on outside of this process.
        if ledger.latest_ns() <= start_ns or span.get_tag("_inferred_span.tag_source") is not None:
            return
        frozen_ns = min(ledger.frozen_ns(start_ns, start_ns + span.duration_ns), span.duration_ns)
        if frozen_ns:
            span.duration_ns -= frozen_ns
            span.set_metric("ddlwa.frozen_ms", frozen_ns / 1e6)

    def begin(_: Span) -> None:
        # A freeze that has just ended is over before this span.
        ledger.latest_ns()

    for event, listener in ((_SPAN_START, begin), (_SPAN_FINISH, correct)):
        core.on(event, listener)
        replacements.on_undo(functools.partial(core.reset_listeners, event, listener))


def is_complete(span: Span) -> bool:
    """Say whether a span's trace has no open span any more, and so has been handed on."""
    traces = tracer._span_aggregator._traces  # ddtrace/_trace/processor/__init__.py
    return traces.get(span.trace_id) is None


def finish_open_spans(span: Span, outer: Span | None, reason: str) -> None:
    """Finish every open span of a request, children first, and tag it with the reason.

    Args:
        span: The request span.
        outer: The span within which the server called the app, if any: not the request's.
        reason: The value of the tag `ddlwa.released_by`.
    """
    trace = tracer._span_aggregator._traces.get(span.trace_id)  # ddtrace/_trace/processor/__init__.py
    if trace is None:
        return
    root = span
    while root._parent is not None and root._parent is not outer:  # ddtrace/_trace/span.py
        root = root._parent
    for candidate in reversed(list(trace.spans)):
        if not candidate.finished and root in _lineage(candidate):
            candidate.set_tag("ddlwa.released_by", reason)
            candidate.finish()


def _lineage(span: Span) -> Iterator[Span]:
    node: Span | None = span
    while node is not None:
        yield node
        node = node._parent  # ddtrace/_trace/span.py
