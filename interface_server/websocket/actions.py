"""The actions that an `InboundQueue` decides on: plain data. Not frozen, which would be slower."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Send:
    """Send a message and call `settled` with the result. Without a token it is not reported on.

    With `retried` it is the turn of this message on its channel; otherwise it has to wait behind those that do.
    """

    channel: str
    message: dict[str, object]
    order: int
    token: str | None
    retried: bool = False


@dataclass(slots=True)
class Block:
    """The next message waits for room on `channel`: call `retry` when it is its turn."""

    channel: str


@dataclass(slots=True)
class Unblock:
    """Nothing waits for room on `channel` any more."""

    channel: str


@dataclass(slots=True)
class Taken:
    """A worker took a message from `channel`, so there is room for another."""

    channel: str


@dataclass(slots=True)
class Lost:
    """Count a lost message."""

    kind: str
    channel: str


@dataclass(slots=True)
class Found:
    """Take back that a message was counted as lost: what became of it is known now."""

    kind: str
    channel: str


@dataclass(slots=True)
class Overtaken:
    """Log that the disconnect does not wait any longer for the consumer of the last message, on `channel`."""

    channel: str


@dataclass(slots=True)
class Resume:
    """Continue reading from the client."""


@dataclass(slots=True)
class TooLarge:
    """No layer can carry a message of the client."""


@dataclass(slots=True)
class Stalled:
    """Reading has been paused for longer than it may: the client is closed with 1013."""


@dataclass(slots=True)
class Drained:
    """The last message has left."""


Action = Send | Block | Unblock | Taken | Lost | Found | Overtaken | Resume | TooLarge | Stalled | Drained
