"""Reads the messages of a WebSocket client out of bytes (RFC 6455, sections 5 and 7.1). Pure.

Frames are decoded one at a time, when they are asked for: one read may hold tens of thousands of tiny ones, far more
than may be queued.
"""

from __future__ import annotations

import codecs
import struct
import zlib
from typing import Any

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode, apply_mask  # type: ignore[attr-defined]  # its C function, where it is built

from ..close_codes import BAD_DATA, NO_STATUS, POLICY, PROTOCOL_ERROR, TOO_BIG, is_close_code
from ..frames import encode_frame
from .inflate import InflatedTooLarge, Inflater

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes."""

FIN, COMPRESSED = 0x80, 0x40

MAX_CONTROL = 125
"""Bytes of a control frame's payload."""

MAX_FRAGMENTS = 1024
"""Frames of one message: empty ones take memory, but do not count in the size of the message."""

PLAIN = frozenset(
    [opcode | fin for opcode in (CONTINUATION, TEXT, BINARY) for fin in (0, FIN)]
    + [opcode | FIN for opcode in (CLOSE, PING, PONG)]
)
"""Valid first bytes of a frame without compression."""

WITH_COMPRESSION = PLAIN | {opcode | fin | COMPRESSED for opcode in (TEXT, BINARY) for fin in (0, FIN)}
"""Valid first bytes of a frame with it (RFC 7692, section 6)."""

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")

ReaderEvent = tuple[int, Any]
"""An opcode, and its content: text for TEXT, the code and the reason for CLOSE, bytes for the others."""


class InvalidFrame(ValueError):
    """The client broke the protocol or a limit; `code` is the code to close with."""

    def __init__(self, code: int) -> None:
        super().__init__(f"The client sent a frame that is answered with {code}.")
        self.code = code


