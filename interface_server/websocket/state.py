"""The states of a WebSocket, and the answers to undecided handshakes."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from channels_classic.layers.codec import Outcome

REFUSALS = {
    Outcome.RAISED: 403,
    Outcome.UNROUTED: 403,
    Outcome.DIED: 503,
    Outcome.EXPIRED: 503,
    Outcome.DROPPED: 503,
}
"""The status of an undecided handshake, by the outcome of its connect message."""


class SocketState(Enum):
    """The state of the connection."""

    WAITING = "waiting"
    """The handshake is undecided."""
    OPEN = "open"
    CLOSING = "closing"
    """The handshake was refused or a close frame was sent; nothing further is sent."""
    GONE = "gone"
    """The client has left; its last messages may still wait in the gate."""
    DRAINED = "drained"
    """Its last message has left as well; the report on that is awaited, because others wait for its place."""


class HandshakeRefusal(NamedTuple):
    """The answer to a handshake that was not decided in time. `text` is logged, with path, channel and seconds."""

    status: int
    text: str


def refusal_of(*, is_sent: bool, is_taken: bool) -> HandshakeRefusal:
    """Return the answer, by whether the connect message was sent, and taken by a worker."""
    status = 403
    if is_taken:
        text = (
            "The WebSocket %s is refused: the consumer of its %s message neither accepted nor closed it within %g s; "
            'it should send {"accept": True} to the reply channel.'
        )
    elif is_sent:
        text = "The WebSocket %s is refused: no worker took its %s message within %g s. Is `runworker` running?"
    else:
        status = 503
        text = "The WebSocket %s is refused: its %s message could not be sent within %g s."
    return HandshakeRefusal(status, text)
