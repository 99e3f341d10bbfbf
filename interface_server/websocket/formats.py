"""The form in which messages go to clients that take more than their plain content. Plain WebSockets have none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

from ..cursors import cursors_of, note, with_cursor
from ..event_syntax import MOST_ID, encode_event, encode_id, join_cursors, split_cursors
from ..layer.client import Broadcast
from .client_writer import ClientWriter

FORMAT = "channels_classic.format"
"""The key of a scope that names the format of its client."""


class Format(Protocol):
    """The form of messages for one client."""

    writer: ClassVar[type[ClientWriter]]

    @property
    def keys(self) -> dict[str, Any]:
        """Further keys of its `websocket.connect`."""

    def frame(self, broadcast: Broadcast) -> bytes | None:
        """Return a message for a group as it goes to the transport; None if that must be decided by `message`."""

    def message(self, payload: str | bytes, cursor: str) -> str | bytes:
        """Return a message as `writer` sends it. Raises `ValueError` if the client cannot get it."""

    def note(self, group: str, cursor: str, *, gap: bool) -> str | bytes:
        """Return a message that carries nothing but a cursor."""


class RecoveringFormat:
    """A WebSocket with the sub-protocol of `cursors`."""

    __slots__ = ("_cursors",)

    writer: ClassVar[type[ClientWriter]] = ClientWriter

    def __init__(self, cursors: dict[str, str]) -> None:
        self._cursors = cursors

    @property
    def keys(self) -> dict[str, Any]:
        """The cursors that the client offered."""
        return {"cursors": self._cursors}

    def frame(self, broadcast: Broadcast) -> bytes | None:
        """Return the frame with a line for the cursor."""
        return broadcast.frame_with_cursor

    def message(self, payload: str | bytes, cursor: str) -> str | bytes:
        """Return the message with a line for the cursor."""
        return with_cursor(cursor, payload)

    def note(self, group: str, cursor: str, *, gap: bool) -> str | bytes:
        """Return the line alone."""
        return note(group, cursor, gap=gap)


class EventWriter(ClientWriter):
    """The way to a client of an event stream: what it sends is encoded already."""

    __slots__ = ()

    def send(self, payload: str | bytes) -> bool:
        """Send an event; return False if it is queued."""
        assert isinstance(payload, bytes)
        if self.write(payload):
            return True
        self.put({"type": "websocket.send", "bytes": payload}, len(payload))
        return False


class EventFormat:
    """An event stream: events whose ids hold the cursors of all groups, including those the client came back with.

    An id has a bound. In more groups than fit into it the oldest cursors are left out: a client that comes back has
    none for these.
    """

    __slots__ = ("_cursors", "_offered")

    writer: ClassVar[type[ClientWriter]] = EventWriter

    def __init__(self, last_event_id: str) -> None:
        self._offered = split_cursors(last_event_id)
        self._cursors = dict(self._offered)

    @property
    def keys(self) -> dict[str, Any]:
        """The cursors in the last id that the client has, and the transport."""
        return {"cursors": self._offered, "transport": "sse"}

    def frame(self, broadcast: Broadcast) -> bytes | None:
        """Return the event, which streams share that are in one recoverable group, or in none."""
        event, cursor = broadcast.event, broadcast.cursor
        if event is None or not cursor:
            return event
        event_id = self._advance(cursor)
        if event_id == cursor:
            return event
        assert broadcast.parsed is not None
        return encode_event(str(broadcast.parsed.payload), event_id)

    def message(self, payload: str | bytes, cursor: str) -> bytes:
        """Return the event. Raises `ValueError` for bytes."""
        if isinstance(payload, bytes):
            raise ValueError("it holds bytes, but an event stream carries text: encode them, for example as Base64")
        return encode_event(payload, self._advance(cursor) if cursor else "")

    def note(self, group: str, cursor: str, *, gap: bool) -> bytes:
        """Return a new id alone, or an event called `gap` with the name of the group."""
        event_id = self._advance(f"{group} {cursor}")
        return encode_event(group, event_id, "gap") if gap else encode_id(event_id)

    def _advance(self, cursor: str) -> str:
        """Return the id that includes a cursor, which becomes the youngest."""
        group, _, position = cursor.partition(" ")
        self._cursors.pop(group, None)
        self._cursors[group] = position
        while len(event_id := join_cursors(self._cursors)) > MOST_ID:
            del self._cursors[next(iter(self._cursors))]
        return event_id


def format_of(scope: Any, offered: Iterable[str]) -> Format | None:
    """Return the format of a client; None for a WebSocket that does not recover."""
    found: Format | None = scope.get(FORMAT)
    if found is None and (cursors := cursors_of(offered)) is not None:
        return RecoveringFormat(cursors)
    return found
