from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from pathlib import Path

import pytest
from simulator_apps.endings import ENDINGS, HEAD_ENDINGS, LARGE
from simulator_support import Playground, run

from ddlwa.simulator import (
    AppFailedError,
    FreezeError,
    FreezeMoment,
    HttpRequest,
    SimulatorError,
    parse_duration,
)

THREE_HOURS = parse_duration("3h")


@pytest.fixture
def playground(tmp_path):
    playground = Playground(tmp_path / "notes")
    yield playground
    assert playground.processes() == []


@pytest.fixture(params=["h11", "httptools"])
def http(request):
    return request.param


def expected_body(path):
    return b"".join(message.get("body", b"") for message in ENDINGS[path][0] if "body" in message)


def notes_of(playground, number):
    """Return the notes of the request with a number for its query string."""
    return [note.partition("?")[0] for note in playground.notes() if note.endswith(f"?{number}")]


def shared_memory_of(pid):
    """Return what libfaketime made for a process."""
    return list(Path("/dev/shm").glob(f"*faketime_*_{pid}"))  # noqa: S108 -- the library's choice


def test_stops_at_the_completing_byte(playground, http):
    """Whatever completes the response, the client has all of it and the app runs not one step further."""

    async def scenario():
        async with playground.sandbox(http=http) as sandbox:
            for path, (messages, completing) in ENDINGS.items():
                playground.path.unlink(missing_ok=True)
                begin = time.monotonic()
                invocation = await sandbox.invoke(HttpRequest(path=path))
                assert time.monotonic() - begin < 4, path  # it stopped itself, nobody had to do it
                assert invocation.error is None, path
                assert invocation.response.status == messages[0]["status"], path
                assert invocation.response.body == expected_body(path), path
                assert playground.notes() == [f"{path} {index}" for index in range(completing)], path
                await sandbox.freeze(THREE_HOURS)
                await asyncio.sleep(0.01)
                assert playground.notes() == [f"{path} {index}" for index in range(completing)], path
                await sandbox.run_for(0.05)
                assert playground.notes() == [f"{path} {index}" for index in range(len(messages))], path

    run(scenario())


def test_stops_at_the_head_of_a_head_response(playground, http):
    """The answer to HEAD is complete with its header section, whatever its content-length says."""

    async def scenario():
        async with playground.sandbox(http=http) as sandbox:
            for path in HEAD_ENDINGS:
                playground.path.unlink()
                invocation = await sandbox.invoke(HttpRequest(method="HEAD", path=path))
                assert (invocation.response.status, invocation.response.body) == (200, b"")
                assert playground.notes() == []
                await sandbox.run_for(0.05)
                assert playground.notes() == [f"{path} 0", f"{path} 1"]

    run(scenario())


def test_stops_at_the_servers_own_500(playground, http):
    """The response that the server makes of an app's exception stops it like any other."""

    async def scenario():
        async with playground.sandbox(http=http) as sandbox:
            for _ in range(3):
                begin = time.monotonic()
                invocation = await sandbox.invoke(HttpRequest(path="/crash-before"))
                assert time.monotonic() - begin < 4
                assert invocation.response.status == 500
                assert invocation.response.body == b"Internal Server Error"

    run(scenario())


def test_an_unusual_app_stops_too(playground, http):
    """An app that changes its scope, or gives its headers as an iterator, stops where it should."""

    async def scenario():
        async with playground.sandbox(http=http) as sandbox:
            invocation = await sandbox.invoke(HttpRequest(path="/iterator"))
            assert invocation.response.status == 200
            assert ("x-a", "1") in invocation.response.headers
            assert "iterator sent" not in playground.notes()

    run(scenario())


def test_background_tasks_wait_for_the_thaw(playground, http):
    """Behind an http middleware too, a background task goes on when the sandbox is thawed, not before."""

    async def scenario():
        async with playground.sandbox("shop:app", http=http) as sandbox:
            await sandbox.run_for(0.6)
            assert playground.notes().count("task") == 1  # of the readiness check
            for count in (1, 2, 3):
                invocation = await sandbox.invoke(HttpRequest())
                assert invocation.response.body == b'{"number":1}'
                await asyncio.sleep(0.6)
                assert playground.notes().count("task") == count
                await sandbox.run_for(0.6)
                assert playground.notes().count("task") == count + 1

    run(scenario())


