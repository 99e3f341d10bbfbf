"""Connections that end with a reset."""

from __future__ import annotations

import socket
from asyncio import BaseTransport

import pytest

from channels_classic.interface_server.server.connection_reset import can_reset, reset_on_close


def transport_of(connection: socket.socket | None) -> BaseTransport:
    return BaseTransport({"socket": connection})


def test_a_tcp_connection_is_reset_when_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        connection, _ = listener.accept()
        assert can_reset(transport_of(connection))
        reset_on_close(transport_of(connection))
        connection.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_unix_socket_and_one_that_is_closed_are_left_alone() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not can_reset(transport_of(near))
        reset_on_close(transport_of(near))
    with socket.socket() as closed:
        pass
    reset_on_close(transport_of(closed))
    reset_on_close(transport_of(None))
