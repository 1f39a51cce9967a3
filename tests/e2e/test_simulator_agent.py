from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import msgpack
import pytest
from simulator_support import run

from ddlwa.simulator import AgentFailedError, TraceAgent
from ddlwa.simulator.ports import is_free

_HUGE = (1 << 64) - 3


def span(trace_id, span_id, **more):
    return {
        "name": "web.request",
        "service": "shop",
        "resource": "GET /",
        "trace_id": trace_id,
        "span_id": span_id,
        "parent_id": 0,
        "start": 1,
        "duration": 1,
        "error": 0,
        "meta": {},
        "metrics": {},
        **more,
    }


async def send(session, agent, *traces):
    headers = {"X-Datadog-Trace-Count": str(len(traces)), "Content-Type": "application/msgpack"}
    async with session.put(
        f"{agent.url}/v0.4/traces", data=msgpack.packb(traces), headers=headers
    ) as response:
        assert response.status == 200


def test_returns_the_traces_asked_for():
    """Traces are found by the low 64 bits of their id, with their chunks merged."""

    async def scenario():
        async with TraceAgent() as agent, aiohttp.ClientSession() as session:
            assert await agent.traces([1]) == {}
            await send(session, agent, [span(1, 11), span(1, 12)], [span(2, 21)])
            await send(session, agent, [span(_HUGE, 31)])
            found = await agent.traces([1, (7 << 64) + 2, 5])
            assert {trace_id: [one["span_id"] for one in spans] for trace_id, spans in found.items()} == {
                1: [11, 12],
                2: [21],
            }
            await send(session, agent, [span(1, 13)])
            await send(session, agent, [span(1, 14)])
            assert sorted(one["span_id"] for one in (await agent.traces([1]))[1]) == [11, 12, 13, 14]
            assert set(await agent.all_traces()) == {1, 2, _HUGE}
            await agent.clear()
            assert await agent.all_traces() == {}
            await send(session, agent, [span(1, 15)])
            assert [one["span_id"] for one in (await agent.traces([1]))[1]] == [15]

    run(scenario())


def test_loses_nothing_that_arrives_during_a_question():
    """Traces that arrive while questions are asked are all there in the end, once each."""

    async def scenario():
        async with TraceAgent() as agent, aiohttp.ClientSession() as session:

            async def sender(first):
                for trace_id in range(first, first + 200):
                    await send(session, agent, [span(trace_id, trace_id)])

            senders = [asyncio.create_task(sender(first)) for first in (1, 1001, 2001)]
            while not all(task.done() for task in senders):
                await agent.traces([1])
            await asyncio.gather(*senders)
            traces = await agent.all_traces()
        assert len(traces) == 600
        assert all(len(spans) == 1 for spans in traces.values())

    run(scenario())


def test_a_question_takes_no_longer_as_traces_accumulate():
    """After a thousand traces a question takes about as long as after ten."""

    async def scenario():
        async with TraceAgent() as agent, aiohttp.ClientSession() as session:
            times = []
            for trace_id in range(1, 1001):
                await send(session, agent, [span(trace_id, n, meta={"k": "v" * 100}) for n in range(1, 6)])
                begin = time.perf_counter()
                assert len((await agent.traces([trace_id]))[trace_id]) == 5
                times.append(time.perf_counter() - begin)
        # The agent's own look-up by id takes 80 ms by then, on the machine where ours takes 2.
        assert sorted(times[-100:])[50] < 5 * sorted(times[:100])[50]

    run(scenario())


def test_ends_with_its_block():
    """The agent's port is free again after the block, and its working directory gone."""

    async def scenario():
        async with TraceAgent() as agent:
            port = int(agent.url.rpartition(":")[2])
            directory = Path(f"/proc/{agent._process.pid}/cwd").readlink()  # noqa: ASYNC240 -- a link in memory
            assert not is_free(port)
            assert directory.exists()
        assert is_free(port)
        assert not directory.exists()

    run(scenario())


def test_an_agent_that_is_not_up_in_time():
    """An agent that does not answer in time is given up, with the url and what to look at."""

    async def scenario():
        with pytest.raises(AgentFailedError, match=r"did not answer on http://127.*within 0\.001 s"):
            async with TraceAgent(ready_timeout_s=0.001):
                pass

    run(scenario())


def test_an_agent_that_exits(monkeypatch):
    """An agent that cannot start is reported with its exit code and its own words."""
    monkeypatch.setattr("sys.executable", "/bin/false")

    async def scenario():
        with pytest.raises(AgentFailedError, match="exited with code 1 before it answered"):
            async with TraceAgent():
                pass

    run(scenario())


def test_an_agent_that_dies_later():
    """A question to an agent that has died is an error, not an empty answer."""

    async def scenario():
        async with TraceAgent() as agent:
            await agent._process.close()
            with pytest.raises(AgentFailedError, match="did not answer /test/session/start"):
                await agent.all_traces()

    run(scenario())
