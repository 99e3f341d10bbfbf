"""Clients that do not read the end of what they are sent: their connections end all the same."""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from channels_classic.interface_server.server import closing as server_closing
from channels_classic.interface_server.server import websocket_protocol
from tests.interface_server.live import TIMEOUT, Live, live
from tests.interface_server.server.test_limits import HEAD, UPGRADE
from tests.support.waiting import eventually, scaled

REST = 40_000
"""Bytes that fit into neither buffer of a connection here, nor make the server wait before it has written them."""


@contextmanager
def _stuck_client(server: Live) -> Iterator[socket.socket]:
    """A client that will not read, and has next to no room at either end."""
    with closing(socket.socket()) as client:
        client.settimeout(scaled(TIMEOUT))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        eventually(lambda: server.connections)
        (connection,) = server.connections
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield client


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_closing, "FLUSH_TIMEOUT", 0.3)
    monkeypatch.setattr(websocket_protocol, "CLOSE_TIMEOUT", 0.1)
    monkeypatch.setattr(websocket_protocol, "DISCARD_TIMEOUT", 0.1)


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"])
def test_the_end_of_a_response_that_is_not_read_holds_no_connection(header: bytes) -> None:
    with live(limits={"keep_alive": 0.1}) as server, _stuck_client(server) as client:
        client.sendall(HEAD + header + b"\r\n")
        server.consume("http.request", {"status": 200, "content": b"x" * REST})
        eventually(lambda: not server.connections)


def test_a_connection_whose_client_leaves_in_the_middle_of_the_last_bytes_is_free_at_once() -> None:
    with live(limits={"keep_alive": 0.1}) as server:
        with _stuck_client(server) as client:
            (connection,) = server.connections
            transport = weakref.ref(connection.transport)
            del connection
            client.sendall(HEAD + b"Connection: close\r\n\r\n")
            server.consume("http.request", {"status": 200, "content": b"x" * REST})
            client.recv(1)
        eventually(lambda: gc.collect() is not None and transport() is None)


@pytest.mark.usefixtures("_short")
def test_the_end_of_an_event_stream_that_is_not_read_holds_no_connection() -> None:
    with live(event_streams=("*",)) as server, _stuck_client(server) as client:
        client.sendall(HEAD + b"Accept: text/event-stream\r\n\r\n")
        server.consume("websocket.connect", {"text": "x" * REST, "close": True})
        eventually(lambda: not server.connections)


@pytest.mark.usefixtures("_short")
def test_a_websocket_that_is_closed_and_not_read_holds_no_connection() -> None:
    with live() as server, _stuck_client(server) as client:
        client.sendall(UPGRADE)
        server.consume("websocket.connect", {"text": "x" * REST, "close": True})
        eventually(lambda: not server.connections)


@pytest.mark.usefixtures("_short")
def test_a_websocket_that_reads_no_pings_holds_no_connection() -> None:
    with live(ping_interval=0.1, ping_timeout=0.1) as server, _stuck_client(server) as client:
        client.sendall(UPGRADE)
        server.consume("websocket.connect", {"text": "x" * REST})
        eventually(lambda: not server.connections)


@pytest.mark.usefixtures("_short")
def test_a_websocket_that_ends_its_side_and_reads_nothing_holds_no_connection() -> None:
    with live(ping_interval=0.0) as server, _stuck_client(server) as client:
        client.sendall(UPGRADE)
        server.consume("websocket.connect", {"accept": True, "text": "x" * REST})
        client.shutdown(socket.SHUT_WR)
        assert server.consume("websocket.disconnect")["code"] == 1006


def test_a_slow_client_gets_the_end_of_its_response(server: Live) -> None:
    with _stuck_client(server) as client:
        client.sendall(HEAD + b"Connection: close\r\n\r\n")
        server.consume("http.request", {"status": 200, "content": b"x" * REST})
        received = b""
        while part := client.recv(4096):
            received += part
        assert received.endswith(b"\r\n\r\n" + b"x" * REST)
