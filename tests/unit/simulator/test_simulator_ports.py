from __future__ import annotations

import asyncio
import errno
import socket
import sys

import pytest

from ddlwa.simulator.ports import free_ports, is_free, reserved

only_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere a port cannot be kept for a server"
)


def test_free_ports_differ():
    """Two parts of a simulator never get the same one."""
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(map(is_free, ports))


def test_a_port_on_which_somebody_listens_is_taken():
    """Neither is it free, nor can it be reserved."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        for lingering in (False, True):
            with pytest.raises(OSError, match="in use") as taken, reserved(port, lingering=lingering):
                pass
            assert taken.value.errno == errno.EADDRINUSE


@only_linux
def test_a_reserved_port_is_for_a_server_only():
    """A server such as uvicorn can listen on it; who binds it otherwise, or reserves it again, is refused."""

    async def serve(port):
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", port)
        server.close()
        await server.wait_closed()

    with reserved() as port:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with pytest.raises(OSError, match="in use"), reserved(port):
            pass
        with socket.socket() as client:  # a readiness check meets nobody
            assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
        asyncio.run(serve(port))
        asyncio.run(serve(port))  # a server that is started once more


@only_linux
def test_nobody_is_given_a_reserved_port():
    """The system has some 28,000 to give; of so many that are asked for, none is one of those reserved."""
    with reserved() as one, reserved() as other:
        given = {port for _ in range(300) for port in free_ports(100)}
        assert len(given) > 10_000
        assert not given & {one, other}


def test_a_port_is_free_again_afterwards():
    """A reservation ends with its block."""
    with reserved() as port:
        pass
    assert is_free(port)