@pytest.mark.parametrize("moment", FreezeMoment)
def test_the_wall_clock_jumps_and_the_monotonic_does_not(playground, moment):
    """After a freeze of three hours the app's wall clock is three hours on, its monotonic clock is not."""

    async def scenario():
        async with playground.sandbox(moment=moment) as sandbox:
            assert sandbox.can_jump
            wall, monotonic = [], []
            for _ in range(3):
                before = sandbox.now_ns()
                invocation = await sandbox.invoke(HttpRequest(path="/clock"))
                app_wall, app_monotonic = json.loads(invocation.response.body)
                assert before <= invocation.started_ns <= app_wall <= invocation.frozen_ns <= sandbox.now_ns()
                wall.append(app_wall)
                monotonic.append(app_monotonic)
                await sandbox.freeze(THREE_HOURS)
            for i in (0, 1):
                ran = monotonic[i + 1] - monotonic[i]
                assert 0 < ran < 1_000_000_000
                # Both clocks read in turn by the app, so they differ by what lies between two reads.
                assert wall[i + 1] - wall[i] - THREE_HOURS == pytest.approx(ran, abs=1_000_000)

    run(scenario())


@pytest.mark.parametrize("duration_ns", [1, 1_000_000, 1_500_000_001, 604_800_123_456_789])
def test_jumps_are_exact(playground, duration_ns):
    """The app's clock is the sandbox's to the microsecond, for freezes from nanoseconds to weeks."""

    async def scenario():
        async with playground.sandbox() as sandbox:
            await sandbox.invoke(HttpRequest(path="/clock"))
            real_before = sandbox.now_ns() - time.time_ns()
            await sandbox.freeze(duration_ns)
            assert sandbox.now_ns() - time.time_ns() - real_before == pytest.approx(
                duration_ns, abs=1_000_000
            )
            begin = sandbox.now_ns()
            invocation = await sandbox.invoke(HttpRequest(path="/clock"))
            assert begin - 1_000 <= json.loads(invocation.response.body)[0] <= invocation.frozen_ns + 1_000

    run(scenario())


def real_freeze(sandbox):
    """Return how long two freezes took, of 50 ms and of three hours, in seconds of real time."""

    async def scenario():
        times = []
        async with sandbox:
            assert not sandbox.can_jump
            for duration_ns in (50_000_000, THREE_HOURS):
                assert (await sandbox.invoke(HttpRequest(path="/length"))).response.body == b"ab"
                begin = time.monotonic()
                await sandbox.freeze(duration_ns)
                times.append(time.monotonic() - begin)
            lengths = [one.end_ns - one.start_ns for one in sandbox.timeline() if one.frozen]
        assert [length_ns / 1e9 for length_ns in lengths] == pytest.approx(times, abs=0.1)
        return times

    return run(scenario())


def test_freezes_are_real_where_the_clock_cannot_jump(playground, monkeypatch):
    """On a machine that the clock library does not fit, a freeze takes its time, two seconds at most."""
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    short, long = real_freeze(playground.sandbox())
    assert 0.05 <= short < 1
    assert 2 <= long < 3


def test_freezes_are_real_for_an_app_that_is_not_on_the_clock(playground):
    """An app that does not load the clock library is noticed: a jump would pass it by."""
    command = ["env", "-u", "LD_PRELOAD", sys.executable, "-m", "uvicorn", "endings:app", "--port", "{port}"]
    short, long = real_freeze(playground.sandbox(command=[*command, "--lifespan", "off"]))
    assert short < 1 < long


