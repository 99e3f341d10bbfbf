"""The gate of one WebSocket: decides which of its messages may pass to the layer. A pure state machine, clock given.

At most one message of a socket is outstanding: the next one passes when a worker has reported the end of the one
before, its lease has ended, or it was given up. So the frames of a socket are consumed one after another, in order,
whichever workers take them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

from channels_classic.layers.codec import RUNNING_INTERVAL, Outcome

MARGIN = RUNNING_INTERVAL + 2.0
"""Seconds within which a worker that has the message reports that it runs. The lease lasts this much longer than the
message's expiry, and only this long once the layer may have lost the message or its report."""

DISCONNECT_GRACE = 5.0
"""Seconds the disconnect waits for the consumer before it, which may itself be waiting for the disconnect."""


class GateState(Enum):
    """The state of a gate."""

    __hash__ = object.__hash__  # looked up for each message, here and below; Enum's own is in Python

    OPEN = "open"
    """Nothing is outstanding: the next message passes at once."""
    IN_FLIGHT = "in flight"
    """One message is outstanding; the others wait."""
    BLOCKED = "blocked"
    """The next message was refused, because its channel was full or the layer down; it waits to be retried."""
    CLOSED = "closed"
    """The disconnect has passed; nothing follows."""


class GateEvent(Enum):
    """An event that moves a gate from one state to another."""

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
"""All transitions; any other pair changes nothing.

CLOSED → BLOCKED is deliberate: a disconnect is refused after it has passed, when the layer's answer comes, and must be
sent again, or the application never cleans up after the client.
"""


@dataclass(slots=True)  # frozen would be slower
class InboundMessage:
    """A message for the layer. `size` is in bytes of payload; `order` counts the messages of the client."""

    channel: str
    message: dict[str, Any]
    order: int
    size: int = 0
    last: bool = False

    @property
    def token(self) -> str:
        """The name of the message in its report; the order is unique within a client."""
        return str(self.order)


