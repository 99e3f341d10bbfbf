"""The bytes of a connection that its parser has not reported yet. Pure.

The parser does not say where a request begins in what it is fed: a read may hold the end of a body and further
requests. So each piece that it reports is skipped here.
"""

from __future__ import annotations

_END_OF_LINE = b"\r\n"
_END_OF_HEAD = b"\r\n\r\n"


class Unread:
    """Bytes that the parser was fed and did not report. Methods raise `ValueError` for a report of more than that."""

    __slots__ = ("_at", "_bytes")

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def add(self, data: bytes) -> None:
        """Add a read."""
        self._bytes += data

    def trim(self) -> None:
        """Release what was skipped."""
        self._bytes = self._bytes[self._at :]
        self._at = 0

    def clear(self) -> None:
        """Forget what is left: the parser is between two requests."""
        self._bytes = b""
        self._at = 0

    @property
    def head(self) -> bytes:
        """The bytes from the request line on: the empty lines before it mean nothing."""
        return self._bytes[self._at :].lstrip(_END_OF_LINE)

    def split_head(self) -> tuple[bytes, bytes]:
        """Return the head that was taken last, and what follows."""
        return self._bytes[: self._at], self._bytes[self._at :]

    def take_head(self) -> bytes:
        """Skip a complete head; returns it with what follows."""
        self._bytes = self.head
        self._at = self._bytes.index(_END_OF_HEAD) + len(_END_OF_HEAD)
        return self._bytes

    def skip_line(self) -> None:
        """Skip the header of a chunk, a trailer, or the end of a chunk."""
        self._at = self._bytes.index(_END_OF_LINE, self._at) + len(_END_OF_LINE)

    def skip(self, size: int) -> None:
        """Skip content."""
        self._at += size
