"""One WebSocket: its handshake, the messages sent to it, and its end. The messages it sends are in `inbound`.

Receives ASGI events from the server and replies from the session, and sends ASGI events. Knows no framing or sockets.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Outgoing

from ..asgi import Receive, Scope, SendEvent, client_id, connection_keys, raw_extension
from ..config import InterfaceConfig
from ..cursors import PROTOCOL
from ..layer.budget import UNCOUNTED
from ..layer.client import Broadcast
from ..layer.session import LayerSession
from ..layer.writer import SendResult
from ..replies import NORMAL, ParsedReply, parse_reply
from . import actions
from .client_writer import ClientWriter
from .formats import format_of
from .inbound import CONNECT, DISCONNECT, RECEIVE, InboundLimits, InboundQueue
from .rates import Allowance, Rates
from .state import (
    ABNORMAL,
    NO_STATUS,
    POLICY,
    REFUSALS,
    SERVICE_RESTART,
    TOO_BIG,
    TRY_AGAIN_LATER,
    SocketState,
)

logger = logging.getLogger("channels_classic.interface_server")

MAX_EARLY_MESSAGES = 100
"""Group messages kept for a client during its handshake; further ones are lost."""


IDLE_AFTER = 1.0
"""Seconds since its last frame was consumed after which a socket counts as idle."""

STANDSTILL = 1.0
"""Seconds by which a deadline is noticed too late only if the process, or its event loop, stood still."""

LAST_REPORT_TIMEOUT = 10.0
"""Seconds to wait for the report on a disconnect, where others wait for the room that it makes."""


class WebSocket:
    """A client of the session until its last message is sent, which may be after its connection ended."""

    __slots__ = (
        "_address",
        "_allowance",
        "_connect_deadline",
        "_connect_taken",
        "_early",
        "_format",
        "_inbound",
        "_life_deadline",
        "_path",
        "_raw",
        "_receive",
        "_resume_reading",
        "_scope",
        "_session",
        "_slowed_until",
        "_started_at",
        "_was_accepted",
        "_writer",
        "local",
        "slot",
        "state",
    )

    def __init__(self, session: LayerSession, scope: Scope, receive: Receive, send: SendEvent) -> None:
        self.slot: int | None = None
        self.local = client_id(scope)
        self.state = SocketState.WAITING
        self._session = session
        self._scope = scope
        self._path: str = scope["path"]
        self._receive = receive
        self._inbound = InboundQueue(_inbound_limits(session.layer.expiry, session.config), self._path)
        self._resume_reading: Callable[[], None] | None = None
        self._connect_taken = False  # a worker took the connect message
        self._early: list[Broadcast] = []
        self._format = format_of(scope, scope.get("subprotocols") or ())  # None for plain messages
        self._started_at = session.clock()
        self._was_accepted = False
        self._connect_deadline = math.inf
        self._life_deadline = math.inf
        rates = _rates(session.config)
        self._allowance = Allowance(rates, session.clock()) if rates.any else None
        self._slowed_until = math.inf  # until then nothing is read, because it sends too much
        self._address = str(scope["client"][0]) if scope.get("client") else None
        self._raw = raw_extension(scope)
        writer = ClientWriter if self._format is None else self._format.writer
        self._writer = writer(send, self._raw, self._send_failed)

    # From the client

    async def run(self) -> None:
        """Serve the connection until the client is gone."""
        event = await self._receive()
        if event["type"] != CONNECT:
            return
        if not self._session.addresses.admit(self._address):
            await self._turn_away()
            return
        try:
            await self._serve()
        finally:
            self._session.addresses.release(self._address)

    async def _turn_away(self) -> None:
        """Refuse a handshake before anything is known of it: its address has as many sockets as it may."""
        self._session.losses.count("flood", CONNECT)
        self._refuse(429)
        await self._writer.sent()

    async def _serve(self) -> None:
        self._begin()
        code = ABNORMAL
        try:
            if self._raw is not None:
                self._raw["listen"](self._frame, self._note_buffered)
            while (event := await self._receive())["type"] == RECEIVE:
                text = event.get("text")
                if not self._frame(text if text is not None else event.get("bytes") or b""):
                    await self._room()
            code = event.get("code") or NO_STATUS
        finally:
            self._end(code)
        await self._writer.sent()

    def _frame(self, data: str | bytes) -> bool:
        """Queue a message of the client; return False if reading must pause."""
        if self.state is SocketState.CLOSING or (self._allowance is not None and self._is_too_much(len(data))):
            return True
        self._perform(self._inbound.frame(data, self._session.clock()))
        if self._inbound.waiting:
            self._session.waiting.add(self)
        if self._inbound.size > UNCOUNTED:
            self._note_buffered()
        if self._inbound.has_room and self._slowed_until == math.inf:
            return True
        if self._raw is not None:
            self._pause(self._raw["resume_reading"])
        return False

    def _is_too_much(self, size: int) -> bool:
        """Charge a frame to the rate of this socket; close a socket that keeps exceeding it, and return True."""
        assert self._allowance is not None
        now = self._session.clock()
        pause = self._allowance.take(size, now)
        if pause:
            if self._allowance.is_flooding(now):
                self._session.losses.count("flood", RECEIVE)
                self._warn(
                    "The WebSocket %s is closed with 1008: its client sends more than --frame-rate or --byte-rate."
                )
                self._close(POLICY)
                return True
            self._slowed_until = now + pause
        return False

    async def _room(self) -> None:
        """Return when reading may continue."""
        resumed = asyncio.Event()
        self._pause(resumed.set)
        await resumed.wait()

    def _pause(self, resume_reading: Callable[[], None]) -> None:
        self._resume_reading = resume_reading
        if not self._inbound.has_room:
            self._inbound.pause(self._session.clock())
        self._session.timers.schedule(self, min(self._inbound.deadline, self._slowed_until))

    def _begin(self) -> None:
        session = self._session
        timeout = session.config.websocket_connect_timeout
        if timeout >= 0:
            self._connect_deadline = session.clock() + timeout
            session.timers.schedule(self, self._connect_deadline)
        message = connection_keys(self._scope, session.add(self), "ws", session.config.root_path)
        if self._format is not None:
            message.update(self._format.keys)
        self._perform(self._inbound.connect(message, session.clock()))

    def _end(self, code: int) -> None:
        """Leave the client's groups now, and queue its disconnect after its last frame."""
        self._count_end(code)
        self.state = SocketState.GONE
        self._slowed_until = math.inf
        self._note_buffered()
        self._connect_deadline = self._life_deadline = math.inf
        self._session.gone(self)
        self._perform(self._inbound.end(code, self._session.clock()))

    def _count_end(self, code: int) -> None:
        if self._was_accepted:
            self._session.stats.socket_closed(code)
        elif self.state is SocketState.WAITING:
            self._session.stats.handshake_ended("left", self._age)

    @property
    def _age(self) -> float:
        """Seconds since the handshake began."""
        return self._session.clock() - self._started_at

    # To the layer: what `inbound` decides is carried out here

    def _perform(self, todo: Iterable[actions.Action]) -> None:
        for action in todo:
            _PERFORMERS[type(action)](self, action)
        self._session.timers.schedule(self, self._inbound.deadline)

    def _send_message(self, send: actions.Send) -> None:
        if not send.retried and self._session.retry_queues.must_wait(send.channel):
            now = self._session.clock()
            self._perform(self._inbound.settled(send.order, send.channel, SendResult.UNAVAILABLE, now))
        else:
            self._session.send(Outgoing(send.channel, send.message, token=send.token), self._on_sent)

    def _on_sent(self, send: Outgoing, result: SendResult) -> None:
        todo = self._inbound.settled(send.message["order"], send.name, result, self._session.clock())
        if todo:
            self._perform(todo)

    def retry(self) -> None:
        """Send the message that waited for room."""
        self._perform(self._inbound.retry(self._session.clock()))

    def _block(self, block: actions.Block) -> None:
        self._session.waiting.add(self)
        self._session.retry_queues.refused(block.channel, self)

    def _unblock(self, unblock: actions.Unblock) -> None:
        self._session.retry_queues.passed(unblock.channel, self)

    def _note_taken(self, taken: actions.Taken) -> None:
        self._session.retry_queues.taken(taken.channel)

    def _count_lost(self, lost: actions.Lost) -> None:
        self._session.losses.count(lost.kind, lost.channel)
        if lost.kind == "unheard":
            self._warn(
                "No report arrived for the last message of the WebSocket %s to %s; sending the next one.", lost.channel
            )

    def _take_back(self, found: actions.Found) -> None:
        self._session.losses.take_back(found.kind, found.channel)

    def _note_overtaken(self, overtaken: actions.Overtaken) -> None:
        self._warn(
            "The disconnect of the WebSocket %s does not wait any longer for the consumer of its last %s message.",
            overtaken.channel,
        )

    def _resume(self, _: actions.Resume | None = None) -> None:
        if self._slowed_until != math.inf:
            return  # until its time is over
        resume_reading, self._resume_reading = self._resume_reading, None
        if resume_reading is not None:
            resume_reading()

    def _refuse_too_large(self, _: actions.TooLarge) -> None:
        self._close(TOO_BIG)

    def _close_stalled(self, _: actions.Stalled) -> None:
        self._warn(
            "The WebSocket %s is closed with 1013: its frames waited for %g s. Run more workers for %s.",
            self._session.config.waiting_timeout,
            RECEIVE,
        )
        self._session.stats.cut_off["stalled"] += 1
        self._close(TRY_AGAIN_LATER)

    def _let_go(self, _: actions.Drained) -> None:
        """End, unless others wait for room for their disconnect: the report on this one says when there is some."""
        session = self._session
        session.retry_queues.forget(self)
        if self._inbound.channel == DISCONNECT and session.retry_queues.must_wait(DISCONNECT):
            self.state = SocketState.DRAINED
            self._life_deadline = session.clock() + LAST_REPORT_TIMEOUT
            session.timers.schedule(self, self._life_deadline)
        else:
            session.remove(self)

    def _warn(self, text: str, *arguments: object) -> None:
        self._session.throttled_log.warn(logger, text, self._path, *arguments)

    # From the workers: outcomes of its messages

    def report(self, token: str, outcome: Outcome) -> None:
        """Record the outcome of a message of this client."""
        if self._inbound.channel == CONNECT:
            self._connect_taken = True
            if outcome in REFUSALS:
                self._refuse(REFUSALS[outcome])
        self._perform(self._inbound.report(token, outcome, self._session.clock()))
        if self.state is SocketState.DRAINED:
            self._session.remove(self)

    def is_in_turn(self, token: str) -> bool:
        """Return False for a reply of a consumer whose lease ended, once later messages were handed out."""
        return self._inbound.is_in_turn(token)

    def layer_restored(self) -> None:
        """Shorten the wait for a report: the outstanding message or its report may be lost with the layer."""
        self._inbound.shorten(self._session.clock())
        self._session.timers.schedule(self, self._inbound.deadline)

    def flush(self) -> None:
        """Send everything that waits, in order."""
        self._perform(self._inbound.flush(self._session.clock()))

    # Time

    def due(self, now: float) -> float:
        """Handle expired deadlines; return the next one."""
        if self.state is SocketState.DRAINED:
            self._session.remove(self)
            return math.inf
        if now >= self._connect_deadline:
            self._connect_timed_out()
        if now >= self._life_deadline:
            self._life_deadline = math.inf
            self._close(NORMAL)
        if now - self._inbound.deadline > STANDSTILL:
            self._inbound.stood_still(now)
        if now >= self._slowed_until:
            self._slowed_until = math.inf
            if self._inbound.has_room:
                self._resume()
        self._perform(self._inbound.due(now))
        return min(self._connect_deadline, self._life_deadline, self._inbound.deadline, self._slowed_until)

    def _connect_timed_out(self) -> None:
        unsent = not self._inbound.is_sent and not self._connect_taken
        if unsent:
            text = "The WebSocket %s is refused: its %s message could not be sent within %g s."
        elif not self._connect_taken:
            text = "The WebSocket %s is refused: no worker took its %s message within %g s. Is `runworker` running?"
        else:
            text = (
                "The WebSocket %s is refused: the consumer of its %s message neither accepted nor closed it within "
                '%g s; it should send {"accept": True} to the reply channel.'
            )
        self._warn(text, CONNECT, self._session.config.websocket_connect_timeout)
        self._refuse(503 if unsent else 403)

    # To the client

    def reply(self, message: Mapping[str, Any]) -> None:
        """Carry out a message on the reply channel."""
        try:
            parsed = parse_reply(message, waiting=self.state is SocketState.WAITING)
        except ValueError as error:
            self._warn_ignored(error)
        else:
            self._carry_out(parsed)

    def broadcast(self, broadcast: Broadcast) -> None:
        """Carry out a message to a group of this client.

        Unlike a reply, its text does not accept an undecided handshake: a client that was only added to a group is not
        accepted yet. The message waits for the decision.
        """
        parsed, frame = broadcast.parsed, broadcast.frame
        if self.state is SocketState.WAITING and frame is not None and broadcast.message.get("accept") is None:
            self._hold(broadcast)
        elif self.state is not SocketState.OPEN or parsed is None:
            self.reply(broadcast.message)
        else:
            if self._format is not None:
                frame = self._format.frame(broadcast)
            if frame is None or not self._writer.write(frame):
                self._carry_out(parsed, broadcast.cursor)
            elif parsed.close is not None:
                self._close(parsed.close)

    @property
    def is_open(self) -> bool:
        """True if messages can be sent."""
        return self.state is SocketState.OPEN

    def note_cursor(self, group: str, cursor: str, *, gap: bool) -> None:
        """Tell a client that recovers up to where it has everything, or that something is gone."""
        if self._format is not None:
            self._deliver_raw(self._format.note(group, cursor, gap=gap))

    def _hold(self, broadcast: Broadcast) -> None:
        if len(self._early) < MAX_EARLY_MESSAGES:
            self._early.append(broadcast)
        else:
            self._session.losses.count("full", self._path)

    def _warn_ignored(self, error: ValueError) -> None:
        self._warn("A message for the WebSocket %s was ignored: %s.", error)

    def _carry_out(self, parsed: ParsedReply, cursor: str = "") -> None:
        if parsed.deny:
            self._refuse(403)
        if parsed.accept:
            self._accept()
        if parsed.payload is not None:
            self._deliver(parsed.payload, cursor)
        if parsed.close is not None:
            self._close(parsed.close)

    def _accept(self) -> None:
        if self.state is not SocketState.WAITING:
            return
        self.state = SocketState.OPEN
        self._was_accepted = True
        self._session.stats.socket_opened(self._age)
        self._connect_deadline = math.inf
        lifetime = self._session.config.websocket_timeout
        if lifetime >= 0:
            self._life_deadline = self._session.clock() + lifetime
            self._session.timers.schedule(self, self._life_deadline)
        known = self._session.config.ws_protocols if self._format is None else (PROTOCOL,)
        offered = self._scope.get("subprotocols") or ()
        chosen = next((protocol for protocol in offered if protocol in known), None)
        self._writer.accept(chosen)
        early, self._early = self._early, []
        for broadcast in early:
            self.broadcast(broadcast)
        self._session.opened(self)

    def _deliver(self, payload: str | bytes, cursor: str) -> None:
        if self._format is None:
            self._deliver_raw(payload)
            return
        try:
            formatted = self._format.message(payload, cursor)
        except ValueError as error:
            self._session.losses.count("invalid", self._path)
            self._warn_ignored(error)
        else:
            self._deliver_raw(formatted)

    def _deliver_raw(self, payload: str | bytes) -> None:
        if self.state is not SocketState.OPEN or self._writer.send(payload):
            return
        self._session.waiting.add(self)
        if self._writer.overfull:
            self._give_up()
        elif self._writer.size > UNCOUNTED:
            self._note_buffered()

    def _refuse(self, status: int) -> None:
        """Answer the handshake with an HTTP status."""
        if self.state is not SocketState.WAITING:
            return
        self.state = SocketState.CLOSING
        self._session.stats.handshake_ended(str(status), self._age)
        self._connect_deadline = math.inf
        self._writer.deny(status, self._scope.get("extensions") or {})
        self._perform(self._inbound.resume())

    def _close(self, code: int, reason: str = "") -> None:
        if self.state is SocketState.WAITING:
            self._refuse(403)
        if self.state is SocketState.OPEN:
            self.state = SocketState.CLOSING
            self._writer.close(code, reason)
            self._slowed_until = math.inf
            self._perform(self._inbound.resume())  # to read the client's close frame
            self._resume()

    # The end of the process

    def is_idle(self, now: float) -> bool:
        """Return True if it can be closed without a loss: its frames are consumed, and it was not used of late."""
        if self.state is SocketState.OPEN:
            return self._writer.idle and self._inbound.is_idle(now - IDLE_AFTER)
        return self.state is not SocketState.WAITING  # the others are leaving anyway

    def restart(self, reason: str) -> None:
        """Close it because the process ends, with a `reason` for the client; an undecided handshake gets 503."""
        self._refuse(503)
        self._close(SERVICE_RESTART, reason)

    # Memory

    @property
    def waiting_frames(self) -> int:
        """The messages of the client that wait for their turn."""
        return self._inbound.waiting

    @property
    def waiting_bytes(self) -> tuple[int, int]:
        """The bytes of these, and of what the client has yet to read."""
        return self._inbound.size, self._writer.buffered

    @property
    def buffered(self) -> int:
        """The bytes that wait, in either direction."""
        if self.state is SocketState.GONE:
            return self._inbound.size
        return self._inbound.size + self._writer.buffered

    def _note_buffered(self) -> None:
        for client in self._session.budget.note(self, self.buffered):
            client.cut_off()

    def cut_off(self) -> None:
        """Close the connection and drop what waits: the process holds too much."""
        self._warn(
            "The WebSocket %s is closed: the sockets of this process together exceed --socket-memory, and this one "
            "holds the most."
        )
        self._session.stats.cut_off["memory"] += 1
        self._writer.clear()
        self._perform(self._inbound.discard(self._session.clock()))
        self._close(TRY_AGAIN_LATER)
        self._writer.abort()

    def _give_up(self) -> None:
        """Cut off a client that does not read."""
        self._warn("The WebSocket %s is closed: its client does not read.")
        self._session.stats.cut_off["slow_socket"] += 1
        self._writer.clear()
        self._close(POLICY)
        self._writer.abort()

    def _send_failed(self, error: BaseException) -> None:
        # The client is gone; the server reports its disconnect through `receive`.
        logger.debug("Sending to the WebSocket %s failed: %r", self._path, error)


_PERFORMERS: dict[type[actions.Action], Callable[[WebSocket, Any], None]] = {
    actions.Send: WebSocket._send_message,
    actions.Block: WebSocket._block,
    actions.Unblock: WebSocket._unblock,
    actions.Taken: WebSocket._note_taken,
    actions.Lost: WebSocket._count_lost,
    actions.Found: WebSocket._take_back,
    actions.Overtaken: WebSocket._note_overtaken,
    actions.Resume: WebSocket._resume,
    actions.TooLarge: WebSocket._refuse_too_large,
    actions.Stalled: WebSocket._close_stalled,
    actions.Drained: WebSocket._let_go,
}


@lru_cache(maxsize=16)
def _rates(config: InterfaceConfig) -> Rates:
    return Rates(config.frame_rate, config.byte_rate)


@lru_cache(maxsize=16)
def _inbound_limits(expiry: float, config: InterfaceConfig) -> InboundLimits:
    return InboundLimits(expiry, config.waiting_frames, config.waiting_bytes, config.waiting_timeout)