@pytest.mark.parametrize("moment", FreezeMoment)
def test_many_cycles(playground, http, moment):
    """Two hundred invocations and freezes in a row leave a timeline that alternates without a gap."""

    async def scenario():
        async with playground.sandbox(http=http, moment=moment) as sandbox:
            for _ in range(200):
                invocation = await sandbox.invoke(HttpRequest(path="/length"))
                assert invocation.response.body == b"ab"
                await sandbox.freeze(THREE_HOURS)
        return sandbox.timeline()

    timeline = run(scenario())
    assert len(timeline) == 401
    assert [window.frozen for window in timeline] == [False, True] * 200 + [False]
    for earlier, later in itertools.pairwise(timeline):
        assert earlier.end_ns == later.start_ns
    for window in timeline:
        length_ns = window.end_ns - window.start_ns
        assert (
            (THREE_HOURS <= length_ns < THREE_HOURS + 10**9) if window.frozen else (0 < length_ns < 5 * 10**9)
        )


def test_faithful_moment_lets_the_app_go_on_until_next(playground):
    """At the faithful moment the sandbox is stopped too, but only after the adapter is done."""

    async def scenario():
        async with playground.sandbox(moment=FreezeMoment.FAITHFUL) as sandbox:
            for path in ENDINGS:
                invocation = await sandbox.invoke(HttpRequest(path=path))
                assert invocation.response.body == expected_body(path)
                await sandbox.freeze(THREE_HOURS)

    run(scenario())


@pytest.mark.parametrize("moment", FreezeMoment)
def test_every_process_of_the_app_is_stopped(playground, tmp_path, moment):
    """Children stop as well: those of the group, those in their own session, and daemons."""

    def ticks():
        return {kind: (tmp_path / f"notes.{kind}").stat().st_size for kind in ("group", "session", "orphan")}

    async def scenario():
        async with playground.sandbox(moment=moment) as sandbox:
            await sandbox.invoke(HttpRequest(path="/children"))
            await asyncio.sleep(0.1)
            before = ticks()
            await sandbox.freeze(THREE_HOURS)
            await asyncio.sleep(0.05)
            assert ticks() == before
            await sandbox.run_for(0.1)
            assert all(ticks()[kind] > size for kind, size in before.items())
            invocation = await sandbox.invoke(HttpRequest(path="/length"))
            assert invocation.response.status == 200

    run(scenario())


def test_a_server_under_a_shell_stops(playground):
    """A server that is a child of the command stops at the same byte, with the command."""
    script = f'"{sys.executable}" -m uvicorn endings:app --port $PORT --lifespan off --log-level error; true'

    async def scenario():
        async with playground.sandbox(command=["/bin/sh", "-c", script]) as sandbox:
            for n in range(20):
                invocation = await sandbox.invoke(HttpRequest(path=f"/length-more?{n}"))
                assert invocation.response.body == b"ab"
                assert notes_of(playground, n) == ["/length-more 0"]
                await sandbox.freeze(THREE_HOURS)

    run(scenario())


def test_workers_stop(playground):
    """A server with several worker processes stops as a whole."""
    command = [sys.executable, "-m", "uvicorn", "endings:app", "--port", "{port}", "--workers", "2"]

    async def scenario():
        async with playground.sandbox(command=[*command, "--lifespan", "off"]) as sandbox:
            for n in range(20):
                invocation = await sandbox.invoke(HttpRequest(path=f"/length?{n}"))
                assert invocation.response.body == b"ab"
                assert notes_of(playground, n) == ["/length 0"]
                await sandbox.freeze(1_000_000)

    run(scenario())


def test_other_servers_have_the_faithful_moment(playground):
    """Without uvicorn the adversarial moment is refused with the way out, and the faithful one works."""
    command = [sys.executable, "-m", "hypercorn", "endings:app", "--bind", "127.0.0.1:{port}"]

    async def scenario():
        with pytest.raises(SimulatorError, match=r"needs uvicorn.*FAITHFUL"):
            async with playground.sandbox(command=command):
                pass
        async with playground.sandbox(command=command, moment=FreezeMoment.FAITHFUL) as sandbox:
            for _ in range(3):
                invocation = await sandbox.invoke(HttpRequest(path="/length"))
                assert invocation.response.body == b"ab"
                await sandbox.freeze(THREE_HOURS)

    run(scenario())


