"""The messages of one WebSocket on their way to the layer: in order, through the gate, and back when there is no room.

Pure: each method is given the time and returns what is to be done, in order. Knows no session, no connection, and
nothing of what the client is sent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from channels_classic.layers.codec import Outcome

from ..layer.writer import SendResult
from .actions import Action, Block, Drained, Found, Lost, Overtaken, Resume, Send, Stalled, Taken, TooLarge, Unblock
from .gate import MARGIN, Gate, GateState, InboundMessage

CONNECT, RECEIVE, DISCONNECT = "websocket.connect", "websocket.receive", "websocket.disconnect"

FIRST = "0"
"""The token of the handshake."""
TRACE_KEYS = ("traceparent", "tracestate")

_NOT_WRITTEN = {SendResult.FULL: "full", SendResult.UNAVAILABLE: "broker", SendResult.REFUSED: "refused"}
"""Results after which a message is sent again → the kind of loss if that is no longer possible."""


@dataclass(frozen=True, slots=True)
class InboundLimits:
    """The number of messages that may wait, and the seconds for which they may; one object for all clients."""

    expiry: float
    frames: int
    size: int
    timeout: float


class InboundQueue:
    """The messages of one WebSocket."""

    __slots__ = (
        "_blocked",
        "_gate",
        "_is_final",
        "_limits",
        "_order",
        "_path",
        "_paused_until",
        "_reply_channel",
        "_trace",
        "is_sent",
    )

    def __init__(self, limits: InboundLimits, path: str) -> None:
        self._limits = limits
        self._path = path
        self._gate = Gate(limits.expiry)
        self._reply_channel = ""
        self._trace: dict[str, object] | None = None  # its trace context, if the handshake had one
        self._order = 0
        self._blocked: tuple[str, int] | None = None  # channel and order of the message that waits for room
        self._paused_until: float | None = None
        self._is_final = False
        self.is_sent = False
        """True if the layer is known to have taken the first message."""

    @property
    def nothing_sent(self) -> bool:
        """True if the layer knows nothing of this client."""
        return self._gate.nothing_sent

    @property
    def channel(self) -> str | None:
        """The channel of the outstanding message, or of the one that passed last."""
        return self._gate.channel

    @property
    def size(self) -> int:
        """The bytes of the messages that wait."""
        return self._gate.size

    @property
    def waiting(self) -> int:
        """The number of messages that wait."""
        return self._gate.waiting

    @property
    def has_room(self) -> bool:
        """True if more may be read."""
        return self._gate.waiting < self._limits.frames and self._gate.size < self._limits.size

    def is_idle(self, since: float) -> bool:
        """Return True if no message waits or is being consumed, and none was from `since` on."""
        return self._gate.is_idle(since)

    @property
    def deadline(self) -> float:
        """The time at which `due` has something to do."""
        paused_until = self._paused_until
        return self._gate.deadline if paused_until is None else min(paused_until, self._gate.deadline)

    # Messages of the client

    def connect(self, message: dict[str, object], now: float) -> list[Action]:
        """Queue the handshake."""
        self._reply_channel = str(message["reply_channel"])
        self._trace = {name: message[name] for name in TRACE_KEYS if name in message} or None
        return self._put(InboundMessage(CONNECT, {**message, "order": 0}, 0), now)

    def frame(self, data: str | bytes, now: float) -> list[Action]:
        """Queue a frame."""
        key = "text" if isinstance(data, str) else "bytes"
        self._order += 1
        message = {"reply_channel": self._reply_channel, "path": self._path, "order": self._order, key: data}
        if self._trace is not None:
            message.update(self._trace)
        return self._put(InboundMessage(RECEIVE, message, self._order, len(data)), now)

    def end(self, code: int, now: float) -> list[Action]:
        """Queue the disconnect, the last message: nothing is read any more."""
        self._paused_until = None
        if self.nothing_sent:
            return [*self._unblock(), Drained()]
        self._order += 1
        message = {"reply_channel": self._reply_channel, "code": code, "path": self._path, "order": self._order}
        message.update(self._trace or {})
        return self._put(InboundMessage(DISCONNECT, message, self._order, last=True), now)

    def _put(self, waiting: InboundMessage, now: float) -> list[Action]:
        self._gate.put(waiting, now)
        return self._pump(now)

    # Reading

    def pause(self, now: float) -> None:
        """Record that reading is paused: `Resume` follows when there is room, or `Stalled` after the timeout."""
        if self._paused_until is None:
            self._paused_until = now + self._limits.timeout

    def resume(self) -> list[Action]:
        """Continue reading whether there is room or not."""
        if self._paused_until is None:
            return []
        self._paused_until = None
        return [Resume()]

    # Through the gate

    def _pump(self, now: float, *, retried: bool = False) -> list[Action]:
        """Return the actions for what may pass now. What is retried makes room only when it has been accepted."""
        actions = self._next(now, retried=retried)
        return actions if retried or self._paused_until is None else [*actions, *self._resume_with_room()]

    def _resume_with_room(self) -> list[Action]:
        return self.resume() if self.has_room else []

    def _next(self, now: float, *, retried: bool = False) -> list[Action]:
        waiting = self._gate.next(now)
        if waiting is None:
            return []
        return [Send(waiting.channel, waiting.message, waiting.order, waiting.token, retried)]

    def settled(self, order: int, channel: str, result: SendResult, now: float) -> list[Action]:
        """Record the result of a `Send`."""
        if result is SendResult.ACCEPTED:
            self.is_sent = True
            if self._blocked is None and channel != DISCONNECT:
                return []  # as nearly always
            return [*self._unblock(order), *_drained(channel), *self._resume_with_room()]
        if result in _NOT_WRITTEN:
            return self._refused(order, channel, result)
        actions = self._unblock(order)
        if result is SendResult.LOST:
            # It may have been written, so it is not sent again, and the gate stays shut until its lease is over.
            if self._gate.lose(str(order), "broker", channel):
                actions.append(Lost("broker", channel))
        else:
            actions += [Lost("invalid", channel), TooLarge()]
            if self._gate.drop(str(order), now):
                actions += self._pump(now)
        return [*actions, *_drained(channel), *self._resume_with_room()]

    def _refused(self, order: int, channel: str, result: SendResult) -> list[Action]:
        """Keep a message that was certainly not written for another try.

        That of a disconnect is repeated for as long as it takes: without it the application never cleans up after the
        client. Only when the process stops there is no further try.
        """
        if not self._is_final and self._gate.refuse(str(order)):
            # The one that waited may have been reported on, or overtaken, before the layer's answer to it came.
            actions = self._unblock() if self._blocked is not None and self._blocked[0] != channel else []
            self._blocked = channel, order
            return [*actions, Block(channel)]
        return [Lost(_NOT_WRITTEN[result], channel), *self._unblock(order), *_drained(channel)]

    def retry(self, now: float) -> list[Action]:
        """Try the message that waits for room again."""
        self._gate.retry()
        actions = self._pump(now, retried=True)
        return actions if any(isinstance(action, Send) for action in actions) else actions + self._unblock()

    def _unblock(self, order: int | None = None) -> list[Action]:
        """Stop waiting for room, if message `order` is the one waiting.

        The report on a message may come before the layer's answer to its sender does. Then the next one waits already,
        and the answer must not take it off its queue.
        """
        if self._blocked is None or order not in (None, self._blocked[1]):
            return []
        channel, self._blocked = self._blocked[0], None
        return [Unblock(channel)]

    def is_in_turn(self, token: str) -> bool:
        """Return True if a reply of the consumer of message `token` comes before those to later messages."""
        return self._gate.is_in_turn(token)

    def report(self, token: str, outcome: Outcome, now: float) -> list[Action]:
        """Record the outcome of a message; one counted as lost is taken back, or counted under its true kind."""
        channel = self._gate.channel
        actions: list[Action] = []
        found = self._gate.find(token, outcome)
        if found is not None:
            actions.append(Found(*found))
            if outcome is Outcome.DIED and token != self._gate.outstanding:
                actions.append(Lost("died", found[1]))
        if channel is not None and self._gate.is_news(token):
            actions.append(Taken(channel))
        if self._gate.report(token, outcome, now):
            if outcome is Outcome.DIED and channel is not None:
                actions.append(Lost("died", channel))
            actions += self._pump(now)
        return actions

    def shorten(self, now: float) -> None:
        """Shorten the lease: the outstanding message, or its report, may be lost with the layer."""
        self._gate.shorten(now)

    def stood_still(self, now: float) -> None:
        """Extend the lease: this process did not run when it ended, and reports wait in its inbox."""
        self._gate.extend(now + MARGIN)

    def flush(self, now: float) -> list[Action]:
        """Let everything pass, in order, because the process stops; what is refused now is lost."""
        self._is_final = True
        return [*self._unblock(), *map(_without_token, self._gate.overtake(now))]

    def discard(self, now: float) -> list[Action]:
        """Drop the frames that wait, because the process holds too many bytes; reading does not continue for that.

        If the one that waits for room is among them, the next message is sent at its own turn.
        """
        lost: list[Action] = [Lost("full", RECEIVE) for _ in range(self._gate.discard())]
        return [*lost, *self._unblock(), *self._next(now)] if self._gate.state is GateState.OPEN else lost

    # Time

    def due(self, now: float) -> list[Action]:
        """Return the actions for the deadlines that have passed."""
        actions: list[Action] = []
        if now >= self._gate.deadline:
            channel = self._gate.channel or CONNECT  # with a deadline there is one
            token = self._gate.outstanding or FIRST
            overtaking = self._gate.due(now)
            if overtaking:
                actions += [*map(_without_token, overtaking), Overtaken(channel)]
            elif self._gate.lose(token, "unheard", channel):
                actions.append(Lost("unheard", channel))
            actions += self._pump(now)
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = math.inf  # once
            actions.append(Stalled())
        return actions


def _without_token(waiting: InboundMessage) -> Send:
    return Send(waiting.channel, waiting.message, waiting.order, None, retried=True)


def _drained(channel: str) -> list[Action]:
    return [Drained()] if channel == DISCONNECT else []