class Gate:
    """Messages enter by `put` and pass when `next` returns them. Times are seconds of a monotonic clock."""

    __slots__ = (
        "_ended",
        "_last_at",
        "_lease",
        "_lease_over",
        "_lost",
        "_passed",
        "_running",
        "_since",
        "_turn",
        "_waiting",
        "channel",
        "size",
        "state",
    )

    def __init__(self, expiry: float) -> None:
        self.state = GateState.OPEN
        self._lease = expiry + MARGIN
        self._waiting: list[InboundMessage] = []  # a deque takes 700 bytes, also an empty one
        self.size = 0
        """The bytes of the messages that have not passed."""
        self._passed: InboundMessage | None = None
        self._turn: str | None = None  # the token of the message that passed last in its turn
        self._ended: str | None = None  # the token of the message whose report came last
        self._lost: tuple[tuple[str, str, str], ...] = ()  # messages counted as lost: token, kind and channel
        self.channel: str | None = None
        """The channel of the outstanding message, or of the one that passed last."""
        self._lease_over = math.inf
        self._running = False
        self._since = -math.inf
        self._last_at = math.inf

    @property
    def waiting(self) -> int:
        """The number of messages that have not passed."""
        return len(self._waiting)

    @property
    def nothing_sent(self) -> bool:
        """True if even the first message waits, so that the layer knows nothing of this client."""
        return bool(self._waiting) and self._waiting[0].order == 0

    def is_idle(self, since: float) -> bool:
        """Return True if nothing is outstanding or waits, and nothing has passed or ended from `since` on."""
        return self.state is GateState.OPEN and not self._waiting and self._since < since

    @property
    def deadline(self) -> float:
        """The time at which `due` has something to do."""
        if self.state is GateState.CLOSED:
            return math.inf
        if self.state is GateState.IN_FLIGHT and self._grace_counts():
            return min(self._lease_over, max(self._since, self._last_at) + DISCONNECT_GRACE)
        return self._lease_over

    def _change(self, change: GateEvent) -> bool:
        state = TRANSITIONS.get((self.state, change))
        if state is None:
            return False
        self.state = state
        return True

    def put(self, waiting: InboundMessage, now: float) -> None:
        """Queue a message; after one with `last` none may follow."""
        self._waiting.append(waiting)
        self.size += waiting.size
        if waiting.last:
            self._last_at = now

    def next(self, now: float) -> InboundMessage | None:
        """Return the message that passes now, if any; the caller sends it with its token."""
        if self.state is not GateState.OPEN or not self._waiting:
            return None
        waiting = self._pass(now)
        self._turn = waiting.token
        return waiting

    def _pass(self, now: float) -> InboundMessage:
        self._passed = waiting = self._waiting.pop(0)
        self.channel = waiting.channel
        self.size -= waiting.size
        self._since = now
        self._running = False
        self._lease_over = now + self._lease
        self._change(GateEvent.PASSED_LAST if waiting.last else GateEvent.PASSED)
        return waiting

    def refuse(self, token: str) -> bool:
        """Take back a message that was certainly not written: it is the next one again, after `retry`.

        Returns False if it is not the outstanding one.
        """
        if self._passed is None or self._passed.token != token:
            return False
        self._change(GateEvent.REFUSED)
        self._waiting.insert(0, self._passed)
        self.size += self._passed.size
        self._passed = None
        self._lease_over = math.inf
        return True

    def retry(self) -> None:
        """Let `next` return the refused message again."""
        self._change(GateEvent.RETRIED)

    def is_news(self, token: str) -> bool:
        """Return True if `token` is that of the outstanding message, on which no worker has reported yet."""
        return not self._running and self.outstanding == token

    def is_in_turn(self, token: str) -> bool:
        """Return True unless another message passed in its turn after the one with `token`.

        The end of a lease does not prove that no worker has the message: a suspended worker may resume later. Its
        consumer's replies would then reach the client behind those to later messages.
        """
        return token == self._turn

    @property
    def outstanding(self) -> str | None:
        """The token of the outstanding message."""
        return self._passed.token if self._passed is not None else None

    def lose(self, token: str, kind: str, channel: str) -> bool:
        """Record that a message counts as lost, though that is not proven.

        Return False if it already does, or if a worker has reported on it.
        """
        if token == self._ended or (self._running and token == self.outstanding):
            return False
        if any(token == lost for lost, *_ in self._lost):
            return False
        self._lost = (*self._lost, (token, kind, channel))
        return True

    def find(self, token: str, outcome: Outcome) -> tuple[str, str] | None:
        """Return the kind and the channel under which a message was counted as lost if a report ends it after all.

        Once for each message.
        """
        if outcome is Outcome.RUNNING or not self._lost:
            return None
        found = next(((kind, channel) for lost, kind, channel in self._lost if lost == token), None)
        self._lost = tuple(entry for entry in self._lost if entry[0] != token)
        return found

    def report(self, token: str, outcome: Outcome, now: float) -> bool:
        """Record a report. Return True if it opened the gate: it was an end, and that of the outstanding message."""
        if self.state is not GateState.IN_FLIGHT or self.outstanding != token:
            return False
        if outcome is Outcome.RUNNING:
            self._running = True
            self._lease_over = max(self._lease_over, now + 3 * RUNNING_INTERVAL)
            return False
        self._ended = token
        return self._end(now)

    def drop(self, token: str, now: float) -> bool:
        """Give up the outstanding message, which no layer can carry. Return True if this opened the gate."""
        return self.outstanding == token and self._end(now)

    def _end(self, now: float) -> bool:
        self._passed = None
        self._since = now
        self._lease_over = math.inf
        return self._change(GateEvent.ENDED)

    def discard(self) -> int:
        """Drop the frames that wait; return their number. If the refused one is among them, the next one may pass."""
        before = self._waiting
        self._waiting = [waiting for waiting in before if waiting.last or not waiting.size]
        self.size = 0
        if not self._waiting or self._waiting[0] is not before[0]:
            self._change(GateEvent.RETRIED)
        return len(before) - len(self._waiting)

    def shorten(self, now: float) -> None:
        """Shorten the lease: the layer was down, and the outstanding message or its report may be lost."""
        if self.state is GateState.IN_FLIGHT:
            self._lease_over = min(self._lease_over, now + MARGIN)

    def extend(self, until: float) -> None:
        """Extend the lease: this process was suspended, and has yet to read what was reported meanwhile."""
        if self.state is GateState.IN_FLIGHT:
            self._lease_over = max(self._lease_over, until)

    def _grace_counts(self) -> bool:
        """Return True if the waiting messages may overtake the outstanding one after the grace.

        The disconnect may if it is next. Frames before it may only if a consumer is known to run: a message that no
        worker has taken yet waits for its turn in the layer, and order is kept.
        """
        return self._last_at < math.inf and (len(self._waiting) == 1 or self._running)

    def due(self, now: float) -> list[InboundMessage]:
        """Open the gate if the lease has ended (see `next`); return all waiting messages if the grace has ended.

        The messages returned overtake the outstanding one; the caller sends them in order, without tokens.
        """
        if self.state is not GateState.IN_FLIGHT or now < self.deadline:
            return []
        if now >= self._lease_over:
            self._end(now)
            return []
        return self.overtake(now)

    def overtake(self, now: float) -> list[InboundMessage]:
        """Return all waiting messages, whatever is outstanding."""
        overtaking = []
        while self._waiting:
            overtaking.append(self._pass(now))
        return overtaking
