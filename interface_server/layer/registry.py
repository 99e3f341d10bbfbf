"""The clients of this process by local name, and what the process does for their memberships.

Entries of the inbox come in as calls, steps for the layer go out through `post`.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence

from channels_classic.layers import rng
from channels_classic.layers.codec import Outcome
from channels_classic.layers.steps import Join, Leave, Rejoin, Step

from .client import Client

CHUNK = 100
"""Members in one step, so that none keeps the layer busy for long."""

RENEWED_AT_ONCE = 2000
"""Memberships that are renewed in one go, so that many do not hold up the messages of clients."""


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


class Registry:
    """Who is here, and in which groups. One per inbox."""

    def __init__(self, inbox: str, half: float, clock: Callable[[], float], post: Callable[[Step], None]) -> None:
        self.inbox = inbox
        self.clients: dict[str, Client] = {}
        self._leavers: dict[str, Client] = {}
        self._memberships = Memberships(half, clock)
        self._post = post
        self._leaving: dict[str, list[str]] = {}
        self._marks: dict[str, asyncio.Future[None]] = {}
        self._echo = False
        self._changed: set[tuple[str, str]] | None = None  # a set from `rejoin` until `rejoined`
        self._emptied: asyncio.Event | None = None

    def new_local(self) -> str:
        """A name for a client. Nobody can guess it."""
        return secrets.token_hex(8)

    def add(self, client: Client) -> str:
        """Register a client; gives its reply channel."""
        self.clients[client.local] = client
        return self.inbox + client.local

    def gone(self, client: Client) -> None:
        """A client is gone and leaves its groups, without a worker; only reports reach it, until `remove`."""
        if self.clients.pop(client.local, None) is not None:
            self._leavers[client.local] = client
        for group in self._memberships.drop(client.local):
            self.prune(group, [client.local])

    def remove(self, client: Client) -> None:
        """A client is gone for good."""
        self.gone(client)
        self._leavers.pop(client.local, None)
        if self._emptied is not None and not self.clients and not self._leavers:
            self._emptied.set()

    def everybody(self) -> list[Client]:
        """All clients, those included that are gone and have messages waiting."""
        return [*self.clients.values(), *self._leavers.values()]

    def reported(self, local: str, token: str, outcome: Outcome) -> None:
        """A worker reports to a client, which may be gone."""
        client = self.clients.get(local) or self._leavers.get(local)
        if client is not None:
            client.report(token, outcome)
        elif not local:
            self._marked(token)

    async def emptied(self) -> None:
        """Return once no client is here."""
        if self.clients or self._leavers:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def prune(self, group: str, locals_: Iterable[str]) -> None:
        """End memberships of clients that are gone; what comes together in one turn of the loop leaves together."""
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self.leave)
        self._leaving.setdefault(group, []).extend(locals_)

    def leave(self) -> None:
        """Send what `prune` collected."""
        leaving, self._leaving = self._leaving, {}
        for group, members in leaving.items():
            for chunk in chunks(members):
                self._post(Leave(group, self.inbox, chunk))

    # Hints from the inbox

    def joined(self, group: str, local: str, *_: object) -> None:
        """A client became a member; one that is gone stays none."""
        if local not in self.clients:
            self.prune(group, [local])
            return
        self._memberships.join(group, local)
        self._note_change(group, local)
        if self._echo:
            self._post(Join(group, self.inbox, [local]))

    def left(self, group: str, local: str, *_: object) -> None:
        """A client is no member any more."""
        self._memberships.leave(group, local)
        self._note_change(group, local)
        if self._echo:
            self._post(Leave(group, self.inbox, [local]))

    def _note_change(self, group: str, local: str) -> None:
        if self._changed is not None:
            self._changed.add((group, local))

    def forget(self, *_: object) -> None:
        """The layer was flushed."""
        self._memberships.forget()

    # Marks: an entry that the process sends itself, to know that all before it were read

    def mark(self) -> tuple[str, asyncio.Future[None]]:
        """A token for such an entry, and what is done when it came back."""
        token = secrets.token_hex(4)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._marks[token] = future
        return token, future

    def _marked(self, token: str) -> None:
        future = self._marks.pop(token, None)
        if future is not None and not future.done():
            future.set_result(None)

    # What the pulse asks for

    def renew(self) -> None:
        """Say again which clients are members, where half of `group_expiry` is over."""
        for group, members in self._memberships.due(RENEWED_AT_ONCE):
            for chunk in chunks(members):
                self._post(Join(group, self.inbox, chunk))

    def rejoin(self, *, replace: bool) -> Iterator[Step]:
        """The steps that list the inbox in all its groups; each is made when asked for, from what is known by then.

        With `replace`, for a layer that lost its data, they write the members again; hints are then also carried out
        until `rejoined`: others may have changed a membership between the last hint that was read and this. Without,
        the layer has them, and `settle` is to be told which.
        """
        self._changed = set()
        self._echo = replace
        for group in self._memberships.groups():
            if not replace:
                yield Rejoin(group, self.inbox, ())
                continue
            first, *rest = chunks(self._memberships.members(group)) or [()]
            yield Rejoin(group, self.inbox, first, replace=True)
            for chunk in rest:
                yield Join(group, self.inbox, chunk)

    def settle(self, group: str, members: Iterable[str]) -> None:
        """Take over who is a member, where no hint told of a change since `rejoin`: earlier hints may be lost."""
        there = set(members)
        for local in there.symmetric_difference(self._memberships.members(group)):
            if self._changed is not None and (group, local) in self._changed:
                continue
            if local in there:
                self.joined(group, local)
            else:
                self._memberships.leave(group, local)

    def rejoined(self) -> None:
        """The inbox is listed everywhere again."""
        self._changed = None
        self._echo = False
