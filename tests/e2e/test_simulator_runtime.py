from __future__ import annotations

import asyncio
import json
import re
import sys
import time

import pytest
from simulator_support import Playground, run

from ddlwa.simulator import (
    AppFailedError,
    FreezeError,
    FreezeMoment,
    HttpRequest,
    InvocationTimeoutError,
    SimulatorError,
    parse_duration,
)

THREE_HOURS = parse_duration("3h")


@pytest.fixture
def playground(tmp_path):
    playground = Playground(tmp_path / "notes")
    yield playground
    assert playground.processes() == []


def runtime(playground, handler="handlers.echo", **options):
    """Return a sandbox whose command is AWS's own runtime for Python, unmodified."""
    command = [sys.executable, "-m", "awslambdaric", handler]
    return playground.sandbox(command=command, adapter=None, **options)


def told(invocation):
    return json.loads(invocation.response.body)


@pytest.mark.parametrize("moment", FreezeMoment)
def test_awss_runtime_serves_and_is_frozen(playground, moment):
    """AWS's own runtime runs a handler against the simulator, with all that it is told, over freezes."""

    async def scenario():
        async with runtime(playground, moment=moment, timeout_s=7, memory_mb=256) as sandbox:
            previous_ns = 0
            for number in range(20):
                invocation = await sandbox.invoke(HttpRequest(path=f"/echo?{number}"))
                answer = told(invocation)
                assert answer["request_id"] == invocation.request_id
                assert answer["event"]["rawQueryString"] == str(number)
                assert answer["arn"] == "arn:aws:lambda:us-east-1:123456789012:function:ddlwa-check"
                assert 6_000 < answer["left_ms"] <= 7_000
                assert answer["memory"] == "256"
                assert re.match("Root=1-", answer["trace_id"])
                assert invocation.started_ns < answer["now_ns"] < invocation.responded_ns
                assert invocation.responded_ns <= invocation.frozen_ns
                assert answer["now_ns"] > previous_ns + THREE_HOURS * bool(number)
                previous_ns = answer["now_ns"]
                await sandbox.freeze(THREE_HOURS)

    run(scenario())


def test_a_handlers_exception(playground):
    """An exception in the handler is an invocation error with its type and message, and the next works."""

    async def scenario():
        async with runtime(playground) as sandbox:
            invocation = await sandbox.invoke(HttpRequest(path="/raise"))
            assert invocation.response is None
            assert invocation.error == "ValueError: the handler's own reason"
            assert invocation.responded_ns <= invocation.frozen_ns
            assert (await sandbox.invoke(HttpRequest(path="/echo"))).response.status == 200

    run(scenario())


def test_a_runtime_that_reports_an_init_error(playground):
    """A handler that is not there is reported by the runtime itself, and ends the init phase."""

    async def scenario():
        with pytest.raises(AppFailedError, match=r"could not be initialized: Runtime\.ImportModuleError"):
            async with runtime(playground, "no_such_module.handler"):
                pass

    run(scenario())


def test_a_runtime_that_never_asks(playground):
    """A runtime that asks for nothing has not ended its init phase."""

    async def scenario():
        with pytest.raises(
            AppFailedError, match=r"not ready within 0\.5 s: it has not asked the Runtime API"
        ):
            async with playground.sandbox(
                command=[sys.executable, "-c", "import time; time.sleep(60)"],
                adapter=None,
                ready_timeout_s=0.5,
            ):
                pass

    run(scenario())


def test_a_timeout_is_exact(playground):
    """At its deadline, and not before, an invocation is killed, with Lambda's words."""

    async def scenario():
        async with runtime(playground, timeout_s=0.6) as sandbox:
            await sandbox.invoke(HttpRequest(path="/slow"))
            begin = time.monotonic()
            with pytest.raises(InvocationTimeoutError, match=r"Task timed out after 0\.60 seconds"):
                await sandbox.invoke(HttpRequest(path="/never"))
            assert 0.6 <= time.monotonic() - begin < 0.9
            assert playground.processes() == []

    run(scenario())


@pytest.mark.parametrize(
    ("events", "least_s", "most_s"), [(None, 0.0, 0.3), ("INVOKE", 0.45, 1.0)], ids=["none", "internal"]
)
def test_the_shutdown_phase_without_external_extensions(playground, events, least_s, most_s):
    """A runtime without extensions is killed at once; one with internal ones has half a second."""
    env = {"INTERNAL": events} if events else {}

    async def scenario():
        command = [sys.executable, "stubborn_runtime.py"]
        async with playground.sandbox(command=command, adapter=None, env=env) as sandbox:
            await sandbox.invoke(HttpRequest())
            begin = time.monotonic()
            await sandbox.shutdown()
            assert least_s <= time.monotonic() - begin < most_s

    run(scenario())
    assert playground.notes() == (["asked to end"] if events else [])


def test_managed_instances_serve_many_at_a_time(playground):
    """With a maximum concurrency, so many invocations run at once in one process, and nothing is frozen."""

    async def scenario():
        async with playground.sandbox("slow:app", max_concurrency=8) as sandbox:
            begin = time.monotonic()
            invocations = await asyncio.gather(
                *(sandbox.invoke(HttpRequest(path=f"/{number}")) for number in range(8))
            )
            assert time.monotonic() - begin < 1.5
            answers = [told(invocation) for invocation in invocations]
            assert [answer["path"] for answer in answers] == [f"/{number}" for number in range(8)]
            assert {answer["max_concurrency"] for answer in answers} == {"8"}
            assert max(answer["running"] for answer in answers) == 8
            assert len({answer["pid"] for answer in answers}) == 1
            for invocation in invocations:
                assert invocation.started_ns < invocation.responded_ns == invocation.frozen_ns
        assert [window.frozen for window in sandbox.timeline()] == [False]

    run(scenario())


def test_awss_runtime_on_managed_instances(playground):
    """AWS's own runtime serves concurrent invocations, with processes of its own."""

    async def scenario():
        async with runtime(playground, max_concurrency=3) as sandbox:
            invocations = await asyncio.gather(*(sandbox.invoke(HttpRequest(path="/slow")) for _ in range(3)))
            assert {told(one)["request_id"] for one in invocations} == {one.request_id for one in invocations}

    run(scenario())


def test_managed_instances_refuse_and_go_on(playground):
    """One invocation too many is refused, a freeze too; after a timeout the sandbox serves on."""

    async def scenario():
        async with playground.sandbox("slow:app", max_concurrency=2, timeout_s=1) as sandbox:
            with pytest.raises(InvocationTimeoutError, match=r"1\.00 seconds"):
                await sandbox.invoke(HttpRequest(path="/never"))
            first, second = (asyncio.create_task(sandbox.invoke(HttpRequest(path="/"))) for _ in range(2))
            await asyncio.sleep(0)
            with pytest.raises(SimulatorError, match="2 at a time"):
                await sandbox.invoke(HttpRequest(path="/"))
            assert [one.response.status for one in await asyncio.gather(first, second)] == [200, 200]
            with pytest.raises(FreezeError, match="never frozen"):
                await sandbox.freeze(1)

    run(scenario())


def test_one_invocation_at_a_time(playground):
    """On ordinary Lambda a second invocation at the same time is refused."""

    async def scenario():
        async with playground.sandbox() as sandbox:
            first = asyncio.create_task(sandbox.invoke(HttpRequest(path="/length")))
            await asyncio.sleep(0)
            with pytest.raises(SimulatorError, match="1 at a time"):
                await sandbox.invoke(HttpRequest(path="/length"))
            assert (await first).response.body == b"ab"

    run(scenario())
