"""Takes finished traces from ddtrace's writer, and knows where they go."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import ddtrace
from ddtrace.internal.runtime.container import update_headers  # the file of this name
from ddtrace.internal.writer import writer as writers  # ddtrace/internal/writer/writer.py
from ddtrace.trace import tracer

from ddlwa.agent import Address
from ddlwa.log import warn_once
from ddlwa.payload import Payload
from ddlwa.worker import here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ddlwa.delivery import Delivery
    from ddlwa.replacements import Replacements

_SHUTDOWN_S = 2.0
_CGROUP_NAMESPACE, _HOSTS_NAMESPACE = "/proc/self/ns/cgroup", 0xEFFFFFFB  # Linux, include/linux/proc_ns.h
# No trace, in the two encodings of ddtrace/internal/writer/writer_client.py.
_EMPTY = {"v0.4/traces": b"\x90", "v0.5/traces": b"\x92\x91\xa0\x90"}


def buffered_writer() -> Any:
    """Give ddtrace's writer if it buffers; None if it writes each trace at once, as to a log."""
    writer = tracer._span_aggregator.writer  # ddtrace/_trace/tracer.py, .../processor/__init__.py
    return None if isinstance(writer, writers.LogWriter) else writer


class Buffer:
    """What ddtrace has finished, taken from its writer's encoders; see `ddlwa.delivery.Source`.

    Args:
        sorts: A request's traces come before all others; without it, all count as a request's.

    Attributes:
        sorts: As above.
        dropped: Called with a reason and a number of traces that are lost here.
        requests: By trace id how many requests are served whose responses have not left.
        ignored: Trace ids of requests that are not to be traced.
    """

    def __init__(self, *, sorts: bool) -> None:
        self.sorts = sorts
        self.dropped: Callable[[str, int], None] = _uncounted
        self._lock = threading.RLock()
        self._native_target: _Native | None = None
        self._foreign_target: _Foreign | None = None
        self._others: _Others | None = None
        self._left: list[Payload] = []
        self._refused = 0
        self.requests: Counter[int] = Counter()
        self.ignored: set[int] = set()

    def collect(self, *, leftovers: bool) -> tuple[list[Payload], list[Payload]]:
        """Take what is finished: the traces of requests, and, if wanted, those that come after them."""
        writer = buffered_writer()
        if writer is None:
            return [], []
        if not isinstance(writer, writers.NativeWriter):
            return [self._foreign(writer).probe()], []
        with self._lock:
            target = self._native(writer)
            own = self._encode(target.client.encoder, target)
            if not leftovers:
                return own, []
            self._set_aside()
            left, self._left = self._left, []
            return own, left

    def leftovers_follow(self, writer: Any) -> bool:
        """Say whether what is no request's, sent now, comes behind a request's, or none is being served."""
        return not self.requests or len(writer._clients[0].encoder) > 0

    def target(self) -> _Native | None:
        """Say where traces go at present; None if they are not for sending."""
        writer = buffered_writer()
        return self._native(writer) if isinstance(writer, writers.NativeWriter) else None

    def write(self, write: Callable[..., None], writer: Any, spans: Sequence[Any]) -> None:
        """Put a finished trace where it belongs: into ddtrace's encoder, or another, or nowhere.

        Args:
            write: ddtrace's own way.
            writer: Its writer.
            spans: The trace.
        """
        with self._lock:
            try:
                client = self._client(writer, spans[0].trace_id)
            except Exception:  # noqa: BLE001 - guards the app from our own code
                # The app is in the middle of `span.finish()`.
                warn_once("write", "cannot tell where a trace belongs", exc_info=True)
                write(writer, spans)
                return
            if client is None:
                return
            before = len(client.encoder)
            if client is writer._clients[0]:
                write(writer, spans)
            else:
                writer._write_with_client(client, spans=spans)
            if len(client.encoder) == before:
                self._refused += 1
                self.dropped("full", 1)

    def _client(self, writer: Any, trace_id: int) -> Any:
        """Give what a trace is to be written with; None if it is not to be kept."""
        if trace_id in self.ignored:
            self.dropped("readiness", 1)
            return None
        if here.is_ours:
            return None  # of a library that sends what it was told to flush, not of the app
        # An OTLP export is not for the Datadog extension, which is what the order is for.
        if not self.sorts or trace_id in self.requests or getattr(writer, "_otlp_endpoint", None):
            return writer._clients[0]
        target = self._native(writer)
        if self._others is None or self._others.target is not target:
            self._set_aside()
            self._others = _Others(target)
        return self._others.client

    def _set_aside(self) -> None:
        """Encode the others' traces, for their own target: the writer may have got another."""
        if self._others is not None:
            self._left += self._encode(self._others.client.encoder, self._others.target)

    def _encode(self, encoder: Any, target: _Native) -> list[Payload]:
        """Do what the first half of flush_queue does in ddtrace/internal/writer/writer.py."""
        traces = len(encoder)
        if not traces:
            return []
        now_s = time.time()
        metrics = target.writer._metrics
        try:
            payloads = [Payload(body, n, target, now_s) for body, n in encoder.encode() if body]
            # The tag _dd.tracer_kr comes from this: all that was accepted, but for what was refused here.
            metrics["sent_traces"] = metrics["accepted_traces"] - self._refused
            self._refused = 0
            target.writer._set_drop_rate()
        except Exception:  # noqa: BLE001 - what ddtrace cannot do is counted, and goes no further
            warn_once("encoding", "ddtrace cannot encode its traces", exc_info=True)
            self.dropped("encoding", traces)
            return []
        return payloads

    def forked(self) -> None:
        """Start anew in a forked child; the traces are its parent's, also those in ddtrace's writer."""
        self._lock = threading.RLock()
        self._others = None
        self._left = []
        writer = buffered_writer()
        if isinstance(writer, writers.NativeWriter):
            for client in writer._clients:
                client.encoder.encode()
        self.requests.clear()
        self.ignored.clear()

    def _native(self, writer: Any) -> _Native:
        target = self._native_target
        if target is None or not target.is_of(writer):
            self._native_target = target = _Native(writer)
        return target

    def _foreign(self, writer: Any) -> _Foreign:
        target = self._foreign_target
        if target is None or target.writer is not writer:
            self._foreign_target = target = _Foreign(writer)
        return target


