"""Free TCP ports on 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["free_ports", "is_free", "reserved"]


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nobody listens on now.

    Another process may take one before it is used; whoever binds it then says so.
    """
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(reserved()) for _ in range(count)]


@contextlib.contextmanager
def reserved(port: int = 0, *, lingering: bool = False) -> Iterator[int]:
    """Keep a port for a server that is about to listen, for the time of a ``with`` block.

    On Linux the system gives it to nobody who asks for any free port, and a server that reuses addresses,
    as all do, can bind it. Elsewhere it could not, so that there the port is only known to have been free.

    Args:
        port: Which one; 0 for any.
        lingering: Have it even if connections linger on it after their end.

    Raises:
        OSError: It is taken.
    """
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, lingering)
        one.bind(("127.0.0.1", port))
        number: int = one.getsockname()[1]
        if sys.platform == "linux":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            one.close()
        yield number


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port now."""
    try:
        with reserved(port, lingering=True):
            return True
    except OSError:
        return False
