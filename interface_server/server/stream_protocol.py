"""The connection of an event stream: a response that is written as events come, and nothing that is read.

Takes over from `HttpProtocol`, as `WebSocketProtocol` does, but leaves the head, pieces that have to wait, and the end
to uvicorn. What the client sends is no request any more, so it is ignored, up to a bound.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from uvicorn.server import ServerState

from ..asgi import Event
from .closing import close_in_time
from .write_flow import WriteFlow

MAX_IGNORED = 64 * 1024
"""Bytes that a client may send behind its request; none is expected."""


class StreamProtocol(WriteFlow):
    """One connection. To uvicorn's object for the request it also is its flow control and the event that it sets.

    Those of uvicorn take more than a kilobyte of each stream.
    """

    __slots__ = ("_cycle", "_ended", "_ignored", "_on_shutdown", "_server")

    def __init__(self, server: ServerState, transport: Any, cycle: Any, on_shutdown: Callable[[], None]) -> None:
        super().__init__(transport)
        if cycle.flow.write_paused:
            self.pause_writing()
        self._server = server
        self._cycle = cycle
        self._on_shutdown = on_shutdown
        self._ignored = 0
        self._ended: asyncio.Future[None] | None = None  # while the application waits for the end

    def take_over(self, ping_interval: float | None, ping_timeout: float | None) -> None:
        """Become the protocol of the transport; the connection ends with the response."""
        cycle = self._cycle
        cycle.flow.resume_reading()  # to notice when the client leaves
        self.transport.resume_reading()  # also after a pause for too many chunks
        cycle.flow = cycle.message_event = self
        cycle.keep_alive = False
        cycle.on_response = self._on_response
        self._server.connections.add(self)  # type: ignore[arg-type]  # one of its kind
        self.transport.set_protocol(self)
        if ping_interval and ping_timeout:
            self._limit_silence(ping_interval + ping_timeout)

    def _limit_silence(self, seconds: float) -> None:
        """End the connection when the client acknowledges nothing, or has no room, for `seconds`.

        A stream has no pongs. Its heartbeats are data that the kernel of the client has to acknowledge; by default
        Linux waits about 15 minutes for that. In `tcp(7)`: `TCP_USER_TIMEOUT`, in milliseconds.
        """
        found = self.transport.get_extra_info("socket")
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if found is not None and option is not None and found.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):
                found.setsockopt(socket.IPPROTO_TCP, option, min(int(seconds * 1000), 2**31 - 1))

    def _on_response(self) -> None:
        self._server.total_requests += 1
        close_in_time(self.transport)

    # The application

    def write(self, data: bytes) -> bool:
        """Write a piece of the response now, as a chunk, and return True; False if it must go through `send`."""
        if not self.can_write:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    def buffered(self) -> int:
        """Return the bytes that the client does not take."""
        return int(self.transport.get_write_buffer_size())

    # The connection

    def data_received(self, data: bytes) -> None:
        """Ignore what the client sends, or cut it off."""
        self._ignored += len(data)
        if self._ignored > MAX_IGNORED:
            self.transport.abort()

    def shutdown(self) -> None:
        """The server stops."""
        self._on_shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end to the application."""
        self._server.connections.discard(self)
        if self._cycle is not None and not self._cycle.response_complete:
            self._cycle.disconnected = True
        self.set()
        self.resume_writing()

    def release(self) -> None:
        """Drop the object of the request, and the application: both refer to this one."""
        self._cycle = None
        self._on_shutdown = _do_nothing

    # For the object of the request

    def set(self) -> None:
        """The response is complete, or the client has left."""
        ended, self._ended = self._ended, None
        if ended is not None and not ended.done():
            ended.set_result(None)

    async def receive(self) -> Event:
        """Return when the response is complete, or the client has left."""
        if not (self._cycle.disconnected or self._cycle.response_complete):
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended
        return {"type": "http.disconnect"}

    @property
    def write_paused(self) -> bool:
        """True while writers must wait."""
        return self._writable is not None


def _do_nothing() -> None:
    pass
