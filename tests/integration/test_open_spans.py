from ddtrace.trace import tracer
from endings import BARE
from freezer import freeze
from gates import GENEROUS, gate
from wire_server import Request, serve


def reasons(spans):
    """Say what released each span that was finished by a release."""
    return {span.name: span.meta["ddlwa.released_by"] for span in spans if "ddlwa.released_by" in span.meta}


def test_a_span_that_outlives_the_response_is_finished_and_tagged(agent, app_behind):
    """The child's span ends at the release; what it starts later is delivered later, and whole."""
    with gate():
        frozen = freeze(app_behind(BARE), Request(path="/child"), agent)
    assert reasons(frozen.delivered) == {"child": "app_done"}
    assert {span.name for span in frozen.spans} - {span.name for span in frozen.delivered} == {"grandchild"}


def test_open_spans_can_be_kept(agent, app_behind):
    """With `DDLWA_OPEN_SPANS=keep` the trace waits for its last span, and leaves as ddtrace made it."""
    with gate({**GENEROUS, "DDLWA_OPEN_SPANS": "keep"}):
        frozen = freeze(app_behind(BARE), Request(path="/child"), agent)
    (child,) = [span for span in frozen.spans if span.name == "child"]
    assert frozen.delivered == []
    assert child.meta["late"] == "yes"
    assert reasons(frozen.spans) == {}
    assert len(agent.chunks()) == 1


def test_the_hold_budget_releases_an_app_that_does_not_unwind(agent, app_behind):
    """A teardown that takes longer than the budget does not keep the response, nor its trace."""
    with gate({**GENEROUS, "DDLWA_HOLD_TIMEOUT_MS": "20"}):
        frozen = freeze(app_behind(BARE), Request(path="/depends-slow"), agent)
    assert frozen.exchange.status == 200
    assert reasons(frozen.delivered) == {"connection": "budget"}
    assert frozen.inflated == []
    assert frozen.undelivered == []


def test_a_span_around_the_app_is_the_servers(agent, app_behind):
    """A span within which the server calls the app is not the request's, and stays open."""
    app = app_behind(BARE)

    async def served(scope, receive, send):
        with tracer.trace("server") as span:
            await app(scope, receive, send)
            span.set_tag("late", "yes")

    with gate():
        agent.clear()
        serve(served, Request(path="/child"))
        tracer.flush()
    (server,) = [span for span in agent.spans() if span.name == "server"]
    assert server.meta["late"] == "yes"
    assert reasons(agent.spans()) == {"child": "app_done"}


def test_the_trace_of_a_caller_is_closed_too(agent, app_behind):
    """A request that continues a caller's trace is held and delivered like any other."""
    headers = (("x-datadog-trace-id", "77"), ("x-datadog-parent-id", "7"))
    with gate():
        frozen = freeze(app_behind(BARE), Request(path="/child", headers=headers), agent)
    assert {span.trace_id for span in frozen.delivered} == {77}
    assert reasons(frozen.delivered) == {"child": "app_done"}
    assert frozen.undelivered == []
