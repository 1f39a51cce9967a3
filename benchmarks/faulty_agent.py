"""A trace agent on a local port that can be made to fail, in many ways, at any time."""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from benchmarks.payloads import Span, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

_PLAIN = frozenset(
    {"healthy", "refused", "hung", "mute", "closing", "resetting", "garbage", "trickle", "half"}
)
_NUMBERED = {"slow": range(3_600_001), "status": range(200, 600)}
_OK = 200
_TAKEN = range(200, 300)
_TRICKLE_S = 0.02
_JOIN_S = 5.0
_OTLP_PATH = "/v1/traces"
_LARGEST_HEAD = _RECEIVED_AT_ONCE = 1 << 16
_HEX = 16
# What a real agent has of what ddtrace looks for; it logs a warning about what is missing.
_INFO = {
    "endpoints": [
        "/v0.4/traces",
        "/v0.5/traces",
        "/debugger/v1/input",
        "/debugger/v1/diagnostics",
        "/debugger/v2/input",
        "/telemetry/proxy/",
    ],
    "version": "7.70.0",
}


@dataclass
class Request:
    """A trace payload that was read to its end.

    Attributes:
        seq: Its place in the order in which payloads were read, from 0.
        path: The URL's path.
        headers: Its header fields, names in lower case.
        chunks: The traces, or parts of them, each a list of spans.
        fault: What the agent was when it had read it.
        arrived_ns: When that was, in nanoseconds since the epoch.
        accepted: The agent has taken it.
    """

    seq: int
    path: str
    headers: Mapping[str, str] = field(repr=False)
    chunks: list[list[Span]] = field(repr=False)
    fault: str
    arrived_ns: int
    accepted: bool = False

    @property
    def traces(self) -> int:
        """How many traces it carries; with none it is a probe."""
        return len(self.chunks)


