"""An app that takes its time, and says how many requests it serves at once."""

import asyncio
import json
import os

_running = 0


async def app(scope, _receive, send):
    """Answer after a while, or never."""
    global _running  # noqa: PLW0603 -- the state of a process
    _running += 1
    most = _running
    for _ in range(10 if scope["path"] != "/never" else 10_000):
        await asyncio.sleep(0.02)
        most = max(most, _running)
    _running -= 1
    answer = {
        "path": scope["path"],
        "running": most,
        "pid": os.getpid(),
        "max_concurrency": os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY"),
    }
    body = json.dumps(answer).encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
