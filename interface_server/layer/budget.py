"""The bytes that one process holds for its WebSockets, in total. Pure.

Each client is bounded, but ten thousand hostile ones would hold as many times that bound. Beyond the total those that
use most are cut off, so that the others are served.
"""

from __future__ import annotations

from typing import Protocol

UNCOUNTED = 64 * 1024
"""Bytes up to which a client is not counted: this much is normal, and counting it would cost every message."""


class Holder(Protocol):
    """A client for which bytes are held."""

    @property
    def buffered(self) -> int:
        """The bytes that are held for it now."""

    def cut_off(self) -> None:
        """End the connection and drop what is held."""


class ByteBudget:
    """The clients that hold more than `UNCOUNTED`, up to `limit` bytes in total; 0: unlimited."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[Holder, int] = {}
        self.total = 0

    def note(self, holder: Holder, size: int) -> list[Holder]:
        """Record what is held for a client; return the clients to cut off."""
        before = self._sizes.pop(holder, 0)
        self.total -= before
        if size <= UNCOUNTED or not self._limit:
            return []
        self._sizes[holder] = size
        self.total += size
        return self._victims() if self.total > self._limit else []

    def forget(self, client: object) -> None:
        """Forget a client that is gone, if anything was held for it."""
        if client in self._sizes:
            self.note(client, 0)

    def _victims(self) -> list[Holder]:
        """Measure again, because clients read without a note, then choose those for which most is held."""
        self._sizes = {holder: size for holder in self._sizes if (size := holder.buffered) > UNCOUNTED}
        self.total = sum(self._sizes.values())
        victims = []
        while self.total > self._limit:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            self.total -= self._sizes.pop(largest)
            victims.append(largest)
        return victims