def take_over_traces(buffer: Buffer, replacements: Replacements) -> None:
    """Have ddtrace's writer put finished traces where they belong.

    Args:
        buffer: Knows where.
        replacements: Where undoing this belongs.
    """

    def write(write: Callable[..., None]) -> Callable[..., None]:
        def sorted_(self: Any, spans: Sequence[Any] | None = None) -> None:
            if spans and self is tracer._span_aggregator.writer:
                buffer.write(write, self, spans)
            else:
                write(self, spans)

        return sorted_

    def log(write: Callable[..., None]) -> Callable[..., None]:
        def if_wanted(self: Any, spans: Sequence[Any] | None = None) -> None:
            if spans and spans[0].trace_id in buffer.ignored:
                buffer.dropped("readiness", 1)
            else:
                write(self, spans)

        return if_wanted

    replacements.replace(writers.NativeWriter, "write", write)
    replacements.replace(writers.LogWriter, "write", log)


def take_over_sending(  # noqa: C901 - four replacements, each of a line or two
    buffer: Buffer, delivery: Delivery, replacements: Replacements, *, tick: Callable[[], None] | None
) -> None:
    """Have ddtrace's writer leave the sending to ddlwa, and never do it within `span.finish()`.

    Args:
        buffer: Knows whether a request is being served.
        delivery: Sends.
        replacements: Where undoing this belongs.
        tick: Called each time before ddtrace's own thread has traces sent; None if it is not to have that.
    """

    def flush(flush_queue: Callable[..., None]) -> Callable[..., None]:
        def handed_over(self: Any, *args: Any, **kwargs: Any) -> None:
            if self is buffered_writer():
                delivery.flush_blocking(timeout_s=_SHUTDOWN_S, leftovers=buffer.leftovers_follow(self))
            else:
                flush_queue(self, *args, **kwargs)

        return handed_over

    def by_itself(periodic: Callable[..., None]) -> Callable[..., None]:
        def if_wanted(self: Any) -> None:
            if self is buffered_writer():
                if tick is None:
                    return
                tick()
            periodic(self)

        return if_wanted

    def shut_down(on_shutdown: Callable[..., None]) -> Callable[..., None]:
        def after_a_last_flush(self: Any) -> None:
            if self is buffered_writer():
                delivery.flush_blocking(timeout_s=_SHUTDOWN_S, force=True)
            on_shutdown(self)

        return after_a_last_flush

    replacements.replace(writers.NativeWriter, "flush_queue", flush)
    replacements.replace(writers.NativeWriter, "periodic", by_itself)
    replacements.replace(writers.NativeWriter, "on_shutdown", shut_down)
    replacements.replace(writers, "_use_sync_mode", lambda _: lambda: False)
    writer = tracer._span_aggregator.writer
    if "_sync_mode" in vars(writer):
        replacements.replace(writer, "_sync_mode", lambda _: False)


def _uncounted(reason: str, traces: int) -> None:
    """Stand in until somebody counts."""


