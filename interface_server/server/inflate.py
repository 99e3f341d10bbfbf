"""Decompresses the messages of one WebSocket client (RFC 7692, section 7.2.2). Pure.

`websocket_handshake.py` decides on the windows.
"""

from __future__ import annotations

import zlib
from typing import Any

from websockets.extensions.permessage_deflate import PerMessageDeflate

TAIL = b"\x00\x00\xff\xff"
"""The end of each compressed message, which is not sent."""


class InflatedTooLarge(ValueError):
    """Raised for a message that is larger, decompressed, than it may be."""


class Inflater:
    """The stream of compressed messages of one client.

    A client may end its DEFLATE stream in any message and go on with a new one (section 7.2.3.4). zlib then stops: what
    follows, in this message and in all later ones, would be lost without an error.
    """

    __slots__ = ("_bits", "_decoder", "_is_compressed", "_keeps_context")

    def __init__(self, agreed: PerMessageDeflate) -> None:
        self._bits = -agreed.remote_max_window_bits
        self._keeps_context = not agreed.remote_no_context_takeover
        self._decoder: Any = None  # made with the first compressed message: most sockets get none for long
        self._is_compressed = False

    def begin(self, is_compressed: bool) -> None:
        """Begin a message."""
        self._is_compressed = is_compressed
        if is_compressed and (self._decoder is None or not self._keeps_context):
            self._decoder = zlib.decompressobj(self._bits)

    def decompress(self, payload: bytes, final: bool, limit: int) -> bytes:
        """Return the content of a frame, `limit` bytes at most.

        Raises `InflatedTooLarge`, and `zlib.error` for content that is not valid.
        """
        if not self._is_compressed:
            return payload
        content = self._inflate(payload + TAIL if final else payload, limit)
        if self._decoder.eof:
            rest = self._decoder.unused_data
            self._decoder = zlib.decompressobj(self._bits)
            if rest != TAIL:  # a client may also leave out the byte that begins the new stream
                content += self._inflate(rest, limit - len(content))
            if self._decoder.eof:
                # One end in a frame is enough: each costs a new decoder, and takes the client two bytes.
                raise zlib.error("the frame has several final blocks")
        return content

    def _inflate(self, data: bytes, limit: int) -> bytes:
        # One byte more than allowed: a limit of 0 would mean none.
        content: bytes = self._decoder.decompress(data, limit + 1)
        if len(content) > limit:
            raise InflatedTooLarge
        return content
