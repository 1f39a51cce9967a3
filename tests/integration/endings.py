"""Every way a response can end, as data."""

from dataclasses import dataclass, field, fields

import pytest
from span_trees import Tolerance
from wire_server import Request

BARE, HTTP, PURE, ALL = STACKS = ("bare", "http", "pure", "all")
"""The middlewares before an app: none; `@app.middleware("http")`; a pure ASGI one; both, and a
`BaseHTTPMiddleware` class between them. Each has a span around the app, and one after it."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A way a response can end.

    Attributes:
        name: The test's id.
        request: What is asked.
        status: What the client sees.
        stacks: The stacks in which it can be had.
        forced: By stack the names of the spans that are still open at the release.
        collected: The garbage collector may have closed those spans before; when it comes to an abandoned
            generator differs between the versions of Python.
        after: The names of the spans that begin after the response has left.
        unharmed: The stacks in which plain ddtrace's durations survive the freeze, as the app is done
            before the server ends the response. Nothing is delivered in time all the same.
        tolerance: What may differ from stock ddtrace.
    """

    name: str
    request: Request
    status: int = 200
    stacks: tuple[str, ...] = STACKS
    forced: dict[str, set[str]] = field(default_factory=dict)
    collected: bool = False
    after: frozenset[str] = frozenset()
    unharmed: tuple[str, ...] = ()
    tolerance: Tolerance = field(default_factory=Tolerance)


_REQUEST = {entry.name for entry in fields(Request)}


def ending(name, path, status=200, **more):
    """Make an ending; the further arguments are fields of its request, or its own."""
    request = Request(path=path, **{key: more.pop(key) for key in _REQUEST & more.keys()})
    return Ending(name=name, request=request, status=status, **more)


def background(name, path, *status, open_spans=(), late=(), cut=None):
    """Make an ending whose response is released by a background task.

    The middlewares' spans that wait for the task are finished then: the pure one's, for it returns after
    the app; not the other kind's, for they do not wait.
    """
    forced = {stack: {*open_spans, *({"pure"} if stack in {PURE, ALL} else ())} for stack in STACKS}
    return ending(
        name,
        path,
        *status,
        forced=forced,
        after=frozenset({"fastapi.background_task", "starlette.background_task", "notify", "pure-after"})
        | set(late),
        tolerance=Tolerance(late=frozenset(late), cut=cut or {}, links=True),
    )


