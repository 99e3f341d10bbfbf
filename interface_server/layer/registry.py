"""The clients of this process by local name, and the groups they are in.

Entries of the inbox come in as calls, steps for the layer go out through `post`. No I/O.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence

from channels_classic.layers import rng
from channels_classic.layers.codec import Outcome
from channels_classic.layers.results import Roster
from channels_classic.layers.steps import Leave, Renew, Restore, RestoreIdentities, Step

from .client import Client
from .identities import Identities

CHUNK = 100
"""Members in one step, so that none keeps the layer busy for long."""

RENEWED_AT_ONCE = 2000
"""Groups that are renewed together, so that many do not hold up the messages of clients."""


class _Group:
    """The clients of this process in one group. `version` is 0 while it is uncertain whether these are all.

    `before` is the version at which they were known until the layer was found to have none, else 0.
    """

    __slots__ = ("before", "members", "version")

    def __init__(self) -> None:
        self.members: dict[str, Client] = {}
        self.version = 0
        self.before = 0


class GroupIndex:
    """The groups and their members among the clients of this process, by which group messages are delivered. Pure.

    The truth is in the layer, which gives the members of an inbox in a group a version, and a new one with each change.
    Hints tell of the changes. One that leads from the version known here to the next extends what is known. Any other
    shows that a hint was lost or that hints changed places, and makes the group uncertain, and so does a message with a
    version that is not known yet: a hint is always in the inbox before the messages of sends that began later. Of an
    uncertain group the layer is asked for its members (`Members`, then `take_over`) before anything is delivered.

    A client that is gone leaves without a new version, since this process knows it first.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}
        self._by_local: dict[str, set[str]] = {}
        self.member_count = 0
        """The number of memberships of clients of this process."""

    def knows(self, group: str, version: int) -> bool:
        """Return True if all changes of a group up to `version` are known."""
        found = self._groups.get(group)
        return found is not None and found.version >= version

    def version(self, group: str) -> int:
        """Return the version up to which all changes of a group are known; 0 if that is uncertain."""
        found = self._groups.get(group)
        return found.version if found is not None else 0

    def version_before(self, group: str) -> int:
        """Return the version at which the members were known until the layer was found to have none, else 0.

        Then either they left, and the hints of that were lost, or the layer lost them: `Audit` finds out.
        """
        found = self._groups.get(group)
        return found.before if found is not None else 0

    def suspects(self) -> Iterator[str]:
        """Return the groups that have such a version: nothing but an `Audit` tells where their members are."""
        return (name for name, group in self._groups.items() if group.before)

    def has(self, group: str, local: str) -> bool:
        """Return True if a client is known as a member of a group."""
        found = self._groups.get(group)
        return found is not None and local in found.members

    def members(self, group: str) -> list[Client]:
        """Return the clients of this process in a group."""
        found = self._groups.get(group)
        return list(found.members.values()) if found is not None else []

    def groups(self) -> list[str]:
        """Return every group with members here."""
        return list(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def largest(self, count: int) -> dict[str, int]:
        """Return the number of members here of the `count` groups with most."""
        sizes = ((name, len(group.members)) for name, group in self._groups.items())
        return dict(heapq.nlargest(count, sizes, key=lambda pair: pair[1]))

    def joined(self, group: str, client: Client, previous: int, version: int) -> None:
        """Add a client to the members of a group."""
        found = self._groups.setdefault(group, _Group())
        if self._follows(found, previous, version):
            self._add(group, found, client)

    def _add(self, group: str, found: _Group, client: Client) -> None:
        self.member_count += client.local not in found.members
        found.members[client.local] = client
        self._by_local.setdefault(client.local, set()).add(group)

    def left(self, group: str, local: str, previous: int, version: int) -> None:
        """Remove a client from the members of a group."""
        found = self._groups.get(group)
        if found is not None and self._follows(found, previous, version):
            self._remove(group, local)

    @staticmethod
    def _follows(group: _Group, previous: int, version: int) -> bool:
        """Move a group to the version to which a hint leads. Return False for a hint whose change is known already."""
        if group.version >= version:
            return False
        extends = previous == group.version and (previous > 0 or not group.members)
        if not previous:
            group.before = group.version or group.before
        group.version = version if extends else 0
        return True

    def _remove(self, group: str, local: str) -> None:
        found = self._groups[group]
        self.member_count -= found.members.pop(local, None) is not None
        if not found.members:
            del self._groups[group]
        groups = self._by_local.get(local, set())
        groups.discard(group)
        if not groups:
            self._by_local.pop(local, None)

    def drop(self, local: str) -> list[str]:
        """Forget a client that is gone; return the groups it was in."""
        groups = list(self._by_local.get(local, ()))
        for group in groups:
            self._remove(group, local)
        return groups

    def take_over(self, group: str, version: int, clients: Iterable[Client]) -> None:
        """Replace the members of a group by those that the layer has."""
        for client in self.members(group):
            self._remove(group, client.local)
        for client in clients:
            found = self._groups.setdefault(group, _Group())
            found.version = version
            self._add(group, found, client)

    def restored(self, group: str) -> None:
        """Record that the members of a group are written again, whatever the layer had lost."""
        if group in self._groups:
            self._groups[group].before = 0

    def not_restored(self, group: str, epoch: int) -> None:
        """Record that the layer refused to let the members of a group be written again in an epoch."""
        if group in self._groups:
            self._groups[group].before = epoch

    def doubt_all(self) -> None:
        """Make all groups uncertain."""
        for group in self._groups.values():
            group.version = group.before = 0

    def clear(self) -> None:
        """Forget all memberships."""
        self._groups.clear()
        self._by_local.clear()
        self.member_count = 0


class Renewals:
    """The times to renew groups: once in `half` seconds, half of the time a membership lasts in the layer. Pure."""

    def __init__(self, half: float, clock: Callable[[], float]) -> None:
        self._half = half
        self._clock = clock
        self._order: list[tuple[float, str]] = []
        self._known: set[str] = set()

    def add(self, group: str) -> None:
        """Schedule the renewal of a group that has members here."""
        if group not in self._known:
            self._known.add(group)
            # Groups that began together are not renewed together.
            heapq.heappush(self._order, (self._clock() + self._half * rng.uniform(0.5, 1.0), group))

    def due(self, limit: int, has_members: Callable[[str], bool]) -> Iterator[str]:
        """Return up to `limit` groups to renew now; the others come next time. Groups without members are dropped."""
        now = self._clock()
        while self._order and self._order[0][0] <= now and limit > 0:
            _, group = heapq.heappop(self._order)
            if has_members(group):
                heapq.heappush(self._order, (now + self._half, group))
                limit -= 1
                yield group
            else:
                self._known.discard(group)


class Registry:
    """The clients of one inbox, and their groups."""

    def __init__(self, inbox: str, half: float, clock: Callable[[], float], post: Callable[[Step], None]) -> None:
        self.inbox = inbox
        self.clients: dict[str, Client] = {}
        self.groups = GroupIndex()
        self.identities = Identities()
        self.on_left: Callable[[str, list[str]], None] = lambda local, groups: None
        """Called with a client that is gone, and its groups."""
        self._leavers: dict[str, Client] = {}
        self._renewals = Renewals(half, clock)
        self._post = post
        self._leaving: dict[str, list[str]] = {}
        self._marks: dict[str, asyncio.Future[None]] = {}
        self._emptied: asyncio.Event | None = None

    def add(self, client: Client) -> str:
        """Register a client; return its reply channel."""
        self.clients[client.local] = client
        return self.inbox + client.local

    def gone(self, client: Client) -> None:
        """Let a client that is gone leave its groups, without a worker; only reports reach it until `remove`."""
        if self.clients.pop(client.local, None) is not None:
            self._leavers[client.local] = client
        self.identities.drop(client.local)
        groups = self.groups.drop(client.local)
        self.on_left(client.local, groups)
        for group in groups:
            self.prune(group, [client.local])

    def remove(self, client: Client) -> None:
        """Forget a client for good."""
        self.gone(client)
        self._leavers.pop(client.local, None)
        if self._emptied is not None and not self.clients and not self._leavers:
            self._emptied.set()

    def everybody(self) -> list[Client]:
        """Return all clients, including those that are gone and have messages waiting."""
        return [*self.clients.values(), *self._leavers.values()]

    def reported(self, local: str, token: str, outcome: Outcome) -> None:
        """Pass the report of a worker to a client, which may be gone."""
        client = self.clients.get(local) or self._leavers.get(local)
        if client is not None:
            client.report(token, outcome)
        elif not local:
            self._marked(token)

    async def emptied(self) -> None:
        """Return once no client is left."""
        if self.clients or self._leavers:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def prune(self, group: str, locals_: Iterable[str]) -> None:
        """End memberships of clients that are gone; those of one turn of the event loop leave together."""
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self.leave)
        self._leaving.setdefault(group, []).extend(locals_)

    def leave(self) -> None:
        """Send what `prune` collected."""
        leaving, self._leaving = self._leaving, {}
        for group, members in leaving.items():
            for chunk in chunks(members):
                self._post(Leave(group, self.inbox, chunk, gone=True))

    # Hints from the inbox

    def joined(
        self, group: str, local: str, previous: int, version: int, who: object = None, info: object = None, *_: object
    ) -> None:
        """Record that a client became a member; one that is gone is removed again."""
        client = self.clients.get(local)
        if client is None:
            self.prune(group, [local])
            return
        self.groups.joined(group, client, previous, version)
        if who is not None:
            self.identities.note(group, local, who, info)
        self._renewals.add(group)

    def left(self, group: str, local: str, previous: int, version: int, *_: object) -> None:
        """Record that a client is no longer a member."""
        self.groups.left(group, local, previous, version)
        self.identities.forget(group, local)

    def forget(self, *_: object) -> None:
        """Forget all memberships, because somebody called `flush` of the layer: they are gone for good."""
        self.groups.clear()
        self.identities.clear()

    # Marks: entries that the process sends to itself, to know that all entries before were read

    def mark(self) -> tuple[str, asyncio.Future[None]]:
        """Return a token for such an entry, and a future that is done when it was read."""
        token = secrets.token_hex(4)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._marks[token] = future
        return token, future

    def unmark(self, token: str) -> None:
        """Forget a token: nobody waits for it any more."""
        self._marks.pop(token, None)

    def _marked(self, token: str) -> None:
        future = self._marks.pop(token, None)
        if future is not None and not future.done():
            future.set_result(None)

    # Answers of the layer

    def take_over(self, group: str, roster: Roster) -> None:
        """Deliver from now on to the members that the layer has."""
        here = [client for local in roster.members if (client := self.clients.get(local)) is not None]
        self.groups.take_over(group, roster.version, here)
        # The layer forgot those of an inbox that it took for dead. If this process was only suspended, or cut off, it
        # writes them again with a heartbeat.
        known = {**self.identities.of(group), **roster.identities}
        members = {client.local for client in here}
        self.identities.take_over(group, {local: who for local, who in known.items() if local in members})
        if here:
            self._renewals.add(group)
        self.prune_gone(group, roster)

    def prune_gone(self, group: str, roster: Roster) -> None:
        """End memberships in the layer of clients that are gone: the steps that should have ended them were lost."""
        gone = [local for local in roster.members if local not in self.clients]
        if gone:
            self.prune(group, gone)

    def restore(self, group: str) -> list[Step]:
        """Return the steps that write the members of one group again, and who they are."""
        members = [client.local for client in self.groups.members(group)]
        self.groups.restored(group)
        return [
            *(Restore(group, self.inbox, chunk) for chunk in chunks(members)),
            *self.restore_identities(group),
        ]

    def restore_identities(self, group: str, announce: bool = False) -> Iterator[Step]:
        """Return the steps that write again who the members of a group are."""
        known = self.identities.of(group)
        for chunk in chunks(list(known)):
            yield RestoreIdentities(group, self.inbox, {local: known[local] for local in chunk}, announce)

    def restore_all_identities(self) -> None:
        """Write all identities again: the layer took this process for dead, and may have announced leaves."""
        for group in self.identities.groups():
            for step in self.restore_identities(group, announce=True):
                self._post(step)

    def restore_all(self) -> Iterator[Step]:
        """Return the steps for all groups; each is made when it is asked for, from what is known by then."""
        self.groups.doubt_all()
        for group in self.groups.groups():
            yield from self.restore(group)

    def renew(self) -> None:
        """Renew the groups for which half of `group_expiry` has passed. That changes no membership."""
        for group in self._renewals.due(RENEWED_AT_ONCE, lambda group: bool(self.groups.members(group))):
            self._post(Renew(group, self.inbox))


def chunks(members: Sequence[str]) -> list[Sequence[str]]:
    """Return `members` in pieces of `CHUNK`."""
    return [members[start : start + CHUNK] for start in range(0, len(members), CHUNK)]
