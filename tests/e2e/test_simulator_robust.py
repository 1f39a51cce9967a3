from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys

import pytest
from simulator_support import Playground, run

from ddlwa.simulator import FreezeError, HttpRequest, SimulatorError, parse_duration
from ddlwa.simulator.cgroup import find_cgroup

THREE_HOURS = parse_duration("3h")
needs_cgroup = pytest.mark.skipif(find_cgroup() is None, reason="no cgroup v2 that this user may freeze")


@pytest.fixture
def playground(tmp_path):
    playground = Playground(tmp_path / "notes")
    yield playground
    assert playground.processes() == []


@needs_cgroup
@pytest.mark.parametrize("freezer", ["cgroup", "auto"])
def test_the_cgroup_freezer(playground, tmp_path, freezer):
    """The cgroup freezer stops everything: the app at its byte, its children, daemons among them."""

    def ticks():
        return {kind: (tmp_path / f"notes.{kind}").stat().st_size for kind in ("group", "session", "orphan")}

    async def scenario():
        async with playground.sandbox(freezer=freezer) as sandbox:
            invocation = await sandbox.invoke(HttpRequest(path="/length-more"))
            assert playground.notes()[-1] == "/length-more 0"
            await sandbox.invoke(HttpRequest(path="/children"))
            before = ticks()
            await sandbox.freeze(THREE_HOURS)
            await asyncio.sleep(0.05)
            assert ticks() == before
            await sandbox.run_for(0.1)
            assert all(ticks()[kind] > size for kind, size in before.items())
            for number in range(50):
                invocation = await sandbox.invoke(HttpRequest(path=f"/length?{number}"))
                assert invocation.response.body == b"ab"
                assert playground.notes()[-1] == f"/length 0?{number}"
                await sandbox.freeze(THREE_HOURS)

    run(scenario())
    assert list(find_cgroup().glob("ddlwa-*")) == []


@needs_cgroup
def test_the_cgroup_freezer_with_extensions(playground):
    """The cgroup freezer waits for extensions as the other one does, and holds them too."""

    async def scenario():
        extension = [sys.executable, "external.py", "works"]
        async with playground.sandbox("extending:app", freezer="cgroup", extensions=[extension]) as sandbox:
            for count in (1, 2, 3):
                await sandbox.invoke(HttpRequest(path="/length"))
                assert playground.notes().count("worked") == count
                assert playground.notes().count("external worked") == count
                before = playground.notes()
                await sandbox.freeze(THREE_HOURS)
                await asyncio.sleep(0.1)
                assert playground.notes() == before

    run(scenario())
    assert list(find_cgroup().glob("ddlwa-*")) == []


def test_a_cgroup_freezer_that_is_not_there(playground, monkeypatch):
    """Where no cgroup can be frozen, asking for it is an error with the way out, and auto does without."""
    monkeypatch.setattr("ddlwa.simulator.sandbox.find_cgroup", lambda: None)

    async def scenario():
        with pytest.raises(FreezeError, match='use freezer="signal"'):
            async with playground.sandbox(freezer="cgroup"):
                pass
        async with playground.sandbox(freezer="auto") as sandbox:
            assert (await sandbox.invoke(HttpRequest(path="/length"))).response.body == b"ab"

    run(scenario())


def test_no_room_for_the_sandboxs_files(playground, monkeypatch):
    """A folder for temporary files that cannot be written is named, with the way out."""
    monkeypatch.setattr("tempfile.tempdir", "/proc/no-such-folder")

    async def scenario():
        with pytest.raises(SimulatorError, match=r"/proc/no-such-folder.*disk full\? TMPDIR"):
            async with playground.sandbox():
                pass

    run(scenario())


def test_a_disk_that_gets_full(playground, monkeypatch):
    """A clock that cannot be set says so, is as before, and can be set when there is room again."""

    async def scenario():
        async with playground.sandbox() as sandbox:
            await sandbox.invoke(HttpRequest(path="/length"))
            before = sandbox.now_ns()
            with monkeypatch.context() as patch:
                patch.setattr("os.replace", _no_space)
                with pytest.raises(SimulatorError, match=r"clock cannot be set: .*No space left.*disk full"):
                    await sandbox.freeze(THREE_HOURS)
            assert sandbox.now_ns() - before < THREE_HOURS
            await sandbox.freeze(THREE_HOURS)
            assert sandbox.now_ns() - before > THREE_HOURS
            assert (await sandbox.invoke(HttpRequest(path="/length"))).response.body == b"ab"

    run(scenario())


def _no_space(*_arguments):
    raise OSError(28, "No space left on device")


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
def test_a_disk_that_is_full(playground, tmp_path, monkeypatch):
    """On a full file system the sandbox says so, and leaves nothing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        with contextlib.suppress(OSError):
            (disk / "ballast").write_bytes(b"x" * 8192)
        monkeypatch.setattr("tempfile.tempdir", str(disk))

        async def scenario():
            with pytest.raises(SimulatorError, match=r"disk full"):
                async with playground.sandbox():
                    pass

        run(scenario())
        assert [entry.name for entry in disk.iterdir()] == ["ballast"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_thousand_cycles(playground):
    """A thousand invocations, freezes and thaws take less than a minute."""

    async def scenario():
        async with playground.sandbox() as sandbox:
            for _ in range(1_000):
                assert (await sandbox.invoke(HttpRequest(path="/length"))).response.body == b"ab"
                await sandbox.freeze(THREE_HOURS)

    run(scenario(), timeout_s=60)


def test_ports_that_are_taken_do_not_matter(playground):
    """A port that is taken between the making of a sandbox and its use is not used."""

    async def scenario():
        sandbox = playground.sandbox()
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", sandbox.port)
        async with server, sandbox:
            assert sandbox.port != server.sockets[0].getsockname()[1]
            assert (await sandbox.invoke(HttpRequest(path="/length"))).response.body == b"ab"

    run(scenario())
