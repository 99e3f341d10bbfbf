"""The body of one request: its beginning for the request's own message, the rest in chunks on a channel of its own.

Reads no faster than the consumer takes, and no more than may be sent.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Any

from channels_classic.layers import names
from channels_classic.layers.planner import Outgoing

from ..asgi import Receive, Scope
from ..layer.session import LayerSession
from ..layer.writer import SendResult

DISCONNECT = "http.disconnect"

INLINE_BODY = 512 * 1024
"""Bytes of a body that travel with the request; the rest follows on a channel of its own, as it comes."""

PAUSE = 0.1
"""Seconds until a chunk is sent again whose channel was full."""

LINGER = 2.0
"""Seconds for which a client that was refused is still read: it looks for the answer only when it has sent all."""


class TooLarge(Exception):
    """Raised when the client sends more than it may."""


class RequestBody:
    """What a client sends after its headers."""

    def __init__(self, session: LayerSession, scope: Scope, receive: Receive) -> None:
        self.channel: str | None = None
        self.more = True
        self.left = False
        self._session = session
        self._receive = receive
        self._limit = session.config.max_body or math.inf
        self._size = 0
        headers = dict(scope.get("headers") or ())
        declared = headers.get(b"content-length", b"")
        self._declared = int(declared) if declared.isdigit() else 0
        self._waits = b"expect" in headers

    async def begin(self) -> bytes:
        """The body, or its beginning; the rest, if there is `more`, is for `stream`. Raises `TooLarge`."""
        if self._declared > self._limit:
            raise TooLarge
        body = await self._next()
        if self.more:
            parts = [body]
            while self.more and self._size < INLINE_BODY:
                parts.append(await self._next())
            body = b"".join(parts)
            self.channel = f"http.request.body?{names.random_text(24)}" if self.more else None
        return body

    async def _next(self) -> bytes:
        event = await self._receive()
        self._waits = False
        if event["type"] == DISCONNECT:
            self.left = True
            self.more = False
            return b""
        body: bytes = event.get("body", b"")
        self.more = event.get("more_body", False)
        self._size += len(body)
        if self._size > self._limit:
            raise TooLarge
        return body

    async def stream(self) -> SendResult:
        """Send the rest, as fast as its consumer takes it; gives the fate of the last chunk. Raises `TooLarge`."""
        result = SendResult.ACCEPTED
        while self.more and result is SendResult.ACCEPTED:
            content = await self._next()
            if not self.left:
                result = await self._send({"content": content, "more_content": self.more})
        return result

    async def _send(self, chunk: dict[str, Any]) -> SendResult:
        over = self._session.clock() + self._session.config.http_timeout
        loop = asyncio.get_running_loop()
        while True:
            done: asyncio.Future[SendResult] = loop.create_future()
            self._session.send(Outgoing(str(self.channel), chunk), partial(_settle, done))
            result = await done
            if result is not SendResult.FULL or self._session.clock() >= over:
                return result
            await asyncio.sleep(PAUSE)

    def abandon(self) -> None:
        """Tell whoever reads the body that it does not end."""
        if self.channel:
            self._session.send(Outgoing(self.channel, {"content": b"", "closed": True}))

    async def drain(self) -> None:
        """Read what a refused client still sends, for a moment; one that waits to be asked sends nothing."""
        if self.more and not self._waits:
            await asyncio.wait([asyncio.create_task(self._discard_rest())], timeout=LINGER)

    async def _discard_rest(self) -> None:
        self._limit = math.inf
        while self.more:
            await self._next()


def _settle(done: asyncio.Future[SendResult], send: Outgoing, result: SendResult) -> None:
    if not done.done():
        done.set_result(result)
