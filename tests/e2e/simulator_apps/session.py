"""A program that uses a sandbox and then hangs in it, for tests that end it from outside."""

import asyncio
import sys
from pathlib import Path

from ddlwa.simulator import HttpRequest, Sandbox, TraceAgent


async def main():
    """Freeze an app, say so, and wait."""
    command = [sys.executable, "-m", "uvicorn", "endings:app", "--port", "{port}", "--lifespan", "off"]
    agent = TraceAgent()
    extension = [sys.executable, "external.py", "works"]
    sandbox = Sandbox(
        command,
        cwd=Path(__file__).parent,
        agent=agent,
        extensions=[extension] if sys.argv[1] == "extended" else [],
    )
    async with agent, sandbox:
        if sys.argv[1] != "running":
            await sandbox.invoke(HttpRequest(path="/length"))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.sleep(60)


asyncio.run(main())
