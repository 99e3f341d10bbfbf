"""Encodes WebSocket frames (RFC 6455, section 5.2), once for all members of a group. Pure."""

from __future__ import annotations

import struct

TEXT, BINARY = 0x81, 0x82
"""The first byte of an unfragmented message: FIN and the opcode."""


def encode_frame(payload: str | bytes) -> bytes:
    """Return one unmasked, uncompressed frame."""
    if isinstance(payload, str):
        first, data = TEXT, payload.encode()
    else:
        first, data = BINARY, payload
    size = len(data)
    if size < 126:
        return bytes((first, size)) + data
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + data
    return struct.pack("!BBQ", first, 127, size) + data
