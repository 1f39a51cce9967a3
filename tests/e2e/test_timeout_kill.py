"""Invocations that Lambda ends at their deadline: what has arrived of them by then."""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import lwa_support
import pytest
from modes import PARENT_ID, QUIET, request

from ddlwa.simulator import InvocationTimeoutError, InvokeMode, Sandbox, TraceAgent

APPS = Path(__file__).parent / "timeout_apps"
TIMEOUT_S = 1.5
MARGIN_S = 0.5
EARLY_S, LATE_S = 0.05, 0.4
PATHS = ("awaiting", "sleeping", "hashing", "busy", "adding", "tracing", "thread", "streaming")


def sandbox(agent, *, mode, env=None, **options):
    command = ["env", "--unset=COVERAGE_PROCESS_CONFIG", "--unset=COVERAGE_PROCESS_START"]
    command += [sys.executable, "-m", "ddlwa.run", sys.executable, "-m", "uvicorn", "late:app"]
    command += ["--port", "{port}", "--log-level", "warning"]
    env = {**QUIET, "DDLWA_MODE": mode, **(env or {})}
    return Sandbox(command, env=env, cwd=APPS, agent=agent, timeout_s=TIMEOUT_S, **options)


async def invoke(path, *, before=0, **options):
    """Invoke once, or after some others; give the response, the trace, when it began, and the output."""
    async with TraceAgent() as agent, sandbox(agent, **options) as box:
        for number in range(before):
            await box.invoke(request(100 + number, "/ms/0"))
        begun_ns, response = box.now_ns(), None
        try:
            response = (await box.invoke(request(1, path))).response
        except InvocationTimeoutError:
            assert time.time_ns() - begun_ns >= TIMEOUT_S * 1e9
        return response, (await agent.traces([1])).get(1, []), begun_ns, box.output()


def judge(spans, begun_ns, *, margin_s=MARGIN_S):
    """See that a trace is whole, and of a request that did not end in time."""
    names = Counter(span["name"] for span in spans)
    assert names["fastapi.request"] == names["work"] == names["done"] == 1
    ids = {span["span_id"] for span in spans}
    assert len(ids) == len(spans)
    [root] = [span for span in spans if span["parent_id"] == PARENT_ID]
    assert all(span["parent_id"] in ids for span in spans if span is not root)
    assert root["name"] == "fastapi.request"
    assert root["error"] == 1
    assert root["meta"]["error.type"] == "Impending Timeout"
    assert root["meta"]["error.message"] == "Datadog detected an Impending Timeout"
    limit_ns = begun_ns + (TIMEOUT_S - margin_s) * 1e9
    [work] = [span for span in spans if span["name"] == "work"]
    for span in (root, work):
        assert -EARLY_S < (span["start"] + span["duration"] - limit_ns) / 1e9 < LATE_S
    assert work["meta"]["ddlwa.released_by"] == "timeout"
    assert [span["error"] for span in spans if span is not root] == [0] * (len(spans) - 1)


@pytest.fixture(params=["builtin", "lwa"])
def adapter(request):
    """Give each adapter in its turn: ddlwa's own, and the newest real one."""
    return "builtin" if request.param == "builtin" else lwa_support.find(lwa_support.BINARIES[-1]).path


@pytest.mark.parametrize("mode", ["hold", "extension"])
@pytest.mark.parametrize("path", PATHS)
def test_a_request_that_never_ends(path, mode, adapter):
    """Whatever keeps a request from ending, its trace has arrived when Lambda kills the sandbox."""
    response, spans, begun_ns, output = asyncio.run(
        invoke(f"/{path}", mode=mode, adapter=adapter, invoke_mode=InvokeMode.RESPONSE_STREAM)
    )
    assert response is None
    judge(spans, begun_ns)
    assert "ddlwa" not in output


@pytest.mark.parametrize("mode", ["hold", "extension"])
@pytest.mark.parametrize("path", ["busy", "awaiting"])
def test_after_other_requests(path, mode):
    """A sandbox that has been frozen since its start times out like a new one."""
    _, spans, begun_ns, _ = asyncio.run(invoke(f"/{path}", mode=mode, before=5))
    judge(spans, begun_ns)


@pytest.mark.parametrize("mode", ["hold", "extension"])
def test_a_request_that_ends_just_in_time(mode, adapter):
    """A request that ends before the margin is delivered as ever."""
    ms = (TIMEOUT_S - MARGIN_S) * 1000 - 300
    response, spans, _, _ = asyncio.run(invoke(f"/ms/{ms}", mode=mode, adapter=adapter))
    assert response.status == 200
    assert Counter(span["name"] for span in spans)["fastapi.request"] == 1
    for span in spans:
        assert span["error"] == 0
        assert not span["meta"].keys() & {"error.type", "error.message", "ddlwa.released_by"}


@pytest.mark.parametrize("mode", ["hold", "extension"])
def test_a_request_that_ends_within_the_margin(mode, adapter):
    """A request that ends later has been given up: it is answered, and its trace arrives once, as it was."""
    ms = (TIMEOUT_S - MARGIN_S) * 1000 + 200
    response, spans, begun_ns, _ = asyncio.run(invoke(f"/ms/{ms}", mode=mode, adapter=adapter))
    assert response.status == 200
    judge(spans, begun_ns)


@pytest.mark.parametrize("mode", ["hold", "extension"])
def test_a_response_that_has_left(mode, adapter):
    """What goes on in the background past the deadline makes no timeout of a request that was answered."""

    async def main():
        async with TraceAgent() as agent, sandbox(agent, mode=mode, adapter=adapter) as box:
            invocation = await box.invoke(request(1, "/background"))
            await box.freeze("1h")
            await box.invoke(request(2, "/ms/0"))
            return invocation.response, (await agent.traces([1])).get(1, [])

    response, spans = asyncio.run(main())
    assert response.status == 200
    [root] = [span for span in spans if span["name"] == "fastapi.request"]
    assert root["error"] == 0
    assert "error.type" not in root["meta"]


def test_the_margin_of_datadog_lambda():
    """A margin that is set for ddtrace's own watchdog holds for this one, too."""
    env = {"DD_APM_FLUSH_DEADLINE_MILLISECONDS": "900", "DDLWA_DEADLINE_MARGIN_MS": "300"}
    _, spans, begun_ns, _ = asyncio.run(invoke("/sleeping", mode="hold", env=env))
    judge(spans, begun_ns, margin_s=0.9)
