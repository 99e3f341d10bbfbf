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

    def __repr__(self) -> str:
        shown = ", ".join(f"{piece[:300]!r}{'…' * (len(piece) > 300)}" for piece in self.pieces)
        return f"Input(({shown}), {self.end})"


METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"get", b"CONNECT", b"TRACE", b"PRI", b"\xff", b"", b"G" * 300]
TARGETS = [
    b"/", b"*", b"//x", b"/%00", b"/%0d%0aSet-Cookie:%20a", b"/%ff%fe", b"/" + b"a" * 9000, b"http://evil/", b"http://",
    b"/?" + b"&" * 500, b"/..%2f..%2fetc", b"", b" ", b"/\x80", b"x", b"http://[::1", b"/#a",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"HTTP/9", b"", b"http/1.1"]
HEADERS = [
    b"Host: x", b"Host: y", b"Content-Length: 3", b"Content-Length: 4", b"Content-Length: -1", b"Content-Length: 99999",
    b"Content-Length: 18446744073709551616", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
    b"Connection: close", b"Connection: upgrade", b"Connection: keep-alive, upgrade", b"Upgrade: websocket",
    b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: x", b"A: \0", b"A: b\r\n c", b"A:" + b" " * 5000,
    b"\xff: a", b": a", b"A", b"A_B: c", b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Version: 13", b"X: " + b"y" * 40000,
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==", b"Sec-WebSocket-Extensions: permessage-deflate; x=" + b"1" * 99,
    b"Sec-WebSocket-Protocol: " + b"a," * 200, b"Daphne-Root-Path: /%ff", b"X-Forwarded-For: " + b"1," * 200,
    b"Cookie: \xe9", b"Origin: null",
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
_sockets = st.lists(_frames, max_size=6).map(lambda frames: UPGRADE + b"".join(frames))
_valid = st.sampled_from(
    [HEAD + b"\r\n", (HEAD + b"\r\n") * 3, UPGRADE, UPGRADE + frame(0x81, b"hello"), *FAULTS.values()]
)


def _damage(data: bytes, at: float, cut: int, extra: bytes) -> bytes:
    position = int(at * len(data))
    return data[:position] + extra + data[position + cut :]


_damaged = st.builds(_damage, st.one_of(_valid, _sockets), st.floats(0, 1), st.integers(0, 20), st.binary(max_size=8))


def _cut(data: bytes, cuts: list[float], end: End) -> Input:
    places = sorted({0, *(int(cut * len(data)) for cut in cuts), len(data)})
    return Input(tuple(data[a:b] for a, b in pairwise(places)), end)


inputs = st.builds(
    _cut,
    st.one_of(_requests, _sockets, _damaged, _valid, st.binary(max_size=300)),
    st.lists(st.floats(0, 1), max_size=3),
    st.sampled_from(End),
)


async def attack(port: int, some: Sequence[Input], patience: float) -> None:
    """Be all of these clients at once; those that wait do so for `patience` seconds, or until they are left."""
    await asyncio.gather(*(_be(port, one, patience) for one in some))


async def _be(port: int, one: Input, patience: float) -> None:
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
                await asyncio.wait_for(_read_all(reader), patience)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass
