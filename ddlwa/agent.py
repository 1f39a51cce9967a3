"""A connection to the trace agent that carries one HTTP exchange at a time, blocking or not."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ddlwa.errors import DdlwaError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_LARGEST_ANSWER = 1 << 16
_RECEIVED_AT_ONCE = 1 << 16
# No agent closes a connection that has been idle for less, by the wall clock, which a freeze does not stop.
_SOUND_S = 0.5
_FIRST_FINAL = 200
_WITHOUT_CONTENT = frozenset({204, 304})


class AnswerError(DdlwaError):
    """The trace agent's answer is not HTTP, or it broke off."""


class Address(NamedTuple):
    """Where an agent listens: a host and port, or the path of a Unix socket.

    Attributes:
        host: The host's name or address; empty for a Unix socket.
        port: Its port.
        path: The socket's path; empty for a host.
    """

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> Address | None:
        """Read a trace agent's URL; None unless it is an http:// or a unix:// one."""
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return cls("", 0, parts.path)
        if parts.scheme == "http" and parts.hostname:
            return cls(parts.hostname, parts.port or 80, "")
        return None


class Answer(NamedTuple):
    """An HTTP response.

    Attributes:
        status: Its status code.
        content: Its body.
        reusable: The connection can carry another exchange.
    """

    status: int
    content: bytes
    reusable: bool


class AnswerReader:
    """Reads one HTTP/1.1 response from the bytes that come.

    Source: RFC 9112, sections 4, 6 and 7.1.
    """

    __slots__ = ("_received",)

    def __init__(self) -> None:
        self._received = bytearray()

    def copy(self) -> AnswerReader:
        """Give another that has read the same."""
        other = AnswerReader()
        other._received += self._received
        return other

    def feed(self, data: bytes) -> Answer | None:
        """Take what has been received; give the response once it is whole.

        Args:
            data: The bytes; empty once the agent has closed the connection.

        Raises:
            AnswerError: It is not HTTP, too large, or broken off.
        """
        self._received += data
        if len(self._received) > _LARGEST_ANSWER:
            raise AnswerError("the trace agent's answer is too large")
        try:
            answer = self._parse(closed=not data)
        except (ValueError, IndexError) as error:
            raise AnswerError("the trace agent's answer is not HTTP") from error
        if answer is None and not data:
            raise AnswerError("the trace agent closed the connection")
        return answer

    def _parse(self, *, closed: bool) -> Answer | None:
        while True:
            head, found, content = bytes(self._received).partition(b"\r\n\r\n")
            if not head[:7].startswith(b"HTTP/1."[: len(head)]):
                raise ValueError("no status line")
            if not found:
                return None
            lines = head.split(b"\r\n")
            status = _number(lines[0].split(b" ")[1])
            if status >= _FIRST_FINAL:
                break
            del self._received[: len(head) + len(found)]
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        reusable = lines[0].startswith(b"HTTP/1.1") and b"close" not in fields.get(b"connection", b"").lower()
        if status in _WITHOUT_CONTENT:
            return Answer(status, b"", reusable and not content)
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = _unchunk(content)
            return None if body is None else Answer(status, body, reusable)
        if b"content-length" in fields:
            length = _number(fields[b"content-length"])
            if len(content) < length:
                return None
            return Answer(status, content[:length], reusable and len(content) == length)
        return Answer(status, content, reusable=False) if closed else None


def _number(digits: bytes, base: int = 10) -> int:
    if not digits.isalnum():
        raise ValueError("not a number")
    return int(digits, base)


def _unchunk(content: bytes) -> bytes | None:
    """Give the body of a chunked message, or None if there is more to come."""
    body: list[bytes] = []
    while True:
        line, found, content = content.partition(b"\r\n")
        if not found:
            return None
        size = _number(line.partition(b";")[0].strip(), 16)
        if size == 0:
            # Fields may follow the last chunk.
            return b"".join(body) if content.startswith(b"\r\n") or b"\r\n\r\n" in content else None
        if len(content) < size + 2:
            return None
        if content[size : size + 2] != b"\r\n":
            raise ValueError("a chunk is not as long as it says")
        body.append(content[:size])
        content = content[size + 2 :]


