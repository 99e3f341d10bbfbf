"""One HTTP request: its body to the layer, its response from there, and an answer when none comes.

ASGI events come from the server and go to it, messages go to the layer through the hub. Knows no parsing, no sockets.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections import deque
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any

from channels_classic.interface_server.client import Broadcast
from channels_classic.interface_server.gate import MARGIN
from channels_classic.interface_server.hub import Hub
from channels_classic.interface_server.scope import Receive, Scope, Send, connection_keys, raw_extension
from channels_classic.interface_server.writer import Fate
from channels_classic.layers import delivery, names
from channels_classic.layers.codec import Outcome

logger = logging.getLogger(__name__)

REQUEST, DISCONNECT = "http.request", "http.disconnect"

INLINE_BODY = 512 * 1024
"""Bytes of a body that travel with the request; the rest follows on a channel of its own, in chunks of this size."""

SPOOL = 64 * 1024 * 1024
"""Bytes of a response that wait for a client that reads too slowly, before it is given up."""

BODY_PAUSE = 0.1
"""Seconds until a chunk is sent again whose channel was full."""

ONLY = "0"
"""A request is one message, so every token does."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_FATES = {Fate.FULL: 503, Fate.HELD: 503, Fate.LOST: 503, Fate.INVALID: 413}
_OUTCOMES = {Outcome.RAISED: 500, Outcome.UNROUTED: 500, Outcome.EXPIRED: 503, Outcome.DROPPED: 503}
"""The answer when a message has met such an end before any response began."""


class State(Enum):
    """Where the response stands."""

    WAITING = "waiting"
    STARTED = "started"
    COMPLETE = "complete"


