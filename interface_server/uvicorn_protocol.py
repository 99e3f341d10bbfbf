"""What our server offers beyond ASGI, as the extension `channels_classic.raw`: uvicorn's protocols, a little extended.

A WebSocket's `write` puts one encoded frame on the transport at once, so that a broadcast is encoded once; a request's
`watch` tells of a client that leaves without a task that waits for it; `abort` ends either at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

WRITE_BUFFER = 64 * 1024
"""Bytes in a transport's buffer above which `write` declines, and frames go through `send`, which waits."""

ABNORMAL = 1006


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Adds `write` and `abort`, tells a lost connection from a closed one, and is fair to clients that are not read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_at = 0.0

    def handle_connect(self, event: Request) -> None:
        """Offer the extension; the application starts later in this turn of the loop."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions["channels_classic.raw"] = {"write": self.write_frame, "abort": self.abort}

    def write_frame(self, frame: bytes) -> bool:
        """Write an encoded frame now, if nothing speaks against it."""
        transport = self.transport
        if (
            not self.handshake_complete
            or self.close_sent
            or self.disconnected
            or self.conn.close_sent is not None
            or self.conn.extensions
            or transport.is_closing()
            or transport.get_write_buffer_size() > WRITE_BUFFER
        ):
            return False
        transport.write(frame)
        return True

    def abort(self) -> None:
        """End the connection without a word."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that ended without a close frame of the client is abnormal (RFC 6455, section 7.1.5)."""
        if self.conn.close_rcvd is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""})
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        """A handshake that was answered with a response is complete; uvicorn would log that it is not."""
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True

    async def receive(self) -> Any:
        """Note when reading goes on."""
        paused = self.read_paused
        event = await super().receive()
        if paused and not self.read_paused:
            self._read_at = self.loop.time()
        return event

    def keepalive_timeout(self) -> None:
        """While we do not read, a pong cannot arrive: the client has its full time from when we read again."""
        assert self.ping_timeout is not None
        waits_since = self.loop.time() if self.read_paused else self._read_at
        deadline = waits_since + self.ping_timeout
        if deadline > self.loop.time() + 0.001:
            self.pong_timer = self.loop.call_at(deadline, self.keepalive_timeout)
            return
        super().keepalive_timeout()


class HttpProtocol(HttpToolsProtocol):
    """Adds `watch` and `abort`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watcher: Callable[[], None] | None = None
        self._extensions: dict[str, dict[object, object]] = {
            "channels_classic.raw": {"watch": self.watch, "abort": self.abort}
        }

    def on_message_begin(self) -> None:
        """Offer the extension."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions

    def watch(self, watcher: Callable[[], None] | None) -> None:
        """Have `watcher` called when the client leaves; at once when it has."""
        self._watcher = watcher
        if watcher is not None and self.cycle.disconnected:
            asyncio.get_running_loop().call_soon(watcher)

    def abort(self) -> None:
        """End the connection without a word."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left."""
        super().connection_lost(exc)
        if self._watcher is not None:
            self._watcher()
