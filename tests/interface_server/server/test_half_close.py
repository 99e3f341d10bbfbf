"""Clients that end their direction of the connection behind a request, and clients that look the same but have left."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from channels_classic.interface_server.server import half_close
from tests.interface_server.live import Live, live
from tests.support.descriptors import without_descriptors
from tests.support.waiting import scaled

REQUEST = b"GET / HTTP/1.1\r\nHost: testserver\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: testserver\r\nContent-Length: 100\r\n\r\nbeginning"


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with pytest.MonkeyPatch.context() as patch, live() as server:
        patch.setattr(half_close, "INTERVAL", scaled(0.4))
        yield server


def half_closed(server: Live, data: bytes) -> socket.socket:
    client = server.raw()
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    return client


def everything(client: socket.socket) -> bytes:
    with client, client.makefile("rb") as reader:
        return reader.read()


def test_a_client_that_sends_nothing_more_gets_its_response_and_the_end(server: Live) -> None:
    client = half_closed(server, REQUEST)
    server.consume("http.request", {"status": 200, "content": b"hello"})
    response = everything(client)
    assert response.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\nconnection: close\r\n" in response
    assert response.endswith(b"\r\n\r\nhello")


def test_it_gets_the_last_of_several_requests_on_its_connection(server: Live) -> None:
    with server.raw() as client:
        client.sendall(REQUEST)
        server.consume("http.request", {"status": 200, "content": b"one"})
        assert client.recv(65536).endswith(b"one")
        client.sendall(REQUEST)
        client.shutdown(socket.SHUT_WR)
        server.consume("http.request", {"status": 200, "content": b"two"})
        assert everything(client).endswith(b"two")


def test_it_gets_a_response_in_parts_to_the_end(server: Live) -> None:
    client = half_closed(server, REQUEST)
    delivery = server.take("http.request")
    assert delivery.reply_channel is not None
    server.layer.send(delivery.reply_channel, {"status": 200, "content": b"one", "more_content": True})
    assert client.recv(65536).startswith(b"HTTP/1.1 200")
    client.settimeout(2.5 * half_close.INTERVAL)
    with pytest.raises(TimeoutError):
        client.recv(65536)  # it stays open although nothing is sent
    client.settimeout(scaled(10))
    server.layer.send(delivery.reply_channel, {"content": b"two"})
    assert b"two" in everything(client)


@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_has_left_altogether_is_noticed(server: Live, begun: bool) -> None:
    client = half_closed(server, REQUEST)
    delivery = server.take("http.request")
    assert delivery.reply_channel is not None
    if begun:
        server.layer.send(delivery.reply_channel, {"status": 200, "content": b"one", "more_content": True})
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    client.close()
    if begun:
        server.layer.send(delivery.reply_channel, {"content": b"two", "more_content": True})
    assert server.take("http.disconnect").message["reply_channel"] == delivery.reply_channel


def test_a_client_whose_response_does_not_begin_soon_counts_as_gone(server: Live) -> None:
    client = half_closed(server, REQUEST)
    reply_channel = server.take("http.request").reply_channel
    assert server.take("http.disconnect").message["reply_channel"] == reply_channel
    assert everything(client) == b""


def test_half_a_body_is_no_request(server: Live) -> None:
    assert everything(half_closed(server, UPLOAD)) == b""
    assert server.has_none("http.request")


class Cycle:
    """A request of uvicorn whose response has begun once it is watched; counts how often it was looked at."""

    keep_alive = True
    response_started = False
    looks = 0

    @property
    def response_complete(self) -> bool:
        self.looks += 1
        return False


def test_a_client_is_looked_at_again_when_no_descriptor_was_left_for_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_close, "INTERVAL", 0.001)
    here, there = socket.socketpair()

    async def main() -> None:
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, here)
        cycle = Cycle()
        assert half_close.keep(transport, cycle)
        cycle.response_started = True
        deadline = time.monotonic() + scaled(10)
        with without_descriptors():
            while cycle.looks < 3 and time.monotonic() < deadline:
                await asyncio.sleep(0.001)
        assert cycle.looks >= 3
        assert not transport.is_closing()
        transport.close()

    with there:
        asyncio.run(main())
