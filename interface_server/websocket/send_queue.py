"""Send queue of one client. Its task exists only while events wait: idle clients cost nothing."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from ..asgi import Event, SendEvent

logger = logging.getLogger("channels_classic.interface_server")

MAX_BYTES = 4 * 1024 * 1024
"""Bytes of memory that wait for a client that does not read, beyond which it is cut off."""


EVENT_BYTES = 384
"""Bytes of memory that a queued event takes beside its payload, which may be of one byte."""


class SendQueue:
    """Passes events to the server's `send`, in order, until that raises. `path` names the client in the log."""

    __slots__ = ("_events", "_path", "_send", "_task", "size")

    def __init__(self, send: SendEvent, path: str) -> None:
        self._send = send
        self._path = path
        self._events: deque[tuple[Event, int]] | None = None
        self._task: asyncio.Task[None] | None = None
        self.size = 0

    @property
    def idle(self) -> bool:
        """True if everything has been passed to `send`."""
        return self._task is None

    @property
    def held(self) -> int:
        """The bytes of memory that wait."""
        return self.size + EVENT_BYTES * len(self._events or ())

    @property
    def overfull(self) -> bool:
        """True if more than `MAX_BYTES` of memory wait."""
        return self.held > MAX_BYTES

    def put(self, event: Event, size: int = 0) -> None:
        """Queue `event`, of `size` bytes of payload."""
        if self._events is None:
            self._events = deque()
            self._task = asyncio.get_running_loop().create_task(self._drain(self._events))
        self._events.append((event, size))
        self.size += size

    def clear(self) -> None:
        """Drop the queued events."""
        if self._events is not None:
            self._events.clear()
        self.size = 0

    async def sent(self) -> None:
        """Return when the queue is empty or has failed."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self, events: deque[tuple[Event, int]]) -> None:
        try:
            while events:
                event, size = events.popleft()
                await self._send(event)
                self.size = max(0, self.size - size)
        except Exception as error:  # each server has its own class for a client that is gone
            self.clear()
            logger.debug("Sending to the WebSocket %s failed: %r", self._path, error)
        finally:
            self._events = self._task = None