class FaultyAgent:
    """Takes what ddtrace's writer sends, or fails to; OTLP over HTTP is answered likewise, and not looked at.

    | fault | what it does |
    |---|---|
    | `healthy` | takes payloads, and answers at once |
    | `refused` | does not listen, and ends every connection; its port stays its own |
    | `hung` | reads, and never answers |
    | `mute` | accepts connections, and never reads |
    | `slow:MS` | takes, and answers after so many milliseconds |
    | `closing` | closes the connection after the request, without an answer |
    | `resetting` | resets it |
    | `status:CODE` | answers trace payloads so; takes them only with a 2xx |
    | `garbage` | answers with what is not HTTP, and closes |
    | `trickle` | answers one byte per 20 ms |
    | `half` | closes in the middle of the answer |

    A connection that is stuck in `hung` or `mute` ends when the agent becomes something else, as if it
    had been started anew; what was on its way there is not taken.

    Args:
        fault: What it is at first.
        accepts_silently: Take what has been read even if no whole answer tells the client so. By default
            it is not taken.
    """

    def __init__(self, fault: str = "healthy", *, accepts_silently: bool = False) -> None:
        _parse(fault)
        self._accepts_silently = accepts_silently
        self._becoming = threading.Lock()
        self._changed = threading.Condition(threading.RLock())
        self._connections: set[_Connection] = set()
        self._requests: list[Request] = []
        self._read = 0
        self._malformed = 0
        self._fault = "refused"
        # A socket that is bound and does not listen keeps the port, and takes no connection.
        self._reserved = _bound(0)
        self._port = int(self._reserved.getsockname()[1])
        self._listener: _Listener | None = None
        self.become(fault)

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1, whatever happens."""
        return self._port

    @property
    def url(self) -> str:
        """What `DD_TRACE_AGENT_URL` is to be."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def fault(self) -> str:
        """What it is at present."""
        return self._fault

    @property
    def requests(self) -> list[Request]:
        """The trace payloads that were read, probes among them, in their order."""
        with self._changed:
            return list(self._requests)

    @property
    def probes(self) -> int:
        """How many payloads without a trace were read."""
        return sum(not request.traces for request in self.requests)

    @property
    def malformed(self) -> int:
        """How many requests could not be understood."""
        return self._malformed

    def become(self, fault: str) -> None:
        """Change what it is; when this returns, that holds for every request that is not yet read.

        Args:
            fault: One of the table above.

        Raises:
            ValueError: There is no such fault.
        """
        kind, _ = _parse(fault)
        with self._becoming:
            with self._changed:
                self._fault = fault
            if kind == "refused":
                self._end(lambda _: True)
            else:
                self._end(lambda connection: connection.stuck_in not in {None, fault}, listening=True)
                if self._listener is None:
                    self._listener = _Listener(self._port, self._connected)

    def chunks(self) -> list[list[Span]]:
        """Give the traces that were taken, or parts of them, in the order of their arrival."""
        return [list(chunk) for request in self.requests if request.accepted for chunk in request.chunks]

    def spans(self) -> list[Span]:
        """Give every span that was taken."""
        return [span for chunk in self.chunks() for span in chunk]

    def clear(self) -> None:
        """Forget what was read so far."""
        with self._changed:
            self._requests = []
            self._malformed = 0

    def wait(self, condition: Callable[[FaultyAgent], object], *, timeout_s: float = 5.0) -> bool:
        """Wait until something is true of it; say whether it is.

        Args:
            condition: Called with the agent, now and whenever a payload has been read or taken.
            timeout_s: How long, in seconds.
        """
        with self._changed:
            return bool(self._changed.wait_for(lambda: condition(self), timeout_s))

    def close(self) -> None:
        """End every connection and every thread, and give up the port."""
        with self._becoming:
            self._fault = "refused"
            self._end(lambda _: True)
            self._reserved.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self, which: Callable[[_Connection], bool], *, listening: bool = False) -> None:
        if self._listener is not None and not listening:
            self._listener.end()  # first: nobody connects any more
            self._listener = None
        with self._changed:
            ending = [connection for connection in self._connections if which(connection)]
        for connection in ending:
            connection.end()

    # -- what its threads call

    def _connected(self, socket_: socket.socket) -> None:
        connection = _Connection(self, socket_)
        with self._changed:
            self._connections.add(connection)
        connection.start()

    def _disconnected(self, connection: _Connection) -> None:
        with self._changed:
            self._connections.discard(connection)

    def _is_stuck(self, connection: _Connection, kind: str) -> bool:
        """Say whether it is of this kind; then the connection is stuck until it is something else."""
        with self._changed:
            if self._fault != kind:
                return False
            connection.stuck_in = kind
            return True

    def _note(self, path: str, headers: Mapping[str, str], body: bytes) -> Request | None:
        """Take note of a trace payload; None if it is none."""
        try:
            chunks = decode(path, body)
        except Exception:  # noqa: BLE001 - whatever a client may send
            with self._changed:
                self._malformed += 1
            return None
        with self._changed:
            request = Request(self._read, path, headers, chunks, self._fault, time.time_ns())
            self._read += 1
            kind, number = _parse(self._fault)
            request.accepted = (
                kind in {"healthy", "slow"}
                or (kind == "status" and number in _TAKEN)
                or (kind not in {"status", "refused"} and self._accepts_silently)
            )
            self._requests.append(request)
            self._changed.notify_all()
        return request

    def _note_answered(self, request: Request) -> None:
        with self._changed:
            request.accepted = True
            self._changed.notify_all()

    def _note_malformed(self) -> None:
        with self._changed:
            self._malformed += 1


class _MalformedError(Exception):
    """What came is not an HTTP request."""


class _Listener:
    """Accepts connections until it is ended."""

    def __init__(self, port: int, connected: Callable[[socket.socket], None]) -> None:
        self._connected = connected
        self._socket = _bound(port)
        self._socket.listen(128)
        self._socket.setblocking(False)  # noqa: FBT003 - the socket API takes no keyword
        self._awake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="faulty-agent", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._waker.send(b".")
        self._thread.join(_JOIN_S)
        for socket_ in (self._socket, self._awake, self._waker):
            socket_.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._awake, selectors.EVENT_READ)
            while all(key.fileobj is not self._awake for key, _ in selector.select()):
                with suppress(OSError):  # it is gone again
                    socket_, _ = self._socket.accept()
                    socket_.setblocking(True)  # noqa: FBT003 - the socket API takes no keyword
                    socket_.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._connected(socket_)


