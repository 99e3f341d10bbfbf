"""Flow control of a connection that belongs to one socket or stream: writers wait while its client takes too little."""

from __future__ import annotations

import asyncio
from typing import Any

from .closing import close_in_time

WRITE_BUFFER = 64 * 1024
"""Bytes in a transport's buffer above which nothing is written without waiting."""


class WriteFlow(asyncio.Protocol):
    """The protocol of one transport, as far as writing goes."""

    __slots__ = ("_writable", "transport")

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self._writable: asyncio.Future[None] | None = None  # while the transport has too much to write

    @property
    def can_write(self) -> bool:
        """True if something can be written at once."""
        transport = self.transport
        return not transport.is_closing() and transport.get_write_buffer_size() <= WRITE_BUFFER

    def pause_writing(self) -> None:
        """Let `drain` wait."""
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Let `drain` return."""
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set_result(None)

    async def drain(self) -> None:
        """Return when the transport has room again."""
        if self._writable is not None:
            await asyncio.wait([self._writable])

    def eof_received(self) -> None:
        """The client sends nothing more: asyncio closes the connection, behind what is written."""
        close_in_time(self.transport)

    def abort(self) -> None:
        """Close the connection at once, without further data."""
        self.transport.abort()
