"""The per-request hold: keeps back the message that completes the response until the spans are closed."""

from __future__ import annotations

import asyncio
import enum
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from ddlwa.framing import BODY, START, ZEROCOPYSEND, Framing, is_last
from ddlwa.log import warn_once

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from ddlwa.expiry import Expiry

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[Any]]

# Turns of the event loop that a middleware gets to pass on what the app behind it has already sent.
_TURNS = 32
# A body from which on it takes longer to hand over than to cut.
_LARGE = 1 << 16
# A server that is known to write views of bytes as it writes bytes; the specification speaks of bytes only.
_WRITES_VIEWS = "uvicorn."
_MUTABLE = frozenset({list, bytearray, memoryview})


class State(enum.Enum):
    """Where a gate is.

    ::

        STREAMING --completing message--> HOLDING --release--> RELEASING --drained--> OPEN
            └─────────────── end of an app that has completed nothing ───────────────^
    """

    STREAMING = enum.auto()
    HOLDING = enum.auto()
    RELEASING = enum.auto()
    OPEN = enum.auto()


_STREAMING, _HOLDING, _RELEASING, _OPEN = State  # to look in an enumeration takes long before Python 3.12


class Release(enum.Enum):
    """What released a gate."""

    APP_DONE = "app_done"
    BACKGROUND_TASK = "background_task"
    RECEIVE = "receive"
    BUDGET = "budget"
    BORROWED_FILE = "borrowed_file"


class Trace(Protocol):
    """What the gate holds the response for: one request's trace."""

    async def deliver(self, reason: Release) -> None:
        """Close and flush the trace, within the flush budget."""


class Gate:
    """Stands between one request's app and the server.

    Args:
        scope: The request's ASGI scope, of type "http".
        receive: The server's receive.
        send: The server's send.
        trace: The request's trace.
        expiry: How long the app may take to unwind once its response is complete.
    """

    __slots__ = (
        "_background",
        "_drained",
        "_expiry",
        "_failure",
        "_framing",
        "_held",
        "_receive",
        "_releaser",
        "_scope",
        "_send",
        "_state",
        "_watch",
        "trace",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, trace: Trace, expiry: Expiry) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.trace = trace
        self._expiry = expiry
        self._framing = Framing(scope)
        self._state = _STREAMING
        self._held: list[Message] = []
        self._background = False
        self._releaser: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    async def run(self, app: App) -> Any:
        """Serve the request with this app; return or raise what it does, after the response has left."""
        try:
            result = await app(self._scope, self.receive, self.send)
        except GeneratorExit:
            raise  # the event loop is gone, and awaiting with it
        except BaseException:
            with suppress(Exception):  # of the server's; the app's own comes first
                await self._release(Release.APP_DONE)
            raise
        await self._release(Release.APP_DONE)
        _raise(self._failure)
        return result

    async def send(self, message: Message) -> None:
        """Pass a message on to the server, or keep it if it completes the response or follows that."""
        if self._state is _STREAMING:
            message, completes = self._follow(message)
            if not completes:
                await self._send(message)
                return
            if (
                message["type"] == BODY
                and len(message.get("body", b"")) >= _LARGE
                and self._can_be_cut(message)
            ):
                # Its transfer need not wait for the flush: without the last byte it completes nothing.
                await self._send({**message, "body": memoryview(message["body"])[:-1], "more_body": True})
                message = {**message, "body": message["body"][-1:]}
            self._state = _HOLDING
            self._watch = watch = self._expiry.watch()
            watch.add(self)
        elif self._state is _OPEN:
            await self._send(message)
            return
        self._held.append(_snapshot(message))
        if message.get("type") == ZEROCOPYSEND:
            # The app may close the file as soon as its send has returned.
            await self._release(Release.BORROWED_FILE)
        elif self._background:
            await self._release(Release.BACKGROUND_TASK)

    def _follow(self, message: Message) -> tuple[Message, bool]:
        """Give a message that can be read again, and whether it completes the response."""
        try:
            if message["type"] == START and hasattr(message.get("headers"), "__next__"):
                message = {**message, "headers": list(message["headers"])}
            return message, self._framing.completes(message)
        except Exception:  # noqa: BLE001 - malformed messages are the server's to judge
            warn_once("framing", "cannot follow the framing of a response; it is not held", exc_info=True)
            return message, False

    def _can_be_cut(self, message: Message) -> bool:
        """Say whether a view of a body can go to the server: to copy it takes longer than most flushes."""
        server = getattr(self._send, "__self__", None)
        return (
            type(server).__module__.startswith(_WRITES_VIEWS)
            and type(message["body"]) is bytes  # a view of another may keep the app from using it
            and self._framing.is_exact()
        )

    async def receive(self) -> Message:
        """Release the response if the app, done with it, waits for the client to disconnect."""
        if self._state is _HOLDING:
            await self._settle()
            await self._release(Release.RECEIVE)
        return await self._receive()

    async def background_starts(self) -> None:
        """Release the response before a background task runs, for it must not wait for the task."""
        await self._settle()
        self._background = True
        if self._state is not _STREAMING:
            await self._release(Release.BACKGROUND_TASK)

    async def _settle(self) -> None:
        """Let middlewares pass on what the app behind them has sent, and close their spans."""
        for _ in range(_TURNS):
            if self._state is _OPEN or any(map(is_last, self._held)):
                break
            await asyncio.sleep(0)

    def expire(self) -> None:
        """Release the response although the app has not unwound."""
        self._releaser = asyncio.get_running_loop().create_task(self._release_unattended())

    async def _release_unattended(self) -> None:
        try:
            await self._release(Release.BUDGET)
        except Exception as error:  # noqa: BLE001 - it is the server's; run() hands it to the caller
            self._failure = error

    async def _release(self, reason: Release) -> None:
        """Deliver the trace, then hand each held message to the server once; wait if somebody else is at it.

        What happens to one message, or to the trace, keeps no other from the server. A cancellation is raised
        afterwards, else the server's first error.
        """
        if self._state is _RELEASING:
            await self._until_drained()
        if self._state is _OPEN:
            return
        if self._state is _HOLDING:
            self._watch.discard(self)
        self._state = _RELEASING
        problem: BaseException | None = None
        try:
            try:
                await self.trace.deliver(reason)
            except asyncio.CancelledError as error:
                problem = error
            except Exception:  # noqa: BLE001 - guards the response from our own code
                warn_once("deliver", "cannot deliver a trace before its response", exc_info=True)
            while self._held:
                try:
                    await self._send(self._held.pop(0))
                except asyncio.CancelledError as error:  # noqa: PERF203 - each message is handed over on its own
                    problem = error
                except Exception as error:  # noqa: BLE001 - raised once all have been handed over
                    problem = problem or error
        finally:
            self._state = _OPEN
            if self._drained is not None:
                self._drained.set_result(None)
        _raise(problem)

    async def _until_drained(self) -> None:
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._drained)


def _raise(problem: BaseException | None) -> None:
    if problem is not None:
        raise problem


def _snapshot(message: Message) -> Message:
    """Copy a message so that the app's later use of the dict, or of its buffer, cannot reach it."""
    copy = dict(message)
    for name, value in message.items():
        if type(value) in _MUTABLE:
            copy[name] = value.copy() if type(value) is list else bytes(value)
    return copy
