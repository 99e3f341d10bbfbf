"""One WebSocket: its handshake, the messages sent to it, and its end. The messages it sends are in `inbound`.

Receives ASGI events from the server and replies from the session, and sends ASGI events. Knows no framing or sockets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from channels_classic.layers.codec import Outcome

from ..asgi import Receive, Scope, SendEvent, client_id, connection_keys, raw_extension
from ..close_codes import ABNORMAL, NORMAL, POLICY, SERVICE_RESTART, TRY_AGAIN_LATER
from ..cursors import PROTOCOL
from ..layer.budget import UNCOUNTED
from ..layer.client import Broadcast
from ..layer.session import LayerSession
from ..replies import ParsedReply, parse_reply
from .client_reader import ClientReader
from .client_writer import ClientWriter
from .formats import format_of
from .forwarder import Forwarder
from .inbound import CONNECT, DISCONNECT, RECEIVE
from .rates import make_allowance
from .state import REFUSALS, SocketState, refusal_of

MAX_EARLY_MESSAGES = 100
"""Group messages kept for a client during its handshake; further ones are lost."""

IDLE_AFTER = 1.0
"""Seconds since its last frame was consumed after which a socket counts as idle."""

STANDSTILL = 1.0
"""Seconds by which a deadline is noticed too late only if the process or its event loop hung."""

LAST_REPORT_TIMEOUT = 10.0
"""Seconds to wait for the report on a disconnect, where others wait for the room that it makes."""

IGNORED = "A message for the WebSocket %s was ignored: %s."


class WebSocket(Forwarder):
    """A client of the session until its last message is sent, which may be after its connection ended.

    `ClientReader` and `ClientWriter` are its two ways to the server; `Forwarder` is that of its messages to the layer.
    """

    __slots__ = (
        "_address",
        "_allowance",
        "_connect_deadline",
        "_connect_taken",
        "_early",
        "_format",
        "_life_deadline",
        "_reader",
        "_scope",
        "_slowed_until",
        "_started_at",
        "_was_accepted",
        "_writer",
        "local",
        "state",
    )

    def __init__(self, session: LayerSession, scope: Scope, receive: Receive, send: SendEvent) -> None:
        super().__init__(session, scope["path"])
        self.local = client_id(scope)
        self.state = SocketState.WAITING
        self._scope = scope
        self._connect_taken = False  # a worker took the connect message
        self._early: list[Broadcast] = []
        self._format = format_of(scope, scope.get("subprotocols") or ())  # None for plain messages
        self._started_at = session.clock()
        self._was_accepted = False
        self._connect_deadline = math.inf
        self._life_deadline = math.inf
        self._allowance = make_allowance(session.config, session.clock())
        self._slowed_until = math.inf  # until then nothing is read, because it sends too much
        self._address = str(scope["client"][0]) if scope.get("client") else None
        raw = raw_extension(scope)
        self._reader = ClientReader(receive, raw)
        writer = ClientWriter if self._format is None else self._format.writer
        self._writer = writer(send, raw, scope["path"])

    # From the client

    async def run(self) -> None:
        """Serve the connection until the client is gone."""
        if not await self._reader.handshake():
            return
        if not self._session.addresses.admit(self._address):
            self._session.losses.count("flood", CONNECT)
            self._refuse(429)
            await self._writer.sent()
            return
        try:
            await self._serve()
        finally:
            self._session.addresses.release(self._address)

    async def _serve(self) -> None:
        self._begin()
        code = ABNORMAL
        try:
            code = await self._reader.read(self._frame, self._note_buffered)
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
        self._pause()
        return False

    def _is_too_much(self, size: int) -> bool:
        """Charge a frame to the rate of this socket; close a socket that keeps exceeding it, and return True."""
        assert self._allowance is not None
        now = self._session.clock()
        pause = self._allowance.take(size, now)
        floods = pause > 0 and self._allowance.is_flooding(now)
        if floods:
            self._session.losses.count("flood", RECEIVE)
            self._warn("The WebSocket %s is closed with 1008: its client sends more than --frame-rate or --byte-rate.")
            self._close(POLICY)
        elif pause:
            self._slowed_until = now + pause
        return floods

    def _pause(self) -> None:
        self._reader.pause()
        if not self._inbound.has_room:
            self._inbound.pause(self._session.clock())
        self._session.timers.schedule(self, min(self._inbound.deadline, self._slowed_until))

    def _begin(self) -> None:
        session = self._session
        self._connect_deadline = self._schedule(session.config.websocket_connect_timeout)
        message = connection_keys(self._scope, session.add(self), "ws", session.config.root_path)
        if self._format is not None:
            message.update(self._format.keys)
        self._perform(self._inbound.connect(message, session.clock()))

    def _end(self, code: int) -> None:
        """Leave the client's groups now, and queue its disconnect after its last frame."""
        if self._was_accepted:
            self._session.stats.socket_closed(code)
        elif self.state is SocketState.WAITING:
            self._session.stats.handshake_ended("left", self._age)
        self.state = SocketState.GONE
        self._slowed_until = math.inf
        self._note_buffered()
        self._connect_deadline = self._life_deadline = math.inf
        self._session.gone(self)
        self._perform(self._inbound.end(code, self._session.clock()))

    @property
    def _age(self) -> float:
        """Seconds since the handshake began."""
        return self._session.clock() - self._started_at

    # From the forwarder: what became of its messages

    def _resume(self) -> None:
        if self._slowed_until == math.inf:  # otherwise when its time is over
            self._reader.resume()

    def _let_go(self) -> None:
        """End, unless others wait for room for their disconnect: the report on this one says when there is some."""
        session = self._session
        session.retry_queues.forget(self)
        if self._inbound.channel == DISCONNECT and session.retry_queues.must_wait(DISCONNECT):
            self.state = SocketState.DRAINED
            self._life_deadline = self._schedule(LAST_REPORT_TIMEOUT)
        else:
            session.remove(self)

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

    # Time

    def _schedule(self, seconds: float) -> float:
        """Return the time that is `seconds` away, and have `due` called then; a negative number means never."""
        deadline = self._session.clock() + seconds if seconds >= 0 else math.inf
        self._session.timers.schedule(self, deadline)
        return deadline

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
            else:  # what was read last has been refused since, and waits
                self._inbound.pause(now)
        self._perform(self._inbound.due(now))
        return min(self._connect_deadline, self._life_deadline, self._inbound.deadline, self._slowed_until)

    def _connect_timed_out(self) -> None:
        refusal = refusal_of(is_sent=self._inbound.is_sent, is_taken=self._connect_taken)
        self._warn(refusal.text, CONNECT, self._session.config.websocket_connect_timeout)
        self._refuse(refusal.status)

    # To the client

    def reply(self, message: Mapping[str, Any]) -> None:
        """Carry out a message on the reply channel."""
        try:
            parsed = parse_reply(message, waiting=self.state is SocketState.WAITING)
        except ValueError as error:
            self._warn(IGNORED, error)
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
        """Send a client that recovers the cursor up to which it has everything, or a gap."""
        if self._format is not None:
            self._deliver(self._format.note(group, cursor, gap=gap))

    def _hold(self, broadcast: Broadcast) -> None:
        if len(self._early) < MAX_EARLY_MESSAGES:
            self._early.append(broadcast)
        else:
            self._count_loss("full")

    def _carry_out(self, parsed: ParsedReply, cursor: str = "") -> None:
        if parsed.deny:
            self._refuse(403)
        if parsed.accept:
            self._accept()
        if parsed.payload is not None:
            self._deliver_message(parsed.payload, cursor)
        if parsed.close is not None:
            self._close(parsed.close)

    def _accept(self) -> None:
        if self.state is not SocketState.WAITING:
            return
        self.state = SocketState.OPEN
        self._was_accepted = True
        self._session.stats.socket_opened(self._age)
        self._connect_deadline = math.inf
        self._life_deadline = self._schedule(self._session.config.websocket_timeout)
        known = self._session.config.ws_protocols if self._format is None else (PROTOCOL,)
        offered = self._scope.get("subprotocols") or ()
        chosen = next((protocol for protocol in offered if protocol in known), None)
        self._writer.accept(chosen)
        early, self._early = self._early, []
        for broadcast in early:
            self.broadcast(broadcast)
        self._session.opened(self)

    def _deliver_message(self, payload: str | bytes, cursor: str) -> None:
        try:
            formatted = payload if self._format is None else self._format.message(payload, cursor)
        except ValueError as error:
            self._count_loss("invalid")
            self._warn(IGNORED, error)
        else:
            self._deliver(formatted)

    def _count_loss(self, kind: str) -> None:
        """Count a message for this client under its reply channel; its path is what the client chose."""
        self._session.losses.count(kind, self._session.inbox + self.local)

    def _deliver(self, payload: str | bytes) -> None:
        if self.state is not SocketState.OPEN or self._writer.send(payload):
            return
        self._session.waiting.add(self)
        if self._writer.overfull:
            self._cut_off_slow_reader()
        elif self._writer.held > UNCOUNTED:
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
        """Return True if it can be closed without a loss: its frames are consumed, and it is idle."""
        if self.state is SocketState.OPEN:
            return self._writer.idle and self._inbound.is_idle(now - IDLE_AFTER)
        return self.state is not SocketState.WAITING  # the others are leaving anyway

    def restart(self, reason: str) -> None:
        """Close it because the process ends, with a `reason` for the client; an undecided handshake gets 503."""
        self._refuse(503)
        self._close(SERVICE_RESTART, reason)

    # Memory

    @property
    def waiting_bytes(self) -> tuple[int, int]:
        """The bytes of the messages that wait, and of what the client has yet to read."""
        return self._inbound.size, self._writer.buffered

    @property
    def buffered(self) -> int:
        """The bytes that wait, in either direction."""
        return self._inbound.size if self.state is SocketState.GONE else sum(self.waiting_bytes)

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

    def _cut_off_slow_reader(self) -> None:
        """Cut off a client that does not read."""
        self._warn("The WebSocket %s is closed: its client has stopped reading.")
        self._session.stats.cut_off["slow_socket"] += 1
        self._writer.clear()
        self._close(POLICY)
        self._writer.abort()
