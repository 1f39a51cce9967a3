"""Puts the spans of an invocation, `aws.lambda` and that of its trigger, around its request span."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import ddtrace
from ddtrace.contrib.trace_utils import activate_distributed_headers
from ddtrace.internal.utils.time import Time  # the file of this name
from ddtrace.trace import Span, tracer

from ddlwa.log import warn_once
from ddlwa.trigger import function_tags, path_of, request_tags, status_code
from ddlwa.worker import THREADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ddlwa.coldstart import Start
    from ddlwa.gate import App, Receive, Scope, Send
    from ddlwa.invocation import Invocation

_NAME = "aws.lambda"
_PACKAGE = "datadog_lambda"
# What makes a trace a serverless one; datadog-lambda has it of all spans.
_ORIGIN = {"_dd.origin": "lambda"}
# What a function answers that has not answered, as API Gateway tells its client.
_NO_ANSWER = 502
_SERVER_ERRORS = range(500, 600)
# What of a request's headers an event is rebuilt with.
_HEADERS = {name.encode(): name for name in ("host", "user-agent", "x-forwarded-proto")}
_INVOCATION_TYPE = b"x-amz-invocation-type"


class LambdaSpan:
    """The span of one invocation, which begins before the request span and ends with its response.

    It is a plain span of ddtrace's until `tell` has datadog-lambda's own functions, if they are loaded, give
    it what it should have, and make the inferred span around it. Until then it is a root, or a child of the
    upstream's span; the trace cannot leave without it.

    Args:
        invocation: The invocation.
        scope: The ASGI scope of its request.
        start: How it found its sandbox.
        library: Has those functions, or will have.
        error_statuses: Statuses of a response that the adapter makes an error of the invocation.

    Attributes:
        span: The span; None before it has begun, and where somebody else traces the invocation.
    """

    __slots__ = (
        "_arrived_ns",
        "_error_statuses",
        "_inferred",
        "_invocation",
        "_library",
        "_scope",
        "_start",
        "_told",
        "span",
    )

    def __init__(
        self,
        invocation: Invocation,
        scope: Scope,
        *,
        start: Start,
        library: Library,
        error_statuses: frozenset[int],
    ) -> None:
        self._invocation = invocation
        self._scope = scope
        self._start = start
        self._library = library
        self._error_statuses = error_statuses
        self._arrived_ns = Time.time_ns()
        self._inferred: Span | None = None
        self._told = False
        self.span: Span | None = None

    def around(self, app: App) -> App:
        """Give an app that is called within the span.

        Args:
            app: A `functools.partial` of a `TraceMiddleware`'s call, that middleware its first argument; so
                is what is returned.
        """
        middleware = app.args[0] if isinstance(app, functools.partial) and app.args else None
        return functools.partial(self._run, middleware, app)

    async def _run(self, middleware: Any, app: App, scope: Scope, receive: Receive, send: Send) -> Any:
        self.span = span = self._begun(middleware)
        if span is None:
            return await app(scope, receive, send)
        try:
            return await app(scope, receive, send)
        except Exception as error:  # as datadog-lambda does
            span.set_exc_info(type(error), error, error.__traceback__)
            raise

    def _begun(self, middleware: Any) -> Span | None:
        """Begin the span, unless there is one around the request already."""
        try:
            active = tracer.context_provider.active()
            if active is None:
                # As ddtrace's middleware does, which then finds it done: it must come before this span.
                config = getattr(middleware, "integration_config", ddtrace.config.asgi)
                headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in self._scope["headers"]}
                activate_distributed_headers(tracer, int_config=config, request_headers=headers)
                active = tracer.context_provider.active()
            if isinstance(active, Span):
                return None
            name = self._invocation.function_name or _NAME
            span = tracer.start_span(
                _NAME,
                child_of=active,
                service=ddtrace.config.service or name,
                resource=name,
                span_type="serverless",
                activate=True,
            )
            span.start_ns = min(self._arrived_ns, span.start_ns)
        except Exception:  # noqa: BLE001 - guards the request from our own code
            warn_once("lambda_span.begin", "cannot begin the span of an invocation", exc_info=True)
            return None
        return span

    def finish(self, request_span: Span | None, *, event: object) -> None:
        """Tell what there is to tell, and finish the span and the inferred one; see `tell`."""
        span = self.span
        if span is None or span.finished:
            return
        self.tell(request_span, event=event)
        span.finish()
        if self._inferred is not None:
            self._inferred.finish()

    def tell(self, request_span: Span | None, *, event: object) -> None:
        """Give the span its tags, and make the inferred span, which is left open; once.

        Args:
            request_span: The request span, with the status of its response, as far as there is one.
            event: The decoded event of a pass-through invocation; None for one of an HTTP request.
        """
        span = self.span
        if span is None or self._told:
            return
        self._told = True
        try:
            tags = request_tags(self._invocation, self._scope, event)
            code = None if request_span is None else request_span.get_tag("http.status_code")
            status = int(code) if code is not None and code.isdecimal() else None
            if (status or _NO_ANSWER) in _SERVER_ERRORS or status in self._error_statuses:
                span.error = 1
            code = status_code(tags, status)
            if code is not None:
                span.set_tag("http.status_code", code)
            span.set_tags({**self._function_tags(), **tags, **_ORIGIN})
            functions = self._library.functions
            if functions is not None:
                # ddtrace makes a span of a proxy's headers, too (DD_TRACE_INFERRED_PROXY_SERVICES_ENABLED).
                inferring = request_span is None or request_span._parent is span  # ddtrace/_trace/span.py
                self._inferred = self._infer(functions, span, tags, event, inferring=inferring)
            if self._inferred is not None:
                _complete(self._inferred, span, tags, code=code, service=functions.config.service)
        except Exception:  # noqa: BLE001 - guards the request from our own code
            warn_once("lambda_span.tell", "cannot tell all of an invocation in its span", exc_info=True)

    def _function_tags(self) -> dict[str, str]:
        start = self._start
        return function_tags(self._invocation, cold_start=start.cold, proactive=start.proactive)

    def _infer(
        self, functions: Any, span: Span, tags: dict[str, str], event: object, *, inferring: bool
    ) -> Span | None:
        """Have datadog-lambda make the inferred span, and fill in this one."""
        invocation, start, config = self._invocation, self._start, functions.config
        context = SimpleNamespace(
            aws_request_id=invocation.request_id,
            invoked_function_arn=invocation.function_arn,
            function_name=invocation.function_name,
        )
        with _Making(span).going_on() as making:
            inferred: Span | None = None
            if inferring and config.make_inferred_span:
                event = self._rebuilt() if event is None else event
                source = functions.parse_event_source(event)
                authorizer = config.decode_authorizer_context
                inferred = functions.create_inferred_span(event, context, source, authorizer)
            functions.create_function_execution_span(
                context=context,
                function_name=invocation.function_name or _NAME,
                is_cold_start=start.cold,
                is_proactive_init=start.proactive,
                trace_context_source=None,
                merge_xray_traces=False,
                trigger_tags=tags,
                parent_span=inferred,
            )
            making.adopt(inferred)
        return inferred

    def _rebuilt(self) -> dict[str, Any]:
        """Rebuild the event of an HTTP request as far as the adapter tells of it."""
        invocation, scope = self._invocation, self._scope
        context = invocation.request_context
        if context is None:
            return {}
        headers: dict[str, str] = {}
        http = context.get("http")
        for name, value in scope["headers"]:
            if name in _HEADERS:
                headers.setdefault(_HEADERS[name], value.decode(errors="replace"))
            elif name == _INVOCATION_TYPE and http is None:
                headers["X-Amz-Invocation-Type"] = value.decode("latin-1")
        if "host" in headers:
            # What a client may put before the host, its name and password, is not told.
            headers["host"] = headers["host"].rpartition("@")[2]
        # The adapter says of what an event lacks that it is null.
        context = {name: value for name, value in context.items() if value is not None}
        event: dict[str, Any] = {"requestContext": context, "headers": headers}
        if isinstance(http, dict):
            path = http.get("path", path_of(scope))
            return {**event, "version": "2.0", "routeKey": context.get("routeKey"), "rawPath": path}
        event |= {"httpMethod": scope["method"], "path": path_of(scope)}
        return event if "elb" in context else {**event, "resource": context.get("resourcePath")}


class Library:
    """datadog-lambda's own functions for spans.

    To load them takes about as long as to load ddtrace, which is too long for a cold start, and for the
    first request.

    Attributes:
        functions: Its module `tracing`; None as long as it is not loaded, or cannot be.
        loading: The thread that loads it; None before it has been begun.
    """

    def __init__(self) -> None:
        self.functions: Any = None
        self.loading: threading.Thread | None = None

    def load_soon(self) -> None:
        """Begin to load it on a thread; once."""
        if self.loading is not None:
            return
        self.loading = threading.Thread(target=self._load, name=f"{THREADS}-{_PACKAGE}", daemon=True)
        try:
            self.loading.start()
        except RuntimeError:  # there are too many, or the interpreter is on its way out
            warn_once("lambda_span.thread", "no thread can be started; there will be no inferred spans")

    def _load(self) -> None:
        try:
            self.functions = _loaded()
        except ModuleNotFoundError as error:
            warn_once(
                "lambda_span.load", "there will be no inferred spans: DDLWA_LAMBDA_SPAN needs %s", error.name
            )
        except Exception:  # noqa: BLE001 - guards the app from a library that it has not asked for
            warn_once("lambda_span.load", "datadog-lambda cannot be loaded", exc_info=True)


def _loaded() -> ModuleType:
    """Give a copy of datadog-lambda's module `tracing` that is nobody else's.

    Nothing of it stays where the app can see it: neither in `sys.modules`, for an app's own import of it is
    to have its usual effects, nor in the environment. If the app has imported it before, the copy uses what
    the app has.
    """
    with _aside():
        spec: Any = importlib.util.find_spec(f"{_PACKAGE}.tracing")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    # It would change the tags of all spans of the process, and what is active here.
    vars(module)["tracer"] = _StandIn()
    return module


@contextmanager
def _aside() -> Iterator[None]:
    """Let datadog-lambda be imported without what it does to a process then, and take it out afterwards."""
    if sys.modules.get(_PACKAGE) is not None:
        yield
        return
    package = importlib.util.find_spec(_PACKAGE)
    if package is None:
        raise ModuleNotFoundError(name="datadog-lambda")
    environment = {name: value for name, value in os.environ.items() if name.startswith("DD_")}
    # The package's own code patches libraries, and looks at all imports from then on: it is left out.
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(package)
    # This one may start threads, and ask AWS for keys.
    metric = sys.modules[f"{_PACKAGE}.metric"] = ModuleType(f"{_PACKAGE}.metric")
    vars(metric).update(submit_errors_metric=None, lambda_stats=None)
    try:
        # Where OpenTelemetry's interface is wanted, that is the app's or ddtrace's to set up.
        os.environ["DD_TRACE_OTEL_ENABLED"] = "false"
        version = importlib.import_module(f"{_PACKAGE}.version")
        vars(sys.modules[_PACKAGE])["__version__"] = version.__version__
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]
        for name in [name for name in os.environ if name.startswith("DD_") and name not in environment]:
            del os.environ[name]
        os.environ.update(environment)


class _StandIn:
    """What datadog-lambda takes for ddtrace's tracer."""

    @property
    def context_provider(self) -> _StandIn:
        return self

    def activate(self, _: object) -> None:
        """Leave active what is."""

    def current_trace_context(self) -> None:
        """Give what it activates again."""

    def set_tags(self, tags: dict[str, str]) -> None:
        _making.get().tags.update(tags)

    def trace(self, name: str, *, service: str | None, resource: str | None, span_type: str | None) -> Span:
        return _making.get().trace(name, service=service, resource=resource, span_type=span_type)