class Connection:
    """A connection that is kept open from one exchange to the next.

    Args:
        address: Where the agent listens.

    Attributes:
        used: It has carried an exchange: the agent may close it at any time.
    """

    __slots__ = ("_events", "_socket", "_sound_s", "address", "used")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.used = False
        self._socket: socket.socket | None = None
        self._sound_s = 0.0
        self._events = select.poll()

    def connect(self, timeout_s: float) -> None:
        """Connect; may look up a name, so not on an event loop.

        Raises:
            OSError: Nobody listens there, or not in time.
        """
        host, port, path = self.address
        self.close()
        if path:
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connected.settimeout(timeout_s)
                connected.connect(path)
            except OSError:
                connected.close()
                raise
        else:
            connected = socket.create_connection((host, port), timeout_s)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setblocking(False)  # noqa: FBT003 - the socket API takes no keyword
        self._events = select.poll()
        self._events.register(connected, select.POLLIN)
        self._socket = connected
        self._sound_s = 0.0
        self.used = False

    def is_open(self) -> bool:
        """Say whether it is connected, as far as is known here: nothing has come, not even an end."""
        if self._socket is None:
            return False
        if 0 <= time.time() - self._sound_s < _SOUND_S:
            return True
        if self._events.poll(0):
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close it; connect anew before the next exchange."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def wait(self, timeout_s: float, *, until_writable: bool) -> None:
        """Wait until something can be read, or also until something can be written, if wanted."""
        assert self._socket is not None  # noqa: S101 - only an exchange waits
        if until_writable:
            self._events.modify(self._socket, select.POLLIN | select.POLLOUT)
        self._events.poll(timeout_s * 1000)
        if until_writable:
            self._events.modify(self._socket, select.POLLIN)

    def note_sound(self) -> None:
        """Take note that it works just now."""
        self.used = True
        self._sound_s = time.time()

    def forget(self) -> None:
        """Leave the socket to the exchange that uses it."""
        self._socket = None

    def begin(self, request: bytes) -> Exchange:
        """Begin an exchange; nothing is sent yet."""
        assert self._socket is not None  # noqa: S101 - the caller has connected
        return Exchange(self, self._socket, request)


