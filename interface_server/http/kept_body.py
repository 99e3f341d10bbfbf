"""Remains of a request with a large body after its response: a client of the layer session that answers questions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from channels_classic.layers.codec import Outcome

from ..layer.client import Broadcast
from ..layer.question import question_of
from ..layer.session import LayerSession
from .body import RequestBody
from .spool import SpoolQuota


class KeptBody:
    """The body of a request that was answered, or whose client left: another consumer may have been passed the message.

    It stays for the layer's `expiry` after the last question, and goes sooner when bodies that arrive need its space.
    """

    def __init__(self, session: LayerSession, local: str, body: RequestBody, quota: SpoolQuota) -> None:
        self.slot: int | None = None
        self.local = local
        self._session = session
        self._body = body
        self._quota = quota
        self._deadline = 0.0
        session.add(self)
        quota.reclaimables.add(self)
        self._extend()

    def _extend(self) -> None:
        self._deadline = self._session.clock() + self._session.layer.expiry
        self._session.timers.schedule(self, self._deadline)

    def reply(self, message: Mapping[str, Any]) -> None:
        """Answer a worker that asks; everything else is too late."""
        question = question_of(message)
        if question is not None:
            self._extend()
            self._session.send(self._body.answer(question, closed=True))

    is_open = False

    def broadcast(self, broadcast: Broadcast) -> None:
        """The client is gone."""

    def note_cursor(self, group: str, cursor: str, *, gap: bool) -> None:
        """The client is gone."""

    def report(self, token: str, outcome: Outcome) -> None:
        """The client is gone."""

    def is_in_turn(self, token: str) -> bool:
        """Return True: nothing is ordered."""
        return True

    def layer_restored(self) -> None:
        """Nothing waits."""

    def flush(self) -> None:
        """The process stops."""
        self.reclaim()

    def due(self, now: float) -> float:
        """Forget the body when no worker has asked for it for a while."""
        if now < self._deadline:
            return self._deadline
        self.reclaim()
        return math.inf

    @property
    def disk_size(self) -> int:
        """The bytes that it occupies."""
        return self._body.disk_size

    def rank(self) -> float:
        """Return the time after which it is not needed: the body with the earliest goes first."""
        return self._deadline

    def reclaim(self) -> None:
        """Forget the body."""
        self._quota.reclaimables.discard(self)
        self._body.close()
        self._session.remove(self)
