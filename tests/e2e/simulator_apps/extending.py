"""The app of all endings, with an internal extension in a thread; EXTENSION says what that does."""

import json
import os
import threading
import time

import endings
from extension_client import Client

_WORK_S = 0.05
_MODE = os.environ.get("EXTENSION", "works")


def _serve(client):
    while True:
        event = client.next()
        endings.note(f"event {json.dumps(event)}")
        if _MODE == "gives up":
            client.fail("exit")
            return
        time.sleep(3600 if _MODE == "hangs" else _WORK_S)
        endings.note("worked")
        endings.note(f"asks {time.time_ns()}")


def _start():
    client = Client("internal", ["INVOKE"] if _MODE != "deaf" else [])
    endings.note(f"registered {client.status}")
    if _MODE == "fails":
        client.fail("init")
    if _MODE != "idle":
        threading.Thread(target=_serve, args=(client,), daemon=True).start()


async def app(scope, receive, send):
    """Serve one request by its path."""
    if scope["path"] == "/late":
        endings.note(f"late {json.dumps(Client('late', ['INVOKE']).answer)}")
    await endings.app(scope, receive, send)


_start()
