"""Requests and handshakes that RFC 9112 and RFC 6455 forbid, and some that they allow. Bytes over real sockets."""

from __future__ import annotations

import pytest

from tests.interface_server.live import Live
from tests.interface_server.server.test_limits import HEAD, UPGRADE, answer, statuses

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "a bare CR in a value": (HEAD + b"A: b\rc\r\n\r\n", 400),
    "a bare CR behind the request line": (b"GET / HTTP/1.1\rHost: x\r\n\r\n", 400),
    "a header without a name": (HEAD + b": a\r\n\r\n", 400),
    "a header without a colon": (HEAD + b"A\r\n\r\n", 400),
    "a header that begins with a space": (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "a space in a name": (HEAD + b"A b: c\r\n\r\n", 400),
    "a name that is no token": (HEAD + b"A(b): c\r\n\r\n", 400),
    "a name that is not ASCII": (HEAD + b"\xc3\xa4: c\r\n\r\n", 400),
    "a tab between the parts of the line": (b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a version with more digits": (b"GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400),
    "a version in lower case": (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "a length in hexadecimal": (POST + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "a length with an underscore": (POST + b"Content-Length: 1_0\r\n\r\nabc", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "an empty length": (POST + b"Content-Length:\r\n\r\n", 400),
    "a length beyond 64 bits": (POST + b"Content-Length: 18446744073709551616\r\n\r\n", 400),
    "two lengths that agree": (POST + b"Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc", 400),
    "a coding behind a tab": (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "an empty coding": (POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    "a coding with a parameter": (POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", 400),
    "two codings in two headers": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a coding in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 400),
    "a chunk size with a sign": (CHUNKED + b"+1\r\na\r\n0\r\n\r\n", 400),
    "a chunk size in 0x": (CHUNKED + b"0x1\r\na\r\n0\r\n\r\n", 400),
    "a chunk size with a space": (CHUNKED + b"1 \r\na\r\n0\r\n\r\n", 400),
    "an empty chunk size": (CHUNKED + b"\r\na\r\n0\r\n\r\n", 400),
    "a chunk size beyond 64 bits": (CHUNKED + b"10000000000000000\r\na", 400),
    "a chunk that is longer than its size": (CHUNKED + b"1\r\nab\r\n0\r\n\r\n", 400),
    "a chunk extension with a bare LF": (CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n", 400),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: a@x\r\n\r\n", 400),
    "a host with a space": (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    "a host with a port that is not a number": (b"GET / HTTP/1.1\r\nHost: x:80a\r\n\r\n", 400),
    "a list of hosts": (b"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400),
    "two hosts that agree": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    "a host in the target that is empty": (b"GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a target with a bare percent of a host": (b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a handshake of version 12": (UPGRADE.replace(b"Version: 13", b"Version: 12"), 426),
    "a handshake with two keys": (
        UPGRADE.replace(b"Host: x", b"Host: x\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw=="),
        400,
    ),
    "a handshake with a key of 15 bytes": (UPGRADE.replace(b"x3JJHMbDL1EzLkh9GBhXDw==", b"AAAAAAAAAAAAAAAAAAAA"), 400),
    "a handshake with two versions": (UPGRADE.replace(b"Host: x", b"Host: x\r\nSec-WebSocket-Version: 13"), 400),
    "a handshake by HEAD": (UPGRADE.replace(b"GET", b"HEAD"), 400),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_and_nobody_hears_of_it(server: Live, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    data, status = REFUSED[kind]
    assert statuses(answer(server, data)) == [status]
    assert server.has_none("http.request")
    assert server.has_none("websocket.connect")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_byte_by_byte_as_well(server: Live, kind: str) -> None:
    data, status = REFUSED[kind]
    with server.raw() as client:
        received = b""
        try:
            for number in range(len(data)):
                client.sendall(data[number : number + 1])
            while part := client.recv(65536):
                received += part
        except OSError:
            pass
    # A reset may discard the answer. A method is judged by its first letters, before the line shows what else is wrong.
    expected = [[status], [], [400]] if status == 501 else [[status], []]
    assert statuses(received) in expected
    assert server.has_none("http.request")
    assert server.has_none("websocket.connect")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"", b""),
        (b"Content-Length: 3\r\n", b"abc"),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ],
)
def test_a_request_that_offers_another_protocol_is_answered_in_this_one(
    server: Live, headers: bytes, body: bytes
) -> None:
    with server.raw() as client:
        client.sendall(POST + headers + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + body)
        message = server.consume("http.request", {"status": 200, "content": b"here"})
        assert message["body"] == (b"abc" if body else b"")
        received = b""
        while part := client.recv(65536):
            received += part
    assert statuses(received) == [200]
    assert received.endswith(b"here")