class _Making:
    """The spans of one invocation that datadog-lambda makes, or fills in.

    Args:
        span: The one that has begun before.

    Attributes:
        tags: What all of them get.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self._made: list[Span] = []
        self.tags: dict[str, str] = {}

    @contextmanager
    def going_on(self) -> Iterator[_Making]:
        token = _making.set(self)
        try:
            yield self
        finally:
            _making.reset(token)
            self._discard_broken()

    def trace(self, name: str, *, service: str | None, resource: str | None, span_type: str | None) -> Span:
        span = self._span
        if name == _NAME:
            # Its service may only now be known: as ddtrace does with that of a new span.
            span.service = ddtrace.config.service_mapping.get(service, service)
        else:
            # Where this span has been so far: its trace, its parent, one sampling decision.
            around = span.context.copy(span.trace_id, span.parent_id or 0)
            span = tracer.start_span(
                name, child_of=around, service=service, resource=resource, span_type=span_type
            )
            self._made.append(span)
        span.set_tags(self.tags)
        return span

    def adopt(self, inferred: Span | None) -> None:
        """Have the inferred span be the parent, as if it had begun before."""
        if inferred is None:
            return
        span, made = self._span, self._made
        # Clocks differ, and where the event tells no time, datadog-lambda takes that of its call.
        inferred.start_ns = min(inferred.start_ns, span.start_ns)
        span._parent = inferred  # ddtrace/_trace/span.py
        span._local_root = made[0]  # ddtrace 4 finds it by the parents
        with _spans_of(span) as spans:
            # The first span of a trace is the one that is asked about sampling, and tells of it.
            spans[:] = [*made, *(one for one in spans if one not in made)]
        self._made = []

    def _discard_broken(self) -> None:
        """Take out what was begun for an event that turned out to be malformed: nobody would finish it."""
        broken = [span for span in self._made if not span.finished]
        if broken:
            with _spans_of(self._span) as spans:
                spans[:] = [one for one in spans if one not in broken]


def _complete(
    inferred: Span, span: Span, tags: dict[str, str], *, code: str | None, service: str | None
) -> None:
    """Do what datadog-lambda does with an inferred span when the handler has returned (wrapper.py, 8.130)."""
    for name, value in (
        ("http.status_code", code),
        ("http.route", tags.get("http.route")),
        ("dd_resource_key", tags.get("function_trigger.event_source_arn")),
        ("peer.service", service),
    ):
        if value:
            inferred.set_tag(name, value)
    if inferred.get_tag("_inferred_span.synchronicity") == "async":
        inferred.finish(finish_time=span.start)


@contextmanager
def _spans_of(span: Span) -> Iterator[list[Span]]:
    """Give the spans of a trace that is not yet handed on, to be changed; none where ddtrace is disabled."""
    aggregator = tracer._span_aggregator  # ddtrace/_trace/tracer.py
    with aggregator._lock:
        trace = aggregator._traces.get(span.trace_id)  # ddtrace/_trace/processor/__init__.py
        yield [] if trace is None else trace.spans


_making: ContextVar[_Making] = ContextVar("ddlwa_making")
