"""What the hub knows of a client, HTTP request or WebSocket: a local name, and what can be said to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from channels_classic.interface_server.decision import Decision, decide
from channels_classic.interface_server.frames import encode_frame
from channels_classic.interface_server.wheel import Due
from channels_classic.layers.codec import Outcome


class Broadcast:
    """One message for many clients: what it asks of open WebSockets is decided, and its frame encoded, once for all."""

    __slots__ = ("_decision", "_frame", "message")

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.message = message
        self._decision: Decision | None = None
        self._frame: bytes | None = None

    @property
    def decision(self) -> Decision:
        """What it asks of a WebSocket that is open. Raises `ValueError` when it has no meaning."""
        if self._decision is None:
            self._decision = decide(self.message, waiting=False)
        return self._decision

    def frame(self, payload: str | bytes) -> bytes:
        """The frame of the payload in `decision`."""
        if self._frame is None:
            self._frame = encode_frame(payload)
        return self._frame


class Client(Due, Protocol):
    """Somebody with a reply channel. None of these methods waits."""

    local: str
    """The part of its reply channel after the `!`."""

    def reply(self, message: Mapping[str, Any]) -> None:
        """A message came for its reply channel."""

    def broadcast(self, broadcast: Broadcast) -> None:
        """A message came for a group it is a member of."""

    def report(self, token: str, outcome: Outcome) -> None:
        """A worker tells what became of the message that carried `token`."""

    def layer_back(self) -> None:
        """The layer was away and is back: what is outstanding may be lost."""

    def hurry(self) -> None:
        """The process stops: let go of what waits."""
