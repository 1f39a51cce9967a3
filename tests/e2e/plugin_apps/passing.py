"""Tests as users of the plugin write them; all of them pass, on two workers."""

import asyncio
import time

import pytest
from ddtrace.trace import tracer

from ddlwa.simulator import EventSource
from ddlwa.testing import assert_delivered, assert_no_frozen_time, assert_right, assert_whole

HOUR_NS = 3_600_000_000_000


@pytest.mark.parametrize(
    "_mode", [pytest.param(mode, marks=pytest.mark.ddlwa(mode=mode)) for mode in ("hold", "extension")]
)
def test_a_good_app_over_a_freeze(lambda_sandbox, _mode):
    for path, status in (("/items/1", 200), ("/items/tea", 422), ("/broken", 500)):
        invocation = lambda_sandbox.invoke(path)
        assert invocation.status == status
        lambda_sandbox.freeze("3h")
        trace = lambda_sandbox.trace()
        assert_no_frozen_time(trace)
        assert_delivered(trace)
        assert_whole(trace)
        assert trace.root.name == "fastapi.request"
        assert trace.root.tags["http.status_code"] == str(status)
        assert trace.root.duration_ns == trace.root.ran_ns < HOUR_NS
    if lambda_sandbox.can_jump:
        frozen = [window.end_ns - window.start_ns for window in lambda_sandbox.timeline() if window.frozen]
        assert len(frozen) == 3
        assert min(frozen) >= 3 * HOUR_NS


@pytest.mark.ddlwa(env={"LABEL": "from the marker"})
def test_requests(lambda_sandbox):
    echoed = lambda_sandbox.invoke("/echo?a=1", params={"b": [2, 3]}, headers={"X-Tea": "green"})
    assert echoed.json()["query"] == "a=1&b=2&b=3"
    assert echoed.json()["headers"]["x-tea"] == "green"
    assert echoed.json()["label"] == "from the marker"
    assert echoed.headers["content-type"] == "application/json"
    assert echoed.started_ns < min(echoed.frozen_ns, echoed.responded_ns)
    ordered = lambda_sandbox.invoke("post", "/orders", json={"tea": 2}, source=EventSource.REST_API)
    assert (ordered.status, ordered.json()) == (201, {"tea": 2})
    lambda_sandbox.freeze()
    assert_right(lambda_sandbox.trace())
    assert lambda_sandbox.trace(echoed).request == "GET /echo?a=1&b=2&b=3"


def test_events(lambda_sandbox):
    lambda_sandbox.invoke("/items/1")
    lambda_sandbox.freeze("1h")
    invocation = lambda_sandbox.event({"Records": [{}, {}]})
    assert invocation.json() == {"records": 2}
    lambda_sandbox.freeze("1h")
    trace = lambda_sandbox.trace()
    assert trace.named("fastapi.request") == (trace.root,)
    assert trace.root.tags["http.url"].endswith("/events")
    assert_right(trace)


def test_a_trace_that_the_client_has_begun(lambda_sandbox):
    upstream = {"x-datadog-trace-id": "4711", "x-datadog-parent-id": "42", "x-datadog-sampling-priority": "2"}
    lambda_sandbox.invoke("/items/1", headers=upstream)
    lambda_sandbox.freeze("3h")
    trace = lambda_sandbox.trace()
    assert (trace.root.trace_id, trace.root.parent_id) == (4711, 42)
    assert_right(trace)


async def _invoke_and_freeze(sandbox):
    invocation = await asyncio.to_thread(sandbox.invoke, "/items/1")
    await asyncio.to_thread(sandbox.freeze, "3h")
    return invocation, await asyncio.to_thread(sandbox.trace)


def test_from_a_coroutine(lambda_sandbox):
    invocation, trace = asyncio.run(_invoke_and_freeze(lambda_sandbox))
    assert invocation.status == 200
    assert_right(trace)


@pytest.fixture(scope="module")
def shop(lambda_sandboxes):
    with lambda_sandboxes(moment="faithful") as sandbox:
        yield sandbox


@pytest.mark.parametrize("number", [1, 2])
def test_one_sandbox_for_the_module(shop, number):
    shop.invoke(f"/items/{number}")
    shop.freeze("3h")
    assert_right(shop.trace())


def test_the_frozen_clock(frozen_clock):
    begun_ns = frozen_clock.now_ns
    with tracer.trace("work") as span:
        frozen_clock.tick("3h")
    assert (span.start_ns, span.duration_ns) == (begun_ns, 3 * HOUR_NS)
    frozen_clock.move_to("2030-01-01")
    assert time.gmtime().tm_year == 2030
