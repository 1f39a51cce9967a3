"""An ASGI app that notes exactly what it was asked, and answers as it is told.

It answers ``{}``, unless the JSON in the file that ``ECHO_SCRIPT`` names has an answer for the path:
``status``, ``headers``, the ``pieces`` of the body in base64 with a ``pause_s`` after each, what to do
at the ``end``; or ``raw`` bytes to write past the server.
"""

import asyncio
import base64
import json
import os
from pathlib import Path

SCRIPT = json.loads(Path(os.environ["ECHO_SCRIPT"]).read_text(encoding="utf-8"))

NOTES = Path(os.environ["ECHO_NOTES"]).open("a", encoding="utf-8")  # noqa: SIM115 -- for the app's life
_DEFAULT = {"headers": [["content-type", "application/json"], ["content-length", "2"]], "pieces": ["e30="]}


async def app(scope, receive, send):
    """Note the request, then answer it."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    asked = {
        "method": scope["method"],
        "target": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.hex(),
    }
    NOTES.write(json.dumps(asked) + "\n")
    NOTES.flush()
    await _answer(SCRIPT.get(scope["path"], _DEFAULT), send)


async def _answer(answer, send):
    if "raw" in answer:
        send.__self__.transport.write(base64.b64decode(answer["raw"]))
        send.__self__.transport.close()
        return
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.get("headers", [])]
    await send({"type": "http.response.start", "status": answer.get("status", 200), "headers": headers})
    pieces = [base64.b64decode(piece) for piece in answer.get("pieces", [])]
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(answer.get("pause_s", 0))
    if answer.get("end") == "raise":
        raise RuntimeError("in the middle of the response")
    if answer.get("end") == "exit":
        os._exit(3)
    await send({"type": "http.response.body"})
    if answer.get("end") == "raise-after":
        raise RuntimeError("after the response")