ERROR = {"error", "error.message", "error.stack", "error.type"}
JSON = (("content-type", "application/json"),)
GZIP = (("accept-encoding", "gzip"),)
ORIGIN = ("origin", "https://shop.test")
ENDINGS = [
    ending("json", "/json"),
    ending("json-query", "/json?q=1"),
    ending("distributed", "/json", headers=(("x-datadog-trace-id", "77"), ("x-datadog-parent-id", "7"))),
    ending("post", "/items", 201, method="POST", headers=JSON, body=b'{"name": "tea"}'),
    ending("sync", "/sync"),
    ending("exception", "/raises", 500),
    ending("exception-sync", "/sync-raises", 500),
    ending("handled-5xx", "/handled", 503),
    ending("http-exception-5xx", "/http-exception/502", 502),
    ending("http-exception-4xx", "/http-exception/403", 403),
    ending("invalid", "/items", 422, method="POST", headers=JSON, body=b"{}"),
    ending("not-found", "/nowhere", 404),
    ending("wrong-method", "/json", 405, method="DELETE"),
    ending("status-500", "/json-status/500", 500),
    ending("204", "/status/204", 204),
    ending("304", "/status/304", 304),
    ending("empty", "/status/200"),
    ending("empty-500", "/status/500", 500),
    ending("head", "/json", method="HEAD"),
    ending("redirect", "/redirect", 307),
    ending("redirect-slash", "/json/", 307),
    ending("stream", "/stream"),
    ending("stream-sync", "/stream-sync"),
    ending("stream-length", "/stream-length"),
    ending("stream-length-sync", "/stream-length-sync"),
    ending("stream-2.4", "/stream", spec_version="2.4"),
    ending("stream-length-2.4", "/stream-length", spec_version="2.4"),
    ending("stream-500", "/stream-500", 500),
    ending("stream-raises", "/stream-raises", unharmed=(BARE, PURE)),
    ending("stream-raises-length", "/stream-raises-length"),
    # A generator that nobody closes keeps its span open until it is collected.
    ending(
        "disconnect",
        "/stream-endless",
        disconnect_after=2,
        unharmed=STACKS,
        forced={stack: {"endless"} for stack in STACKS},
        collected=True,
        tolerance=Tolerance(cut={"endless": ERROR}),
    ),
    ending(
        "disconnect-2.4",
        "/stream-endless",
        disconnect_after=2,
        spec_version="2.4",
        unharmed=STACKS,
        forced={stack: {"endless"} for stack in STACKS},
        collected=True,
        tolerance=Tolerance(stack=True, cut={"endless": ERROR}),
    ),
    ending(
        "cancelled",
        "/stream-endless",
        disconnect_after=2,
        cancels=True,
        unharmed=STACKS,
        forced={stack: {"endless"} for stack in STACKS},
        collected=True,
        tolerance=Tolerance(stack=True, cut={"endless": ERROR}),
    ),
    ending("file-small", "/file/small.txt"),
    ending("file-exact", "/file/exact.bin"),
    ending("file-head", "/file/exact.bin", method="HEAD"),
    ending("file-range", "/file/exact.bin", 206, headers=(("range", "bytes=0-9"),)),
    ending("file-pathsend", "/file/exact.bin", extensions=("http.response.pathsend",)),
    ending("gzip", "/gzip/json", headers=GZIP),
    ending("gzip-stream", "/gzip/stream", headers=GZIP),
    ending("gzip-refused", "/gzip/stream-length"),
    ending("cors", "/json", headers=(ORIGIN,)),
    ending(
        "cors-preflight",
        "/json",
        method="OPTIONS",
        headers=(ORIGIN, ("access-control-request-method", "GET")),
    ),
    ending("depends", "/depends"),
    ending("depends-sync", "/depends-sync"),
    ending("depends-fails", "/depends-fails"),
    ending("depends-raises", "/depends-raises", 500),
    ending("depends-stream", "/depends-stream"),
    background("background", "/background"),
    background("background-sync", "/background-sync"),
    background("background-several", "/background-several"),
    background("background-depends", "/background-depends", open_spans=["connection"], late=["teardown"]),
    background("background-500", "/background-500", 500, open_spans=["fastapi.request"], late=["pure-after"]),
    # ddtrace does not trace a task that was not added by `add_task`: its spans are the request's.
    background("background-single", "/background-single", late=["notify"]),
    background("background-single-sync", "/background-single-sync", late=["notify"]),
    background("background-stream", "/background-stream"),
    # The error of a task reaches the spans that wait for it, and they were finished before.
    background("background-fails", "/background-fails", cut={"pure": ERROR}),
    ending(
        "child",
        "/child",
        forced={stack: {"child"} for stack in STACKS},
        after=frozenset({"grandchild"}),
        tolerance=Tolerance(late=frozenset({"grandchild"}), cut={"child": {"late"}}),
    ),
    ending(
        "child-stream-raises",
        "/child-stream-raises",
        unharmed=(BARE, PURE),
        forced={stack: {"child"} for stack in STACKS},
        after=frozenset({"grandchild"}),
        # Stock ddtrace sends the trace when the child has ended: before the error has come through, or after.
        tolerance=Tolerance(
            late=frozenset({"grandchild"}),
            cut={"child": {"late"}, "fastapi.request": {*ERROR, "http.status_code"}, "pure": ERROR},
        ),
    ),
    ending("thread", "/thread", forced={stack: {"thread"} for stack in STACKS}),
    ending("mounted-fastapi", "/sub/json"),
    # The inner app's middleware is ddlwa's too, and in the traceback.
    ending("mounted-fastapi-exception", "/sub/raises", 500, tolerance=Tolerance(stack=True)),
    ending("mounted-fastapi-stream", "/sub/stream"),
    background("mounted-fastapi-background", "/sub/background"),
    ending("mounted-starlette", "/starlette/class"),
    # The inner app's middleware is ddlwa's too, and in the traceback.
    ending("mounted-starlette-exception", "/starlette/raises", 500, tolerance=Tolerance(stack=True)),
    background("mounted-starlette-background", "/starlette/background"),
    ending("raw-omits-more-body", "/raw/omits-more-body"),
    ending("raw-omits-more-body-length", "/raw/omits-more-body-length"),
    ending("raw-never-last", "/raw/never-last"),
    ending("raw-incomplete", "/raw/incomplete", unharmed=(BARE, PURE)),
    ending("raw-only-start", "/raw/only-start", unharmed=(BARE, PURE)),
    ending("raw-nothing", "/raw/nothing", 500, unharmed=(BARE, PURE)),
    ending(
        "raw-nothing-child",
        "/raw/nothing-child",
        500,
        unharmed=(BARE, PURE),
        forced={stack: {"child"} for stack in STACKS},
        after=frozenset({"grandchild"}),
        tolerance=Tolerance(late=frozenset({"grandchild"}), cut={"child": {"late"}}),
    ),
    ending("raw-trailers", "/raw/trailers", extensions=("http.response.trailers",)),
    ending(
        "raw-zerocopy",
        "/raw/zerocopy",
        extensions=("http.response.zerocopysend",),
        stacks=(BARE, PURE),  # the other kind of middleware knows no such message
        forced={BARE: {"fastapi.request", "raw"}, PURE: {"fastapi.request", "raw", "pure"}},
        after=frozenset({"raw-after", "pure-after"}),
        tolerance=Tolerance(late=frozenset({"raw-after", "pure-after"})),
    ),
    ending(
        "raw-waits",
        "/raw/waits",
        forced={BARE: {"raw"}, PURE: {"raw", "pure"}},  # the other kind answers `receive` itself
        after=frozenset({"raw-after", "pure-after"}),
        tolerance=Tolerance(late=frozenset({"raw-after"})),
    ),
]


CASES = [
    pytest.param(ending, stack, id=f"{ending.name}-{stack}") for ending in ENDINGS for stack in ending.stacks
]
