"""Free TCP ports on 127.0.0.1."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["free_ports", "is_free"]


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nobody listens on now.

    Another process may take one before it is used; whoever binds it then says so.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port now."""
    with socket.socket() as probe:
        # As servers do it: connections that linger after their end do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
