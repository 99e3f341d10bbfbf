"""Which clients of this process are in which groups, as far as hints told. Pure: decides when to say it again, not how.

The truth is in the layer. This mirror lets the owner act for its clients: end the memberships of one that is gone,
renew those that live on, and restore them all when the layer lost its data.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from channels_classic.layers import rng

CHUNK = 100
"""Members in one step, so that none keeps the layer busy for long."""


class Memberships:
    """The mirror. A membership must be renewed every `half` seconds, half the time after which the layer drops it."""

    def __init__(self, half: float, clock: Callable[[], float]) -> None:
        self._half = half
        self._clock = clock
        self._groups: dict[str, set[str]] = {}
        self._locals: dict[str, set[str]] = {}
        self._due: list[tuple[float, str]] = []

    def join(self, group: str, local: str) -> None:
        """A client became a member."""
        members = self._groups.get(group)
        if members is None:
            members = self._groups[group] = set()
            # Groups that began together are not renewed together.
            heapq.heappush(self._due, (self._clock() + self._half * rng.uniform(0.5, 1.0), group))
        members.add(local)
        self._locals.setdefault(local, set()).add(group)

    def leave(self, group: str, local: str) -> None:
        """A client is no member any more."""
        members = self._groups.get(group, set())
        members.discard(local)
        if not members:
            self._groups.pop(group, None)
        groups = self._locals.get(local, set())
        groups.discard(group)
        if not groups:
            self._locals.pop(local, None)

    def drop(self, local: str) -> list[str]:
        """Forget a client; give the groups it was in."""
        groups = list(self._locals.get(local, ()))
        for group in groups:
            self.leave(group, local)
        return groups

    def forget(self) -> None:
        """All memberships are gone for good."""
        self._groups.clear()
        self._locals.clear()
        self._due.clear()

    def members(self, group: str) -> list[str]:
        """The clients of this process in a group."""
        return list(self._groups.get(group, ()))

    def groups(self) -> list[str]:
        """Every group that has a member here."""
        return list(self._groups)

    def due(self, limit: int) -> Iterator[tuple[str, list[str]]]:
        """Groups to renew now with their members, up to about `limit` members; the others come next time."""
        now = self._clock()
        while self._due and self._due[0][0] <= now and limit > 0:
            _, group = heapq.heappop(self._due)
            members = self.members(group)
            if members:
                heapq.heappush(self._due, (now + self._half, group))
                limit -= len(members)
                yield group, members


def chunks(members: Sequence[str]) -> list[Sequence[str]]:
    """`members` in pieces of `CHUNK`."""
    return [members[start : start + CHUNK] for start in range(0, len(members), CHUNK)]
