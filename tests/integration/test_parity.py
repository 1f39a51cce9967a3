import pytest
from ddtrace.trace import tracer
from endings import CASES
from gates import gate
from span_trees import Tolerance, describe
from wire_server import serve


def traces(app, request, agent):
    """Serve a request; give its exchange, its spans, and the number of its traces."""
    tracer.flush()  # what earlier tests have left to be sent
    agent.clear()
    (exchange,) = serve(app, request)
    tracer.flush()
    spans = agent.spans()
    return exchange, spans, len({span.trace_id for span in spans})


@pytest.mark.parametrize(("ending", "stack"), CASES)
def test_guarantee_3_parity(ending, stack, agent, app_behind, warnings_said):
    """Unfrozen, response and spans are those of stock ddtrace, but for what the ending allows."""
    app = app_behind(stack)
    stock, stock_spans, stock_count = traces(app, ending.request, agent)
    with gate():
        gated, gated_spans, gated_count = traces(app, ending.request, agent)

    released = {span.name: span.meta.get("ddlwa.released_by") for span in gated_spans}
    forced = {name for name, reason in released.items() if reason is not None}
    tolerance = ending.tolerance if forced else Tolerance(stack=ending.tolerance.stack)
    assert stock.status == ending.status
    assert outcome(gated) == outcome(stock)
    assert describe(gated_spans, tolerance) == describe(stock_spans, tolerance)
    expected = ending.forced.get(stack, set())
    assert forced == expected or (ending.collected and not forced)
    assert "budget" not in released.values()
    assert gated_count == stock_count or tolerance.late
    assert warnings_said() == []


def outcome(exchange):
    """Give all that the client and the server see of a response."""
    return {
        "status": exchange.status,
        "headers": exchange.headers,
        "body": exchange.body,
        "complete": exchange.complete,
        "error": repr(exchange.error),
    }
