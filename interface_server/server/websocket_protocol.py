"""Adaptor of uvicorn's WebSocket protocol and of `websockets`, with strict limits and paused reading.

The extension `channels_classic.raw` offers the application functions that ASGI lacks: `write` puts one encoded frame on
the transport at once, so that a broadcast is encoded once; `listen` delivers the client's messages by a call, which
saves a turn of the event loop per message; `resume_reading` continues after the listener has paused; `abort` closes the
connection at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from ..error_pages import RETRY_AFTER
from ..layer.budget import UNCOUNTED
from .connect_rate import ConnectRate

WRITE_BUFFER = 64 * 1024
"""Bytes in a transport's buffer above which `write` declines and frames go through `send`, which waits."""

MAX_UNREAD_PONGS = 256 * 1024
"""Bytes in a transport's buffer above which a client that sends pings is cut off: it does not read the pongs."""

SLICE = 16 * 1024
"""Bytes parsed at a time: one read may hold tens of thousands of tiny frames, far more than may be queued."""

MAX_EARLY_BYTES = 64 * 1024
"""Bytes that a client may send before its handshake is answered; RFC 6455 allows none."""

MAX_FRAGMENTS = 1024
"""Frames of one message: empty ones take memory, but do not count in the size of the message."""

CLOSE_TIMEOUT = 10.0
"""Seconds a client has to answer a close frame before its connection is closed."""

ABNORMAL, PROTOCOL_ERROR, BAD_DATA, POLICY = 1006, 1002, 1007, 1008


# Small stand-ins for the `asyncio.Queue` and the `asyncio.Event` of uvicorn, which take 4 KiB in every idle socket.


class _Mailbox:
    """A queue of events with one reader."""

    __slots__ = ("_arrival", "_items")

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._arrival: asyncio.Future[None] | None = None

    def put_nowait(self, item: Any) -> None:
        self._items.append(item)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def get(self) -> Any:
        while not self._items:
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        return self._items.pop(0)

    def take_all(self) -> list[Any]:
        items, self._items = self._items, []
        return items

    def empty(self) -> bool:
        return not self._items


class _Valve:
    """An event that is set until it is cleared."""

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