class Request:
    """A client of the hub from its request to the end of its response."""

    def __init__(self, hub: Hub, scope: Scope, receive: Receive, send: Send) -> None:
        self.slot: int | None = None
        self.local = hub.registry.new_local()
        self.state = State.WAITING
        self._hub = hub
        self._scope = scope
        self._receive = receive
        self._send = send
        self._raw = raw_extension(scope)
        self._replies: deque[Mapping[str, Any]] = deque()
        self._spooled = 0
        self._news: asyncio.Future[None] | None = None
        self._failure: int | None = None
        self._left = False
        self._over = math.inf
        self._limit = math.inf

    async def run(self) -> None:
        """Serve the request until it is answered, or the client is gone."""
        if not self._hub.available:
            await self._answer(503)
            return
        body, more = await self._read_inline()
        if self._left:
            return
        reply_channel = self._hub.add(self)
        watcher = self._watch() if not more else None
        try:
            body_channel = self._forward(reply_channel, body, more)
            if body_channel:
                await self._stream_body(body_channel)
                watcher = self._watch()
            await self._respond()
        finally:
            self._unwatch(watcher)
            self._hub.remove(self)
            if self._left and self.state is not State.COMPLETE:
                self._hub.send(delivery.Send(DISCONNECT, {"reply_channel": reply_channel, "path": self._scope["path"]}))

    # From the client

    async def _read_inline(self) -> tuple[bytes, bool]:
        """The body, or its beginning and that more is to come."""
        event = await self._receive()
        body: bytes = event.get("body", b"")
        more: bool = event.get("more_body", False)
        if more:
            parts = [body]
            size = len(body)
            while more and size < INLINE_BODY:
                event = await self._receive()
                parts.append(event.get("body", b""))
                size += len(parts[-1])
                more = event.get("more_body", False)
            body = b"".join(parts)
        self._left = event["type"] == DISCONNECT
        return body, more

    def _forward(self, reply_channel: str, body: bytes, more: bool) -> str | None:
        """Send the request; gives the channel for the rest of its body."""
        scope, hub = self._scope, self._hub
        message = connection_keys(scope, reply_channel, "http", hub.config.root_path)
        message["method"] = scope["method"].upper()
        message["http_version"] = scope.get("http_version", "1.1")
        message["body"] = body
        body_channel = f"{REQUEST}.body?{names.random_text(24)}" if more else None
        if body_channel:
            message["body_channel"] = body_channel
        hub.send(delivery.Send(REQUEST, message, token=ONLY), self._settled)
        self._over = self._limit = hub.clock() + hub.config.http_timeout
        hub.wheel.at(self, self._over)
        return body_channel

    async def _stream_body(self, channel: str) -> None:
        """Send the rest of the body, as fast as its consumer takes it."""
        more = True
        while more and self._failure is None and self.state is State.WAITING and not self._replies:
            event = await self._receive()
            self._left = event["type"] == DISCONNECT
            if self._left:
                self._hub.send(delivery.Send(channel, {"content": b"", "closed": True}))
                return
            more = event.get("more_body", False)
            await self._send_chunk(channel, {"content": event.get("body", b""), "more_content": more})

    async def _send_chunk(self, channel: str, chunk: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        while self._failure is None:
            settled: asyncio.Future[Fate] = loop.create_future()
            self._hub.send(delivery.Send(channel, chunk), lambda _, fate, settled=settled: settled.set_result(fate))  # type: ignore[misc]
            fate = await settled
            if fate is Fate.ACCEPTED:
                return
            if fate is not Fate.FULL:
                self._fail(503)
                return
            await asyncio.sleep(BODY_PAUSE)

    def _watch(self) -> asyncio.Task[None] | None:
        """Learn when the client leaves: from our own server by a call, from others through a task."""
        if self._raw is not None:
            self._raw["watch"](self._gone)
            return None
        return asyncio.get_running_loop().create_task(self._wait_until_gone())

    def _unwatch(self, watcher: asyncio.Task[None] | None) -> None:
        if self._raw is not None:
            self._raw["watch"](None)
        if watcher is not None:
            watcher.cancel()

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != DISCONNECT:
            pass
        self._gone()

    def _gone(self) -> None:
        self._left = True
        self._wake()

    # From the layer

    def reply(self, message: Mapping[str, Any]) -> None:
        """A part of the response came."""
        self._replies.append(message)
        content = message.get("content")
        if content:
            self._spooled += len(content)
            if self._spooled > SPOOL:
                self._fail(500)
        self._wake()

    def broadcast(self, broadcast: Broadcast) -> None:
        """A group message is as good as any other."""
        self.reply(broadcast.message)

    def report(self, token: str, outcome: Outcome) -> None:
        """A worker tells that no response comes, or that it still works on it."""
        if outcome in _OUTCOMES:
            self._fail(_OUTCOMES[outcome])
        elif outcome is Outcome.RUNNING:
            self._over = max(self._over, self._limit)

    def layer_back(self) -> None:
        """The message or the response may be lost: unless a worker says that it works on it, it is given up soon."""
        self._over = min(self._over, self._hub.clock() + MARGIN)
        self._hub.wheel.at(self, self._over)

    def hurry(self) -> None:
        """The process stops."""
        self._fail(503)

    def due(self, now: float) -> float:
        """No response came in time, or no further part of it."""
        if now >= self._over:
            self._over = math.inf
            self._hub.notices.warn(
                logger,
                "No response to %s %s came within %g s: no worker took the message, or its consumer sent no response. "
                "Is `runworker` running?",
                self._scope["method"],
                self._scope["path"],
                self._hub.config.http_timeout,
            )
            self._fail(503)
        return self._over

    def _settled(self, send: delivery.Send, fate: Fate) -> None:
        if fate in _FATES:
            self._fail(_FATES[fate])
            if fate is not Fate.INVALID:
                kind = "broker" if fate is Fate.LOST else "full"
                self._hub.losses.count(kind, send.name)

    def _fail(self, status: int) -> None:
        if self._failure is None:
            self._failure = status
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # To the client

    async def _respond(self) -> None:
        """Write the response as its parts come."""
        loop = asyncio.get_running_loop()
        while self.state is not State.COMPLETE and not self._left:
            # What came before the failure is written first: a consumer may raise after its response.
            if self._replies:
                message = self._replies.popleft()
                self._over = self._limit = self._hub.clock() + self._hub.config.http_timeout
                await self._write(message)
            elif self._failure is not None:
                await self._answer(self._failure)
            else:
                self._news = loop.create_future()
                await self._news
                self._news = None

    async def _write(self, message: Mapping[str, Any]) -> None:
        content = message.get("content") or b""
        if not isinstance(content, bytes):
            self._refuse_part("its content is of type %s, expected bytes", type(content).__name__)
            self._fail(500)
            return
        self._spooled -= len(content)
        more = bool(message.get("more_content", False))
        starts = message.get("status") is not None
        if starts is not (self.state is State.WAITING):
            self._refuse_part("the first part, and only that, has a status%s", "")
            return
        if starts:
            try:
                start = self._start(message, None if more else len(content))
            except ValueError as error:
                self._refuse_part("%s", error)
                self._fail(500)
                return
            self.state = State.STARTED
            await self._send(start)
        await self._send({"type": "http.response.body", "body": content, "more_body": more})
        if not more:
            self.state = State.COMPLETE

    def _refuse_part(self, reason: str, argument: object) -> None:
        self._hub.notices.warn(
            logger,
            "A part of the response to %s %s was ignored: " + reason + ".",
            self._scope["method"],
            self._scope["path"],
            argument,
        )

    def _start(self, message: Mapping[str, Any], length: int | None) -> dict[str, Any]:
        """The event that begins the response. Raises `ValueError` for what must not go over the wire."""
        status = message["status"]
        if not isinstance(status, int) or not 100 <= status <= 599:
            raise ValueError(f"{status!r} is no status, expected an integer from 100 to 599")
        headers = [header_pair(pair) for pair in message.get("headers") or ()]
        if length is not None and status >= 200 and status not in (204, 304) and self._scope["method"] != "HEAD":
            framing = {name for name, _ in headers} & {b"content-length", b"transfer-encoding"}
            if not framing:
                headers.append((b"content-length", b"%d" % length))
        return {"type": "http.response.start", "status": status, "headers": headers}

    async def _answer(self, status: int) -> None:
        """End the request ourselves: with a page, or by cutting off a response that has begun."""
        if self.state is State.STARTED:
            self.state = State.COMPLETE
            if self._raw is not None:
                self._raw["abort"]()
                await asyncio.sleep(0)
            return
        self.state = State.COMPLETE
        body = page(status)
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if status == 503:
            headers.append((b"retry-after", b"5"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def header_pair(pair: Any) -> tuple[bytes, bytes]:
    """A header as bytes, the name in lower case. Raises `ValueError` for characters that would end the line."""
    name, value = (part.encode("latin-1") if isinstance(part, str) else bytes(part) for part in pair)
    if not _NAME.fullmatch(name) or _CONTROL.search(value):
        raise ValueError(f"the header {name!r}: {value!r} holds characters that are not allowed there")
    return name.lower(), value


_SENTENCES = {
    413: "The request is too large.",
    500: "Something went wrong on the server.",
    503: "The service is not available at the moment. Please try again shortly.",
}


def page(status: int) -> bytes:
    """The small page of an error."""
    title = f"{status} {HTTPStatus(status).phrase}"
    return (
        f"<!DOCTYPE html><html><head><title>{title}</title></head>"
        f"<body><h1>{title}</h1><p>{_SENTENCES[status]}</p></body></html>\n"
    ).encode()
