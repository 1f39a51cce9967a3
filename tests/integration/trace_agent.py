"""A trace agent on a local port that keeps what it is sent."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.payloads import decode


class TraceAgent:
    """Answers ddtrace's writer as an agent does, and decodes its payloads.

    Attributes:
        may_answer: While it is clear, trace payloads are neither kept nor answered.
    """

    def __init__(self):
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._chunks = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def chunks(self):
        """Give what has been received: a list of trace chunks, each a list of spans."""
        with self._lock:
            return [list(chunk) for chunk in self._chunks]

    def spans(self):
        """Give every span that has been received."""
        return [span for chunk in self.chunks() for span in chunk]

    def clear(self):
        with self._lock:
            self._chunks.clear()

    def close(self):
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path, payload):
        """Keep a payload of the v0.4 or the v0.5 API."""
        self.may_answer.wait()
        chunks = decode(path, payload)
        with self._lock:
            self._chunks += chunks


# What a real agent has of what ddtrace looks for; it logs a warning about what is missing.
_ENDPOINTS = [
    "/v0.4/traces",
    "/v0.5/traces",
    "/debugger/v1/input",
    "/debugger/v1/diagnostics",
    "/debugger/v2/input",
    "/telemetry/proxy/",
]


def _handler_for(agent):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            self._answer({"endpoints": _ENDPOINTS, "version": "7.70.0"})

        def do_PUT(self):
            body = self._body()
            if self.path.endswith("/traces"):
                agent.take(self.path, body)
            self._answer({"rate_by_service": {}})

        do_POST = do_PUT  # noqa: N815 - the handler's naming

        def _body(self):
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _answer(self, content):
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    return Handler
