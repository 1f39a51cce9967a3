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
    FreezeMoment,
    HttpRequest,
    InvocationTimeoutError,
    SimulatorError,
    parse_duration,
)

THREE_HOURS = parse_duration("3h")
EVENT = HttpRequest(path="/length")


@pytest.fixture
def playground(tmp_path):
    playground = Playground(tmp_path / "notes")
    yield playground
    assert playground.processes() == []


def external(mode):
    return [sys.executable, "external.py", mode]


def events(playground, who):
    """Return the events that an extension has noted."""
    return [json.loads(note.removeprefix(f"{who} ")) for note in playground.notes() if f"{who} {{" in note]


@pytest.mark.parametrize("moment", FreezeMoment)
def test_the_freeze_waits_for_an_internal_extension(playground, moment):
    """Work that an internal extension does after the response is done before the freeze, at either moment."""

    async def scenario():
        async with playground.sandbox("extending:app", moment=moment) as sandbox:
            for count in (1, 2, 3):
                invocation = await sandbox.invoke(EVENT)
                assert invocation.response.body == b"ab"
                assert playground.notes().count("worked") == count
                assert invocation.started_ns < invocation.responded_ns < invocation.frozen_ns
                asked_ns = int(playground.notes()[-1].removeprefix("asks "))
                assert asked_ns <= invocation.frozen_ns < asked_ns + 100_000_000
                before = playground.notes()
                await sandbox.freeze(THREE_HOURS)
                await asyncio.sleep(0.1)
                assert playground.notes() == before
        return invocation

    invocation = run(scenario())
    assert "registered 200" in playground.notes()
    *_, event = events(playground, "event")
    assert event == {
        "eventType": "INVOKE",
        "deadlineMs": invocation.started_ns // 1_000_000 + 30_000,
        "requestId": invocation.request_id,
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:ddlwa-check",
        "tracing": {"type": "X-Amzn-Trace-Id", "value": event["tracing"]["value"]},
    }
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=.*", event["tracing"]["value"])


def test_an_extension_without_invocations_does_not_move_the_freeze(playground):
    """An extension that is not told about invocations leaves the adversary its byte."""

    async def scenario():
        async with playground.sandbox("extending:app", env={"EXTENSION": "deaf"}) as sandbox:
            for number in range(3):
                await sandbox.invoke(HttpRequest(path=f"/length-more?{number}"))
                assert playground.notes()[-1] == f"/length-more 0?{number}"

    run(scenario())


def test_registration_closes_with_the_first_next(playground):
    """An internal extension that comes after the init phase is refused."""

    async def scenario():
        async with playground.sandbox("extending:app") as sandbox:
            await sandbox.invoke(HttpRequest(path="/late"))

    run(scenario())
    (answer,) = events(playground, "late")
    assert answer["errorType"] == "Extension.RegistrationClosed"


def test_an_extension_that_never_asks_in_the_init_phase(playground):
    """The init phase ends with an error that names an extension which has registered and not asked."""

    async def scenario():
        with pytest.raises(AppFailedError, match=r"not ready within 1 s: not all extensions .*'internal'"):
            async with playground.sandbox("extending:app", env={"EXTENSION": "idle"}, ready_timeout_s=1):
                pass

    run(scenario())


def test_an_extension_that_reports_an_error(playground):
    """An init error of an extension ends the init phase at once, in its own words."""

    async def scenario():
        with pytest.raises(SimulatorError, match=r"internal: Extension\.Broken: .*broken") as caught:
            async with playground.sandbox("extending:app", env={"EXTENSION": "fails"}):
                pass
        return caught.value

    assert run(scenario()).part == "extension"


def test_an_extension_that_gives_up(playground):
    """An exit error of an extension ends the sandbox at once, in its own words."""

    async def scenario():
        async with playground.sandbox("extending:app", env={"EXTENSION": "gives up"}) as sandbox:
            begin = time.monotonic()
            with pytest.raises(SimulatorError, match=r"internal: Extension\.Broken: .*broken"):
                await sandbox.invoke(EVENT)
            assert time.monotonic() - begin < 5
            assert playground.processes() == []

    run(scenario())


def test_with_extensions_any_server_has_the_adversarial_moment(playground):
    """Where Lambda waits for an extension, no server has to stop itself, so any will do."""
    command = [sys.executable, "-m", "hypercorn", "extending:app", "--bind", "127.0.0.1:{port}"]

    async def scenario():
        async with playground.sandbox(command=command) as sandbox:
            for count in (1, 2):
                await sandbox.invoke(EVENT)
                assert playground.notes().count("worked") == count
                await sandbox.freeze(THREE_HOURS)

    run(scenario())


