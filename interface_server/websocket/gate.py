"""The gate of one WebSocket: which of its messages may pass to the layer now. A pure state machine, the clock is given.

At most one message of a socket is outstanding: the next one passes when a worker reported the end of the one before. So
the frames of a socket are consumed one after another, in order, whichever workers take them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from channels_classic.layers.codec import RUNNING_INTERVAL, Outcome

MARGIN = RUNNING_INTERVAL + 2.0
"""Seconds in which a worker that has the message says so: for so long the lease goes on after the message's expiry, and
when the layer may have lost the message or its report."""

GRACE = 5.0
"""Seconds for which the disconnect waits for the consumer before it; that one may be waiting for the disconnect."""


class GateState(Enum):
    """Where a gate stands."""

    __hash__ = object.__hash__  # as below: looked up for each message; that of Enum is in Python

    OPEN = "open"
    """Nothing is outstanding: what comes passes at once."""
    IN_FLIGHT = "busy"
    """One message is outstanding; the others wait."""
    BLOCKED = "held"
    """The next message was refused, because its channel was full or the layer away; it waits to be tried again."""
    CLOSED = "over"
    """The disconnect has passed; nothing comes any more."""


class GateEvent(Enum):
    """What moves a gate from one state to another."""

    __hash__ = object.__hash__

    PASSED = "passed"
    PASSED_LAST = "passed last"
    REFUSED = "refused"
    ENDED = "ended"
    RETRIED = "retried"


TRANSITIONS = {
    (GateState.OPEN, GateEvent.PASSED): GateState.IN_FLIGHT,
    (GateState.OPEN, GateEvent.PASSED_LAST): GateState.CLOSED,
    (GateState.IN_FLIGHT, GateEvent.ENDED): GateState.OPEN,
    (GateState.IN_FLIGHT, GateEvent.REFUSED): GateState.BLOCKED,
    (GateState.IN_FLIGHT, GateEvent.PASSED_LAST): GateState.CLOSED,
    (GateState.CLOSED, GateEvent.REFUSED): GateState.BLOCKED,
    (GateState.BLOCKED, GateEvent.RETRIED): GateState.OPEN,
}
"""Every transition there is; any other change in any other state changes nothing."""


@dataclass(slots=True)  # frozen would be slower
class InboundMessage:
    """A message on its way to the layer. `size` is in bytes of payload; `order` counts the messages of the client."""

    channel: str
    message: dict[str, Any]
    order: int
    size: int = 0
    last: bool = False

    @property
    def token(self) -> str:
        """What the report will name; the order is unique within a client."""
        return str(self.order)


class Gate:
    """Messages are `put`, and pass when `next` gives them. Time is in seconds, of a clock that never runs backwards."""

    __slots__ = (
        "_channel",
        "_last_at",
        "_lease",
        "_lease_over",
        "_passed",
        "_running",
        "_since",
        "_size",
        "_waiting",
        "state",
    )

    def __init__(self, expiry: float) -> None:
        self.state = GateState.OPEN
        self._lease = expiry + MARGIN
        self._waiting: list[InboundMessage] = []  # a deque takes 700 bytes, also an empty one
        self._size = 0
        self._passed: InboundMessage | None = None
        self._channel: str | None = None
        self._lease_over = math.inf
        self._running = False
        self._since = -math.inf
        self._last_at = math.inf

    @property
    def waiting(self) -> int:
        """Messages that have not passed."""
        return len(self._waiting)

    @property
    def size(self) -> int:
        """The bytes of the messages that have not passed."""
        return self._size

    @property
    def nothing_sent(self) -> bool:
        """Whether even the first message waits: the layer knows nothing of this client."""
        return bool(self._waiting) and self._waiting[0].order == 0

    @property
    def channel(self) -> str | None:
        """The channel of the outstanding message, or of the one that passed last."""
        return self._channel

    @property
    def deadline(self) -> float:
        """When `due` has something to do."""
        if self.state is GateState.CLOSED:
            return math.inf
        if self.state is GateState.IN_FLIGHT and self._grace_counts():
            return min(self._lease_over, max(self._since, self._last_at) + GRACE)
        return self._lease_over

    def _change(self, change: GateEvent) -> bool:
        state = TRANSITIONS.get((self.state, change))
        if state is None:
            return False
        self.state = state
        return True

    def put(self, waiting: InboundMessage, now: float) -> None:
        """A message came; with `last`, none may follow."""
        self._waiting.append(waiting)
        self._size += waiting.size
        if waiting.last:
            self._last_at = now

    def next(self, now: float) -> InboundMessage | None:
        """The message that passes now, if there is one; the caller sends it with its token."""
        if self.state is not GateState.OPEN or not self._waiting:
            return None
        return self._pass(now)

    def _pass(self, now: float) -> InboundMessage:
        self._passed = waiting = self._waiting.pop(0)
        self._channel = waiting.channel
        self._size -= waiting.size
        self._since = now
        self._running = False
        self._lease_over = now + self._lease
        self._change(GateEvent.PASSED_LAST if waiting.last else GateEvent.PASSED)
        return waiting

    def refuse(self, token: str, now: float) -> bool:
        """The message that passed was certainly not written: it is the next one again, until `retry`.

        False when it is not the outstanding one, or when it has waited for as long as it may; then it is dropped.
        """
        if self._passed is None or self._passed.token != token:
            return False
        if self._passed.last and now >= self._last_at + self._lease:
            return False
        if not self._change(GateEvent.REFUSED):
            return False
        self._waiting.insert(0, self._passed)
        self._size += self._passed.size
        self._passed = None
        self._lease_over = math.inf
        return True

    def retry(self) -> None:
        """What was refused may be tried again: `next` gives it."""
        self._change(GateEvent.RETRIED)

    def report(self, token: str, outcome: Outcome, now: float) -> bool:
        """A worker reports. Whether this opened the gate: the report was an end, and of the outstanding message."""
        if self.state is not GateState.IN_FLIGHT or self._passed is None or self._passed.token != token:
            return False
        if outcome is Outcome.RUNNING:
            self._running = True
            self._lease_over = max(self._lease_over, now + 3 * RUNNING_INTERVAL)
            return False
        return self._end(now)

    def drop(self, token: str, now: float) -> bool:
        """The outstanding message will never be consumed: no layer carries it. Whether this opened the gate."""
        if self._passed is None or self._passed.token != token:
            return False
        return self._end(now)

    def _end(self, now: float) -> bool:
        self._passed = None
        self._since = now
        self._lease_over = math.inf
        return self._change(GateEvent.ENDED)

    def shorten(self, now: float) -> None:
        """The layer was away: the outstanding message or its report may be lost."""
        if self.state is GateState.IN_FLIGHT:
            self._lease_over = min(self._lease_over, now + MARGIN)

    def _grace_counts(self) -> bool:
        """Whether what waits may overtake the outstanding message after the grace.

        The disconnect may if it is next. Frames before it only if a consumer is known to run: a message that nobody has
        taken yet waits for its turn in the layer, and order is kept.
        """
        return self._last_at < math.inf and (len(self._waiting) == 1 or self._running)

    def due(self, now: float) -> list[InboundMessage]:
        """An ended lease opens the gate (see `next`), an ended grace lets through what waits.

        The messages given here overtake the outstanding one; the caller sends them in order, without tokens.
        """
        if self.state is not GateState.IN_FLIGHT or now < self.deadline:
            return []
        if now >= self._lease_over:
            self._end(now)
            return []
        return self.overtake(now)

    def overtake(self, now: float) -> list[InboundMessage]:
        """Everything that waits, whatever is outstanding."""
        overtaking = []
        while self._waiting:
            overtaking.append(self._pass(now))
        return overtaking