def test_readiness_checks_do_not_stop_the_app(playground):
    """A readiness check carries no header of an invocation, and does not stop the app."""

    async def scenario():
        async with playground.sandbox(env={"AWS_LWA_READINESS_CHECK_PATH": "/ready"}) as sandbox:
            await sandbox.run_for(0.05)
            assert [window.frozen for window in sandbox.timeline()] == [False]

    run(scenario())
    checks = [note for note in playground.notes() if note.startswith("echo /ready")]
    assert len(checks) == 1
    assert "x-amzn" not in checks[0]


def test_a_broken_response_is_an_invocation_error(playground, http):
    """A connection closed within the body makes no response, says why, and stops the app all the same."""

    async def scenario():
        async with playground.sandbox(http=http) as sandbox:
            invocation = await sandbox.invoke(HttpRequest(path="/crash-within"))
            assert invocation.response is None
            assert "Lambda panicked" in invocation.error
            assert "within the body" in sandbox.output()
            await sandbox.freeze(THREE_HOURS)
            assert (await sandbox.invoke(HttpRequest(path="/length"))).response.body == b"ab"

    run(scenario())


def test_a_request_body_that_is_not_read(playground, http):
    """An app that answers without reading a large upload stops, and the invocation ends."""

    async def scenario():
        async with playground.sandbox(http=http) as sandbox:
            for _ in range(2):
                upload = HttpRequest(method="POST", path="/unread", body=b"x" * LARGE)
                assert (await sandbox.invoke(upload)).response.status == 200
                await sandbox.freeze(THREE_HOURS)
            assert (await sandbox.invoke(HttpRequest(path="/length"))).response.body == b"ab"

    run(scenario())


def test_a_chatty_app_does_not_block(playground):
    """Output beyond a pipe's capacity does not hold up the app, and its end is kept."""

    async def scenario():
        async with playground.sandbox() as sandbox:
            assert (await sandbox.invoke(HttpRequest(path="/chatty"))).response.body == b'"done"'
            assert sandbox.output().endswith("chatter ")
            assert 200_000 < len(sandbox.output()) <= 256 * 1024

    run(scenario())


def test_an_app_that_cannot_be_imported(playground):
    """An app that exits before it is ready is reported at once, with its code and its traceback."""

    async def scenario():
        begin = time.monotonic()
        with pytest.raises(AppFailedError, match="exited with code 1 before it was ready") as caught:
            async with playground.sandbox("broken:app"):
                pass
        assert time.monotonic() - begin < 5
        assert caught.value.part == "app"
        assert "RuntimeError: the app's own reason" in caught.value.output

    run(scenario())


@pytest.mark.parametrize("target", ["unready:app", "sleeping"])
def test_an_app_that_never_gets_ready(playground, target):
    """An app that answers 500 or nothing is given up after the ready timeout."""
    command = [sys.executable, "-c", "import time; time.sleep(60)"] if target == "sleeping" else None

    async def scenario():
        with pytest.raises(AppFailedError, match=r"not ready within 0\.5 s"):
            async with playground.sandbox(target, command=command, ready_timeout_s=0.5):
                pass

    run(scenario())


def test_a_command_that_does_not_exist(playground):
    """A command that cannot be executed is named in the error."""

    async def scenario():
        with pytest.raises(AppFailedError, match="no-such-command"):
            async with playground.sandbox(command=["./no-such-command"]):
                pass

    run(scenario())


def test_a_port_that_is_taken(playground):
    """A port where somebody else listens is refused: their answers would be taken for the app's."""

    async def scenario():
        async with playground.sandbox() as first:
            with pytest.raises(AppFailedError, match=f"port {first.port} .* taken"):
                async with playground.sandbox(port=first.port):
                    pytest.fail("the first app answers there")

    run(scenario())


@pytest.mark.parametrize(("path", "code"), [("/exit-within", 3), ("/exit-at-once", 4)])
def test_an_app_that_dies_in_an_invocation(playground, path, code):
    """An app that exits within an invocation is reported with its exit code, and was asked once only."""

    async def scenario():
        async with playground.sandbox() as sandbox:
            await sandbox.invoke(HttpRequest(path="/length"))
            with pytest.raises(AppFailedError, match=f"exited with code {code} ") as caught:
                await sandbox.invoke(HttpRequest(path=path))
            with pytest.raises(SimulatorError, match="shut down"):
                await sandbox.invoke(HttpRequest(path="/length"))
        return caught.value.output

    output = run(scenario())
    assert ("the app's last words" in output) == (code == 3)
    assert playground.notes().count("exit GET") == (code == 4)


