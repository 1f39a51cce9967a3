"""An ASGI app that ends its responses in every possible way, and notes each send that returned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

LARGE = 5 * 1024 * 1024  # Lambda takes 6 MB, the JSON around it included
_OK = {"type": "http.response.start", "status": 200}


def _start(status=200, **headers):
    pairs = [(name.replace("_", "-").encode(), str(value).encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


def _body(body=b"", **more):
    return {"type": "http.response.body", "body": body, **more}


# By path: the messages, and which of them completes the response on the wire.
ENDINGS = {
    "/length": ([_start(content_length=2), _body(b"ab", more_body=False)], 1),
    "/length-more": ([_start(content_length=2), _body(b"ab", more_body=True), _body()], 1),
    "/length-split": ([_start(content_length=2), _body(b"a", more_body=True), _body(b"b")], 2),
    "/length-split-more": (
        [_start(content_length=2), _body(b"a", more_body=True), _body(b"b", more_body=True), _body()],
        2,
    ),
    "/length-zero": ([_start(content_length=0), _body()], 0),
    "/length-upper": (
        [{**_OK, "headers": [(b"Content-Length", b"1")]}, _body(b"a", more_body=True), _body()],
        1,
    ),
    "/chunked": ([_start(), _body(b"a", more_body=True), _body(b"b", more_body=False)], 2),
    "/chunked-empty-last": ([_start(), _body(b"ab", more_body=True), _body(b"", more_body=False)], 2),
    "/chunked-one": ([_start(), _body(b"ab")], 1),
    "/chunked-named": ([_start(transfer_encoding="chunked"), _body(b"ab", more_body=True), _body()], 2),
    "/chunked-nothing": ([_start(), _body()], 1),
    "/no-headers-key": ([_OK, {"type": "http.response.body"}], 1),
    "/204": ([_start(204), _body()], 0),
    "/304": ([_start(304, etag='"a"'), _body()], 0),
    "/redirect": ([_start(302, location="/chunked", content_length=0), _body()], 0),
    "/error": ([_start(503, content_length=2), _body(b"ab")], 1),
    "/close": ([_start(connection="close", content_length=2), _body(b"ab")], 1),
    "/large-close": ([_start(connection="close", content_length=LARGE), _body(b"x" * LARGE)], 1),
    "/large": ([_start(content_length=LARGE), _body(b"x" * LARGE)], 1),
    "/large-more": ([_start(content_length=LARGE), _body(b"x" * LARGE, more_body=True), _body()], 1),
    "/large-chunked": ([_start(), _body(b"x" * LARGE, more_body=True), _body()], 2),
}
HEAD_ENDINGS = {
    "/head-length": ([_start(content_length=2), _body(b"ab")], 0),
    "/head-chunked": ([_start(), _body(b"ab")], 0),
}


def note(text):
    """Append a line to the file that the test reads."""
    with Path(os.environ["NOTES"]).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


async def app(scope, receive, send):
    """Serve one request by its path."""
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path in ENDINGS or path in HEAD_ENDINGS:
        for index, message in enumerate((ENDINGS.get(path) or HEAD_ENDINGS[path])[0]):
            await send(message)
            query = scope["query_string"].decode()
            note(f"{path} {index}" + (f"?{query}" if query else ""))
        return
    await _OTHERS.get(path, _echo)(scope, receive, send)


async def _json(send, value, **headers):
    body = json.dumps(value).encode()
    await send(_start(content_type="application/json", content_length=len(body), **headers))
    await send(_body(body))


async def _echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    note(f"echo {scope['path']} {json.dumps(headers)}")
    target = scope["raw_path"].decode() + "?" + scope["query_string"].decode()
    await _json(send, {"method": scope["method"], "target": target, "headers": headers, "body": body.hex()})


async def _unread(_scope, _receive, send):
    await _json(send, "not read")


async def _clock(_scope, _receive, send):
    await _json(send, [time.time_ns(), time.monotonic_ns()])


async def _cookies(_scope, _receive, send):
    names = [(b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"x-two", b"1"), (b"x-two", b"2")]
    await send({**_OK, "headers": [*names, (b"content-length", b"0")]})
    await send(_body())


async def _binary(_scope, _receive, send):
    await send(_start(content_type="application/octet-stream", content_length=256))
    await send(_body(bytes(range(256))))


async def _encoded(_scope, _receive, send):
    await send(_start(content_type="text/plain", content_encoding="gzip", content_length=3))
    await send(_body(b"\x1f\x8bz"))


async def _iterator(scope, _receive, send):
    scope["headers"] = []
    scope["method"] = "HEAD"
    await send({**_OK, "headers": iter([(b"x-a", b"1"), (b"content-length", b"0")])})
    note("iterator sent")
    await send(_body())


async def _crash_before(_scope, _receive, _send):
    raise RuntimeError("before the start")


async def _crash_within(_scope, _receive, send):
    await send(_start(content_length=100))
    await send(_body(b"part", more_body=True))
    raise RuntimeError("within the body")


async def _exit_within(_scope, _receive, send):
    await send(_start(content_length=100))
    await send(_body(b"part", more_body=True))
    sys.stdout.write("the app's last words")
    sys.stdout.flush()
    os._exit(3)


async def _exit_at_once(scope, _receive, _send):
    note(f"exit {scope['method']}")
    os._exit(4)


async def _never(_scope, receive, _send):
    note("never")
    while (await receive())["type"] != "http.disconnect":
        pass


async def _chatty(_scope, _receive, send):
    sys.stdout.write("chatter " * 200_000)
    await _json(send, "done")


_TICKER = """
import os, sys, time
if sys.argv[2] == "session": os.setsid()
if sys.argv[2] == "orphan":
    os.setsid()
    if os.fork(): os._exit(0)
while True:
    with open(sys.argv[1], "a") as file: file.write(".")
    time.sleep(0.001)
"""


async def _children(_scope, _receive, send):
    for kind in ("group", "session", "orphan"):
        ticks = f"{os.environ['NOTES']}.{kind}"
        subprocess.Popen([sys.executable, "-c", _TICKER, ticks, kind])  # noqa: ASYNC220 -- as below
        while not Path(ticks).exists():  # noqa: ASYNC240 -- a test app may block
            time.sleep(0.001)  # noqa: ASYNC251 -- as above
    await _json(send, "started")


_OTHERS = {
    "/unread": _unread,
    "/clock": _clock,
    "/cookies": _cookies,
    "/binary": _binary,
    "/encoded": _encoded,
    "/iterator": _iterator,
    "/crash-before": _crash_before,
    "/crash-within": _crash_within,
    "/exit-within": _exit_within,
    "/exit-at-once": _exit_at_once,
    "/never": _never,
    "/chatty": _chatty,
    "/children": _children,
}
