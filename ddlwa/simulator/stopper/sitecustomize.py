"""Stops a uvicorn process at the very byte that completes the HTTP response to an invocation.

Python's ``site`` imports this in the app's process, before anything of the app. It must not import
what the app would not, nor take the place of another ``sitecustomize``.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing is not imported in the app's process on our account
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 -- pathlib is not loaded yet
_SERVERS = ("uvicorn.protocols.http.h11_impl", "uvicorn.protocols.http.httptools_impl")
_READY_FILE = "DDLWA_SIMULATOR_STOPPER"
_OFF_FILE = os.environ.get(_READY_FILE, "") + ".off"
_INVOCATION_HEADER = b"x-amzn-lambda-context"


class Progress:
    """How much of a response an HTTP/1.1 client has (RFC 9112 section 6.3).

    Args:
        method: The request's method.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._left: int | None = None
        self.complete = False

    def advance(self, message: dict[str, Any]) -> None:
        """Take note of an ASGI message that the server has written."""
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers", ())}
            if b"content-length" in headers and b"transfer-encoding" not in headers:
                self._left = int(headers[b"content-length"].partition(b",")[0])
            bodiless = self._method == "HEAD" or status in (204, 304)
            # A client goes on waiting for the final response after an interim one.
            self.complete = status >= 200 and (bodiless or self._left == 0)  # noqa: PLR2004 -- RFC 9110 15.2
        elif message["type"] == "http.response.body":
            if self._left is None:
                self.complete = not message.get("more_body", False)
            else:
                self._left -= len(message.get("body", b""))
                self.complete = self._left <= 0


def patch(cycle_class: Any) -> None:
    """Make uvicorn's ``RequestResponseCycle`` stop the process when the response is complete.

    Once: a tracer's own import hook may lead the import of a server through here a second time, and
    two counts of the same bytes would be twice as many.
    """
    if vars(cycle_class).get("ddlwa_stops"):
        return
    cycle_class.ddlwa_stops = True
    run_asgi, send = cycle_class.run_asgi, cycle_class.send

    async def run_and_watch(cycle: Any, app: Any) -> None:
        # Now, as the app may change its scope.
        if any(name == _INVOCATION_HEADER for name, _ in cycle.scope["headers"]):
            cycle.ddlwa_progress = Progress(cycle.scope["method"])
        await run_asgi(cycle, app)

    async def send_and_stop(cycle: Any, message: dict[str, Any]) -> None:
        if not isinstance(message.get("headers", ()), (list, tuple)):
            message = {**message, "headers": list(message["headers"])}  # to read an iterator twice
        await send(cycle, message)
        progress = getattr(cycle, "ddlwa_progress", None)
        if progress is None or progress.complete or cycle.disconnected:
            return
        progress.advance(message)
        # The sandbox may have learnt that Lambda has to wait for an extension, and then stops it itself.
        if progress.complete and not os.path.exists(_OFF_FILE):  # noqa: ASYNC240, PTH110 -- as at _HERE
            await _drained(cycle.transport)
            _stop()

    cycle_class.run_asgi = run_and_watch
    cycle_class.send = send_and_stop


async def _drained(transport: Any) -> None:
    """Wait until the transport has given every byte to the system: a stopped process sends no more."""
    from asyncio import sleep  # noqa: PLC0415 -- loaded by the server by now, not by us

    while transport.get_write_buffer_size():  # noqa: ASYNC110 -- a transport has no event for it
        await sleep(0)


def _stop() -> None:
    import signal  # noqa: PLC0415 -- as in _drained
    import threading  # noqa: PLC0415 -- as in _drained

    if os.getpgrp() == os.getpid():
        # To this very thread: it runs no further instruction, whichever thread the server is in.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    else:
        # A worker, or a server under a shell: who waits for the leader must see it stop.
        os.killpg(os.getpgrp(), signal.SIGSTOP)


class ServerFinder:
    """A meta path finder that hooks the modules of the server when the app imports them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders have for a server's module, with its loader hooked."""
        if name not in _SERVERS:
            return None
        for finder in sys.meta_path:
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec = find_spec and find_spec(name, path, target)
            if spec is not None:
                _hook(spec.loader)
                return spec  # type: ignore[no-any-return] # getattr hides the finder's type
        return None


def _hook(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        patch(module.RequestResponseCycle)
        with open(os.environ[_READY_FILE], "a", encoding="utf-8"):  # noqa: PTH123 -- as at _HERE
            pass  # it tells the sandbox that it can count on this server's stops

    loader.exec_module = exec_module


def _import_next() -> None:
    """Import the ``sitecustomize`` that this one hides."""
    path = sys.path[:]
    own = sys.modules.pop("sitecustomize", None)
    sys.path[:] = [entry for entry in path if os.path.abspath(entry or ".") != _HERE]  # noqa: PTH100 -- as above
    shortened = sys.path[:]
    try:
        __import__("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        # Put the folder back, for the children's sake, unless the other one has made a path of its own.
        if sys.path == shortened:
            sys.path[:] = path
        if own is not None:
            sys.modules.setdefault("sitecustomize", own)


if os.environ.get(_READY_FILE):
    sys.meta_path.insert(0, ServerFinder())
if __name__ == "sitecustomize":
    _import_next()
