"""uvicorn's WebSocket protocol, a little extended: strict with clients, and fair to those that are not read.

It offers the application, as the extension `channels_classic.raw`, what ASGI has no word for: `write` puts one encoded
frame on the transport at once, so that a broadcast is encoded once; `listen` has the client's messages handed over
where they are read, which spares each a turn of the event loop; `abort` ends the connection at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from ..error_pages import RETRY_AFTER

WRITE_BUFFER = 64 * 1024
"""Bytes in a transport's buffer above which `write` declines, and frames go through `send`, which waits."""

UNREAD_PONGS = 256 * 1024
"""Bytes in a transport's buffer above which a client that sends pings is given up: it does not read the pongs."""

SLICE = 16 * 1024
"""Bytes that are parsed at once: one read may hold tens of thousands of tiny frames, far more than may wait."""

FRAGMENTS = 1024
"""Frames of one message: empty ones cost memory, but count for nothing in its size."""

GOOD_BYE = 10.0
"""Seconds that a client has to answer our close frame before its connection is cut."""

ABNORMAL, PROTOCOL_ERROR, BAD_DATA, POLICY = 1006, 1002, 1007, 1008


# What uvicorn needs of an `asyncio.Queue` and an `asyncio.Event`, which take 4 KiB: every idle socket has them.


class _Mailbox:
    """Events for one reader."""

    __slots__ = ("_came", "_items")

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._came: asyncio.Future[None] | None = None

    def put_nowait(self, item: Any) -> None:
        self._items.append(item)
        if self._came is not None and not self._came.done():
            self._came.set_result(None)

    async def get(self) -> Any:
        while not self._items:
            self._came = asyncio.get_running_loop().create_future()
            try:
                await self._came
            finally:
                self._came = None
        return self._items.pop(0)

    def take_all(self) -> list[Any]:
        items, self._items = self._items, []
        return items

    def empty(self) -> bool:
        return not self._items


class _Valve:
    """Open until it is cleared."""

    __slots__ = ("_opened",)

    def __init__(self) -> None:
        self._opened: asyncio.Future[None] | None = None

    def clear(self) -> None:
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()

    def set(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.set_result(None)

    async def wait(self) -> None:
        while self._opened is not None:
            await asyncio.wait([self._opened])


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = GOOD_BYE
        self.queue: Any = _Mailbox()
        self.writable: Any = _Valve()
        self._read_at = 0.0
        self._unparsed = b""
        self._listener: Callable[[str | bytes], bool] | None = None

    # What the application is offered

    def handle_connect(self, event: Request) -> None:
        """Offer the extension; the application starts later in this turn of the loop."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions["channels_classic.raw"] = {
                "write": self.write_frame,
                "listen": self.listen,
                "read_on": self.resume_reading,
                "abort": self.abort,
            }

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

    def listen(self, listener: Callable[[str | bytes], bool]) -> None:
        """Hand the client's messages to `listener`, not to `receive`; once it says no, read no further.

        Messages that were read already are handed over now; of those read together with one that it said no to, all.
        """
        self._listener = listener
        room = True
        for event in self.queue.take_all():
            if event["type"] == "websocket.receive":
                text = event.get("text")
                room = listener(event.get("bytes") or b"" if text is None else text) and room
            else:
                self.queue.put_nowait(event)
        if room:
            self.resume_reading()  # the first of them had stopped it

    def resume_reading(self) -> None:
        """There is room for messages again."""
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self._read_at = self.loop.time()
            self._parse()
            if not self.read_paused and not self.transport.is_closing():
                self.transport.resume_reading()

    def _hand_over(self, data: str | bytes) -> None:
        assert self._listener is not None
        if not self._listener(data):
            self._pause()

    def _pause(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def abort(self) -> None:
        """End the connection without a word."""
        self.transport.abort()

    # What clients send

    def data_received(self, data: bytes) -> None:
        """Parse what came, as far as it is wanted; the rest waits like what was not read."""
        if self._unparsed or self.read_paused or len(data) > SLICE:
            self._unparsed += data
            self._parse()
        else:
            super().data_received(data)

    def _parse(self) -> None:
        while self._unparsed and not self.read_paused and not self.transport.is_closing():
            part, self._unparsed = self._unparsed[:SLICE], self._unparsed[SLICE:]
            super().data_received(part)

    def handle_cont(self, event: Any) -> None:
        """A further frame of a message."""
        if len(self.frames) >= FRAGMENTS:
            self._fail(POLICY)
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer, unless nobody reads the answers."""
        if self.transport.get_write_buffer_size() > UNREAD_PONGS:
            self.transport.abort()
        else:
            super().handle_ping()

    def send_receive_event_to_app(self) -> None:
        """A message is complete. Bad UTF-8 is the client's fault, and no news for the log."""
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        is_text = self.curr_msg_data_type == "text"
        try:
            content = data.decode() if is_text else data
        except UnicodeDecodeError:
            self._fail(BAD_DATA)
            return
        if self._listener is not None:
            self._hand_over(content)
        else:
            self.queue.put_nowait({"type": "websocket.receive", "text" if is_text else "bytes": content})
            self._pause()

    def handle_close(self, event: Any) -> None:
        """The client says good-bye; before the handshake is answered nothing can be said any more."""
        early = not self.handshake_complete
        super().handle_close(event)
        if early:
            self.close_sent = self.handshake_complete = True

    def handle_parser_exception(self) -> None:
        """A broken frame; before the handshake is answered there is no close frame to say so."""
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": PROTOCOL_ERROR, "reason": ""})
        self.close_sent = self.handshake_complete = True
        self.transport.close()

    def _fail(self, code: int) -> None:
        if self.close_sent or self.conn.close_sent is not None:
            return
        if self.handshake_complete:
            self.conn.fail(code)
        self.handle_parser_exception()

    # The end

    def shutdown(self) -> None:
        """The server stops: a handshake that nobody has answered may be tried again elsewhere, or soon."""
        if not self.handshake_complete and not self.close_sent and self.initial_response is None:
            response = self.conn.reject(503, "Service unavailable.\n")
            response.headers["Retry-After"] = RETRY_AFTER[1].decode()
            self.conn.send_response(response)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.handshake_complete = self.close_sent = True
        super().shutdown()

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
            self._parse()  # the answer to our close frame may be in there
        if self.handshake_complete and message["type"] == "websocket.accept":
            del self.request, self.response  # two kilobytes that nobody needs any more

    # Keep-alive

    async def receive(self) -> Any:
        """Note when reading goes on."""
        paused = self.read_paused
        event = await super().receive()
        if paused and not self.read_paused:
            self._read_at = self.loop.time()
            self._parse()
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
