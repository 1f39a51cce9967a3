"""What the simulator's end-to-end tests share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import uuid
from pathlib import Path

from ddlwa.simulator import Sandbox

APPS = Path(__file__).parent / "simulator_apps"
_MARK = "DDLWA_TEST_MARK"


class Playground:
    """Makes sandboxes, and sees that they leave nothing behind.

    Args:
        notes: The file in which the test app notes what it did.
    """

    def __init__(self, notes: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.path = notes

    @property
    def env(self):
        return {_MARK: self.mark, "NOTES": str(self.path)}

    def notes(self):
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

    def sandbox(self, target="endings:app", *, http="h11", command=None, env=None, **options):
        uvicorn = [sys.executable, "-m", "uvicorn", target, "--port", "{port}"]
        quiet = ["--http", http, "--lifespan", "off", "--log-level", "error"]
        return Sandbox(command or [*uvicorn, *quiet], cwd=APPS, env={**self.env, **(env or {})}, **options)

    def processes(self):
        """Return the ids of all live processes that carry this playground's mark."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(os.getpid()):
                with contextlib.suppress(OSError):
                    if f"{_MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
        return found

    def wait_until_empty(self, *, timeout_s):
        """Wait until no process is left, and return those that are."""
        deadline = time.monotonic() + timeout_s
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.processes()


def run(coroutine, *, timeout_s=60):
    """Run a coroutine to its end, which must come in time."""

    async def bounded():
        return await asyncio.wait_for(coroutine, timeout_s)

    return asyncio.run(bounded())
