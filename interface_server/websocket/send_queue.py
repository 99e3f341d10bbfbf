"""What one client is still to be sent, in order. A task lives only while something waits: idle clients cost nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..asgi import Event, SendEvent

LIMIT = 4 * 1024 * 1024
"""Bytes that wait for a client that does not read, before it is given up."""


class SendQueue:
    """Events on their way to a client through the server's `send`. `failed` is called when it takes no more."""

    __slots__ = ("_events", "_failed", "_send", "_task", "size")

    def __init__(self, send: SendEvent, failed: Callable[[BaseException], None]) -> None:
        self._send = send
        self._failed = failed
        self._events: deque[tuple[Event, int]] | None = None
        self._task: asyncio.Task[None] | None = None
        self.size = 0

    @property
    def idle(self) -> bool:
        """Whether everything has been handed over."""
        return self._task is None

    @property
    def overfull(self) -> bool:
        """Whether more waits than may."""
        return self.size > LIMIT

    def put(self, event: Event, size: int = 0) -> None:
        """Send `event` after all that was put before."""
        if self._events is None:
            self._events = deque()
            self._task = asyncio.get_running_loop().create_task(self._drain(self._events))
        self._events.append((event, size))
        self.size += size

    def clear(self) -> None:
        """Drop what waits."""
        if self._events is not None:
            self._events.clear()
        self.size = 0

    async def sent(self) -> None:
        """Return once everything has been handed over, or cannot be."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self, events: deque[tuple[Event, int]]) -> None:
        try:
            while events:
                event, size = events.popleft()
                await self._send(event)
                self.size = max(0, self.size - size)
        except Exception as error:  # each server has its own for a client that is gone
            self.clear()
            self._failed(error)
        finally:
            self._events = self._task = None
