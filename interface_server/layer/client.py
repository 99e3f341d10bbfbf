"""The session's view of a client, an HTTP request or a WebSocket: its local name and its callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from channels_classic.layers.codec import Outcome

from ..cursors import with_cursor
from ..event_syntax import encode_event
from ..frames import encode_frame
from ..replies import ParsedReply, parse_reply
from .timers import Timed


class Broadcast:
    """One message for many clients: parsed, and its frame encoded, once for all open WebSockets.

    `parsed` is None for a message that is not a valid reply, `frame` is None for one without content. `cursor` names
    the group that keeps the message, and its position, for clients that ask for it.
    """

    __slots__ = ("_event", "_frame_with_cursor", "cursor", "frame", "message", "parsed")

    def __init__(self, message: Mapping[str, Any], cursor: str = "") -> None:
        self.message = message
        self.cursor = cursor
        self.parsed: ParsedReply | None = None
        self.frame: bytes | None = None
        self._frame_with_cursor: bytes | None = None
        self._event: bytes | None = None
        with suppress(ValueError):  # each client logs the error with its path
            self.parsed = parse_reply(message, waiting=False)
            if self.parsed.payload is not None:
                self.frame = encode_frame(self.parsed.payload)

    @property
    def frame_with_cursor(self) -> bytes | None:
        """The frame for clients that ask for cursors."""
        if self._frame_with_cursor is None and self.parsed is not None and self.parsed.payload is not None:
            self._frame_with_cursor = encode_frame(with_cursor(self.cursor, self.parsed.payload))
        return self._frame_with_cursor

    @property
    def event(self) -> bytes | None:
        """The event for event streams; None for one without text."""
        if self._event is None and self.frame is not None and self.parsed is not None:
            payload = self.parsed.payload
            if isinstance(payload, str):
                self._event = encode_event(payload, self.cursor)
        return self._event


class Client(Timed, Protocol):
    """A client with a reply channel. None of these methods blocks."""

    local: str
    """The part of its reply channel after the `!`."""

    @property
    def is_open(self) -> bool:
        """True if messages can be sent to it now: it is accepted, and not closing."""

    def reply(self, message: Mapping[str, Any]) -> None:
        """Handle a message on the reply channel."""

    def broadcast(self, broadcast: Broadcast) -> None:
        """Handle a message to a group that the client is a member of."""

    def note_cursor(self, group: str, cursor: str, *, gap: bool) -> None:
        """Record that the client has all messages of a group up to a cursor, or with `gap` that some are gone."""

    def report(self, token: str, outcome: Outcome) -> None:
        """Record a worker's report: the outcome of the message that carried `token`."""

    def is_in_turn(self, token: str) -> bool:
        """Return True if a reply of the consumer of message `token` is not too late for the order of replies."""

    def layer_restored(self) -> None:
        """Record that the layer is up again after an outage, in which outstanding messages may have been lost."""

    def flush(self) -> None:
        """Send what waits: the process stops."""


class Waiting(Protocol):
    """A client for which something may wait."""

    @property
    def waiting_frames(self) -> int:
        """The messages of the client that wait for their turn."""

    @property
    def waiting_bytes(self) -> tuple[int, int]:
        """The bytes of these, and of what the client has yet to read."""
