"""A trace agent that answers at once and keeps nothing, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTENT = b'{"rate_by_service":{}}'
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_CONTENT),
    _CONTENT,
)


@contextmanager
def quick_agent() -> Iterator[str]:
    """Start one; give its URL."""
    command = [sys.executable, "-m", "benchmarks.quick_agent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def _serve(connection: socket.socket) -> None:
    received = b""
    while data := connection.recv(1 << 20):
        received += data
        while (head_end := received.find(b"\r\n\r\n")) >= 0:
            _, _, length = received[:head_end].lower().partition(b"content-length:")
            end = head_end + 4 + int(length.split(b"\r\n")[0] or 0)
            if len(received) < end:
                break
            received = received[end:]
            connection.sendall(_ANSWER)


def _main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)  # noqa: T201 - for the parent
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    _main()
