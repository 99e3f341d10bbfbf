"""Requests for streams that cannot have one, and clients that do not behave."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.request_limits import CHUNKS_AT_ONCE
from tests.interface_server.event_streams.test_stream import CONNECT, DISCONNECT, opened
from tests.interface_server.live import Live, live
from tests.interface_server.server.test_program import certificate
from tests.support.event_source import EventSource
from tests.support.waiting import eventually

__all__ = ["certificate"]


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    with live(event_streams=("*",)) as running:
        yield running


def ask(server: Live, request: bytes) -> bytes:
    """Return all that a server sends until it closes the connection, or an answer of known length."""
    with server.raw() as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while data := client.recv(65536):
            received += data
        return received


def test_head_is_no_way_to_open_a_stream(server: Live) -> None:
    connection = server.http()
    connection.request("HEAD", "/", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert (response.status, response.getheader("allow"), response.read()) == (405, "GET, POST", b"")
    connection.close()
    assert server.has_none(CONNECT)
    assert server.has_none("http.request")


def test_http_1_0_is_told_to_upgrade(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
        received = client.makefile("rb").read()
    assert received.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"\r\nupgrade: HTTP/1.1\r\n" in received
    assert received.endswith(b"Behind nginx set `proxy_http_version 1.1`.\n")
    assert server.has_none(CONNECT)


@pytest.mark.parametrize("mode", ["no-cors", "navigate", "websocket", "cors, no-cors", ""])
def test_a_page_cannot_open_a_stream_without_cors(server: Live, mode: str) -> None:
    with EventSource(server.port, "/", {"Sec-Fetch-Mode": mode}) as source:
        assert source.status == 403
    assert server.has_none(CONNECT)


@pytest.mark.parametrize("mode", ["cors", "same-origin"])
def test_event_source_and_fetch_can(server: Live, mode: str) -> None:
    with opened(server, "/", Sec_Fetch_Mode=mode) as (source, _):
        assert source.status == 200


def test_what_a_client_sends_behind_its_request_is_ignored_up_to_a_bound(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        server.consume(CONNECT, {"accept": True})
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.has_none("http.request")
        with pytest.raises(OSError, match=r"[Rr]eset|[Bb]roken"):
            client.sendall(b"x" * 64 * 1024 * 1024)
    server.consume(DISCONNECT)


def test_a_request_that_was_pipelined_behind_a_stream_is_not_answered(server: Live) -> None:
    with server.raw() as client:
        request = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
        client.sendall(request + b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
        server.consume(CONNECT, {"accept": True, "close": True})
        received = client.makefile("rb").read()
    assert received.endswith(b"event: close\ndata: 1000\n\n\r\n0\r\n\r\n")
    assert received.count(b"HTTP/1.1 ") == 1
    assert server.has_none("http.request")
    server.consume(DISCONNECT)


def test_a_stream_behind_another_request_is_opened_in_its_turn(server: Live) -> None:
    with server.raw() as client:
        request = b"GET /%b HTTP/1.1\r\nHost: x\r\nAccept: %b\r\n\r\n"
        client.sendall(request % (b"1", b"*/*") + request % (b"2", b"text/event-stream"))
        assert server.consume("http.request", {"status": 200})["path"] == "/1"
        assert server.consume(CONNECT, {"accept": True, "close": True})["path"] == "/2"
        assert client.makefile("rb").read().count(b"HTTP/1.1 200 OK") == 2
    server.consume(DISCONNECT)


def test_a_body_with_the_request_means_nothing(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 5\r\n\r\nhello")
        server.consume(CONNECT, {"accept": True, "close": True})
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
    server.consume(DISCONNECT)


def test_a_stream_whose_body_made_reading_pause_notices_that_its_client_leaves(server: Live) -> None:
    chunks = b"1\r\nx\r\n" * (2 * CHUNKS_AT_ONCE) + b"0\r\n\r\n"
    with server.raw() as client:
        head = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.sendall(head + chunks)
        server.consume(CONNECT, {"accept": True})
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    server.consume(DISCONNECT)


def test_a_client_that_leaves_before_it_is_accepted_is_disconnected_once(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"GET /left HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        delivery = server.take(CONNECT)
    eventually(lambda: delivery.reply_channel)
    server.report(delivery)
    assert server.consume(DISCONNECT)["path"] == "/left"
    assert server.has_none(DISCONNECT)


def test_a_client_that_does_not_read_is_cut_off(server: Live) -> None:
    with server.raw() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
        channel = server.consume(CONNECT, {"accept": True})["reply_channel"]
        for _ in range(30):
            server.layer.send(channel, {"text": "x" * 500_000})
        assert server.consume(DISCONNECT)["code"] == 1006


def test_a_slow_client_gets_everything_in_order(server: Live) -> None:
    with opened(server) as (source, message):
        for number in range(40):
            server.layer.send(message["reply_channel"], {"text": f"{number} " + "x" * 50_000})
        assert [int(source.next().data.split()[0]) for _ in range(40)] == list(range(40))


def test_a_header_with_a_line_end_does_not_reach_the_response(server: Live) -> None:
    received = ask(
        server,
        b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nOrigin: a\r b: c\r\nConnection: close\r\n\r\n",
    )
    assert received.startswith(b"HTTP/1.1 400 ")


def test_a_stream_over_tls_is_a_secure_socket(certificate: Path) -> None:
    with live(listen=Listen(port=0, certfile=str(certificate)), event_streams=("*",)) as server:
        context = ssl.create_default_context(cafile=certificate)
        with context.wrap_socket(server.raw(), server_hostname="localhost") as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
            message = server.consume(CONNECT, {"text": "secret", "close": True})
            assert message["scheme"] == "wss"
            received = client.makefile("rb").read()
        assert b"data: secret\n\n" in received
        assert received.endswith(b"0\r\n\r\n")
