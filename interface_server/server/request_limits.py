"""Limits on what one HTTP connection sends: how much, in how many pieces, and how fast. Pure: no parser, no clock.

The protocol reports each piece that the parser finds and, after each read, how many bytes it fed to the parser. Pieces
are counted exactly. The bytes are a second line of defence: the parser reports a header, a trailer or the header of a
chunk only at its end, so one without an end would be reported never, while the parser keeps all of it in memory.
"""

from __future__ import annotations

from enum import Enum

from ..config import ClientLimits

MAX_HEADERS = 128
"""Headers, and trailers, of one request."""

CHUNK_FRAMING = 24
"""Bytes around the content of one chunk: 16 digits of its size, two line ends and room for a short extension."""

CHUNK_RATE = 40_000
"""Chunks per second that are parsed of one client: each is work for the event loop, however few bytes it holds."""

CHUNKS_AT_ONCE = 1000
"""Most chunks of one read that cause no pause."""

MAX_UNUSED_BODY = 1024 * 1024
"""Bytes of a body that are read after its request was answered; then the connection is closed."""

RATE_INTERVAL = 20.0
"""Seconds over which the rate of a body is averaged."""


class Refused(Exception):
    """Raised for a request to be answered with an error status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class RequestPart(Enum):
    """The part of a request that the client is sending."""

    NONE = "none"
    HEAD = "head"
    BODY = "body"


class RequestLimits:
    """The counters of one connection. Methods raise `Refused` when a limit is exceeded."""

    __slots__ = (
        "_chunks",
        "_headers",
        "_in_chunk",
        "_limits",
        "_read_chunks",
        "_received",
        "_shared",
        "_size",
        "_unused",
        "part",
    )

    def __init__(self, limits: ClientLimits) -> None:
        self.part = RequestPart.NONE
        self._limits = limits
        self._headers = 0
        self._size = 0  # bytes of the headers, or of the trailers, that the parser reported
        self._received = 0  # bytes of this part, without the content of chunks
        self._shared = False  # the current read also has bytes of an earlier part, so it is not counted for this one
        self._chunks = 0
        self._read_chunks = 0  # those of the current read
        self._in_chunk = False  # the header of a chunk came, but no content yet
        self._unused = 0

    # What the parser finds

    def begin(self) -> None:
        """Begin a request."""
        self._begin(RequestPart.HEAD)

    def target(self, size: int) -> None:
        """Check the size of the target so far."""
        if size > self._limits.max_request_line:
            raise Refused(414)

    def header(self, name: bytes, value: bytes) -> None:
        """Count a header, or after the head a trailer."""
        self._headers += 1
        self._size += len(name) + len(value) + 4
        if self._size > self._limits.max_head or self._headers > MAX_HEADERS:
            raise Refused(431)

    def begin_body(self) -> None:
        """Begin the body; trailers are counted from zero."""
        self._shared = True
        self._begin(RequestPart.BODY)
        self._chunks = self._unused = 0
        self._in_chunk = False

    def chunk(self) -> None:
        """Count the header of a chunk."""
        self._chunks += 1
        self._read_chunks += 1
        self._in_chunk = True

    def body(self, size: int, *, used: bool) -> bool:
        """Count content; return False if it is not `used` and exceeds what is read and discarded."""
        self._in_chunk = False
        if not self._shared:
            self._received -= size
        self._unused += 0 if used else size
        return self._unused <= MAX_UNUSED_BODY

    def pause(self) -> float:
        """Return the seconds for which nothing is read, after a read."""
        chunks, self._read_chunks = self._read_chunks, 0
        return chunks / CHUNK_RATE if chunks > CHUNKS_AT_ONCE else 0.0

    def end(self) -> None:
        """End the request."""
        self.part = RequestPart.NONE
        self._shared = True

    def _begin(self, part: RequestPart) -> None:
        self.part = part
        self._headers = self._size = self._received = 0

    # Bytes

    def received(self, size: int) -> None:
        """Count the bytes of a read, after the parser had them."""
        if not self._shared:
            self._received += size
        self._shared = False
        if self.part is RequestPart.HEAD and self._received > self._limits.max_head:
            raise Refused(431 if self._headers else 414)
        if self.part is RequestPart.BODY and self._received > self._limits.max_head + CHUNK_FRAMING * self._chunks:
            raise Refused(431 if self._in_chunk else 400)  # an endless trailer, or an endless chunk extension


class BodyRate:
    """The rate of a body, averaged over `RATE_INTERVAL`. Bytes count as they arrive; pauses of ours do not count."""

    __slots__ = ("_bytes", "_minimum", "_paused")

    def __init__(self, limits: ClientLimits) -> None:
        self._minimum = limits.body_rate * RATE_INTERVAL
        self._bytes = 0
        self._paused = False

    def restart(self) -> None:
        """Begin an interval."""
        self._bytes = 0
        self._paused = False

    def received(self, size: int, *, paused: bool) -> None:
        """Count a read; `paused` says that the server does not read further for now."""
        self._bytes += size
        self._paused = self._paused or paused

    def sufficient(self, *, paused: bool) -> bool:
        """Return True if the interval that ends now was fast enough, or was not the client's alone."""
        return self._bytes >= self._minimum or self._paused or paused
