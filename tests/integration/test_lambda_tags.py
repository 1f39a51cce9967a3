"""What is known of an invocation is told in its request span, and nowhere else."""

import json

import pytest
from endings import BARE
from gates import GENEROUS, gate
from lambda_cases import CASES, Adapted
from wire_server import Request, serve

import ddlwa
from ddlwa import patch
from ddlwa.trigger import function_tags

LAMBDA = {**GENEROUS, "AWS_LAMBDA_FUNCTION_NAME": "shop", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
OF_DDTRACE = {"http.method", "http.route", "http.useragent", "span.kind"}
OURS = ("cold_start", "function_arn", "request_id", "function_trigger.event_source")


def request_of(adapted):
    request = adapted.request
    return Request(
        path=request.target,
        method=request.method,
        headers=tuple(
            (name.encode(), value.encode())
            for name, value in request.headers
            if name not in {"content-length", "transfer-encoding"}
        ),
        body=request.body,
    )


def request_spans(agent):
    return [span for span in agent.spans() if span.name == "fastapi.request"]


@pytest.mark.parametrize("name", CASES)
def test_every_source(name, agent, app_behind):
    """The request span of each kind of event has the invocation's tags; ddtrace's own stay as they are."""
    adapted = Adapted(CASES[name])
    agent.clear()
    with gate({**LAMBDA, "DDLWA_LAMBDA_TAGS": "false"}):
        serve(app_behind(BARE), request_of(adapted))
    with gate(LAMBDA):
        serve(app_behind(BARE), request_of(adapted))
    without, span = request_spans(agent)
    expected = {k: v for k, v in adapted.tags().items() if k not in OF_DDTRACE}
    expected |= function_tags(adapted.invocation, cold_start=True, proactive=False)
    assert {k: span.meta.get(k) for k in expected} == expected
    for tag in OF_DDTRACE:
        assert span.meta.get(tag) == without.meta.get(tag)
    assert not any(tag in without.meta for tag in OURS)


def test_only_the_first_invocation_is_cold(agent, app_behind):
    """Neither a readiness check nor any later invocation is; the first says how long starting took."""
    adapted = Adapted(CASES["url"])
    agent.clear()
    with gate(LAMBDA):
        serve(app_behind(BARE), Request(path="/json"))
        for _ in range(3):
            serve(app_behind(BARE), request_of(adapted))
    spans = request_spans(agent)
    assert [span.meta["cold_start"] for span in spans] == ["true", "false", "false"]
    assert spans[0].metrics["ddlwa.init_ms"] > 0
    assert not any("ddlwa.init_ms" in span.metrics for span in spans[1:])


def test_impostors(agent, app_behind):
    """Outside Lambda the adapter's headers are anybody's, and tell nothing."""
    agent.clear()
    with gate():
        serve(app_behind(BARE), request_of(Adapted(CASES["url"])))
    (span,) = request_spans(agent)
    assert not any(tag in span.meta for tag in OURS)


def test_guarantee_6_tags_that_fail_break_nothing(agent, app_behind, monkeypatch, warnings_said):
    """Whatever goes wrong in telling, the response and its trace leave."""

    def fail(*_, **__):
        raise KeyError("no such thing")

    agent.clear()
    with gate(LAMBDA):
        monkeypatch.setattr("ddlwa.request_trace.function_tags", fail)
        (exchange,) = serve(app_behind(BARE), request_of(Adapted(CASES["url"])))
    assert exchange.complete
    assert len(request_spans(agent)) == 1
    assert warnings_said() == ["cannot tell what is known of an invocation"]


def test_current_invocation(agent):
    """The app can ask for its invocation, and how much time it has left; a readiness check has none."""
    seen = []

    async def app(scope, receive, send):
        seen.append(ddlwa.current_invocation())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    context = {"request_id": "id-1", "deadline": 4_000_000_000_000, "env_config": {"memory": 512}}
    headers = ((b"x-amzn-lambda-context", json.dumps(context).encode()),)
    with gate(LAMBDA):
        serving = patch.serving()

        async def behind(scope, receive, send):
            await serving.serve(app, scope, receive, send)

        serve(behind, Request(path="/", headers=headers), Request(path="/"))
    assert [one and one.request_id for one in seen] == ["id-1", None]
    assert seen[0].memory_mb == 512
    assert seen[0].remaining_time_ms() > 1_000_000
    assert ddlwa.current_invocation() is None
