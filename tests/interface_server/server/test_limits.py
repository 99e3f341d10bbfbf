"""Limits on clients that send too much, too slowly, or ambiguously. Bytes over real sockets."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import repeat
from typing import Any

import pytest

from channels_classic.interface_server.http import body
from channels_classic.interface_server.server import http_protocol, request_limits
from channels_classic.interface_server.websocket.connection import WebSocket
from tests.interface_server.live import TIMEOUT, Live, live
from tests.support.waiting import eventually

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def read_all(client: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def answer(server: Live, *data: bytes) -> bytes:
    """Return the server's answer to these bytes, up to the end of the connection."""
    with server.raw() as client:
        for part in data:
            client.sendall(part)
        return read_all(client)


def statuses(received: bytes) -> list[int]:
    """The statuses of the responses in `received`."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def frame(first: int, payload: bytes, masked: bool = True) -> bytes:
    """A frame as a client sends it, masked with zeros."""
    length = len(payload)
    if length < 126:
        size = bytes([length])
    else:
        size = b"\x7e" + length.to_bytes(2, "big") if length < 65536 else b"\x7f" + length.to_bytes(8, "big")
    mask = bytes([size[0] | 0x80]) + size[1:] + b"\0\0\0\0" if masked else size
    return bytes([first]) + mask + payload


FAULTS = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, turned": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two equal lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
    "a signed length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    "a coding nobody knows": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in the middle": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk without its end": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n",
    "a line without its end": b"GET / HTTP/1.1\nHost: x\n\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nA: a\r\n b\r\n\r\n",
    "a control character": b"GET / HTTP/1.1\r\nHost: x\r\nA: a\x01b\r\n\r\n",
    "a null": b"GET / HTTP/1.1\r\nHost: x\r\nA: a\0b\r\n\r\n",
    "a control character in the target": b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw UTF-8 in the target": "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no method": b"\0\x01\x02\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a handshake with a body": UPGRADE.replace(b"Host: x", b"Host: x\r\nContent-Length: 3"),
    "a handshake with chunks": UPGRADE.replace(b"Host: x", b"Host: x\r\nTransfer-Encoding: chunked"),
    "a handshake by POST": UPGRADE.replace(b"GET", b"POST"),
    "a handshake with bytes for a key": UPGRADE.replace(b"x3JJ", b"\xff\xfeJJ"),
    "a handshake without a key": UPGRADE.replace(b"Sec-WebSocket-Key", b"X"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_could_be_understood_in_two_ways_is_refused(
    server: Live, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert statuses(answer(server, FAULTS[fault])) == [400]
    assert server.has_none("http.request")
    assert "Traceback" not in caplog.text


TWIN = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("line", [b"GET  / HTTP/1.1\r\nHost: x\r\n", b"GET / RTSP/1.1\r\nHost: x\r\n"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"X: " + TWIN),
        (b"", b"\r\n" + TWIN),
        (TWIN + b"Host: x\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n" + TWIN, b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + TWIN + b"\r\n0\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + TWIN + b"\r\n", b""),
    ],
)
def test_a_good_request_line_elsewhere_excuses_none(server: Live, before: bytes, line: bytes, after: bytes) -> None:
    with server.raw() as client:
        client.sendall(before + line + after + b"\r\n")
        if before:
            server.consume("http.request", {"status": 200})
        assert statuses(read_all(client)) == [200 if before else 400]
        assert server.has_none("http.request")


def test_a_version_nobody_speaks_here_is_refused(server: Live) -> None:
    assert statuses(answer(server, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n")) == [505]


def test_a_handshake_of_another_version_is_told_which_one_is_spoken(server: Live) -> None:
    received = answer(server, UPGRADE.replace(b"Version: 13", b"Version: 7"))
    assert statuses(received) == [426]
    assert b"\r\nsec-websocket-version: 13\r\n" in received


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /" + b"a" * 40000, 414),
        (HEAD + b"A: " + b"a" * 40000 + b"\r\n\r\n", 431),
        (HEAD + b"A: " + b"a" * 40000, 431),
        (HEAD + b"A: b\r\n" * 200 + b"\r\n", 431),
        (UPGRADE[:-2] + b"A: " + b"a" * 40000 + b"\r\n\r\n", 431),
    ],
)
def test_a_head_that_is_too_large_is_refused(server: Live, head: bytes, status: int) -> None:
    assert statuses(answer(server, head)) == [status]
    assert server.has_none("http.request")


@pytest.mark.parametrize("length", [b"1001", b"1001 "])
def test_a_declared_body_that_is_too_large_is_refused_before_it_is_sent(length: bytes) -> None:
    with live(max_body=1000) as server:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: " + length + b"\r\n\r\n"
        assert statuses(answer(server, head)) == [413]
        assert server.has_none("http.request")


def test_a_length_of_thousands_of_digits_is_a_length() -> None:
    with live(max_body=1000) as server, server.raw() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"0" * 5000 + b"2\r\n\r\nab")
        assert server.consume("http.request", {"status": 200})["body"] == b"ab"
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_chunked_body_that_grows_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "DISCARD_TIMEOUT", 0.3)
    with live(max_body=2_000_000) as server, server.raw() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(40):
                client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        assert statuses(read_all(client)) == [413]
        assert server.has_none("http.request")


def test_a_client_that_says_nothing_is_left() -> None:
    with live(limits={"head_timeout": 0.2}) as server:
        assert answer(server) == b""


@pytest.mark.parametrize("start", [b"G", HEAD, HEAD + b"A: b\r\n"])
def test_a_head_that_does_not_end_in_time_is_refused(start: bytes) -> None:
    with live(limits={"head_timeout": 0.2}) as server:
        assert statuses(answer(server, start)) in ([408], [])


def test_empty_lines_do_not_keep_a_connection() -> None:
    with live(limits={"head_timeout": 0.3}) as server, server.raw() as client:
        client.settimeout(0.05)
        closed = False

        def still_open() -> bool:
            nonlocal closed
            with suppress(TimeoutError, ConnectionError):
                client.sendall(b"\r\n")
                return client.recv(1) == b""
            with suppress(TimeoutError):
                closed = client.recv(1) == b""
            return closed

        eventually(still_open)


def test_a_body_that_trickles_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "RATE_INTERVAL", 0.2)
    with live() as server:
        received = answer(server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert statuses(received) == [408]
        assert server.has_none("http.request")


def test_a_body_that_waits_for_its_consumer_is_not_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_limits, "RATE_INTERVAL", 0.1)
    with live(waiting_frames=1) as server, server.raw() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde")
        request = server.take("http.request")
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.recv(1)
        server.layer.send(str(request.reply_channel), {"status": 200})
        client.settimeout(TIMEOUT)
        assert statuses(client.recv(65536)) == [200]


def test_trailers_are_no_headers(server: Live) -> None:
    with server.raw() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"1\r\nx\r\n0\r\nX-Forwarded-For: evil\r\n\r\n")
        message = server.consume("http.request", {"status": 200})
        assert message["body"] == b"x"
        assert [name for name, _ in message["headers"]] == [b"host", b"transfer-encoding"]


def test_what_follows_an_unknown_upgrade_is_its_body_or_is_not_read(server: Live) -> None:
    second = b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
    upgrade = b" /1 HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n"
    with server.raw() as client:
        client.sendall(b"POST" + upgrade + b"Content-Length: %d\r\n\r\n" % len(second) + second)
        assert server.consume("http.request", {"status": 200})["body"] == second
        assert statuses(read_all(client)) == [200]
    with server.raw() as client:
        client.sendall(b"GET" + upgrade + b"\r\n" + second)
        server.consume("http.request", {"status": 200})
        assert statuses(read_all(client)) == [200]
    assert server.has_none("http.request")


def test_requests_behind_any_body_are_found_wherever_the_reads_end(server: Live) -> None:
    pieces = [
        b"POST /0 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na\r\nb\r",
        b"\r\n\r\nGET /1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"4;a=b\r\n\r\n\r\n\r\n1\r\nx\r\n0;c\r\nA: b\r\nC: d\r\n\r\n",
        b"POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ]
    whole = b"".join(pieces)
    for size in (1, 7, 64, len(whole)):
        with server.raw() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(whole), size):
                client.sendall(whole[start : start + size])
                time.sleep(0.0005)  # so that they are several reads
            for number in range(5):
                assert server.consume("http.request", {"status": 200})["path"] == f"/{number}"
            assert statuses(read_all(client)) == [200] * 5


def test_a_fault_behind_a_request_is_not_its_answer(server: Live) -> None:
    with server.raw() as client:
        client.sendall(HEAD + b"\r\n" + FAULTS["both lengths"])
        server.consume("http.request", {"status": 201})
        assert statuses(read_all(client)) == [201]


def test_a_handshake_behind_a_request_does_not_take_its_connection(server: Live) -> None:
    with server.raw() as client:
        client.sendall(HEAD + b"\r\n" + UPGRADE)
        server.consume("http.request", {"status": 201})
        assert statuses(read_all(client)) == [201]
        assert server.has_none("websocket.connect")


def test_a_client_that_leaves_pipelined_requests_breaks_nothing(server: Live, caplog: pytest.LogCaptureFixture) -> None:
    with server.raw() as client:
        client.sendall((HEAD + b"\r\n") * 3)
        request = server.take("http.request")
    assert server.take("http.disconnect").reply_channel == request.reply_channel
    assert server.has_none("http.request")
    assert "Traceback" not in caplog.text


def test_no_more_requests_wait_than_may(server: Live) -> None:
    count = http_protocol.MAX_PIPELINED + 50
    with server.raw() as client:
        client.sendall((HEAD + b"\r\n") * count)
        for _ in range(http_protocol.MAX_PIPELINED + 1):
            server.consume("http.request", {"status": 204})
        assert statuses(read_all(client)) == [204] * (http_protocol.MAX_PIPELINED + 1)


@pytest.mark.parametrize("early", [["early"], [""], ["a", "b", "c", "d", "e", "f"]])
def test_what_follows_a_handshake_at_once_is_not_lost_nor_what_follows_that(early: list[str]) -> None:
    with live(waiting_frames=3) as server, server.raw() as client:
        client.sendall(UPGRADE + b"".join(frame(0x81, text.encode()) for text in early))
        server.consume("websocket.connect", {"accept": True})
        assert [server.consume("websocket.receive")["text"] for _ in early] == early
        client.sendall(frame(0x81, b"later"))
        assert server.consume("websocket.receive")["text"] == "later"


def test_no_more_tiny_frames_of_one_read_are_queued_than_may_wait_and_none_is_lost() -> None:
    count = 8_000
    with live() as server, server.raw() as client:
        open_socket(server, client)
        client.sendall(frame(0x81, b"a"))
        first = server.take("websocket.receive")
        sending = threading.Thread(target=client.sendall, args=(frame(0x81, b"b") * count,))
        sending.start()
        (socket_,) = server.session.registry.everybody()
        assert isinstance(socket_, WebSocket)
        eventually(lambda: socket_.waiting_frames >= 64)
        sending.join(0.2)  # what is read meanwhile would be too much
        assert socket_.waiting_frames <= 64 + 1
        server.report(first)
        for number in range(count):
            assert server.consume("websocket.receive")["order"] == number + 2
        sending.join()
        client.sendall(frame(0x88, b"\x03\xe8"))
        assert server.consume("websocket.disconnect")["order"] == count + 2


def open_socket(server: Live, client: socket.socket) -> None:
    client.sendall(UPGRADE)
    server.consume("websocket.connect", {"accept": True})
    assert b" 101 " in client.recv(65536)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(0x81, b"a", masked=False), 1002),
        (frame(0xF1, b"a"), 1002),
        (frame(0x83, b"a"), 1002),
        (frame(0x80, b"a"), 1002),
        (frame(0x89, b"a" * 126), 1002),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x01, b"\xff") + frame(0x80, b""), 1007),
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009),
        (frame(0x01, b"a") + frame(0x00, b"") * 2000, 1008),
    ],
)
def test_a_broken_frame_ends_the_socket_and_nothing_else(
    server: Live, data: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    with server.raw() as client:
        open_socket(server, client)
        with suppress(ConnectionError):
            client.sendall(data)
        received = read_all(client)
        assert received[:1] == b"\x88"
        assert int.from_bytes(received[2:4], "big") == code
    assert server.consume("websocket.disconnect")["code"] == code
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("early", "code"),
    [(b"\xff\xff\xff", 1002), (frame(0x88, b"\x03\xe8"), 1000)],
    ids=["a broken frame", "a good-bye"],
)
def test_frames_that_end_a_socket_before_its_handshake_is_decided_end_it_then(
    server: Live, caplog: pytest.LogCaptureFixture, early: bytes, code: int
) -> None:
    with server.raw() as client:
        client.sendall(UPGRADE + early)
        server.consume("websocket.connect", {"accept": True})
        head, _, frames = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames == b"\x88\x02" + code.to_bytes(2, "big")
    assert server.consume("websocket.disconnect")["code"] == code
    assert "Traceback" not in caplog.text


def test_a_message_may_be_as_large_as_is_said() -> None:
    with live(limits={"max_message": 1000}) as server, server.raw() as client:
        open_socket(server, client)
        client.sendall(frame(0x82, b"a" * 1000))
        assert server.consume("websocket.receive")["bytes"] == b"a" * 1000
        client.sendall(frame(0x82, b"a" * 1001))
        assert read_all(client)[2:4] == (1009).to_bytes(2, "big")


def test_a_client_reads_why_its_message_is_refused_though_it_sends_on() -> None:
    with live(limits={"max_message": 1000}) as server, server.raw() as client:
        open_socket(server, client)
        # Much more than the system buffers: to close while it comes would reset the connection.
        client.sendall(b"\x82\xff" + (8_000_000).to_bytes(8, "big") + bytes(4) + bytes(8_000_000))
        assert read_all(client) == b"\x88\x02" + (1009).to_bytes(2, "big")
        assert server.consume("websocket.disconnect")["code"] == 1009


def test_a_client_in_the_middle_of_a_message_reads_that_the_server_stops() -> None:
    with live() as server, server.raw() as client:
        open_socket(server, client)
        client.sendall(b"\x82\xff" + (4_000_000).to_bytes(8, "big") + bytes(4) + bytes(1000))
        (connection,) = server.connections
        eventually(lambda: connection.buffered() > 1000)
        server.server.stop()
        client.recv(1, socket.MSG_PEEK)
        client.sendall(bytes(3_000_000))
        assert read_all(client) == b"\x88\x02" + (1012).to_bytes(2, "big")


def test_a_client_that_sends_on_for_ever_is_cut_off(server: Live) -> None:
    with server.raw() as client:
        open_socket(server, client)
        client.sendall(b"\xff\xff")
        with pytest.raises(ConnectionError):
            deque(map(client.sendall, repeat(bytes(1_000_000), 100)), maxlen=0)


def test_a_flood_of_pings_whose_pongs_nobody_reads_is_ended(server: Live) -> None:
    with server.raw() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        open_socket(server, client)
        # Otherwise the kernel keeps megabytes of pongs, and then no longer takes what the client sends.
        for connection in server.connections:
            connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        flood = frame(0x89, b"a" * 125) * 1000
        with pytest.raises(ConnectionError):
            deque(map(client.sendall, repeat(flood, 2000)), maxlen=0)


@pytest.mark.parametrize("first", [0x89, 0x8A])
def test_a_flood_of_pings_or_pongs_holds_up_nobody_else(server: Live, first: int) -> None:
    flood, stopped = frame(first, b"") * 40_000, threading.Event()

    def send() -> None:
        with suppress(OSError):
            while not stopped.is_set():
                client.sendall(flood)

    with server.raw() as client, ThreadPoolExecutor(2) as pool:
        open_socket(server, client)
        pool.submit(send)
        pool.submit(read_all, client)
        try:
            for _ in range(5):
                with server.raw() as other:
                    other.sendall(HEAD + b"\r\n")
                    server.consume("http.request", {"status": 200})
                    assert statuses(other.recv(65536)) == [200]
        finally:
            stopped.set()
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


def test_a_client_that_pings_while_it_is_sent_a_large_message_gets_both(server: Live) -> None:
    with server.raw() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(UPGRADE)
        eventually(lambda: server.connections)
        (transport,) = (connection.transport for connection in server.connections)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        server.consume("websocket.connect", {"accept": True}, {"bytes": bytes(900_000)})
        eventually(lambda: transport.get_write_buffer_size() > 300_000)
        client.sendall(frame(0x89, b"here") + frame(0x81, b"read"))
        server.consume("websocket.receive")  # so the ping was read before
        received = bytearray()
        while not received.endswith(b"here") and (part := client.recv(65536)):
            received += part
        assert received.endswith(frame(0x82, bytes(900_000), masked=False) + frame(0x8A, b"here", masked=False))


def test_what_is_packed_small_is_not_unpacked_large() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(50_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    with live(compression=True) as server:
        with server.websocket(compression="deflate") as client:  # what is not too large is
            client.send("x" * 1000)
            assert server.consume("websocket.receive", {"text": "y" * 1000})["text"] == "x" * 1000
            assert client.recv(TIMEOUT) == "y" * 1000
        server.consume("websocket.disconnect")
        for data, code in ((bomb[:-4], 1009), (b"\xff" * 4, 1002)):
            with server.raw() as raw:
                raw.sendall(UPGRADE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
                server.consume("websocket.connect", {"accept": True})
                assert b"permessage-deflate" in raw.recv(65536)
                raw.sendall(frame(0xC1, data))
                assert read_all(raw)[2:4] == code.to_bytes(2, "big")
                assert server.consume("websocket.disconnect")["code"] == code


@pytest.mark.parametrize("limit", [1, 3])
def test_as_many_connections_are_served_as_may_and_none_of_them_is_refused_later(limit: int) -> None:
    with live(limits={"max_connections": limit}) as server, ExitStack() as stack:
        served = [stack.enter_context(server.raw()) for _ in range(limit)]
        for client in served:
            client.sendall(HEAD + b"\r\n")
            server.consume("http.request", {"status": 200})
            assert statuses(client.recv(65536)) == [200]
        late = stack.enter_context(server.raw())
        eventually(lambda: len(server.connections) == limit + 1)
        for client in served:
            client.sendall(HEAD + b"\r\n")
            server.consume("http.request", {"status": 200})
            assert statuses(client.recv(65536)) == [200]
        late.sendall(HEAD + b"\r\n")
        assert statuses(read_all(late)) == [503]
        open_socket(server, served[0])


def test_a_connection_that_came_too_early_is_served_when_another_has_left() -> None:
    with live(limits={"max_connections": 1}) as server, server.raw() as first, server.raw() as second:
        eventually(lambda: len(server.connections) == 2)
        first.close()
        eventually(lambda: len(server.connections) == 1)
        open_socket(server, second)


def test_no_more_connections_are_served_than_may() -> None:
    with live(limits={"max_connections": 2}) as server:
        with server.raw() as first, server.raw():
            open_socket(server, first)
            for head in (HEAD + b"\r\n", UPGRADE):
                assert statuses(answer(server, head)) == [503]
            first.sendall(frame(0x81, b"still here"))
            assert server.consume("websocket.receive")["text"] == "still here"
        eventually(lambda: not server.connections)
        with server.raw() as client:
            open_socket(server, client)


@pytest.mark.parametrize("name", ["x-forwarded-for", "X-Forwarded-For"])
def test_nobody_is_believed_by_default(server: Live, name: str) -> None:
    message = forwarded_message(server, {name: "10.1.2.3", "Daphne-Root-Path": "/evil"})
    assert message["client"][0] == "127.0.0.1"
    assert message["root_path"] == ""
    assert b"daphne-root-path" not in [name for name, _ in message["headers"]]


def forwarded_message(server: Live, headers: dict[str, str]) -> dict[str, Any]:
    connection = server.http()
    connection.request("GET", "/", headers=headers)
    message = server.consume("http.request", {"status": 200})
    connection.getresponse().read()
    connection.close()
    return message


def test_a_web_server_on_this_machine_is_believed_when_asked_for() -> None:
    with live(proxy_headers=True) as server:
        headers = {"X-Forwarded-For": "10.1.2.3", "X-Forwarded-Port": "1234", "X-Forwarded-Proto": "https"}
        message = forwarded_message(server, {**headers, "Daphne-Root-Path": "/caf%C3%A9"})
    assert message["client"] == ["10.1.2.3", 0], "the forwarded port is the server's"
    assert message["scheme"] == "https"
    assert message["root_path"] == "", "which has an option of its own"


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({"X-Forwarded-For": "10.1.2.3"}, ["10.1.2.3", 0]),
        ({"x-forwarded-for": "6.6.6.6, 10.1.2.3:4711", "X-FORWARDED-PORT": "80"}, ["10.1.2.3", 4711]),
        ({"x-forwarded-for": "[::1]:4711, [2001:db8::1]:5"}, ["2001:db8::1", 5]),
        ({"X-Forwarded-For": "1043::a321:1", "X-Forwarded-Port": "x"}, ["1043::a321:1", 0]),
        ({"X-Forwarded-Port": "80"}, None),
        ({"X-Forwarded-For": "somebody"}, None),
        ({}, None),
    ],
)
def test_the_address_of_the_client_is_taken_from_the_headers(headers: dict[str, str], client: list[Any] | None) -> None:
    with live(proxy_headers=True) as server:
        told = forwarded_message(server, headers)
    assert told["client"] == client or (client is None and told["client"][0] == "127.0.0.1")
    assert told["scheme"] == "http"


def test_a_web_server_is_believed_about_websockets_too() -> None:
    headers = {"X-Forwarded-For": "10.1.2.3", "X-Forwarded-Proto": "https", "Daphne-Root-Path": "/caf%C3%A9"}
    options: dict[str, Any] = {"proxy_headers": True, "root_path_header": "Daphne-Root-Path", "root_path": "/other"}
    with live(**options) as server, ThreadPoolExecutor(1) as pool:
        told = pool.submit(server.consume, "websocket.connect", {"accept": True})
        server.handshake(additional_headers=headers).close()
        message = told.result()
        assert (message["client"], message["scheme"], message["root_path"]) == (["10.1.2.3", 0], "wss", "/café")
        assert b"daphne-root-path" not in [name for name, _ in message["headers"]]
        told = pool.submit(server.consume, "websocket.connect", {"accept": True})
        server.handshake().close()
        assert told.result()["root_path"] == "/other"


def test_only_the_named_are_believed() -> None:
    with live(proxy_headers=True, forwarded_allow_ips=("10.0.0.0/8",)) as server:
        assert forwarded_message(server, {"X-Forwarded-For": "10.1.2.3"})["client"][0] == "127.0.0.1"


def test_the_root_path_of_the_options_is_decoded() -> None:
    with live(root_path="/caf%C3%A9") as server:
        assert forwarded_message(server, {})["root_path"] == "/café"
