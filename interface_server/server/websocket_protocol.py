"""The WebSocket side of a connection: frames in and out, keep-alive pings, the closing handshake.

Takes over from `HttpProtocol` when a request asks for it, and runs the ASGI application for it. The extension
`channels_classic.raw` offers the application functions that ASGI lacks: `write` puts one encoded frame on the
transport at once, so that a broadcast is encoded once; `listen` delivers the client's messages by a call, which saves a
turn of the event loop per message; `resume_reading` continues after the listener has paused; `abort` closes the
connection at once.

Until the handshake is answered, what arrives is kept unread, up to a bound: RFC 6455 allows a client to send nothing
yet, and this way it is answered after the 101.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn

from ..asgi import Event, Scope
from ..close_codes import ABNORMAL, INTERNAL_ERROR, NORMAL, SERVICE_RESTART
from ..error_pages import RETRY_AFTER
from ..layer.budget import UNCOUNTED
from .closing import close_in_time
from .connect_rate import ConnectRate
from .request_syntax import Header
from .server_state import ServerState
from .websocket_connection_state import ConnectionState
from .websocket_handshake import Handshake, denial
from .websocket_keep_alive import KeepAlive
from .websocket_reader import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    InvalidFrame,
    MessageReader,
    close_frame,
    message_frame,
)

logger = logging.getLogger("channels_classic.interface_server")

OVERHEAD_AT_ONCE, OVERHEAD_RATE = 100, 4000
"""Frames without a message, such as pings, that are decoded at once, and per second: each is work for the event loop,
for which no consumer has to have room."""

MAX_EARLY_BYTES = 64 * 1024
"""Bytes that a client may send before its handshake is answered; RFC 6455 allows none."""

CLOSE_TIMEOUT = 10.0
"""Seconds a client has to answer a close frame before its connection is closed."""

DISCARD_TIMEOUT = 2.0
"""Seconds for which what a client sends is still read after the close frame that answers an invalid frame."""

MAX_IGNORED = 16 * 1024 * 1024
"""Bytes that are read meanwhile."""


class ClientGone(Exception):
    """Raised by `send` when the connection has ended."""


class WebSocketProtocol(KeepAlive):
    """One connection."""

    __slots__ = (
        "_arrival",
        "_denial",
        "_events",
        "_handshake",
        "_ignored",
        "_listener",
        "_note_buffered",
        "_reader",
        "_server",
        "_state",
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server: ServerState,
        transport: Any,
        scope: Scope,
        handshake: Handshake,
        rate: ConnectRate | None,
    ) -> None:
        super().__init__(config, transport)
        self._server = server
        self._handshake: Handshake | None = handshake
        self._state = ConnectionState.CONNECTING
        self._reader = MessageReader(config.ws_max_size, handshake.extension)
        self._events: list[Event] = [{"type": "websocket.connect"}]
        self._arrival: asyncio.Future[None] | None = None  # of an event, while `receive` waits for one
        self._denial: tuple[int, list[Header], bytes] | None = None  # status, headers and body so far
        self._listener: Callable[[str | bytes], bool] | None = None
        self._note_buffered: Callable[[], None] | None = None
        self._ignored = 0  # bytes that came after the last frame was written
        scope["extensions"] = {
            "websocket.http.response": {},
            "channels_classic.raw": {
                "write": self.write_frame,
                "listen": self.listen,
                "resume_reading": self.resume_reading,
                "abort": self.abort,
                "buffered": self.buffered,
            },
        }
        server.connections.add(self)  # type: ignore[arg-type]  # one of its kind
        task = self._loop.create_task(self._serve(scope, rate))
        server.tasks.add(task)
        task.add_done_callback(server.tasks.discard)

    async def _serve(self, scope: Scope, rate: ConnectRate | None) -> None:
        if rate is not None and not await self._wait_for_turn(rate):
            return
        try:
            await self._config.loaded_app(scope, self.receive, self.send)
        except ClientGone:
            pass
        except Exception:
            logger.exception("Closed a WebSocket because of a bug in the interface server.")
            if self._state is ConnectionState.OPEN:
                self._fail(INTERNAL_ERROR)
        if self._state is ConnectionState.CONNECTING:
            self._deny(500, [])
        elif self._state is ConnectionState.OPEN:
            self._end()

    async def _wait_for_turn(self, rate: ConnectRate) -> bool:
        """Return True when it is the turn of this handshake, False if it has been refused or its client left."""
        delay = rate.reserve(self._loop.time())
        if delay is None:
            self._server.refused[503] += 1
            self._deny(503, [RETRY_AFTER], b"Service unavailable.\n")
        elif delay:
            await asyncio.sleep(delay)
        return self._state is ConnectionState.CONNECTING

    # The extension for the application

    def write_frame(self, frame: bytes) -> bool:
        """Write an encoded frame now and return True; return False if it must go through `send`."""
        if self._state is not ConnectionState.OPEN or self._reader.extension is not None or not self.can_write:
            return False
        self.transport.write(frame)
        return True

    def listen(self, listener: Callable[[str | bytes], bool], note_buffered: Callable[[], None]) -> None:
        """Pass the client's messages to `listener` instead of `receive`; reading pauses when it returns False.

        `note_buffered` is called while much of a message has come and its end has not.
        """
        self._listener = listener
        self._note_buffered = note_buffered

    def resume_reading(self) -> None:
        """Continue reading after a pause."""
        if self._reading_paused and self._state is not ConnectionState.CLOSED:
            self._reading_paused = False
            self._read_at = self._loop.time()
            self._read()
            if not self._reading_paused and not self.transport.is_closing():
                self.transport.resume_reading()

    def buffered(self) -> int:
        """Return the bytes of unfinished messages, and those that the client does not take."""
        return self._reader.buffered + int(self.transport.get_write_buffer_size())

    # Data from the client

    def data_received(self, data: bytes) -> None:
        """Decode messages until reading pauses, and keep the rest."""
        if self._state is ConnectionState.CLOSED:
            self._ignore(len(data))
            return
        self._reader.feed(data)
        if not self._reading_paused:
            self._read()
        if self._note_buffered is not None and self._reader.buffered > UNCOUNTED:
            self._note_buffered()

    def _read(self) -> None:
        if self._state is ConnectionState.CONNECTING:
            if self._reader.buffered > MAX_EARLY_BYTES:
                self._deny(400, [], b"Too much data before the handshake was answered.\n")
            return
        read = self._reader.next
        try:
            while not self._reading_paused and self._state is not ConnectionState.CLOSED and (event := read()):
                opcode, content = event
                _RECEIVERS[opcode](self, content)
                if self._reader.overhead > OVERHEAD_AT_ONCE and not self._reading_paused:
                    self._slow_down()
        except InvalidFrame as error:
            self._fail(error.code)
        if self._pongs:
            self._write_pongs()

    def _slow_down(self) -> None:
        """Read on after the time that frames without a message are given, while the listener has room."""
        self._reading_paused = True
        self.transport.pause_reading()
        self._loop.call_later(self._reader.overhead / OVERHEAD_RATE, self.resume_reading)
        self._reader.overhead = 0

    def _on_text(self, content: str) -> None:
        self._on_message("text", content)

    def _on_bytes(self, content: bytes) -> None:
        self._on_message("bytes", content)

    def _on_message(self, key: str, content: str | bytes) -> None:
        if self._state is not ConnectionState.OPEN:
            self._reader.overhead += 1
            return  # behind our close frame
        if self._listener is not None:
            room = self._listener(content)
        else:
            self._put({"type": "websocket.receive", key: content})
            room = False
        if not room and not self._reading_paused:
            self._reading_paused = True
            self.transport.pause_reading()

    def _on_close(self, content: tuple[int, str]) -> None:
        """End with the client's close frame, or with its answer to ours."""
        code, reason = content
        self._write_pongs()
        if self._state is ConnectionState.OPEN:
            self._disconnect(code, reason)
            self.transport.write(close_frame(code))
        self._end()

    def _fail(self, code: int) -> None:
        """Close after an invalid frame, or a ping that was not answered."""
        if self._state is ConnectionState.OPEN:
            self._disconnect(code)
            self.transport.write(close_frame(code))
        self._linger()

    def _finish(self) -> None:
        """Close behind the last bytes; a client in the middle of a message gets the time to read them."""
        if self._reader.buffered or self._reading_paused:
            self._linger()
        else:
            self._end()

    def _linger(self) -> None:
        """Close the connection when the client has closed its side, or soon.

        A client may be in the middle of a message. To close before all of it was read would reset the connection, and
        a reset takes the close frame, which says what was wrong, from the client's buffer (RFC 9112, section 9.6, on
        the same problem in HTTP).
        """
        self._state = ConnectionState.CLOSED
        self._reader.discard()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        self._schedule(DISCARD_TIMEOUT, self._end)

    def _ignore(self, size: int) -> None:
        self._ignored += size
        if self._ignored > MAX_IGNORED:
            self._end()

    # The application

    def _is_open(self) -> bool:
        return self._state is ConnectionState.OPEN

    def _put(self, event: Event) -> None:
        self._events.append(event)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def receive(self) -> Event:
        """Return the next ASGI event; reading continues after the last one."""
        while not self._events:
            self._arrival = self._loop.create_future()
            await self._arrival
            self._arrival = None
        event = self._events.pop(0)
        if self._listener is None and not self._events:
            self.resume_reading()
        return event

    async def send(self, event: Event) -> None:
        """Carry out an ASGI event, when the client has read enough. Raises `ClientGone` if it never will."""
        await self.drain()
        if self._state in (ConnectionState.CLOSING, ConnectionState.CLOSED) or self.transport.is_closing():
            raise ClientGone
        kind = event["type"]
        performer = _PERFORMERS.get((self._state, kind))
        if performer is None or (self._denial is None) == (kind == "websocket.http.response.body"):
            raise RuntimeError(f"The event {kind!r} cannot be sent to a WebSocket that is {self._state.value}.")
        performer(self, event)

    def _accept(self, event: Event) -> None:
        assert self._handshake is not None
        response = self._handshake.response(event.get("headers") or (), event.get("subprotocol"))
        self._handshake = None
        self._state = ConnectionState.OPEN
        self.transport.write(response)
        self._start_pings()
        if not self._reading_paused:
            self._read()

    def _refuse(self, event: Event) -> None:
        self._deny(403, [])

    def _start_denial(self, event: Event) -> None:
        self._denial = event["status"], list(event.get("headers") or ()), b""

    def _send_denial(self, event: Event) -> None:
        assert self._denial is not None
        status, headers, body = self._denial
        body += event.get("body", b"")
        if event.get("more_body"):
            self._denial = status, headers, body
        else:
            self._deny(status, headers, body)

    def _send(self, event: Event) -> None:
        text = event.get("text")
        payload: str | bytes = event.get("bytes") or b"" if text is None else text
        self.transport.write(message_frame(payload, self._reader.extension))

    def _close(self, event: Event) -> None:
        self.close(event.get("code", NORMAL), event.get("reason") or "")

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, and wait for the client's."""
        self._state = ConnectionState.CLOSING
        self._disconnect(code, reason)
        self.transport.write(close_frame(code, reason))
        self._schedule(CLOSE_TIMEOUT, self._end)
        self._listener = None
        self.resume_reading()

    # The end

    def _deny(self, status: int, headers: Sequence[Header], body: bytes = b"") -> None:
        """Answer the handshake with an error."""
        response = denial(status, (*self._server.default_headers, *headers), body)
        self._disconnect(ABNORMAL)
        self.transport.write(response)
        self._finish()

    def _disconnect(self, code: int, reason: str = "") -> None:
        """Report the end to the application, once."""
        if self._state is not ConnectionState.CLOSED:
            self._put({"type": "websocket.disconnect", "code": code, "reason": reason})

    def _end(self) -> None:
        """Write what is left, and close the connection."""
        self._state = ConnectionState.CLOSED
        self._schedule(None, self._end)
        close_in_time(self.transport)

    def shutdown(self) -> None:
        """Close because the server stops; an undecided handshake gets 503, so that the client tries again."""
        if self._state is ConnectionState.CONNECTING:
            self._deny(503, [RETRY_AFTER], b"Service unavailable.\n")
        elif self._state is ConnectionState.OPEN:
            self._disconnect(SERVICE_RESTART)
            self.transport.write(close_frame(SERVICE_RESTART))
            self._finish()
        else:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report code 1006 for a connection that ended without a close frame (RFC 6455, section 7.1.5)."""
        if self._state is not ConnectionState.CLOSING:
            self._disconnect(ABNORMAL)
        self._state = ConnectionState.CLOSED
        self._schedule(None, self._end)
        self._listener = self._note_buffered = None  # a cycle, which would wait for the garbage collector
        self._server.connections.discard(self)
        self.resume_writing()


_RECEIVERS: dict[int, Callable[[WebSocketProtocol, Any], None]] = {
    TEXT: WebSocketProtocol._on_text,
    BINARY: WebSocketProtocol._on_bytes,
    PING: WebSocketProtocol._on_ping,
    PONG: WebSocketProtocol._on_pong,
    CLOSE: WebSocketProtocol._on_close,
}

_PERFORMERS: dict[tuple[ConnectionState, str], Callable[[WebSocketProtocol, Event], None]] = {
    (ConnectionState.CONNECTING, "websocket.accept"): WebSocketProtocol._accept,
    (ConnectionState.CONNECTING, "websocket.close"): WebSocketProtocol._refuse,
    (ConnectionState.CONNECTING, "websocket.http.response.start"): WebSocketProtocol._start_denial,
    (ConnectionState.CONNECTING, "websocket.http.response.body"): WebSocketProtocol._send_denial,
    (ConnectionState.OPEN, "websocket.send"): WebSocketProtocol._send,
    (ConnectionState.OPEN, "websocket.close"): WebSocketProtocol._close,
}
