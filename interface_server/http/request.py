"""One HTTP request: its body to the layer, its response from there, and an answer when none comes.

ASGI events come from the server and go to it, messages go to the layer through the hub. Knows no parsing, no sockets.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any

from channels_classic.exceptions import InvalidChannelName
from channels_classic.layers.codec import Outcome
from channels_classic.layers.names import check_channel
from channels_classic.layers.planner import Outgoing

from ..asgi import Receive, Scope, SendEvent, connection_keys, raw_extension
from ..error_pages import page
from ..layer.client import Broadcast
from ..layer.session import LayerSession
from ..layer.writer import SendResult
from ..websocket.gate import MARGIN
from .body import DISCONNECT, RequestBody, TooLarge
from .response import Content, begin

logger = logging.getLogger("channels_classic.interface_server")

REQUEST = "http.request"

SPOOL = 64 * 1024 * 1024
"""Bytes of a response that wait for a client that reads too slowly, before it is given up."""

PIECE = 64 * 1024
"""Bytes that a client must take before its time to stall begins anew."""

CREDIT_STEP = 512 * 1024
"""Bytes that a client takes before the sender of its response is told."""

ONLY = "0"
"""A request is one message, so every token does."""

_STATUSES = {
    SendResult.FULL: 503,
    SendResult.UNAVAILABLE: 503,
    SendResult.REFUSED: 503,
    SendResult.LOST: 503,
    SendResult.INVALID: 413,
}
"""The answer to a request whose message was not accepted."""

_LOSSES = {
    SendResult.FULL: "full",
    SendResult.UNAVAILABLE: "broker",
    SendResult.REFUSED: "refused",
    SendResult.LOST: "broker",
}
_OUTCOMES = {
    Outcome.RAISED: 500,
    Outcome.UNROUTED: 500,
    Outcome.DIED: 500,
    Outcome.EXPIRED: 503,
    Outcome.DROPPED: 503,
}
"""The answer when a message has met such an end before any response began."""


class ResponseState(Enum):
    """Where the response stands."""

    WAITING = "waiting"
    STARTED = "started"
    COMPLETE = "complete"


class Request:
    """A client of the hub from its request to the end of its response."""

    def __init__(self, session: LayerSession, scope: Scope, receive: Receive, send: SendEvent) -> None:
        self.slot: int | None = None
        self.local = session.registry.new_local()
        self.state = ResponseState.WAITING
        self._session = session
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body = RequestBody(session, scope, receive)
        self._raw = raw_extension(scope)
        self._watcher: asyncio.Task[None] | None = None
        self._replies: deque[Mapping[str, Any]] = deque()
        self._spooled = 0
        self._news: asyncio.Future[None] | None = None
        self._failure: int | None = None
        self._left = False
        self._ending = False  # the last piece is being written
        self._over = math.inf  # when the workers have had their time
        self._limit = math.inf
        self._sent_at = math.inf  # when the workers had all of it
        self._is_running = False
        self._content: Content
        self._credit: str | None = None
        self._written = self._told = 0

    async def run(self) -> None:
        """Serve the request until it is answered, or the client is gone."""
        if not self._session.available:
            await self._answer(503)
            return
        try:
            body = await self._body.begin()
        except TooLarge:
            await self._answer(413)
            return
        if self._body.left:
            return
        reply_channel = self._session.add(self)
        streaming = None
        try:
            self._forward(reply_channel, body)
            if self._body.more:
                streaming = asyncio.create_task(self._stream_body())
            else:
                self._watch()
            await self._respond()
        finally:
            if streaming is not None:
                streaming.cancel()
            self._unwatch()
            self._session.remove(self)
            self._farewell(reply_channel)
        await self._end()

    def _farewell(self, reply_channel: str) -> None:
        """Tell those who still work for this client that it is gone."""
        if self.state is ResponseState.COMPLETE:
            return
        if self._left:
            self._session.send(Outgoing(DISCONNECT, {"reply_channel": reply_channel, "path": self._scope["path"]}))
        if self._credit:
            self._session.send(Outgoing(self._credit, {"closed": True}))
        if self._body.more or self._body.left:
            self._body.abandon()

    async def _end(self) -> None:
        """What is left to do when no part of the response comes any more."""
        if self._failure is not None and not self._left and self.state is not ResponseState.COMPLETE:
            await self._answer(self._failure)

    # From the client

    def _forward(self, reply_channel: str, body: bytes) -> None:
        """Send the request."""
        scope, session, upload = self._scope, self._session, self._body
        message = connection_keys(scope, reply_channel, "http", session.config.root_path)
        message["method"] = scope["method"].upper()
        message["http_version"] = scope.get("http_version", "1.1")
        message["body"] = body
        if upload.channel:
            message["body_channel"] = upload.channel
        session.send(Outgoing(REQUEST, message, token=ONLY), self._settled)
        if not upload.more:
            self._await_part()

    def _await_part(self) -> None:
        """It is the workers' turn, unless they are done."""
        if self.state is ResponseState.COMPLETE:
            return
        self._sent_at = self._session.clock()
        self._over = self._limit = self._sent_at + self._session.config.http_timeout
        self._session.timers.schedule(self, self._over)

    async def _stream_body(self) -> None:
        """Send the rest of the body, while the response may already come."""
        try:
            result = await self._body.stream()
        except TooLarge:
            self._fail(413)
            return
        if self._body.left:
            self._gone()
        elif result is not SendResult.ACCEPTED:
            self._fail(_STATUSES[result])
        else:
            if self.state is ResponseState.WAITING:
                self._await_part()
            self._watch()

    def _watch(self) -> None:
        """Learn when the client leaves: from our own server by a call, from others through a task."""
        if self._raw is not None:
            self._raw["watch"](self._gone)
        else:
            self._watcher = asyncio.get_running_loop().create_task(self._wait_until_gone())

    def _unwatch(self) -> None:
        if self._raw is not None:
            self._raw["watch"](None)
        if self._watcher is not None:
            self._watcher.cancel()

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != DISCONNECT:
            pass
        self._gone()

    def _gone(self) -> None:
        # Servers say the same of a connection that they close behind a complete response.
        if not self._ending:
            self._leave()

    def _leave(self) -> None:
        self._left = True
        self._wake()

    # From the layer

    def reply(self, message: Mapping[str, Any]) -> None:
        """A part of the response came."""
        self._replies.append(message)
        content = message.get("content")
        if isinstance(content, bytes):
            self._spooled += len(content)
            if self._spooled > SPOOL:
                self._give_up("its response is too far ahead")
        self._wake()

    def broadcast(self, broadcast: Broadcast) -> None:
        """A group message is as good as any other."""
        self.reply(broadcast.message)

    def report(self, token: str, outcome: Outcome) -> None:
        """A worker tells that no response comes, or that it still works on it."""
        if outcome is Outcome.DIED and self.state is not ResponseState.COMPLETE:
            self._session.losses.count("died", REQUEST)
        if outcome in _OUTCOMES:
            self._fail(_OUTCOMES[outcome])
        elif outcome is Outcome.RUNNING:
            self._is_running = True
            self._over = max(self._over, self._limit)

    def layer_restored(self) -> None:
        """The message or the response may be lost: unless a worker says that it works on it, it is given up soon."""
        if self._over < math.inf:
            self._over = min(self._over, self._session.clock() + MARGIN)
            self._session.timers.schedule(self, self._over)

    def stop_waiting(self, now: float) -> None:
        """Answer 503 if no worker can have begun, because it would have reported that it runs."""
        if self.state is ResponseState.WAITING and not self._is_running and now >= self._sent_at + MARGIN:
            self._fail(503)

    def flush(self) -> None:
        """The process stops."""
        self._fail(503)

    def due(self, now: float) -> float:
        """No response came in time, or no further part of it."""
        if now >= self._over:
            self._over = math.inf
            self._session.throttled_log.warn(
                logger,
                "No response to %s %s came within %g s: no worker took the message, or its consumer sent no response. "
                "Is `runworker` running?",
                self._scope["method"],
                self._scope["path"],
                self._session.config.http_timeout,
            )
            self._fail(503)
        return self._over

    def _give_up(self, reason: str) -> None:
        """The client does not read what it is sent: for us it is gone."""
        logger.info("The client of %s %s is cut off: %s.", self._scope["method"], self._scope["path"], reason)
        if self._raw is not None:
            self._raw["abort"]()
        self._leave()

    def _settled(self, send: Outgoing, result: SendResult) -> None:
        if result in _STATUSES:
            self._fail(_STATUSES[result])
            if result in _LOSSES:
                self._session.losses.count(_LOSSES[result], send.name)

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
        while self.state is not ResponseState.COMPLETE and not self._left:
            # What came before the failure is written first: a consumer may raise after its response.
            if self._replies:
                self._over = math.inf
                await self._write(self._replies.popleft())
                self._await_part()
            elif self._failure is not None:
                return
            else:
                self._news = loop.create_future()
                await self._news
                self._news = None

    async def _write(self, message: Mapping[str, Any]) -> None:
        content = message.get("content") or b""
        more = bool(message.get("more_content", False))
        starts = message.get("status") is not None
        if starts is not (self.state is ResponseState.WAITING):
            self._refuse_part("the first part, and only that, has a status")
            return
        try:
            if not isinstance(content, bytes):
                raise ValueError(f"its content is of type {type(content).__name__}, expected bytes")
            self._spooled -= len(content)
            if starts:
                if more and message.get("credit") is not None:
                    self._credit = check_channel(str(message["credit"]))
                start, self._content = begin(message, self._scope["method"], None if more else len(content))
            content = self._content.part(content, more)
        except (ValueError, InvalidChannelName) as error:
            self._refuse_part(str(error).rstrip("."))
            self._replies.clear()
            self._fail(500)
            return
        if starts:
            self.state = ResponseState.STARTED
            await self._send(start)
        if starts and len(content) <= PIECE:
            self._ending = not more
            await self._send({"type": "http.response.body", "body": content, "more_body": more})
        else:
            await self._write_pieces(content, more)
        if not more and not self._left:
            self.state = ResponseState.COMPLETE

    async def _write_pieces(self, content: bytes, more: bool) -> None:
        """Write no faster than the client takes it, and tell the sender how much it took."""
        for position in range(0, len(content) or 1, PIECE):
            last = position + PIECE >= len(content)
            piece = {"type": "http.response.body", "body": content[position : position + PIECE]}
            await self._send_in_time({**piece, "more_body": more or not last})
            if self._left:
                return
        self._written += len(content)
        if self._credit and self._written - self._told >= CREDIT_STEP:
            self._told = self._written
            self._session.send(Outgoing(self._credit, {"written": self._written}))

    async def _send_in_time(self, event: dict[str, Any]) -> None:
        self._ending = not event["more_body"]
        sending = asyncio.ensure_future(self._send(event))
        try:
            done, _ = await asyncio.wait([sending], timeout=self._session.config.stall_timeout)
        finally:
            sending.cancel()
        if done:
            sending.result()
        else:
            self._give_up("it took nothing of its response")

    def _refuse_part(self, reason: str) -> None:
        self._session.throttled_log.warn(
            logger,
            "A part of the response to %s %s was ignored: %s.",
            self._scope["method"],
            self._scope["path"],
            reason,
        )

    async def _answer(self, status: int) -> None:
        """End the request ourselves: with a page, or by cutting off a response that has begun."""
        started, self.state = self.state is ResponseState.STARTED, ResponseState.COMPLETE
        if started:
            if self._raw is not None:
                self._raw["abort"]()
                await asyncio.sleep(0)
            return
        headers, body = page(status)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        await self._body.drain()
        await self._send({"type": "http.response.body", "body": b""})