@pytest.mark.parametrize("moment", FreezeMoment)
def test_an_app_that_never_answers(playground, moment):
    """An invocation over its timeout is an error that says so, and the sandbox is gone."""

    async def scenario():
        async with playground.sandbox(timeout_s=0.3, moment=moment) as sandbox:
            with pytest.raises(SimulatorError, match=r"Task timed out after 0\.30 seconds.*the app runs"):
                await sandbox.invoke(HttpRequest(path="/never"))
            assert playground.processes() == []

    run(scenario())


def test_an_app_that_ignores_sigterm_is_killed(playground):
    """Shutdown takes the two seconds that Lambda gives, then kills, frozen or not, and can be repeated."""
    command = [sys.executable, "stubborn.py", "{port}"]

    async def scenario():
        async with playground.sandbox(command=command) as sandbox:
            await sandbox.invoke(HttpRequest(path="/length"))
            begin = time.monotonic()
            await sandbox.shutdown()
            assert 1.9 < time.monotonic() - begin < 4
            assert playground.processes() == []
            await sandbox.shutdown()

    run(scenario())


def test_the_clock_library_leaves_nothing_in_shared_memory(playground):
    """What libfaketime creates for a process that is then killed is removed."""

    async def scenario():
        async with playground.sandbox(command=[sys.executable, "stubborn.py", "{port}"]) as sandbox:
            pid = sandbox._process.pid
            assert len(shared_memory_of(pid)) == 2
            await sandbox.invoke(HttpRequest(path="/length"))
        assert shared_memory_of(pid) == []

    run(scenario())


def test_misuse_is_explained(playground):
    """A sandbox that is not in the state for a call says which state it is in."""

    async def scenario():
        sandbox = playground.sandbox()
        with pytest.raises(SimulatorError, match="not started"):
            await sandbox.invoke(HttpRequest())
        async with sandbox:
            with pytest.raises(FreezeError, match="running"):
                await sandbox.freeze(1)
        with pytest.raises(SimulatorError, match="shut down"):
            await sandbox.thaw()
        with pytest.raises(SimulatorError, match="shut down"):
            await sandbox.__aenter__()
        await playground.sandbox().shutdown()

    run(scenario())


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.1, 0.2])
def test_cancelled_while_starting(playground, delay_s):
    """A start that is cancelled at any moment leaves no process."""

    async def scenario():
        async def use():
            async with playground.sandbox(env={"AWS_LWA_READINESS_CHECK_PATH": "/never"}):
                pytest.fail("cannot be ready")

        task = asyncio.create_task(use())
        await asyncio.sleep(delay_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert playground.processes() == []

    run(scenario())


def test_cancelled_while_invoking(playground):
    """An invocation that is cancelled ends the sandbox without a trace of it."""

    async def scenario():
        async with playground.sandbox() as sandbox:
            task = asyncio.create_task(sandbox.invoke(HttpRequest(path="/never")))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert playground.processes() == []

    run(scenario())


def test_the_function_that_the_app_sees(playground):
    """The app gets Lambda's variables and its port, the caller's variables on top."""
    show = "import os, json; print(json.dumps(dict(os.environ)), flush=True); raise SystemExit(7)"

    async def scenario():
        with pytest.raises(AppFailedError) as caught:
            async with playground.sandbox(
                command=[sys.executable, "-c", show], memory_mb=256, env={"AWS_REGION": "eu-west-1"}
            ) as sandbox:
                pytest.fail(f"ready: {sandbox}")
        return json.loads(caught.value.output)

    environment = run(scenario())
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "ddlwa-check"
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert environment["AWS_REGION"] == "eu-west-1"
    assert environment["PORT"] == environment["AWS_LWA_PORT"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+", environment["AWS_LAMBDA_RUNTIME_API"])