class _ServerProtocol(ServerProtocol):
    """The protocol of `websockets`, with control frames inside fragmented messages as in RFC 6455, section 5.4.

    A close frame may come there as well. `websockets` takes it for a violation, and answers 1002.
    """

    def recv_frame(self, frame: Frame) -> None:
        """Let a close frame end the message that it is in the middle of."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    def __init__(self, *args: Any, rate: ConnectRate | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connect_rate = rate
        self.close_timeout = CLOSE_TIMEOUT
        self.conn.__class__ = _ServerProtocol  # uvicorn makes it; to make another would cost each handshake 50 µs
        self.queue: Any = _Mailbox()
        self.writable: Any = _Valve()
        self._read_at = 0.0
        self._unparsed = b""
        self._note_buffered: Callable[[], None] | None = None
        self._early_bytes = 0
        self._early_pongs = b""
        self._listener: Callable[[str | bytes], bool] | None = None

    # The extension for the application

    def handle_connect(self, event: Request) -> None:
        """Add the extension to the scope; the application starts later in this turn of the loop."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions["channels_classic.raw"] = {
                "write": self.write_frame,
                "listen": self.listen,
                "resume_reading": self.resume_reading,
                "abort": self.abort,
                "buffered": self.buffered,
            }

    async def run_asgi(self) -> None:
        """Serve the connection when it is its turn; see --connect-rate."""
        if self._connect_rate is None or await self._wait_for_turn(self._connect_rate):
            await super().run_asgi()

    async def _wait_for_turn(self, rate: ConnectRate) -> bool:
        """Return True when it is the turn of this handshake, False if it has been refused or its client left."""
        delay = rate.reserve(self.loop.time())
        if delay is None:
            self._reject(503, "Service unavailable.\n")
            self.transport.close()
        elif delay:
            await asyncio.sleep(delay)
        return not self.handshake_complete

    def write_frame(self, frame: bytes) -> bool:
        """Write an encoded frame now and return True; return False if it must go through `send`."""
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

    def listen(self, listener: Callable[[str | bytes], bool], note_buffered: Callable[[], None]) -> None:
        """Pass the client's messages to `listener` instead of `receive`; reading pauses when it returns False.

        `note_buffered` is called while much of a message has come and its end has not.

        Messages that were already read are passed now, all of them, as are those read together with the one for which
        it returns False.
        """
        self._listener = listener
        self._note_buffered = note_buffered
        room = True
        for event in self.queue.take_all():
            if event["type"] == "websocket.receive":
                text = event.get("text")
                room = listener(event.get("bytes") or b"" if text is None else text) and room
            else:
                self.queue.put_nowait(event)
        if room:
            self.resume_reading()  # the first of them had paused it

    def resume_reading(self) -> None:
        """Continue reading after a pause."""
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self._read_at = self.loop.time()
            self._parse()
            if not self.read_paused and not self.transport.is_closing():
                self.transport.resume_reading()

    def _notify_listener(self, data: str | bytes) -> None:
        assert self._listener is not None
        if not self._listener(data):
            self._pause()

    def _pause(self) -> None:
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def abort(self) -> None:
        """Close the connection at once, without a close frame."""
        self.transport.abort()

    # Data from the client

    def data_received(self, data: bytes) -> None:
        """Parse data until reading pauses, and keep the rest."""
        if not self.handshake_complete and self.handshake_initiated:
            self._early_bytes += len(data)
            if self._early_bytes > MAX_EARLY_BYTES:
                self._reject(400, "Too much data before the handshake was answered.\n")
                self.transport.close()
                return
        if self._unparsed or self.read_paused or len(data) > SLICE:
            self._unparsed += data
            self._parse()
        else:
            super().data_received(data)

        if self._note_buffered is not None and len(self.conn.reader.buffer) + sum(map(len, self.frames)) > UNCOUNTED:
            self._note_buffered()

    def buffered(self) -> int:
        """Return the bytes of unfinished messages, and those that the client does not take."""
        incoming = len(self.conn.reader.buffer) + sum(map(len, self.frames)) + len(self._unparsed)
        return incoming + self.transport.get_write_buffer_size()

    def _parse(self) -> None:
        while self._unparsed and not self.read_paused and not self.transport.is_closing():
            part, self._unparsed = self._unparsed[:SLICE], self._unparsed[SLICE:]
            super().data_received(part)

    def handle_cont(self, event: Any) -> None:
        """Add a continuation frame to the message."""
        if len(self.frames) >= MAX_FRAGMENTS:
            self._fail(POLICY)
        else:
            super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer with a pong, or cut off a client that does not read its pongs."""
        if not self.handshake_complete:
            self._early_pongs += b"".join(self.conn.data_to_send())  # the 101 comes first
            return
        if self.transport.get_write_buffer_size() > MAX_UNREAD_PONGS:
            self.transport.abort()
        else:
            super().handle_ping()

    def send_receive_event_to_app(self) -> None:
        """Deliver a complete message. Invalid UTF-8 is the client's fault and is not logged."""
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
            self._notify_listener(content)
        else:
            self.queue.put_nowait({"type": "websocket.receive", "text" if is_text else "bytes": content})
            self._pause()

    def handle_close(self, event: Any) -> None:
        """Answer the client's close frame; before the handshake is answered there is nothing to write."""
        early = not self.handshake_complete
        super().handle_close(event)
        if early:
            self.close_sent = self.handshake_complete = True

    def handle_parser_exception(self) -> None:
        """Close after an invalid frame; before the handshake is answered, without a close frame."""
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
        """Close because the server stops; an undecided handshake gets 503, so that the client tries again."""
        if not self.handshake_complete and not self.close_sent and self.initial_response is None:
            self._reject(503, "Service unavailable.\n")
        super().shutdown()

    def _reject(self, status: int, text: str) -> None:
        """Answer the handshake with an error."""
        response = self.conn.reject(status, text)
        if status == 503:
            response.headers["Retry-After"] = RETRY_AFTER[1].decode()
        self.conn.send_response(response)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.handshake_complete = self.close_sent = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Report code 1006 for a connection that ended without a close frame (RFC 6455, section 7.1.5)."""
        if self.conn.close_rcvd is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""})
        super().connection_lost(exc)

    async def send(self, message: Any) -> None:
        """Mark a handshake answered with a response as complete; uvicorn would log that it is not."""
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True
        if self.handshake_complete and message["type"] == "websocket.accept":
            del self.request, self.response  # two kilobytes no longer needed
            pongs, self._early_pongs = self._early_pongs, b""
            self.transport.write(pongs)
        if self.close_sent:
            self._parse()  # it may contain the answer to our close frame

    # Keep-alive

    async def receive(self) -> Any:
        """Record the time when reading continues."""
        paused = self.read_paused
        event = await super().receive()
        if paused and not self.read_paused:
            self._read_at = self.loop.time()
            self._parse()
        return event

    def keepalive_timeout(self) -> None:
        """Give the client its full time from when reading continued: during a pause its pong cannot arrive."""
        assert self.ping_timeout is not None
        waits_since = self.loop.time() if self.read_paused else self._read_at
        deadline = waits_since + self.ping_timeout
        if deadline > self.loop.time() + 0.001:
            self.pong_timer = self.loop.call_at(deadline, self.keepalive_timeout)
            return
        super().keepalive_timeout()
