"""What the hub knows of a client, HTTP request or WebSocket: a local name, and what can be said to it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from channels_classic.layers.codec import Outcome

from ..frames import encode_frame
from ..replies import ParsedReply, parse_reply
from .timers import Timed


class Broadcast:
    """One message for many clients: what it asks of open WebSockets is decided, and its frame encoded, once for all.

    `parsed` is None for a message without meaning, `frame` for one without content.
    """

    __slots__ = ("frame", "message", "parsed")

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.message = message
        self.parsed: ParsedReply | None = None
        self.frame: bytes | None = None
        with suppress(ValueError):  # each client says what is wrong, with its path
            self.parsed = parse_reply(message, waiting=False)
            if self.parsed.payload is not None:
                self.frame = encode_frame(self.parsed.payload)


class Client(Timed, Protocol):
    """Somebody with a reply channel. None of these methods waits."""

    local: str
    """The part of its reply channel after the `!`."""

    def reply(self, message: Mapping[str, Any]) -> None:
        """A message came for its reply channel."""

    def broadcast(self, broadcast: Broadcast) -> None:
        """A message came for a group it is a member of."""

    def report(self, token: str, outcome: Outcome) -> None:
        """A worker tells what became of the message that carried `token`."""

    def layer_restored(self) -> None:
        """The layer was away and is back: what is outstanding may be lost."""

    def flush(self) -> None:
        """The process stops: let go of what waits."""
