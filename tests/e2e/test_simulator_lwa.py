from __future__ import annotations

import asyncio
import os
import signal

import pytest
from lwa_support import BINARIES, find
from simulator_support import Playground, run

from ddlwa.simulator import (
    AdapterFailedError,
    AppFailedError,
    FreezeMoment,
    HttpRequest,
    InvokeMode,
    SimulatorError,
    parse_duration,
)
from ddlwa.simulator.processes import list_processes

MOMENTS = list(FreezeMoment)


@pytest.fixture
def playground(tmp_path):
    """Return a playground that must be empty in the end."""
    playground = Playground(tmp_path / "notes")
    yield playground
    assert playground.processes() == []


@pytest.fixture(params=BINARIES)
def lwa(request):
    """Return the path of a real adapter."""
    return find(request.param).path


def adapter_of(sandbox):
    return sandbox._adapter.process


@pytest.mark.parametrize("mode", InvokeMode)
@pytest.mark.parametrize("moment", MOMENTS)
def test_is_frozen_and_thawed_with_the_app(playground, lwa, moment, mode):
    """After each invocation the adapter's process is stopped, after each thaw it runs."""

    async def scenario():
        async with playground.sandbox(adapter=lwa, moment=moment, invoke_mode=mode) as sandbox:
            pid = adapter_of(sandbox).pid
            for path in ("/length", "/chunked", "/large", "/204", "/error"):
                invocation = await sandbox.invoke(HttpRequest(path=path))
                assert invocation.response is not None
                assert invocation.responded_ns <= sandbox.now_ns()
                assert list_processes()[pid].stopped
                await sandbox.freeze(parse_duration("3h"))
                await sandbox.thaw()
                assert not list_processes()[pid].stopped

    run(scenario())


def test_a_connection_that_the_app_gives_up_after_the_thaw_is_not_used(playground, lwa):
    """An app that closes its connection behind a complete response costs the next invocation nothing."""

    async def scenario():
        async with playground.sandbox("shop:app", adapter=lwa) as sandbox:
            for number in range(40):
                path = "/raise" if number % 2 else "/"
                invocation = await sandbox.invoke(HttpRequest(path=path))
                assert invocation.error is None, number
                await sandbox.freeze(parse_duration("1h"))

    run(scenario())


@pytest.mark.parametrize("moment", MOMENTS)
def test_its_death_between_invocations_is_an_error(playground, lwa, moment):
    """An adapter that is killed while it is frozen ends the sandbox, which says so."""

    async def scenario():
        async with playground.sandbox(adapter=lwa, moment=moment) as sandbox:
            await sandbox.invoke(HttpRequest(path="/length"))
            os.kill(adapter_of(sandbox).pid, signal.SIGKILL)
            with pytest.raises(AdapterFailedError, match="exited with code -9") as caught:
                await sandbox.invoke(HttpRequest(path="/length"))
            assert caught.value.part == "adapter"

    run(scenario())


def test_its_death_within_an_invocation_is_an_error(playground, lwa):
    """An adapter that is killed while the app works ends the sandbox, which says so."""

    async def scenario():
        async with playground.sandbox(adapter=lwa) as sandbox:
            waiting = asyncio.create_task(sandbox.invoke(HttpRequest(path="/never")))
            while "never" not in playground.notes():  # noqa: ASYNC110 -- the app is another process
                await asyncio.sleep(0.01)
            os.kill(adapter_of(sandbox).pid, signal.SIGKILL)
            with pytest.raises(AdapterFailedError, match="exited with code -9"):
                await waiting

    run(scenario())


def test_its_output_is_shown(playground, tmp_path):
    """What an adapter prints before it exits comes with the error."""
    script = tmp_path / "adapter"
    script.write_text("#!/bin/sh\necho 'last words'\nexit 7\n")
    script.chmod(0o700)

    async def scenario():
        async with playground.sandbox(adapter=script):
            pass

    with pytest.raises(AdapterFailedError, match="exited with code 7") as caught:
        run(scenario())
    assert caught.value.output == "last words\n"


def test_a_file_that_is_no_program_is_an_error(playground, tmp_path):
    """An executable that the system cannot execute is named."""
    garbage = tmp_path / "adapter"
    garbage.write_bytes(b"\x7fELF nonsense")
    garbage.chmod(0o700)

    async def scenario():
        async with playground.sandbox(adapter=garbage):
            pass

    with pytest.raises(AdapterFailedError, match="cannot be started"):
        run(scenario())


def test_an_app_that_dies_is_not_blamed_on_it(playground, lwa):
    """An app that exits within a response ends the sandbox with the app's own words."""

    async def scenario():
        async with playground.sandbox(adapter=lwa) as sandbox:
            await sandbox.invoke(HttpRequest(path="/exit-within"))

    with pytest.raises(AppFailedError, match="exited with code 3") as caught:
        run(scenario())
    assert "last words" in caught.value.output


def test_a_slow_app_times_out(playground, lwa):
    """An app that does not answer in time is killed with its adapter."""

    async def scenario():
        async with playground.sandbox(adapter=lwa, timeout_s=0.5) as sandbox:
            await sandbox.invoke(HttpRequest(path="/never"))

    with pytest.raises(SimulatorError, match="timed out"):
        run(scenario())


def test_serves_the_invocations_of_a_managed_instance(playground, lwa):
    """Since 1.0 the adapter serves as many invocations at a time as it is told."""
    if find(str(lwa)).version.startswith("0."):
        pytest.skip("concurrency came with 1.0")

    async def scenario():
        async with playground.sandbox(adapter=lwa, max_concurrency=3) as sandbox:
            asks = [sandbox.invoke(HttpRequest(path="/echo")) for _ in range(3)]
            assert all(one.response.status == 200 for one in await asyncio.gather(*asks))

    run(scenario())
