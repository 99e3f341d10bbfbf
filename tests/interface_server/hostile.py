"""Hostile clients: bytes that no client should send, in pieces, and ends that are none.

`inputs` is the Hypothesis strategy; `attack` sends many at once.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from hypothesis import strategies as st

from tests.interface_server.server.test_limits import FAULTS, HEAD, UPGRADE, frame

HOST = "127.0.0.1"


class End(Enum):
    """The way in which a client leaves."""

    CLOSE = "close"
    RESET = "reset"
    HALF = "half-close, then wait"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Input:
    """The behaviour of one client."""

    pieces: tuple[bytes, ...]
    end: End
    kind: str = ""

    def __repr__(self) -> str:
        shown = ", ".join(f"{piece[:300]!r}{'…' * (len(piece) > 300)}" for piece in self.pieces)
        return f"Input(({shown}), {self.end})"


METHODS = [
    b"BREW",
    b"SOURCE",
    b"QUERY",
    b"GET",
    b"POST",
    b"HEAD",
    b"OPTIONS",
    b"get",
    b"CONNECT",
    b"TRACE",
    b"PRI",
    b"\xff",
    b"",
    b"G" * 300,
]
TARGETS = [
    b"/", b"*", b"//x", b"/%00", b"/%0d%0aSet-Cookie:%20a", b"/%ff%fe", b"/" + b"a" * 9000, b"http://evil/", b"http://",
    b"/?" + b"&" * 500, b"/..%2f..%2fetc", b"", b" ", b"/\x80", b"x", b"http://[::1", b"/#a",
    b"http://x/", b"HTTPS://y:1?z", b"http://a@x/", b"http://:80/", b"ftp://x/", b"x:1",
]  # fmt: skip
VERSIONS = [
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/1.1 ",
    b"HTTP/9",
    b"",
    b"http/1.1",
    b"RTSP/1.0",
    b"ICE/1.0",
]
HEADERS = [
    b"Host: x", b"Host: y", b"Content-Length: 3", b"Content-Length: 4", b"Content-Length: -1", b"Content-Length: 99999",
    b"Content-Length: 18446744073709551616", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
    b"Connection: close", b"Connection: upgrade", b"Connection: keep-alive, upgrade", b"Upgrade: websocket",
    b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: x", b"A: \0", b"A: b\r\n c", b"A:" + b" " * 5000,
    b"\xff: a", b": a", b"A", b"A_B: c", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13", b"X: " + b"y" * 40000,
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==", b"Sec-WebSocket-Extensions: permessage-deflate; x=" + b"1" * 99,
    b"Sec-WebSocket-Protocol: " + b"a," * 200, b"Daphne-Root-Path: /%ff", b"X-Forwarded-For: " + b"1," * 200,
    b"Cookie: \xe9", b"Origin: null", b"Host: x/y", b"Host: [::1]:80", b"Transfer-Encoding: chunked, chunked",
    b"X-Forwarded-For: [::1]:4711", b"X-Forwarded-For: fe80::1%\x1b[31m", b"Daphne-Root-Path: //evil",
]  # fmt: skip
LINE_ENDS = [b"\r\n"] * 5 + [b"\n", b"\r"]

_requests = st.builds(
    lambda method, target, version, headers, body, line_end: (
        line_end.join([method + b" " + target + b" " + version, *headers, b"", b""]) + body
    ),
    st.sampled_from(METHODS),
    st.sampled_from(TARGETS),
    st.sampled_from(VERSIONS),
    st.lists(st.sampled_from(HEADERS), max_size=8),
    st.one_of(
        st.binary(max_size=50), st.sampled_from([b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"ffffffffffffffff\r\n"])
    ),
    st.sampled_from(LINE_ENDS),
)
_frames = st.one_of(
    st.builds(frame, st.integers(0, 255), st.binary(max_size=300), st.booleans()),
    st.sampled_from([
        b"\x81\xff" + b"\x7f" * 12, b"\x82\xfe\x00\x01" + b"\0" * 5, b"\x88\x80\0\0\0\0", b"\x88\x81\0\0\0\0\x03",
        frame(0x88, b"\x03\xed"), frame(0x88, b"\x03\xe8\xff"),
        frame(0x01, b"a") + frame(0x09, b"b") + frame(0x80, b"c"),
        frame(0x01, b"") + frame(0x00, b"") * 1100, frame(0x89, b"a") * 300, b"\x81", b"\x81\xfe", frame(0xC1, b"\x00"),
    ]),
)  # fmt: skip
_CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
_PART = b"x" * 1000
_CALL = b"GET / HTTP/1.1\r\n"
UNDECIDED = UPGRADE.replace(b"GET /", b"GET /undecided")
"""A handshake that no consumer answers."""

H2C = HEAD + b"Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"


def _repeated(*starts_and_parts: tuple[bytes, bytes], most: int = 200) -> st.SearchStrategy[bytes]:
    """A beginning, and a part that is repeated behind it, often beyond any limit."""
    return st.builds(
        lambda both, times: both[0] + both[1] * times, st.sampled_from(starts_and_parts), st.integers(1, most)
    )


def _with_headers(headers: Sequence[bytes], least: int = 1) -> st.SearchStrategy[bytes]:
    """A request with some of these headers and a body of a few bytes."""
    return st.builds(
        lambda some, body: b"\r\n".join([b"POST / HTTP/1.1", b"Host: x", *some, b"", b""]) + body,
        st.lists(st.sampled_from(headers), min_size=least, max_size=4),
        st.sampled_from([b"", b"abc", b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"]),
    )


def _lines(targets: Sequence[bytes], versions: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda method, target, version: method + b" " + target + b" " + version + b"\r\nHost: x\r\n\r\n",
        st.sampled_from(METHODS),
        st.sampled_from(targets),
        st.sampled_from(versions),
    )


def _joined(some: Sequence[bytes], most: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(some), min_size=1, max_size=most).map(b"".join)


_frames_of_a_socket = st.lists(_frames, max_size=6).map(b"".join)
_sockets = _frames_of_a_socket.map(lambda frames: UPGRADE + frames)
_valid = st.sampled_from(
    [HEAD + b"\r\n", (HEAD + b"\r\n") * 3, UPGRADE, UPGRADE + frame(0x81, b"hello"), *FAULTS.values()]
)


def _damage(data: bytes, at: float, cut: int, extra: bytes) -> bytes:
    position = int(at * len(data))
    return data[:position] + extra + data[position + cut :]


CODINGS = [b"Transfer-Encoding: " + coding for coding in (
    b"chunked", b"gzip, chunked", b"chunked, chunked", b"chunked, identity", b"xchunked", b"identity", b"", b",chunked",
    b"chunked;a=b", b"\x0bchunked", b"CHUNKED", b"chunked\x00",
)]  # fmt: skip
LENGTHS = [b"Content-Length: " + length for length in (
    b"3", b"03", b"+3", b"-1", b"0x3", b"3, 3", b"3 3", b"", b"99999", b"18446744073709551616", b"3\x00",
)]  # fmt: skip
ABSOLUTE = [target for target in TARGETS if b":" in target] + [
    b"http://" + b"a" * 9000, b"http://x:99999/", b"http://x:/", b"http://[::1]/", b"http://%41/", b"http://x?y", b"http://x#",
]  # fmt: skip

KINDS: dict[str, st.SearchStrategy[bytes]] = {
    "request lines": st.one_of(
        _lines(TARGETS, [b"HTTP/1.1"]),
        _repeated((b"GET /", _PART), (b"G", _PART), (b"GET ", b" " * 99), (b"", b"\r\n" * 99)),
    ),
    "absolute targets": _lines(ABSOLUTE, [b"HTTP/1.1", b"HTTP/1.0"]),
    "versions": _lines([b"/"], [*VERSIONS, b"HTTP/1.2", b"HTTP/01.1", b"HTTP/1.1.1", b"HTTP/1", b"HTTP /1.1"]),
    "lengths and codings": _with_headers([*CODINGS, *LENGTHS]),
    "headers": st.one_of(
        _with_headers(HEADERS),
        _repeated(
            (HEAD, b"A: b\r\n" * 100), (HEAD + b"A: ", _PART), (HEAD, b"A" * 99 + b":\r\n"), (_CALL, b"Host: x\r\n")
        ),
    ),
    "trailers": _repeated(
        (_CHUNKED + b"0\r\n", b"A: b\r\n" * 100),
        (_CHUNKED + b"0\r\nA: ", _PART),
        (_CHUNKED + b"1\r\na\r\n0\r\n", _PART),
        (_CHUNKED + b"0\r\n", b"Content-Length: 9\r\n"),
        (_CHUNKED + b"0\r\n", b"Transfer-Encoding: chunked\r\n"),
        (_CHUNKED + b"0\r\nHost: y\r\n", b"\r\n"),
    ),
    "chunk extensions": _repeated(
        (_CHUNKED + b"1;a=", _PART),
        (_CHUNKED + b"1\r\na\r\n1;", _PART),
        (_CHUNKED, b"1;a=" + b"x" * 500 + b"\r\na\r\n"),
        (_CHUNKED, b"1\r\na\r\n" * 50),
        (_CHUNKED, b"0" * 99),
        (_CHUNKED + b'1;a="', b'\\"'),
        (_CHUNKED, b"ffffffffffffffff\r\n"),
    ),
    "pipelining": st.one_of(
        _repeated((b"", (HEAD + b"\r\n") * 20), (_CHUNKED + b"0\r\n\r\n", (HEAD + b"\r\n") * 5)),
        _joined([HEAD + b"\r\n", UPGRADE, H2C, _CHUNKED + b"1\r\na\r\n0\r\n\r\n", *FAULTS.values()], 6),
    ),
    "upgrade attempts": st.one_of(
        _with_headers([header for header in HEADERS if b"pgrade" in header or b"WebSocket" in header], 2),
        _repeated((H2C, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), (H2C, _PART), (UPGRADE.replace(b"13", b"12"), _PART)),
        st.builds(_damage, st.just(UPGRADE), st.floats(0, 1), st.integers(0, 20), st.binary(max_size=8)),
    ),
    "bytes before a handshake's answer": st.one_of(
        _frames_of_a_socket.map(lambda frames: UNDECIDED + frames),
        _repeated((UNDECIDED, frame(0x89, b"a" * 125) * 10), (UNDECIDED, frame(0x01, _PART)), (UNDECIDED, _PART)),
    ),
    "frames": st.one_of(
        _sockets, _repeated((UPGRADE, frame(0x89, b"a" * 125) * 10), (UPGRADE + frame(1, b"a"), frame(0, b"") * 100))
    ),
    "requests of any parts": _requests,
    "damaged": st.builds(
        _damage, st.one_of(_valid, _sockets), st.floats(0, 1), st.integers(0, 20), st.binary(max_size=8)
    ),
    "bytes": st.one_of(_valid, st.binary(max_size=300)),
}
"""Every class of hostile input, by name."""


def _cut(kind: str, data: bytes, cuts: list[float], end: End) -> Input:
    places = sorted({0, *(int(cut * len(data)) for cut in cuts), len(data)})
    return Input(tuple(data[a:b] for a, b in pairwise(places)), end, kind)


inputs = st.one_of(
    *(
        st.builds(_cut, st.just(kind), data, st.lists(st.floats(0, 1), max_size=3), st.sampled_from(End))
        for kind, data in KINDS.items()
    )
)

HELLO_OF_TLS = bytes.fromhex(
    "16030100c8010000c403030000000000000000000000000000000000000000000000000000000000000000000004130113020100"
)
stalls = st.builds(
    _cut,
    st.just("TLS stalls"),
    st.one_of(
        st.sampled_from(
            [b"", b"\x16", HELLO_OF_TLS, HELLO_OF_TLS[:20], HEAD + b"\r\n", b"\x16\x03\x01\xff\xff" + _PART * 16]
        ),
        st.builds(_damage, st.just(HELLO_OF_TLS), st.floats(0, 1), st.integers(0, 20), st.binary(max_size=8)),
    ),
    st.lists(st.floats(0, 1), max_size=3),
    st.sampled_from(End),
)
"""Clients of a server with TLS that never get beyond their handshake."""


async def attack(port: int, some: Sequence[Input], timeout: float) -> None:
    """Be all of these clients at once; those that wait do so for `timeout` seconds, or until they are left."""
    await asyncio.gather(*(_be(port, one, timeout) for one in some))


async def _be(port: int, one: Input, timeout: float) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    with suppress(OSError):
        for piece in one.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if one.end is End.RESET:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif one.end is not End.CLOSE:
            if one.end is End.HALF and writer.can_write_eof():
                writer.write_eof()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_read_all(reader), timeout)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass
