"""A request's span continues the trace that only the Lambda event tells of; nothing else is changed by it."""

import asyncio
import base64
import contextvars
import functools
import json
import time
from contextlib import nullcontext

import pytest
from ddtrace import config
from ddtrace.contrib.internal.asgi.middleware import TraceMiddleware
from ddtrace.propagation.http import HTTPPropagator
from ddtrace.trace import Context, tracer
from endings import BARE
from gates import GENEROUS, gate
from processes import python
from wire_server import Request, serve

from ddlwa.invocation import invocation_of
from ddlwa.simulator.adapter.inbound import app_request
from ddlwa.simulator.adapter.options import AdapterOptions
from ddlwa.simulator.events import pass_through
from ddlwa.tracer import request_span, upstream
from ddlwa.tracer.upstream import continuing
from ddlwa.upstream import EVENT_BYTES

pytestmark = pytest.mark.usefixtures("agent")

TRACE_ID, PARENT_ID = 0x6745E0A000000000_112210F47DE98115, 987654321
CONTINUED = (TRACE_ID, PARENT_ID, 2)


def injected(trace_id=TRACE_ID, parent_id=PARENT_ID, priority=2):
    """Give what ddtrace puts into a carrier."""
    carrier = {}
    HTTPPropagator.inject(Context(trace_id=trace_id, span_id=parent_id, sampling_priority=priority), carrier)
    return carrier


def base64_of(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def sqs(carrier, *more):
    event = pass_through.sqs("tea", *more)
    event["Records"][0]["messageAttributes"]["_datadog"] = {
        "dataType": "String",
        "stringValue": json.dumps(carrier),
    }
    return event


def rest_api(carrier=None, headers=()):
    """Give an event of a REST API, whose authorizer was traced if there is a carrier."""
    context = {
        "requestId": "r-1",
        "stage": "prod",
        "httpMethod": "GET",
        "identity": {"sourceIp": "203.0.113.7"},
    }
    if carrier is not None:
        answer = {**carrier, "x-datadog-authorizing-requestid": "r-1"}
        context["authorizer"] = {
            "principalId": "user",
            "_datadog": base64_of(answer),
            "integrationLatency": 0,
        }
    return {
        "resource": "/items",
        "path": "/items",
        "httpMethod": "GET",
        "headers": {"Host": "shop.test", **dict(headers)},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "requestContext": context,
        "body": None,
        "isBase64Encoded": False,
    }


DEADLINE_MS = int((time.time() + 600) * 1000)


def lambda_context(**fields):
    context = {"request_id": "id-1", "deadline": DEADLINE_MS, "xray_trace_id": None, "client_context": None}
    return {**context, "tenant_id": None, **fields}


def asked(event, **fields):
    """Give the request that LWA makes of an event."""
    payload = event if isinstance(event, bytes) else json.dumps(event).encode()
    return app_request(payload, lambda_context=lambda_context(**fields), options=AdapterOptions())


def scope_of(request):
    path, _, query = request.target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in request.headers],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }


def ids(span):
    """Give what a span continues: trace, parent, sampling decision."""
    return span.trace_id, span.parent_id, span.context.sampling_priority