class Exchange:
    """One request and its answer, driven by blocking calls or by an event loop.

    Attributes:
        answered: Some of the answer has come.
        reused: The connection has carried another exchange before.
    """

    __slots__ = (
        "_connection",
        "_loop",
        "_on_end",
        "_reader",
        "_socket",
        "_thread",
        "_unsent",
        "answered",
        "reused",
    )

    def __init__(self, connection: Connection, socket_: socket.socket, request: bytes) -> None:
        self._connection = connection
        self._socket = socket_
        self._unsent = memoryview(request)
        self._reader = AnswerReader()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_end: Callable[[Answer | Exception], None] | None = None
        self._thread = 0
        self.answered = False
        self.reused = connection.used

    @property
    def sent(self) -> bool:
        """Whether the whole request has left: from now on the agent may have taken it."""
        return not self._unsent

    @property
    def is_on_loop(self) -> bool:
        """Whether an event loop drives it."""
        return self._loop is not None

    def is_orphaned(self) -> bool:
        """Say whether the loop that drives it is closed."""
        return self._loop is not None and self._loop.is_closed()

    def is_stuck(self, patience_s: float) -> bool:
        """Say whether the loop that drives it, another thread's, does not turn.

        Args:
            patience_s: How long to wait for it, in seconds.
        """
        loop = self._loop
        if loop is None or self.is_driven_here():
            return False
        turned = threading.Event()
        try:
            loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # it is closed
            return True
        return not turned.wait(patience_s)

    def is_driven_here(self) -> bool:
        """Say whether the loop that drives it is this thread's."""
        return self._loop is not None and self._thread == threading.get_ident()

    def block(self, timeout_s: float) -> Answer:
        """Go on until it has ended, from wherever it is.

        Raises:
            OSError: It broke off, or did not end in time.
            AnswerError: The answer is none.
        """
        self._detach()
        try:
            answer = self._advance_within(timeout_s)
        except BaseException:
            self._connection.close()
            raise
        if answer is None:  # nor is an answer in time that trickles in
            self._connection.close()
            raise TimeoutError("the trace agent does not answer")
        return self._done(answer)

    def run_on(
        self,
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[[Answer | Exception], None],
        *,
        grace_s: float = 0.0,
    ) -> Answer | Exception | None:
        """Let an event loop drive it.

        Args:
            loop: The running loop.
            on_end: Called on that loop with the answer or what prevented it, once.
            grace_s: How long the loop may stand still first, in seconds: an agent on the same machine
                answers in less time than it takes to have a loop watch a socket and run once more.

        Returns:
            How it has ended already; `on_end` is not called then.
        """
        try:
            answer = self._advance_within(grace_s)
            if answer is not None:
                return self._done(answer)
            if self._unsent:
                loop.add_writer(self._socket, self._go_on)
            loop.add_reader(self._socket, self._go_on)
        except Exception as error:  # noqa: BLE001 - a loop that cannot watch a socket says so in its own way
            self._connection.close()
            return error
        self._loop = loop
        self._on_end = on_end
        self._thread = threading.get_ident()
        return None

    def finish(self, timeout_s: float) -> None:
        """Do what the event loop would do, in its thread, which is not free to let the loop run."""
        on_end, self._on_end = self._on_end, None
        try:
            outcome: Answer | Exception = self.block(timeout_s)
        except (OSError, AnswerError) as error:
            outcome = error
        if on_end is not None:
            on_end(outcome)

    def peek(self) -> Answer | None:
        """Give the answer if it is all here, from whatever thread, and leave it to whoever drives this."""
        reader = self._reader.copy()
        try:
            return reader.feed(self._socket.recv(_RECEIVED_AT_ONCE, socket.MSG_PEEK))
        except (OSError, AnswerError):
            return None

    def abandon(self) -> None:
        """End it without an answer, from whatever thread; `on_end` is not called any more."""
        loop, self._loop, self._on_end = self._loop, None, None
        self._connection.forget()

        def close() -> None:
            if loop is not None and not loop.is_closed():
                loop.remove_reader(self._socket)
                loop.remove_writer(self._socket)
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it
            self._socket.close()

        try:
            if loop is not None:
                loop.call_soon_threadsafe(close)
                return
        except RuntimeError:  # the loop is closed
            pass
        close()

    def _go_on(self) -> None:
        loop, on_end = self._loop, self._on_end
        if on_end is None or loop is None:
            return
        unsent = bool(self._unsent)
        try:
            answer = self._advance()
        except (OSError, AnswerError) as error:
            self._detach()
            self._connection.close()
            on_end(error)
            return
        if answer is not None:
            self._detach()
            on_end(self._done(answer))
        elif unsent and not self._unsent:
            loop.remove_writer(self._socket)

    def _advance_within(self, timeout_s: float) -> Answer | None:
        """Go on for so long; give the answer, if it comes by then."""
        deadline_s = time.monotonic() + timeout_s
        answer = self._push()
        while answer is None and (left_s := deadline_s - time.monotonic()) > 0:
            self._connection.wait(left_s, until_writable=bool(self._unsent))
            answer = self._advance()
        return answer

    def _advance(self) -> Answer | None:
        """Send and receive what can be, without waiting."""
        answer = self._push()
        if answer is not None:
            return answer
        try:
            return self._receive()
        except BlockingIOError:
            return None

    def _push(self) -> Answer | None:
        """Send what can be, without waiting; give the answer of an agent that does not take it all."""
        if not self._unsent:
            return None
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            # It may have answered before it closed the connection.
            with suppress(OSError, AnswerError):
                answer = self._receive()
                if answer is not None:
                    return answer
            raise
        return None

    def _receive(self) -> Answer | None:
        data = self._socket.recv(_RECEIVED_AT_ONCE)
        self.answered = self.answered or bool(data)
        return self._reader.feed(data)

    def _done(self, answer: Answer) -> Answer:
        self._connection.note_sound()
        if self._unsent or not answer.reusable:
            self._connection.close()
        return answer

    def _detach(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
