"""Input that goes on for ever, in each place where a client may put it. Bytes over real sockets.

Another client is served meanwhile, and the memory of the process is bounded.
"""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat

import pytest

from channels_classic.interface_server.server import websocket_protocol
from channels_classic.interface_server.server.http_protocol import MAX_IGNORED
from channels_classic.interface_server.server.websocket_protocol import MAX_EARLY_BYTES
from tests.interface_server.live import TIMEOUT, Live, live
from tests.interface_server.server.test_limits import HEAD, UPGRADE, answer, frame, read_all, statuses
from tests.support.waiting import scaled

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
PART = b"x" * 65536
MOST = 64 * 1024 * 1024
"""Bytes after which a client gives up: more than any limit."""


def flood(client: socket.socket, parts: Iterator[bytes]) -> int:
    """Send until the server closes the connection → the bytes sent; at most `MOST`."""
    sent = 0
    try:
        while sent < MOST:
            part = next(parts)
            client.sendall(part)
            sent += len(part)
    except OSError:
        pass
    return sent


ENDLESS = {
    "a request line": (b"GET /", repeat(PART), 414),
    "a header": (HEAD + b"A: ", repeat(PART), 431),
    "headers": (HEAD, repeat(b"A: b\r\n" * 1000), 431),
    "a trailer": (CHUNKED + b"1\r\na\r\n0\r\nA: ", repeat(PART), 431),
    "trailers": (CHUNKED + b"0\r\n", repeat(b"A: b\r\n" * 1000), 431),
    "a chunk extension": (CHUNKED + b"1;a=", repeat(PART), 400),
    "a later chunk extension": (CHUNKED + b"1\r\na\r\n1;a=", repeat(PART), 400),
    "the name of a trailer": (CHUNKED + b"0\r\n", repeat(PART), 431),
    "chunk extensions": (CHUNKED, repeat((b"1;a=" + b"x" * 500 + b"\r\na\r\n") * 100), 400),
}


@pytest.mark.parametrize("place", ENDLESS)
def test_input_without_an_end_is_refused_while_others_are_served(server: Live, place: str) -> None:
    start, parts, status = ENDLESS[place]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with server.raw() as client:
        client.sendall(start)
        received: list[bytes] = []
        reading = threading.Thread(target=lambda: received.append(read_all(client)))
        reading.start()
        assert flood(client, parts) < MOST
        begun = time.monotonic()
        other = server.http()
        other.request("GET", "/")
        server.consume("http.request", {"status": 200})
        assert other.getresponse().status == 200
        other.close()
        assert time.monotonic() - begun < scaled(TIMEOUT)
        reading.join()
    assert statuses(received[0]) in ([status], [])  # the kernel may discard it when data is unread
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "KiB"


def test_a_body_after_its_answer_is_not_read_for_ever() -> None:
    chunk = b"%x\r\n%b\r\n" % (len(PART), PART)
    with live(max_body=1000) as server, server.raw() as client:
        client.sendall(CHUNKED + chunk)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")
        begun = time.monotonic()
        with suppress(OSError):
            while time.monotonic() < begun + scaled(9.0):
                client.sendall(chunk)
        assert time.monotonic() < begun + scaled(8.0), "it is read for a moment, until the client has its answer"


def test_what_follows_another_protocol_is_not_read_for_ever(server: Live) -> None:
    with server.raw() as client:
        client.sendall(HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n")
        server.take("http.request")
        assert flood(client, repeat(PART)) < MAX_IGNORED + 16 * 1024 * 1024


def test_frames_before_a_handshake_is_answered_are_bounded(server: Live) -> None:
    with server.raw() as client:
        client.sendall(UPGRADE)
        delivery = server.take("websocket.connect")
        read = MAX_EARLY_BYTES + websocket_protocol.MAX_IGNORED
        assert flood(client, repeat(frame(0x89, b"a" * 125) * 100)) < read + 16 * 1024 * 1024
    server.report(delivery)
    assert server.consume("websocket.disconnect")["code"] == 1006


def test_a_ping_with_the_handshake_is_answered_after_it(server: Live) -> None:
    with server.raw() as client:
        client.sendall(UPGRADE + frame(0x89, b"early"))
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(scaled(TIMEOUT))
        server.consume("websocket.connect", {"accept": True})
        received = b""
        while not received.endswith(b"\x8a\x05early"):
            received += client.recv(65536)
        assert received.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / RTSP/1.0\r\nHost: x\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"SOURCE / ICE/1.0\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 505),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 501),
        (b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://a@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    ],
)
def test_a_request_that_is_not_http_1_is_refused_with_the_status_for_it(
    server: Live, request_: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert statuses(answer(server, request_)) == [status]
    assert server.has_none("http.request")
    assert server.has_none("websocket.connect")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("line", "host", "path", "query"),
    [
        (b"GET http://other:81/a%20b?c=d HTTP/1.1", b"other:81", "/a b", b"c=d"),
        (b"GET HTTP://other HTTP/1.1", b"other", "/", b""),
        (b"GET //a//b HTTP/1.1", b"x", "//a//b", b""),
        (b"OPTIONS * HTTP/1.1", b"x", "*", b""),
    ],
)
def test_the_target_of_a_request_says_what_is_asked_for(
    server: Live, line: bytes, host: bytes, path: str, query: bytes
) -> None:
    with server.raw() as client:
        client.sendall(line + b"\r\nHost: x\r\n\r\n")
        message = server.consume("http.request", {"status": 200})
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert (message["path"], message["query_string"]) == (path, query)
    assert [value for name, value in message["headers"] if name == b"host"] == [host]


def test_many_requests_in_one_read_are_not_taken_for_one_that_is_too_large() -> None:
    with live(limits={"max_head": 2000}) as server, server.raw() as client:
        client.sendall((HEAD + b"A: " + b"b" * 400 + b"\r\n\r\n") * 50 + HEAD)
        for _ in range(50):
            server.consume("http.request", {"status": 204})
        client.sendall(b"\r\n")
        server.consume("http.request", {"status": 200, "content": b"last"})
        received = b""
        while not received.endswith(b"last"):
            received += client.recv(65536)
        assert statuses(received) == [204] * 50 + [200]