class App:
    """Reads its request, and notes how it was called.

    Args:
        during: Called, in the app, with the request span.
    """

    def __init__(self, during=None):
        self.during = during
        self.scopes = []
        self.continued = []
        self.body = b""

    async def __call__(self, scope, receive, send):
        span = request_span(scope)
        self.scopes.append((scope, list(scope["headers"])))
        self.continued.append(ids(span))
        more = True
        while more:
            message = await receive()
            self.body += message.get("body", b"")
            more = message.get("more_body", False)
        if self.during is not None:
            await self.during(span)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def called(app, event, *, pieces=1, **fields):
    """Let an app that ddtrace traces serve an event's request, its body in so many pieces.

    Returns:
        The scope that the server gave.
    """
    request = asked(event, **fields)
    size = -(-len(request.body) // pieces) or 1
    parts = [request.body[at : at + size] for at in range(0, len(request.body), size)] or [b""]
    scope = scope_of(request)

    async def receive():
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    call = functools.partial(TraceMiddleware.__call__, TraceMiddleware(app))
    await continuing(call, scope, invocation_of(scope))(scope, receive, send)
    return scope


def continued(event, **fields):
    """Give what the request span of an event continues."""
    app = App()
    asyncio.run(called(app, event, **fields))
    return app.continued[0]


SOURCES = {
    "a message": (sqs(injected()), {}),
    "an authorizer": (rest_api(injected()), {}),
    "a caller of Invoke": ({"order": 7}, {"client_context": {"custom": injected()}}),
}


@pytest.mark.parametrize(("event", "fields"), SOURCES.values(), ids=SOURCES)
def test_the_request_span_continues_the_events_trace(event, fields):
    """Trace, parent and sampling decision are the sender's; the app gets what the server gave."""
    app = App()
    scope = asyncio.run(called(app, event, pieces=3, **fields))
    assert app.continued == [CONTINUED]
    ((given, headers),) = app.scopes
    assert given is scope
    assert headers == scope_of(asked(event, **fields))["headers"] == scope["headers"]
    assert app.body == asked(event, **fields).body


@pytest.mark.parametrize("style", ["datadog", "tracecontext"])
def test_headers_of_the_request_win(style):
    """A context in the request's own headers is continued, whatever else the event tells."""
    own = injected(0x7, 0x8, 1)
    if style == "tracecontext":
        own = {"traceparent": own["traceparent"]}
    assert continued(rest_api(injected(), headers=own.items())) == (0x7, 0x8, 1)
    same_trace = injected(parent_id=0x8)
    assert continued(rest_api(injected(), headers=same_trace.items())) == (TRACE_ID, 0x8, 2)


def test_baggage_of_the_request_goes_along():
    """Baggage that comes without a trace goes with the event's."""
    seen = []

    async def during(span):
        seen.append(span.context.get_baggage_item("user"))

    app = App(during)
    asyncio.run(called(app, rest_api(injected(), headers=[("baggage", "user=7")])))
    asyncio.run(called(app, sqs({**injected(), "baggage": "user=8"})))
    assert app.continued == [CONTINUED, CONTINUED]
    assert seen == ["7", "8"]


@pytest.mark.parametrize("event", [rest_api(), {"order": 7}, pass_through.sqs("tea"), b"[7]"])
def test_without_a_context_the_span_is_a_root(event):
    """An event that tells of no trace begins one."""
    trace_id, parent_id, _ = continued(event)
    assert trace_id != TRACE_ID
    assert not parent_id


def test_a_batch_beyond_the_bound_is_replayed_unharmed():
    """No more than the bound is read ahead; that has the first context, and the app gets all."""
    event = sqs(injected(), *["x" * 200_000] * 30)
    app = App()
    asyncio.run(called(app, event, pieces=100))
    assert app.continued == [CONTINUED]
    assert app.body == asked(event).body
    assert len(app.body) > 5 * EVENT_BYTES


def test_an_event_beyond_the_bound_is_not_looked_at():
    """What is no batch is decoded as a whole or not at all."""
    event = pass_through.eventbridge({"_datadog": injected(), "more": "x" * EVENT_BYTES})
    app = App()
    asyncio.run(called(app, event, pieces=7))
    assert app.continued[0][1] != PARENT_ID
    assert app.body == asked(event).body


@pytest.mark.parametrize("event", [rest_api(injected()), rest_api()])
def test_a_body_of_an_http_request_is_not_read_ahead(event):
    """The first to ask for an HTTP request's body is the app."""
    scope = scope_of(asked(event))
    began = []

    async def app(scope, receive, send):
        began.append(True)
        await receive()

    async def receive():
        assert began
        return {"type": "http.request"}

    call = functools.partial(TraceMiddleware.__call__, TraceMiddleware(app))
    asyncio.run(continuing(call, scope, invocation_of(scope))(scope, receive, None))
    assert began


def test_an_invocation_that_tells_of_no_trace_is_served_by_the_app_itself():
    """Nothing stands before the app where there is nothing to continue."""
    scope = scope_of(asked(rest_api()))
    call = functools.partial(TraceMiddleware.__call__, TraceMiddleware(App()))
    assert continuing(call, scope, invocation_of(scope)) is call


class ShopError(Exception):
    pass


@pytest.mark.parametrize("error", [None, ShopError, asyncio.CancelledError])
def test_nothing_stays_active_after_the_request(error):
    """However a request ends, the next one in the same task begins a trace of its own."""

    async def fail(span):
        if error is not None:
            raise error

    async def run():
        app = App(fail)
        try:
            await called(app, sqs(injected()))
        except (ShopError, asyncio.CancelledError) as raised:
            assert type(raised) is error  # noqa: PT017 - whether it is raised at all is seen below
        assert tracer.context_provider.active() is None
        await called(following := App(), rest_api())
        return app.continued + following.continued

    first, second = asyncio.run(run())
    assert first == CONTINUED
    assert second[1] != PARENT_ID
    assert second[0] != TRACE_ID


def test_a_request_that_is_dropped_with_its_loop_touches_no_other_context():
    """Where a request's coroutine is closed by somebody else, their active span stays active."""

    async def never(span):
        await asyncio.Event().wait()

    request = called(App(never), sqs(injected()))

    async def begin():
        contextvars.copy_context().run(request.send, None)

    asyncio.run(begin())
    with tracer.trace("other") as other:
        request.close()
        assert tracer.current_span() is other


def test_concurrent_requests_continue_their_own_traces():
    """Requests that are served at the same time do not see each other's context."""

    async def run():
        all_here, count = asyncio.Event(), 20
        apps = []

        async def wait(span):
            if len([app for app in apps if app.continued]) == count:
                all_here.set()
            await all_here.wait()
            with tracer.trace("work") as work:
                assert (work.trace_id, work.parent_id) == (span.trace_id, span.span_id)

        apps += [App(wait) for _ in range(count)]
        await asyncio.gather(*(called(app, sqs(injected(n, n + 100))) for n, app in enumerate(apps, start=1)))
        return [app.continued for app in apps]

    assert asyncio.run(run()) == [[(n, n + 100, 2)] for n in range(1, 21)]


def test_an_active_span_stays_the_parent():
    """A request within a trace already is not taken out of it."""
    app = App()

    async def run():
        with tracer.trace("outer") as outer:
            await called(app, sqs(injected()))
            assert tracer.current_span() is outer
            return outer

    outer = asyncio.run(run())
    assert app.continued[0][:2] == (outer.trace_id, outer.span_id)


def test_distributed_tracing_that_is_off(monkeypatch):
    """An integration that is not to continue traces does not."""
    monkeypatch.setitem(config.asgi, "distributed_tracing", False)  # noqa: FBT003 - ddtrace's own setting
    assert continued(sqs(injected()))[0] != TRACE_ID


SETTINGS = {
    "none": ({"DD_TRACE_PROPAGATION_STYLE_EXTRACT": "none"}, [False, 0]),
    "one style": ({"DD_TRACE_PROPAGATION_STYLE_EXTRACT": "tracecontext"}, [True, 0]),
    "the first style": ({"DD_TRACE_PROPAGATION_EXTRACT_FIRST": "true"}, [True, 0]),
    "restart": ({"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT": "restart"}, [False, 1]),
    "ignore": ({"DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT": "ignore"}, [False, 0]),
}


@pytest.mark.parametrize(("env", "expected"), SETTINGS.values(), ids=SETTINGS)
def test_settings_of_ddtrace_hold(env, expected):
    """An event's context is extracted as ddtrace is told to extract those in headers."""
    code = """
import asyncio, json, os
from test_upstream_request import App, TRACE_ID, called, injected, sqs
links = []
async def during(span):
    links.append(len(span._get_links()) if hasattr(span, "_get_links") else len(span._links))
app = App(during)
asyncio.run(called(app, sqs(injected())))
print("outcome", json.dumps([app.continued[0][0] == TRACE_ID, *links]), flush=True)
os._exit(0)  # there is no agent to flush to
"""
    (outcome,) = python(code, env={**env, "DD_TRACE_ENABLED": "true"}).outcomes
    assert outcome == expected


@pytest.mark.parametrize("name", ["HTTPPropagator", "activate_distributed_headers"])
def test_ddtrace_that_fails(name, monkeypatch, warnings_said):
    """Whatever fails in looking for a trace, the request is served, with one warning."""
    monkeypatch.setattr(upstream, name, None)
    assert continued(sqs(injected()))[0] != TRACE_ID
    assert len(warnings_said()) == 1


def test_a_server_that_fails(warnings_said):
    """A message that is none of ASGI's reaches the app; an error of the server's does too."""
    scope = scope_of(asked(sqs(injected())))
    given = [{"what": "ever"}, OSError("gone")]
    got = []

    async def app(scope, receive, send):
        got.append(await receive())
        await receive()

    async def receive():
        message = given.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    call = functools.partial(TraceMiddleware.__call__, TraceMiddleware(app))
    with pytest.raises(OSError, match="gone"):
        asyncio.run(continuing(call, scope, invocation_of(scope))(scope, receive, None))
    assert got == [{"what": "ever"}]
    assert len(warnings_said()) == 1


@pytest.mark.parametrize("error", [None, ShopError])
def test_a_context_that_no_span_takes_over(error):
    """Behind the call of something else than ddtrace's middleware nothing stays active either."""
    scope = scope_of(asked(sqs(injected())))
    seen = []

    async def app(scope, receive, send):
        seen.append(tracer.current_trace_context().trace_id)
        if error is not None:
            raise error

    async def receive():
        return {"type": "http.request", "body": asked(sqs(injected())).body}

    async def run():
        with pytest.raises(ShopError) if error else nullcontext():
            await continuing(app, scope, invocation_of(scope))(scope, receive, None)
        return tracer.context_provider.active()

    assert asyncio.run(run()) is None
    assert seen == [TRACE_ID]


LAMBDA = {**GENEROUS, "AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}


@pytest.mark.parametrize("source", ["a message", "an authorizer"])
def test_served_by_ddlwa(source, agent, app_behind):
    """Behind the gate the trace that is delivered is the event's."""
    event, fields = SOURCES[source]
    request = asked(event, **fields)
    headers = tuple((name, value) for name, value in request.headers if name != "host")
    agent.clear()
    with gate(LAMBDA):
        (exchange,) = serve(
            app_behind(BARE),
            Request(path="/json", method=request.method, headers=headers, body=request.body),
        )
    assert exchange.error is None
    (span,) = (span for span in agent.spans() if span.name == "fastapi.request")
    assert (span.trace_id, span.parent_id) == (TRACE_ID & (1 << 64) - 1, PARENT_ID)
