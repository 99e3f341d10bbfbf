"""A WebSocket client that costs little: what is measured is the server, on a machine they share.

It masks with zeros, so frames need no work, and counts whole frames without copying them.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from typing import cast


def frame(text: bytes) -> bytes:
    """A text frame from a client, masked with zeros."""
    if len(text) < 126:
        return bytes((0x81, 0x80 | len(text))) + b"\0\0\0\0" + text
    return bytes((0x81, 0x80 | 126)) + len(text).to_bytes(2, "big") + b"\0\0\0\0" + text


class Socket(asyncio.Protocol):
    """One socket; `on_frames` is told how many frames came whenever some did, `on_text`, if it is there, each text."""

    def __init__(self, host: str, path: str, protocols: str = "") -> None:
        self.path = path
        self.on_frames: Callable[[int], None] = lambda count: None
        self.on_text: Callable[[bytes], object] | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False
        self.gone = asyncio.Event()
        self.close_frame = b""
        """The payload of the server's close frame: two bytes of code, and the reason."""
        self.speaks_protocol = False
        """True if the server chose one of the `protocols` that were offered."""
        key = base64.b64encode(os.urandom(16)).decode()
        offer = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
        ).encode()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the class
        self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.gone.set()
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed during the handshake"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.opened.done():
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(ConnectionError(head.split(b"\r\n")[0].decode()))
                return
            self._buffer = rest
            self.speaks_protocol = b"\r\nsec-websocket-protocol:" in head.lower()
            self.opened.set_result(None)
        self._count()

    def _count(self) -> None:
        position, count, buffer = 0, 0, self._buffer
        while len(buffer) - position >= 2:
            length, head = buffer[position + 1], 2
            if length == 126:
                length, head = int.from_bytes(buffer[position + 2 : position + 4], "big"), 4
            if len(buffer) - position < head + length:
                break
            count += buffer[position] in (0x81, 0x82)
            if buffer[position] == 0x89:
                self._transport.write(
                    b"\x8a" + bytes([0x80 | length]) + b"\0\0\0\0" + buffer[position + head :][:length]
                )
            elif buffer[position] == 0x88:
                self.close_frame = buffer[position + head :][:length]
                self._transport.write(b"\x88\x80\0\0\0\0")
                self._transport.close()
            elif self.on_text and buffer[position] == 0x81:
                self.on_text(buffer[position + head : position + head + length])
            position += head + length
        self._buffer = buffer[position:]
        if count:
            self.on_frames(count)

    def write(self, data: bytes) -> None:
        """Send frames that `frame` made."""
        self._transport.write(data)

    def close(self) -> None:
        """Drop the connection."""
        self._transport.abort()


async def open_sockets(host: str, port: int, path: str, count: int, together: int = 50) -> list[Socket]:
    """Open `count` sockets, `together` at a time."""
    loop = asyncio.get_running_loop()
    sockets: list[Socket] = []
    while len(sockets) < count:
        number = min(together, count - len(sockets))
        batch = [(await loop.create_connection(lambda: Socket(host, path), host, port))[1] for _ in range(number)]
        await asyncio.gather(*(socket.opened for socket in batch))
        sockets += batch
    return sockets
