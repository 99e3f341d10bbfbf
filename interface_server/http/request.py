"""One HTTP request: its body to the layer, its response from there, and an error page when none comes.

ASGI events come from the server and go to it, messages go to the layer through the session. Knows no parsing, no
sockets. Neither side waits for the other: what a worker sends is spooled here while the client is slow, and a body is
kept here for workers that ask for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Any

from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Outgoing

from ..asgi import Receive, Scope, SendEvent, client_id, connection_keys
from ..error_pages import page
from ..layer.client import Broadcast
from ..layer.question import QUESTION, question_of
from ..layer.session import LayerSession
from ..layer.writer import SendResult
from ..websocket.gate import MARGIN
from .asgi_connection import AsgiConnection
from .body import DISCONNECT, RequestBody
from .kept_body import KeptBody
from .request_state import (
    LOSS_BY_RESULT,
    STATUS_BY_OUTCOME,
    STATUS_BY_RESULT,
    TRANSITIONS,
    UNHEARD,
    RequestEvent,
    RequestState,
)
from .response import IgnoredPart, Response
from .spool import NoSpace, SpoolQuota

logger = logging.getLogger("channels_classic.interface_server")

REQUEST = "http.request"

ONLY = "0"
"""A request is one message, so any token will do."""

STALLED = "it read nothing of its response"

END_TIMEOUT = 10.0
"""Seconds for which a response may wait for its end; proxies wait a minute for its beginning."""

IGNORED = "A part of the response to %s was ignored: %s."


class Request:
    """A client of the layer session from its request to the end of its response, and longer if its body is kept."""

    is_open = True

    def __init__(
        self,
        session: LayerSession,
        scope: Scope,
        receive: Receive,
        send: SendEvent,
        bodies: SpoolQuota,
        responses: SpoolQuota,
    ) -> None:
        self.slot: int | None = None
        self.local = client_id(scope)
        self.state = RequestState.WAITING
        self._session = session
        self._scope = scope
        self._connection = AsgiConnection(scope, receive, send)
        self._body = RequestBody(bodies, scope, receive, session.config)
        # The end of a connection, which marks the end of a response in HTTP/1.0, looks the same when it is cut off.
        is_ambiguous = scope.get("http_version") == "1.0" and not self._connection.can_reset
        self._response = Response(scope["method"], responses, held=is_ambiguous)
        self._kept_body: KeptBody | None = None
        self._bodies = bodies
        self._responses = responses
        self._changed: asyncio.Future[None] | None = None
        self._failure = 500  # the status, once the state is FAILED
        self._deadline = math.inf  # of the next part from the workers
        self._limit = math.inf
        self._started_at = 0.0  # when the workers had all of it
        self._status = 0  # that of the response
        self._is_answered = False  # all of a response was written

    async def run(self) -> None:
        """Serve the request until it is answered, or the client left."""
        stats, begun_at = self._session.stats, self._session.clock()
        stats.begun += 1
        try:
            await self._serve()
        finally:
            outcome = self._status if self._is_answered else "left"
            stats.request_ended(outcome, self._session.clock() - begun_at)

    async def _serve(self) -> None:
        if not self._session.available:
            await self._answer(503)
            return
        try:
            if (status := await self._body.receive()) is not None:
                self._body.close()
                if self._body.no_space:
                    self._warn("The body of %s was refused with 503: %s.", self._body.no_space)
                await self._answer(status)
            elif not self._body.disconnected:
                # It may have gone while the body arrived. The client would give up before the request is run.
                await (self._run() if self._session.available else self._answer(503))
        finally:
            if self._kept_body is None:
                self._body.close()

    async def _run(self) -> None:
        reply_channel = self._session.add(self)
        try:
            self._forward(reply_channel)
            self._connection.watch(self._gone)
            await self._respond()
        finally:
            self._connection.unwatch(self._gone)
            self._responses.reclaimables.discard(self)
            self._response.spool.close()
            if self.state is RequestState.GONE:
                message = {"reply_channel": reply_channel, "path": self._scope["path"]}
                self._session.send(Outgoing(DISCONNECT, message), self._count_loss)
            self._session.remove(self)
            if self._body.is_spooled:
                self._kept_body = KeptBody(self._session, self.local, self._body, self._bodies)
        if self.state is RequestState.FAILED:
            await self._answer(self._failure)

    # From the client

    def _forward(self, reply_channel: str) -> None:
        """Send the request."""
        scope, session, body = self._scope, self._session, self._body
        message = connection_keys(scope, reply_channel, "http", session.config.root_path)
        message["method"] = scope["method"].upper()
        message["http_version"] = scope.get("http_version", "1.1")
        message["body"] = body.beginning()
        if body.is_spooled:
            # Nothing is sent on it unasked: its name says that there is more to ask for.
            message["body_channel"] = f"http.request.body?{self.local}"
            message["body_size"] = body.size
        session.send(Outgoing(REQUEST, message, token=ONLY), self._settled)
        self._started_at = session.clock()
        self._await_part()

    def _await_part(self) -> None:
        """Give the workers `http_timeout` from now."""
        now = self._session.clock()
        self._deadline = self._limit = now + self._session.config.http_timeout
        self._session.timers.schedule(self, min(self._deadline, now + MARGIN))

    def _gone(self) -> None:
        # Our own server reports only clients that left before the last byte was written. Others also report the end of
        # a complete response, some before the call that wrote its last piece returns.
        if self._connection.is_own or not self._response.is_finished:
            self._change(RequestEvent.LEFT)

    def _change(self, event: RequestEvent) -> bool:
        """Move to the next state; return False if there is none for this event."""
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return False
        self.state = state
        self._wake()
        return True

    # From the layer

    def reply(self, message: Mapping[str, Any]) -> None:
        """Take a part of the response, and answer a worker that asks."""
        try:
            if message.get("closed"):
                self._fail(503)
            elif message.keys() != {QUESTION}:
                self._add(message)
        finally:
            question = question_of(message)
            if question is not None:
                closed = self.state in (RequestState.FAILED, RequestState.GONE)
                self._session.send(self._body.answer(question, closed=closed), self._count_loss)

    def _add(self, message: Mapping[str, Any]) -> None:
        """Add a part to the response, unless that failed already or is complete."""
        if self.state in UNHEARD or self._response.is_complete:
            return
        is_first = not self._response.has_begun
        try:
            self._response.add(message)
        except IgnoredPart as error:
            self._warn(IGNORED, error)
            return
        except ValueError as error:
            self._warn(IGNORED, error)
            self._fail(500)
        except NoSpace as error:
            self._give_up(str(error))
        else:
            if is_first and self._response.is_held:
                asyncio.get_running_loop().call_later(END_TIMEOUT, self._release)
            self._after_part()

    def _after_part(self) -> None:
        self._change(RequestEvent.TAKEN)
        self._wake()
        self._deadline = math.inf
        if not self._response.is_complete:
            self._await_part()
        spool, limit = self._response.spool, self._session.config.max_response
        if spool.has_files:
            self._responses.reclaimables.add(self)
            if limit and spool.size > limit:
                self._give_up(f"{spool.size} bytes of its response wait for it, and --max-response is {limit}")

    def _release(self) -> None:
        self._response.release()
        self._wake()

    def note_cursor(self, group: str, cursor: str, *, gap: bool) -> None:
        """Ignore it: a request has no cursor to come back with."""

    def broadcast(self, broadcast: Broadcast) -> None:
        """Take a group message like any other."""
        self.reply(broadcast.message)

    def report(self, token: str, outcome: Outcome) -> None:
        """Record that no response comes, or that a worker still works on it."""
        if outcome is Outcome.DIED and self.state is not RequestState.COMPLETE:
            self._session.losses.count("died", REQUEST)
        if outcome in STATUS_BY_OUTCOME:
            self._fail(STATUS_BY_OUTCOME[outcome])
        elif outcome is Outcome.RUNNING:
            self._change(RequestEvent.TAKEN)
            self._deadline = max(self._deadline, self._limit)

    def is_in_turn(self, token: str) -> bool:
        """Return True: a request is one message."""
        return True

    def layer_restored(self) -> None:
        """The message or the response may be lost: unless a worker reports that it runs, give up soon."""
        if self._deadline < math.inf:
            self._deadline = min(self._deadline, self._session.clock() + MARGIN)
            self._session.timers.schedule(self, self._deadline)

    def due(self, now: float) -> float:
        """Handle a response, or a further part of it, that did not arrive in time."""
        if now >= self._deadline:
            self._deadline = math.inf
            self._session.throttled_log.warn(
                logger,
                "No response to %s came within %g s: no worker took the message, or its consumer sent no response. "
                "Is `runworker` running?",
                self._name,
                self._session.config.http_timeout,
            )
            self._fail(503)
        elif self._is_untaken(now):
            self._session.throttled_log.warn(
                logger,
                "No worker has started on %s for %.0f s. Is `runworker` running, and free?",
                self._name,
                now - self._started_at,
            )
        return self._deadline

    def _is_untaken(self, now: float) -> bool:
        """Return True if no worker can have begun, because it would have reported that it runs."""
        return self.state is RequestState.WAITING and now >= self._started_at + MARGIN

    @property
    def disk_size(self) -> int:
        """The bytes of files that wait for the client."""
        return self._response.spool.disk_size

    def rank(self) -> float:
        """Return the bytes per second that the client reads: the slowest is cut off first when the disk is full."""
        if self._response.is_held:
            return math.inf
        return self._response.written / max(self._session.clock() - self._started_at, 1e-3)

    def reclaim(self) -> None:
        """Cut the client off to make room for faster ones."""
        self._give_up("it reads slowest of those whose responses fill --spool-disk")

    def _give_up(self, reason: str) -> None:
        """Cut off a client that does not read what it is sent."""
        if self._cut_off():
            self._session.stats.cut_off["slow_response"] += 1
            logger.info("The client of %s is cut off: %s.", self._name, reason)

    def _cut_off(self) -> bool:
        if not self._change(RequestEvent.LEFT):
            return False
        self._response.spool.close()
        self._connection.abort()
        return True

    def _settled(self, send: Outgoing, result: SendResult) -> None:
        if result is SendResult.LOST and self.state is not RequestState.WAITING:
            return  # it has arrived: a worker has answered, or reported on it
        if result in STATUS_BY_RESULT:
            self._fail(STATUS_BY_RESULT[result])
            self._count_loss(send, result)

    def _count_loss(self, send: Outgoing, result: SendResult) -> None:
        if result in LOSS_BY_RESULT:
            self._session.losses.count(LOSS_BY_RESULT[result], send.name)

    def _fail(self, status: int) -> None:
        if self._change(RequestEvent.FAILED):
            self._failure = status

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    # The end of the process

    def stop_waiting(self, now: float) -> None:
        """Answer 503 if no worker can have begun, because it would have reported that it runs."""
        if self._is_untaken(now):
            self._fail(503)

    def flush(self) -> None:
        """The process stops."""
        self._fail(503)

    @property
    def is_event_stream(self) -> bool:
        """True for server-sent events that have not ended."""
        return self._response.is_event_stream and not self._response.is_finished

    def is_idle(self, now: float) -> bool:
        """Return True if the client has everything that was sent to it."""
        return not self._response.spool.size

    def restart(self, reason: str) -> None:
        """End server-sent events because the process ends; their client connects again by itself."""
        if self.is_event_stream:
            self._cut_off()

    # To the client

    async def _respond(self) -> None:
        """Write the response as its parts arrive, no faster than the client reads it."""
        loop = asyncio.get_running_loop()
        while self.state not in (RequestState.GONE, RequestState.COMPLETE):
            # What arrived before a failure is written first: a consumer may raise after its response.
            if events := self._response.next_events():
                for event in events:
                    await self._send_in_time(event)
                if self._response.is_finished:
                    self._is_answered = self._change(RequestEvent.WRITTEN)
            elif self.state is RequestState.FAILED:
                return
            else:
                self._changed = loop.create_future()
                await self._changed
                self._changed = None

    async def _send_in_time(self, event: dict[str, Any]) -> None:
        """Send an event; cut off a client that does not take it within `stall_timeout`."""
        if self.state is RequestState.GONE:
            return
        self._status = event.get("status", self._status)
        await self._connection.send(event, self._session.config.stall_timeout, self._stalled)

    def _stalled(self) -> None:
        self._give_up(STALLED)

    @property
    def _name(self) -> str:
        """The request line, for logs, in which nothing that a client sends ends a line."""
        line = f"{self._scope['method']} {self._scope['path']}"
        return line.encode("unicode_escape").decode("ascii")

    def _warn(self, text: str, reason: object) -> None:
        self._session.throttled_log.warn(logger, text, self._name, str(reason).rstrip("."))

    async def _answer(self, status: int) -> None:
        """End the request here: with an error page, or by cutting off a response that has begun."""
        if self._response.is_started:
            if self._connection.abort():
                await asyncio.sleep(0)
            return
        headers, content = page(status)
        await self._send_in_time({"type": "http.response.start", "status": status, "headers": headers})
        await self._send_in_time({"type": "http.response.body", "body": content, "more_body": True})
        await self._body.drain()
        await self._send_in_time({"type": "http.response.body", "body": b""})
        self._is_answered = self.state is not RequestState.GONE
