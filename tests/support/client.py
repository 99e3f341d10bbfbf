"""A client of the interface server's session that has no connection."""

from __future__ import annotations

from typing import Any

from channels_classic.interface_server.layer.client import Broadcast


class FakeClient:
    """Notes what it gets; nothing of it waits, and it has no deadlines."""

    slot: int | None = None

    def __init__(self, local: str, is_open: bool = True) -> None:
        self.local = local
        self.is_open = is_open
        self.got: list[Any] = []
        self.reports: list[tuple[str, object]] = []

    def reply(self, message: object) -> None:
        self.got.append(message)

    def broadcast(self, broadcast: Broadcast) -> None:
        self.got.append(broadcast.message)

    def note_cursor(self, group: str, cursor: str, *, gap: bool) -> None:
        pass

    def report(self, token: str, outcome: object) -> None:
        self.reports.append((token, outcome))

    def is_in_turn(self, token: str) -> bool:
        return True

    def layer_restored(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def due(self, now: float) -> float:
        return float("inf")