class _Others:
    """Traces that come after those of requests."""

    def __init__(self, target: _Native) -> None:
        writer = target.writer
        self.target = target
        self.client = type(target.client)(writer._buffer_size, writer._max_payload_size)


class _Native:
    """Where ddtrace's NativeWriter sends to, by our own connection if its exporter does no more."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.client = writer._clients[0]  # ddtrace/internal/writer/writer.py
        self.address = None if _does_more_than_send(writer) else Address.parse(writer.intake_url)
        self._token = writer._test_session_token
        self._content = b""
        self._head = b""
        if self.address is not None:
            self._head = self._compose(writer, self.address)

    def is_of(self, writer: Any) -> bool:
        """Say whether it is what a writer sends to at present."""
        return (
            self.writer is writer
            and self.client is writer._clients[0]
            and self._token is writer._test_session_token
        )

    def _compose(self, writer: Any, address: Address) -> bytes:
        prefix = "" if address.path else urlsplit(writer.intake_url).path.rstrip("/")
        headers = {
            "host": _authority(address),
            "content-type": "application/msgpack",
            # As ddtrace's exporter says them (libdatadog, libdd-trace-utils).
            "datadog-meta-lang": "python",
            "datadog-meta-lang-version": writers.compat.PYTHON_VERSION,
            "datadog-meta-lang-interpreter": writers.compat.PYTHON_INTERPRETER,
            "datadog-meta-tracer-version": ddtrace.__version__,
            "datadog-client-computed-top-level": "true",
            "datadog-send-real-http-status": "1",
        }
        update_headers(headers)
        if headers.get("Datadog-Entity-ID", "").startswith("in-") and _in_hosts_namespace():
            del headers["Datadog-Entity-ID"]  # of no container, as ddtrace's exporter knows
        if self._token:
            headers["x-datadog-test-session-token"] = self._token
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {prefix}/{self.client.ENDPOINT} HTTP/1.1\r\n{lines}".encode()

    def request(self, payload: Payload) -> bytes:
        """Write the HTTP request that carries a payload to the address."""
        size, traces = len(payload.body), payload.traces
        return b"%sx-datadog-trace-count: %d\r\ncontent-length: %d\r\n\r\n%s" % (
            self._head,
            traces,
            size,
            payload.body,
        )

    def send(self, payload: Payload) -> None:
        """Send a payload through ddtrace's exporter, with its own retries."""
        writer = buffered_writer()
        if not isinstance(writer, writers.NativeWriter) or type(writer._clients[0]) is not type(self.client):
            writer = self.writer
        # A writer that was replaced has shut its exporter down.
        writer._send_payload(payload.body, payload.traces, writer._clients[0])

    def accepted(self, content: bytes) -> None:
        """Hand ddtrace the sampling rates that the agent answers with."""
        callback = self.writer._response_cb
        if callback is None or content == self._content:
            return
        self._content = content
        try:
            rates = json.loads(content)["rate_by_service"]
        except (ValueError, KeyError, TypeError):
            return
        callback(writers.AgentResponse(rate_by_service=rates))

    def unsupported(self, status: int) -> None:
        """Let ddtrace go on with another encoding."""
        if self.writer._clients[0] is self.client:
            self.writer._downgrade(status, self.client)

    def probe(self) -> Payload:
        """Make a payload without a trace."""
        return Payload(_EMPTY[self.client.ENDPOINT], 0, self, time.time())


class _Foreign:
    """Where a writer that is none of ddtrace's defaults sends to: only it knows."""

    address: Address | None = None

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def request(self, payload: Payload) -> bytes:
        raise NotImplementedError  # there is no address to send it to

    def send(self, payload: Payload) -> None:  # noqa: ARG002 - the traces are in the writer
        self.writer.flush_queue()

    def accepted(self, content: bytes) -> None:
        pass

    def unsupported(self, status: int) -> None:
        pass

    def probe(self) -> Payload:
        return Payload(b"", 0, self, time.time())


def _authority(address: Address) -> str:
    """Write a host and port as HTTP does; a Unix socket has neither."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}" if host else "localhost"


def _in_hosts_namespace() -> bool:
    try:
        return Path(_CGROUP_NAMESPACE).stat().st_ino == _HOSTS_NAMESPACE
    except OSError:
        return False


def _does_more_than_send(writer: Any) -> bool:
    """Say whether ddtrace's exporter computes, converts or authenticates besides sending."""
    return bool(
        writer._compute_stats_enabled
        or writer._stats_opt_out
        or getattr(writer, "_otlp_endpoint", None)
        or getattr(writer, "_otlp_metrics_endpoint", None)
        or getattr(writer, "_api_key", None)
        or writer._api_version not in {"v0.4", "v0.5"}
    )