class MessageReader:
    """Turns the bytes of one client into messages and control frames."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_fragments",
        "_inflater",
        "_max_size",
        "_size",
        "_start",
        "_valid",
        "extension",
        "overhead",
    )

    def __init__(self, max_size: int, extension: PerMessageDeflate | None = None) -> None:
        self.overhead = 0
        """Frames that were no message: control frames, and fragments but for the last one. The caller may reset it."""
        self._max_size = max_size
        self.extension = extension
        self._inflater = Inflater(extension) if extension else None
        self._valid = WITH_COMPRESSION if extension else PLAIN
        self._buffer: bytes | bytearray = b""
        self._start = 0
        # The message of which some frames have come, and others not.
        self._fragments: list[Any] | None = None
        self._decoder: codecs.IncrementalDecoder | None = None  # of a text: a fragment may end within a character
        self._size = 0

    @property
    def buffered(self) -> int:
        """The number of bytes that are not part of an event yet."""
        return len(self._buffer) - self._start + self._size

    def feed(self, data: bytes) -> None:
        """Add bytes from the client."""
        if not self._buffer:
            self._buffer = data
            return
        if self._start or isinstance(self._buffer, bytes):
            self._buffer = bytearray(memoryview(self._buffer)[self._start :])
            self._start = 0
        self._buffer += data

    def discard(self) -> None:
        """Release everything that is held; nothing more is read."""
        self._buffer, self._start = b"", 0
        self._fragments, self._size = None, 0

    def next(self) -> ReaderEvent | None:
        """Return the next event, or None if more bytes are needed. Raises `InvalidFrame`."""
        while True:
            buffer, start = self._buffer, self._start
            if len(buffer) - start < 2:
                return None
            first, length = buffer[start], buffer[start + 1] - 0x80
            head = start + 6
            if length < 0 or first not in self._valid:
                raise InvalidFrame(PROTOCOL_ERROR)  # not masked, an unknown opcode, or a bit without a meaning
            if length > MAX_CONTROL:
                head += 2 if length == 126 else 8
                if first & 0x08:
                    raise InvalidFrame(PROTOCOL_ERROR)
                if len(buffer) < head:
                    return None
                length = int.from_bytes(buffer[start + 2 : head - 4], "big")
            if length + self._size > self._max_size and not first & 0x08:
                raise InvalidFrame(TOO_BIG)
            end = head + length
            if len(buffer) < end:
                return None
            payload = apply_mask(buffer[head:end], buffer[head - 4 : head])
            if end == len(buffer):
                self._buffer, self._start = b"", 0
            else:
                self._start = end
            event = self._control(first, payload) if first & 0x08 else self._data(first, payload)
            if event is not None:
                return event

    def _data(self, first: int, payload: bytes) -> ReaderEvent | None:
        opcode, final = first & 0x0F, first & FIN
        if (opcode == CONTINUATION) != (self._fragments is not None):
            raise InvalidFrame(PROTOCOL_ERROR)
        if self._inflater is not None:
            payload = self._decompressed(self._inflater, first, payload)
        if self._fragments is not None:
            return self._continue(self._fragments, payload, bool(final))
        if final:
            return (TEXT, _text(payload)) if opcode == TEXT else (BINARY, payload)
        self._fragments, self._size = [], 0
        self._decoder = _Utf8Decoder() if opcode == TEXT else None
        return self._continue(self._fragments, payload, False)

    def _continue(self, fragments: list[Any], payload: bytes, final: bool) -> ReaderEvent | None:
        """Add a fragment. One of a text is decoded at once: invalid UTF-8 is refused before the message ends."""
        if len(fragments) >= MAX_FRAGMENTS:
            raise InvalidFrame(POLICY)
        decoder = self._decoder
        try:
            fragments.append(payload if decoder is None else decoder.decode(payload, final))
        except UnicodeDecodeError:
            raise InvalidFrame(BAD_DATA) from None
        self._size += len(payload)
        if not final:
            self.overhead += 1
            return None
        self._fragments, self._size = None, 0
        return (BINARY, b"".join(fragments)) if decoder is None else (TEXT, "".join(fragments))

    def _decompressed(self, inflater: Inflater, first: int, payload: bytes) -> bytes:
        if first & 0x0F != CONTINUATION:
            inflater.begin(bool(first & COMPRESSED))
        try:
            return inflater.decompress(payload, bool(first & FIN), self._max_size - self._size)
        except InflatedTooLarge:
            raise InvalidFrame(TOO_BIG) from None
        except zlib.error:
            raise InvalidFrame(PROTOCOL_ERROR) from None

    def _control(self, first: int, payload: bytes) -> ReaderEvent:
        self.overhead += 1
        opcode = first & 0x0F
        if opcode != CLOSE:
            return opcode, payload
        # Also one in the middle of a message in fragments (RFC 6455, section 5.4).
        if not payload:
            return CLOSE, (NO_STATUS, "")
        if len(payload) == 1 or not is_close_code(code := int.from_bytes(payload[:2], "big")):
            raise InvalidFrame(PROTOCOL_ERROR)
        return CLOSE, (code, _text(payload[2:]))


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise InvalidFrame(BAD_DATA) from None


def message_frame(payload: str | bytes, extension: PerMessageDeflate | None) -> bytes:
    """Return the frame of a message, compressed if that was agreed on."""
    if extension is None:
        return encode_frame(payload)
    opcode, data = (Opcode.TEXT, payload.encode()) if isinstance(payload, str) else (Opcode.BINARY, payload)
    return Frame(opcode, data).serialize(mask=False, extensions=[extension])


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame, with an empty payload for `NO_STATUS`."""
    payload = b"" if code == NO_STATUS else struct.pack("!H", code) + reason.encode()
    return control_frame(CLOSE, payload)


def control_frame(opcode: int, payload: bytes) -> bytes:
    """Return a control frame; its payload has at most `MAX_CONTROL` bytes."""
    return bytes((FIN | opcode, len(payload))) + payload