class _Connection:
    """Reads requests, one after the other, and does with each what the agent's fault says.

    Attributes:
        stuck_in: The fault for which nothing more happens here.
    """

    def __init__(self, agent: FaultyAgent, socket_: socket.socket) -> None:
        self._agent = agent
        self._socket = socket_
        self._received = b""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faulty-agent", daemon=True)
        self.stuck_in: str | None = None

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            while self._serve():
                pass
        except (_MalformedError, ValueError):
            self._agent._note_malformed()  # noqa: SLF001 - the two are one
        except OSError:
            pass
        finally:
            self._socket.close()
            self._agent._disconnected(self)  # noqa: SLF001 - the two are one

    def _serve(self) -> bool:
        """Serve a request; say whether another may follow."""
        # Look without reading: what a mute agent does not read stays in the way.
        if not self._received and not self._socket.recv(1, socket.MSG_PEEK):
            return False
        agent = self._agent
        if agent._is_stuck(self, "mute"):  # noqa: SLF001 - the two are one
            self._ended.wait()
            return False
        message = self._read()
        if message is None:
            return False
        path, headers, body = message
        request = None
        if path.endswith("/traces") and path != _OTLP_PATH:
            request = agent._note(path, headers, body)  # noqa: SLF001 - the two are one
            if request is None:
                self._socket.sendall(_answer(400, {"error": "not a trace payload"}))
                return True
            kind, number = _parse(request.fault)
        else:
            kind, number = _parse(agent.fault)
        if kind == "hung":
            if agent._is_stuck(self, "hung"):  # noqa: SLF001 - the two are one
                self._ended.wait()
            return False
        status = number if kind == "status" and request is not None else _OK
        answer = _answer(status, _INFO if path == "/info" else {"rate_by_service": {}})
        reusable = headers.get("connection", "").lower() != "close"
        return self._reply(kind, number, answer, request) and reusable

    def _reply(self, kind: str, number: int, answer: bytes, request: Request | None) -> bool:
        """Answer as the fault says; say whether the connection is still good."""
        if kind == "resetting":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif kind == "garbage":
            self._socket.sendall(b"\0" + os.urandom(63))
        elif kind == "half":
            head, end, body = answer.partition(b"\r\n\r\n")
            self._socket.sendall(head + end + body[: len(body) // 2])
        elif kind == "trickle":
            return self._trickle(answer, request)
        elif kind in {"healthy", "slow", "status"}:
            if kind == "slow" and self._ended.wait(number / 1000):
                return False
            self._socket.sendall(answer)
            return True
        return False

    def _trickle(self, answer: bytes, request: Request | None) -> bool:
        for position in range(len(answer)):
            if self._ended.wait(_TRICKLE_S) or self._is_left():
                return False
            self._socket.sendall(answer[position : position + 1])
        if request is not None:
            self._agent._note_answered(request)  # noqa: SLF001 - the two are one
        return True

    def _is_left(self) -> bool:
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _read(self) -> tuple[str, dict[str, str], bytes] | None:
        """Read a request: its path, its header fields, its body; None if the client breaks off."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, path, version
            raise _MalformedError(first)
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunked()
        else:
            body = self._exactly(int(headers.get("content-length", 0)))
        return None if body is None else (words[1].partition("?")[0], headers, body)

    def _chunked(self) -> bytes | None:
        body = b""
        while (line := self._until(b"\r\n")) is not None:
            size = int(line.partition(b";")[0], _HEX)
            if not size:
                return None if self._until(b"\r\n") is None else body
            part = self._exactly(size + 2)
            if part is None:
                return None
            body += part[:size]
        return None

    def _until(self, end: bytes) -> bytes | None:
        while end not in self._received:
            if len(self._received) > _LARGEST_HEAD:
                raise _MalformedError("no end of the head")
            if not self._receive():
                return None
        found, _, self._received = self._received.partition(end)
        return found

    def _exactly(self, size: int) -> bytes | None:
        parts, missing = [self._received[:size]], size - len(self._received)
        self._received = self._received[size:]
        while missing > 0:
            data = self._socket.recv(min(missing, _RECEIVED_AT_ONCE))
            if not data:
                return None
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def _receive(self) -> bool:
        data = self._socket.recv(_RECEIVED_AT_ONCE)
        self._received += data
        return bool(data)


def _parse(fault: str) -> tuple[str, int]:
    kind, _, number = fault.partition(":")
    if kind in _NUMBERED and number.isdecimal() and int(number) in _NUMBERED[kind]:
        return kind, int(number)
    if fault in _PLAIN:
        return fault, 0
    raise ValueError(f"no fault {fault!r}; there are {', '.join(sorted(_PLAIN))}, slow:MS and status:CODE")


def _bound(port: int) -> socket.socket:
    """Bind a port that can be bound twice: once to be kept, once to be listened on."""
    socket_ = socket.socket()
    try:
        # Not SO_REUSEADDR: with it any server could listen on a port that is bound and not listened on.
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        socket_.bind(("127.0.0.1", port))
    except BaseException:
        socket_.close()
        raise
    return socket_


def _answer(status: int, content: Mapping[str, Any]) -> bytes:
    body = json.dumps(content).encode()
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    head = (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
