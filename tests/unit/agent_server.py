"""A trace agent on a socket that does with each connection what a test's script says."""

import socket
import threading
from contextlib import suppress

from ddlwa.agent import Address

JOIN_S = 10


class Peer:
    """The agent's side of a connection."""

    def __init__(self, socket_):
        self.socket = socket_
        self._received = b""

    def request(self):
        """Read a request; give its body, or None once the client has closed the connection."""
        while b"\r\n\r\n" not in self._received:
            if not self._receive():
                return None
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        while len(self._received) < length:
            if not self._receive():
                return None
        body, self._received = self._received[:length], self._received[length:]
        return body

    def say(self, data):
        self.socket.sendall(data)

    def _receive(self):
        data = self.socket.recv(1 << 20)
        self._received += data
        return bool(data)


class ScriptedAgent:
    """Listens on TCP, or on a Unix socket if it is given a path; runs each connection in a thread.

    A script is called with a Peer; when it returns, the connection is closed.
    """

    def __init__(self, script, *, path=None):
        self.script = script
        self.connections = 0
        self._sockets = []
        self._threads = []
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = Address("127.0.0.1", self._listener.getsockname()[1], "")
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.address = Address("", 0, str(path))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                socket_, _ = self._listener.accept()
            except OSError:  # it is shut down
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(socket_,), daemon=True)
            self._sockets.append(socket_)
            self._threads.append(thread)
            thread.start()

    def _serve(self, socket_):
        with socket_, suppress(OSError):
            self.script(Peer(socket_))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for socket_ in (self._listener, *self._sockets):
            with suppress(OSError):
                socket_.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._thread, *self._threads):
            thread.join(JOIN_S)
            assert not thread.is_alive()


def answer(status=200, content=b"{}", *fields):
    """Write an answer of the usual form, with more fields if wanted."""
    head = "".join(f"{line}\r\n" for line in (f"content-length: {len(content)}", *fields))
    return f"HTTP/1.1 {status} Reason\r\n{head}\r\n".encode() + content
