"""One event stream, as ASGI: takes a request for server-sent events, and looks like a WebSocket to the application.

The events of a WebSocket that are sent become parts of a response; messages that the client posts come in as its
frames. Decisions on replies, limits, counts, draining and closing are in `websocket`, once for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hmac import compare_digest
from typing import Any

from channels_classic.layers import rng

from ..asgi import Event, Receive, Scope, SendEvent, client_id, raw_extension
from ..close_codes import ABNORMAL, NO_STATUS, NORMAL, SERVICE_RESTART
from ..config import InterfaceConfig
from ..error_pages import RETRY_AFTER
from ..event_syntax import HEARTBEAT, encode_event, encode_retry
from ..layer.posts import Token
from ..layer.session import LayerSession
from ..websocket.connection import WebSocket
from ..websocket.formats import FORMAT, EventFormat
from .selection import values

EVENT_STREAM = "channels_classic.event_stream"
"""The key of a scope that has the `EventStream` of the client."""

RETRY = 2.0, 4.0
"""Bounds of the seconds after which a browser connects again when its stream breaks: each has a time of its own."""

RETRY_AT_RESTART = 1.0, 2.0
"""The same when the server ended the stream because it stops; others serve already."""

HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events until 4 KiB are full
]

TEXT = (b"content-type", b"text/plain; charset=utf-8")

FORBIDDEN, GONE, TOO_MANY, TAKEN = 403, 410, 429, 204


class EventStream:
    """`scope`, `receive` and `send` are those of the WebSocket that it looks like.

    Under our own server that is the scope of the request itself, changed: nobody else reads it, and there are many.
    """

    __slots__ = (
        "_beating",
        "_code",
        "_connection",
        "_denial",
        "_interval",
        "_is_accepted",
        "_is_begun",
        "_is_full",
        "_origins",
        "_rate",
        "_receive",
        "_send",
        "_session",
        "_socket",
        "_take",
        "_timer",
        "_token",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, send: SendEvent, config: InterfaceConfig) -> None:
        self._send = send
        self._interval = config.ping_interval
        self._origins = [value for name, value in scope.get("headers") or () if name.lower() == b"origin"]
        self._session: LayerSession | None = None
        self._socket: WebSocket | None = None
        self._token: Token | None = None
        self._is_begun = False
        self._is_accepted = False
        self._is_full = False  # until reading may continue
        self._take: Callable[[str | bytes], bool] | None = None
        self._code = NO_STATUS
        self._timer: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None  # under another server
        self._denial: dict[str, Any] | None = None
        raw = raw_extension(scope) or {}
        self._rate = raw.get("connect_rate")
        self._connection = raw["stream"](self._restart) if raw else None  # that of our own server
        self._receive = receive if self._connection is None else self._connection.receive
        self.scope = scope if raw else dict(scope)
        self._make_websocket_scope()

    def _make_websocket_scope(self) -> None:
        """Change the scope of the request into that of a WebSocket."""
        connection, scope = self._connection, self.scope
        raw = {
            "write": _declined if connection is None else connection.write,
            "listen": self._listen,
            "resume_reading": self._resume_reading,
            "abort": self._abort,
            "buffered": _no_bytes if connection is None else connection.buffered,
        }
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope.get("scheme") == "https" else "ws"
        scope["extensions"] = {"websocket.http.response": {}, "channels_classic.raw": raw}
        scope[FORMAT] = EventFormat("".join(values(scope, b"last-event-id")[:1]))
        scope[EVENT_STREAM] = self

    def join(self, session: LayerSession, socket: WebSocket) -> None:
        """Join a session, as the `socket` that sends and receives through this."""
        self._session, self._socket = session, socket

    # What the WebSocket receives

    async def receive(self) -> Event:
        """Return the connect event, then the disconnect when the client has left or the response has ended."""
        if not self._is_begun:
            self._is_begun = True
            return {"type": "websocket.connect" if await self._wait_for_turn() else "websocket.disconnect"}
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass  # a body, which means nothing here
        finally:
            self._stop()
        return {"type": "websocket.disconnect", "code": self._code}

    async def _wait_for_turn(self) -> bool:
        """Return True when it is the turn of this stream, by `--connect-rate`; False if it has been refused."""
        delay = 0.0 if self._rate is None else self._rate.reserve(asyncio.get_running_loop().time())
        if delay is None:
            await self._respond(503, [TEXT, RETRY_AFTER], b"Service unavailable.\n")
            return False
        if delay:
            await asyncio.sleep(delay)
        return True

    def _listen(self, take: Callable[[str | bytes], bool], note_buffered: Callable[[], None]) -> None:
        self._take = take

    def _resume_reading(self) -> None:
        self._is_full = False

    def post(self, secret: str, path: str, text: str) -> int:
        """Take a message that somebody posts with the token of this stream; return the status of the answer."""
        if self._token is None or self._take is None or self._socket is None or not self._socket.is_open:
            return GONE
        if not compare_digest(secret, self._token.secret) or path != self.scope["path"]:
            return FORBIDDEN
        if self._is_full:
            return TOO_MANY
        self._is_full = not self._take(text)
        return TAKEN

    def _stop(self) -> None:
        """Take and send no more."""
        self._take = None
        if self._token is not None and self._session is not None:
            self._session.posts.close(self._token.local)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def release(self) -> None:
        """Drop what refers back to this object once its client has been served, so that its memory is free at once."""
        self._stop()  # it may have been accepted after its client had left
        self._session = self._socket = None
        self.scope.pop(EVENT_STREAM)
        self.scope.pop("extensions")
        if self._connection is not None:
            self._connection.release()

    # What the WebSocket sends

    async def send(self, event: Event) -> None:
        """Carry out an event that a WebSocket sends."""
        await _PERFORMERS[event["type"]](self, event)

    async def _accept(self, event: Event) -> None:
        """Begin the response: with the time to connect again, and the token."""
        assert self._session is not None
        self._token = self._session.posts.open(client_id(self.scope), self)
        await self._send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *self._cors]})
        first = encode_retry(rng.uniform(*RETRY)) + encode_event(str(self._token), name="token")
        await self._send({"type": "http.response.body", "body": first, "more_body": True})
        if self._session is None:  # released meanwhile
            return
        self._is_accepted = True
        self._schedule_heartbeat(rng.uniform(0.5, 1.0))  # streams that were opened together do not beat together
        if self._session.is_stopping:
            self._restart()

    @property
    def _cors(self) -> list[tuple[bytes, bytes]]:
        """The headers that let a page of another origin read the stream: that the consumers accepted its origin."""
        if len(self._origins) != 1:
            return []
        return [
            (b"access-control-allow-origin", self._origins[0]),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]

    async def _write_queued(self, event: Event) -> None:
        await self._send({"type": "http.response.body", "body": event["bytes"], "more_body": True})

    async def _close(self, event: Event) -> None:
        """End the response, or refuse the request."""
        if not self._is_accepted:
            await self._respond(403, [TEXT], b"Forbidden.\n")
            return
        self._code = event.get("code", NORMAL)
        if self._code == SERVICE_RESTART:
            last = encode_retry(rng.uniform(*RETRY_AT_RESTART))
        else:
            last = encode_event(str(self._code), name="close")
        self._stop()
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _start_denial(self, event: Event) -> None:
        self._denial = dict(event)

    async def _send_denial(self, event: Event) -> None:
        assert self._denial is not None
        await self._respond(self._denial["status"], list(self._denial["headers"]), event["body"])

    async def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        headers = [*headers, (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    # The connection

    def _abort(self) -> None:
        self._code = ABNORMAL
        if self._connection is not None:
            self._connection.abort()

    def _restart(self) -> None:
        """The server stops."""
        if self._socket is not None:
            self._socket.restart("")

    def _schedule_heartbeat(self, part: float = 1.0) -> None:
        if self._interval:
            self._timer = asyncio.get_running_loop().call_later(part * self._interval, self._beat)

    def _beat(self) -> None:
        """Send a comment, unless more waits for the client anyway."""
        self._schedule_heartbeat()
        if self._connection is not None:
            self._connection.write(HEARTBEAT)
        elif self._beating is None or self._beating.done():
            self._beating = asyncio.get_running_loop().create_task(self._send_heartbeat())

    async def _send_heartbeat(self) -> None:
        with suppress(Exception):  # each server has its own class for a client that is gone
            await self._send({"type": "http.response.body", "body": HEARTBEAT, "more_body": True})


def _declined(data: bytes) -> bool:
    return False


def _no_bytes() -> int:
    return 0


_PERFORMERS: dict[str, Callable[[EventStream, Event], Awaitable[None]]] = {
    "websocket.accept": EventStream._accept,
    "websocket.send": EventStream._write_queued,
    "websocket.close": EventStream._close,
    "websocket.http.response.start": EventStream._start_denial,
    "websocket.http.response.body": EventStream._send_denial,
}
