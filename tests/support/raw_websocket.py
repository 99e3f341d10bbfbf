"""A WebSocket client that sends any bytes, valid or not, and shows every frame that comes back (RFC 6455, RFC 7692)."""

from __future__ import annotations

import os
import socket
import zlib
from types import TracebackType
from typing import NamedTuple

FIN, COMPRESSED = 0x80, 0x40
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_TAIL = b"\x00\x00\xff\xff"


class Frame(NamedTuple):
    """A frame: its first byte with FIN, the reserved bits and the opcode, and its payload."""

    first: int
    payload: bytes = b""

    def encoded(self) -> bytes:
        """Return the frame as a client sends it, masked."""
        size, mask = len(self.payload), os.urandom(4)
        if size < 126:
            head = bytes([self.first, 0x80 | size])
        elif size < 65536:
            head = bytes([self.first, 0x80 | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([self.first, 0x80 | 127]) + size.to_bytes(8, "big")
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        return head + mask + (int.from_bytes(self.payload, "big") ^ key).to_bytes(size, "big")


def text(payload: str | bytes) -> Frame:
    return Frame(FIN | TEXT, payload.encode() if isinstance(payload, str) else payload)


def binary(payload: bytes) -> Frame:
    return Frame(FIN | BINARY, payload)


def close(code: int | None = 1000, reason: str | bytes = b"") -> Frame:
    if code is None:
        return Frame(FIN | CLOSE)
    return Frame(FIN | CLOSE, code.to_bytes(2, "big") + (reason.encode() if isinstance(reason, str) else reason))


def fragments(first: int, *parts: bytes) -> list[Frame]:
    """Return one message in fragments; `first` is its opcode."""
    last = len(parts) - 1
    return [Frame((0 if n else first) | (FIN if n == last else 0), part) for n, part in enumerate(parts)]


class RawWebSocket:
    """An open socket."""

    def __init__(self, port: int, path: str = "/", *, extensions: str = "", timeout: float = 10.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._buffer = b""
        offer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            part = self._socket.recv(65536)
            assert part, self._buffer
            self._buffer += part
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        lines = head.decode("latin-1").lower().split("\r\n")
        self.extensions = "".join(
            line.partition(":")[2].strip() for line in lines if line.startswith("sec-websocket-extensions:")
        )

    def __enter__(self) -> RawWebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, *frames: Frame, chop: int = 0) -> None:
        """Send frames, in pieces of `chop` bytes."""
        self.send_bytes(b"".join(frame.encoded() for frame in frames), chop)

    def send_bytes(self, data: bytes, chop: int = 0) -> None:
        size = chop or len(data) or 1
        for start in range(0, len(data), size):
            self._socket.sendall(data[start : start + size])

    def receive(self) -> Frame | None:
        """Return the next frame, or None at the end of the connection."""
        head = self._exactly(2)
        if head is None:
            return None
        assert not head[1] & 0x80, "a server masks nothing"
        size = head[1]
        if size >= 126:
            extended = self._exactly(2 if size == 126 else 8)
            assert extended is not None
            size = int.from_bytes(extended, "big")
        payload = self._exactly(size)
        assert payload is not None
        return Frame(head[0], payload)

    def receive_all(self) -> list[Frame]:
        """Return the frames up to the end of the connection."""
        found = []
        while (frame := self.receive()) is not None:
            found.append(frame)
        return found

    def _exactly(self, size: int) -> bytes | None:
        parts, missing = [self._buffer[:size]], size - len(self._buffer[:size])
        self._buffer = self._buffer[size:]
        while missing:
            try:
                part = self._socket.recv(min(missing, 1 << 20))
            except ConnectionResetError:
                part = b""
            if not part:
                assert missing == size, "the connection ended inside of a frame"
                return None
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


class Deflate:
    """permessage-deflate as a client speaks it, with the parameters that the server accepted."""

    def __init__(self, extensions: str) -> None:
        words = [word.strip() for word in extensions.split(";")]
        assert words[0] == "permessage-deflate", extensions
        self._ours = -int(next((w.partition("=")[2] for w in words if w.startswith("client_max_window_bits=")), "15"))
        self._theirs = -int(next((w.partition("=")[2] for w in words if w.startswith("server_max_window_bits=")), "15"))
        self._keeps = "client_no_context_takeover" not in words
        self._they_keep = "server_no_context_takeover" not in words
        self._deflate = zlib.compressobj(wbits=self._ours)
        self._inflate = zlib.decompressobj(self._theirs)

    def frame(self, opcode: int, payload: bytes) -> Frame:
        """Return a compressed message."""
        if not self._keeps:
            self._deflate = zlib.compressobj(wbits=self._ours)
        data = self._deflate.compress(payload) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return Frame(FIN | COMPRESSED | opcode, data[:-4])

    def content(self, frame: Frame) -> bytes:
        """Return the payload of a message, compressed or not."""
        if not frame.first & COMPRESSED:
            return frame.payload
        if not self._they_keep:
            self._inflate = zlib.decompressobj(self._theirs)
        return self._inflate.decompress(frame.payload + _TAIL)
