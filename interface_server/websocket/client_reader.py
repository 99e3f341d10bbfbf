"""The receiving side of one WebSocket: the messages that the server delivers, and the pauses in reading them.

Our own server delivers each by a call, which saves a turn of the event loop; others are asked for the next. Knows no
state of the socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from ..asgi import Receive
from ..close_codes import NO_STATUS
from .inbound import CONNECT, RECEIVE


class ClientReader:
    """Reads events and messages from the server; `raw` is its extension, if it is our own."""

    __slots__ = ("_raw", "_receive", "_resume_reading", "_resumed")

    def __init__(self, receive: Receive, raw: Mapping[str, Any] | None) -> None:
        self._receive = receive
        self._raw = raw
        self._resumed: asyncio.Event | None = None
        self._resume_reading: Callable[[], None] | None = None

    async def handshake(self) -> bool:
        """Return True if the client begins a handshake, False if it has left."""
        return bool((await self._receive())["type"] == CONNECT)

    async def read(self, on_message: Callable[[str | bytes], bool], on_buffered: Callable[[], None]) -> int:
        """Pass the client's messages to `on_message` until the client is gone; return the close code.

        When `on_message` returns False it has called `pause`, and the next message comes after `resume`. `on_buffered`
        is called when the server holds much of a message that is not complete, if the server is our own.
        """
        if self._raw is not None:
            self._raw["listen"](on_message, on_buffered)
        while (event := await self._receive())["type"] == RECEIVE:
            text = event.get("text")
            if not on_message(text if text is not None else event.get("bytes") or b"") and self._resumed is not None:
                await self._resumed.wait()
        return event.get("code") or NO_STATUS

    def pause(self) -> None:
        """Stop after the message that is being passed on."""
        if self._raw is not None:
            self._resume_reading = self._raw["resume_reading"]
        else:
            self._resumed = asyncio.Event()
            self._resume_reading = self._resumed.set

    def resume(self) -> None:
        """Continue after a pause."""
        resume_reading, self._resume_reading = self._resume_reading, None
        if resume_reading is not None:
            resume_reading()