def test_an_extension_that_works_beyond_the_deadline(playground):
    """At the deadline the app is killed though it has answered, and the error names the extension."""

    async def scenario():
        async with playground.sandbox("extending:app", env={"EXTENSION": "hangs"}, timeout_s=0.5) as sandbox:
            begin = time.monotonic()
            with pytest.raises(InvocationTimeoutError, match=r"timed out after 0\.50 seconds.*'internal'"):
                await sandbox.invoke(EVENT)
            assert time.monotonic() - begin < 1.5
            assert playground.processes() == []

    run(scenario())


@pytest.mark.parametrize("moment", FreezeMoment)
def test_an_external_extension(playground, moment):
    """An external extension starts before the app, hears of everything, works, and is frozen with the app."""

    async def scenario():
        async with playground.sandbox(
            "extending:app", extensions=[external("works")], moment=moment
        ) as sandbox:
            for count in (1, 2):
                invocation = await sandbox.invoke(EVENT)
                assert playground.notes().count("external worked") == count
                before = playground.notes()
                await sandbox.freeze(THREE_HOURS)
                await asyncio.sleep(0.1)
                assert playground.notes() == before
            begin = time.monotonic()
            await sandbox.shutdown()
            assert time.monotonic() - begin < 1.5
        return invocation

    invocation = run(scenario())
    notes = playground.notes()
    assert notes[0].startswith("external starts")
    assert notes.index("registered 200") > 0
    first, second, last = events(playground, "external")
    assert first["eventType"] == second["eventType"] == "INVOKE"
    assert second["requestId"] == invocation.request_id
    assert (last["eventType"], last["shutdownReason"]) == ("SHUTDOWN", "spindown")
    assert last["deadlineMs"] > invocation.frozen_ns // 1_000_000 + 10_000_000
    assert notes[-1] == "external ends"


def test_an_external_extension_that_stays_is_killed(playground):
    """An external extension has two seconds for its end."""

    async def scenario():
        async with playground.sandbox(extensions=[external("stays")]) as sandbox:
            begin = time.monotonic()
            await sandbox.shutdown()
            assert 1.9 < time.monotonic() - begin < 3
            assert playground.processes() == []

    run(scenario())


def test_a_timeout_is_told_to_external_extensions(playground):
    """After a timeout the app is killed at the deadline, and external extensions hear the reason."""

    async def scenario():
        async with playground.sandbox(extensions=[external("listens")], timeout_s=0.5) as sandbox:
            begin = time.monotonic()
            with pytest.raises(
                InvocationTimeoutError, match=r"[0-9a-f-]{36} Task timed out after 0\.50 seconds"
            ):
                await sandbox.invoke(HttpRequest(path="/never"))
            assert 0.5 <= time.monotonic() - begin < 1.5

    run(scenario())
    assert [event.get("shutdownReason") for event in events(playground, "external")] == [None, "timeout"]


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ("exits", "exited with code 5 before it had registered"),
        ("mute", r"did not all register within 1 s"),
        ("misnamed", r"did not all register within 1 s; .* file name"),
        ("fails", r"external\.py: Extension\.Broken"),
    ],
)
def test_an_external_extension_that_does_not_start(playground, mode, problem):
    """What goes wrong with an external extension in the init phase is said, with its output."""

    async def scenario():
        with pytest.raises(SimulatorError, match=problem) as caught:
            async with playground.sandbox(extensions=[external(mode)], ready_timeout_s=1):
                pass
        return caught.value

    error = run(scenario())
    assert error.part == "extension"
    assert ("the extension's last words" in error.output) == (mode == "exits")


def test_an_external_extension_that_cannot_be_executed(playground):
    """A command that does not exist is named."""

    async def scenario():
        with pytest.raises(SimulatorError, match="no-such-extension"):
            async with playground.sandbox(extensions=[["./no-such-extension"]]):
                pass

    run(scenario())


def test_an_external_extension_that_dies(playground):
    """The death of an extension is that of the sandbox."""

    async def scenario():
        async with playground.sandbox(extensions=[external("dies")]) as sandbox:
            with pytest.raises(SimulatorError, match=r"exited with code 6 during an invocation"):
                await sandbox.invoke(EVENT)
            assert playground.processes() == []

    run(scenario())


def test_too_many_extensions(playground):
    """Lambda has at most ten extensions, of which the adapter is one."""
    playground.sandbox(extensions=[external("works")] * 9)
    with pytest.raises(SimulatorError, match="10 extensions are too many"):
        playground.sandbox(extensions=[external("works")] * 10)


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.15, 0.3, 0.6])
def test_cancelled_with_extensions(playground, delay_s):
    """A sandbox that is cancelled at any moment leaves no extension."""

    async def scenario():
        async def use():
            async with playground.sandbox("extending:app", extensions=[external("works")]) as sandbox:
                while True:
                    await sandbox.invoke(EVENT)
                    await sandbox.freeze(THREE_HOURS)

        task = asyncio.create_task(use())
        await asyncio.sleep(delay_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert playground.processes() == []

    run(scenario())
