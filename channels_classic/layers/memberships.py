"""The members of groups in a layer of plain data: by inbox, with versions, and the inboxes that are alive.

The half of a `Store` that has nothing to do with queues. It runs steps too; its caller holds the lock.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from channels_classic.layers.history import HEAD, SECONDS_LIMIT, Histories
from channels_classic.layers.presence import Presence
from channels_classic.layers.results import (
    Audience,
    Audited,
    History,
    Identity,
    MembershipChange,
    Notice,
    Recorded,
    Roster,
    Start,
)
from channels_classic.layers.steps import (
    LIVENESS,
    Audit,
    GetPresence,
    GetPresenceGroups,
    Heartbeat,
    Join,
    JoinAs,
    Leave,
    Lookup,
    MemberCount,
    Members,
    ReadHistory,
    Record,
    Renew,
    Restore,
    RestoreIdentities,
    SetStart,
    TakeNotices,
    owned_expiry,
)


@dataclass(slots=True)
class _Owned:
    """The members that one inbox has in a group; `left` are those to leave out when the owner restores them."""

    version: int = 0
    members: set[str] = field(default_factory=set)
    starts: dict[str, Start] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    deadline: float = 0.0
    found_dead: bool = False

    @property
    def known_version(self) -> int:
        """The version, or 0 without members."""
        return self.version if self.members else 0


@dataclass(slots=True)
class _Group:
    """One group: members by inbox, and channels that no interface server owns, with the time of their last join."""

    owned: dict[str, _Owned] = field(default_factory=dict)
    channels: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Owner:
    """The owner of an inbox: until when it counts as alive, and whether all of its memberships are in this store."""

    alive_until: float
    restored: bool


class Memberships:
    """Members, presence and kept messages of all groups. `epoch` is the number by which owners of inboxes know it."""

    def __init__(self, group_expiry: float, clock: Callable[[], float]) -> None:
        self.group_expiry = group_expiry
        self._owned_expiry = owned_expiry(group_expiry)
        self.clock = clock
        self.epoch = secrets.randbits(48)
        self.groups: dict[str, _Group] = {}
        self.owners: dict[str, _Owner] = {}
        self._presence = Presence(clock)
        # Versions never repeat, not even after another store took the place of this one: it begins at a later time.
        self._versions = count(time.time_ns() // 1000)
        self.histories = Histories(clock, self._versions.__next__)

    def run(self, step: Any) -> Any:
        """Return the result of a step of `STEPS`."""
        return STEPS[type(step)](self, step)

    def is_alive(self, inbox: str, now: float) -> bool:
        owner = self.owners.get(inbox)
        return owner is not None and owner.alive_until > now

    def _is_restored(self, inbox: str) -> bool:
        """Return True if the owner of an inbox has confirmed that all of its memberships are stored."""
        owner = self.owners.get(inbox)
        return owner is not None and owner.restored

    def join(self, step: Join) -> MembershipChange:
        group = self.groups.setdefault(step.group, _Group())
        now = self.clock()
        if not step.inbox:
            oldest = now - self.group_expiry
            joined = [channel for channel in {*step.members} if group.channels.get(channel, -math.inf) <= oldest]
            group.channels.update(dict.fromkeys(step.members, now))
            return MembershipChange(0, len(joined))
        owned = group.owned.setdefault(step.inbox, _Owned())
        previous = owned.known_version
        owned.deadline = now + self._owned_expiry
        owned.left.difference_update(step.members)
        if not owned.members.issuperset(step.members):
            owned.members.update(step.members)
            self._change(owned)
        return MembershipChange(previous, owned.version)

    def join_as(self, step: JoinAs) -> MembershipChange:
        change = self.join(Join(step.group, step.inbox, list(step.members)))
        appeared = [
            self._presence.appear(step.group, step.inbox, member, Identity(*identity))
            for member, identity in step.members.items()
        ]
        if step.inbox and any(appeared) and change.previous == change.version:
            owned = self.groups[step.group].owned[step.inbox]
            self._change(owned)  # so that its owner learns of it
            change = MembershipChange(change.previous, owned.version)
        return change

    def restore_identities(self, step: RestoreIdentities) -> None:
        owned = self._find(step)
        for member, identity in step.members.items():
            if member in owned.members and not self._presence.has(step.group, step.inbox, member):
                self._presence.appear(step.group, step.inbox, member, Identity(*identity), step.announce)

    def get_presence(self, step: GetPresence) -> list[Identity]:
        self._drop_lapsed(step.group)
        now = self.clock()
        return list(self._presence.everybody(step.group, lambda inbox: self.is_alive(inbox, now)))

    def get_presence_groups(self, step: GetPresenceGroups) -> list[str]:
        return self._presence.groups_of(step.inbox)

    def take_notices(self, step: TakeNotices) -> list[Notice]:
        now = self.clock()
        return self._presence.take(step.count, lambda inbox: self.is_alive(inbox, now))

    def _change(self, owned: _Owned) -> None:
        owned.version = next(self._versions)
        owned.found_dead = False

    def leave(self, step: Leave) -> MembershipChange:
        group = self.groups.get(step.group, _Group())
        self._presence.disappear(step.group, step.inbox, step.members)
        if not step.inbox:
            for channel in step.members:
                group.channels.pop(channel, None)
            self._forget_if_empty(step.group)
            return MembershipChange(0, 0)
        owned = group.owned.get(step.inbox, _Owned())
        previous = owned.version = owned.known_version
        for member in step.members:
            owned.starts.pop(member, None)
        if not owned.members.isdisjoint(step.members):
            owned.members.difference_update(step.members)
            if not step.gone:
                self._change(owned)
        if not step.gone and not self._is_restored(step.inbox):
            # The owner has yet to restore its memberships, from an index that may not have seen this change.
            self.groups.setdefault(step.group, group).owned[step.inbox] = owned
            owned.deadline = self.clock() + self._owned_expiry
            owned.left.update(step.members)
        self._forget_if_empty(step.group, step.inbox)
        return MembershipChange(previous, owned.version)

    def lookup(self, step: Lookup) -> Audience:
        self._drop_lapsed(step.group)
        group = self.groups.get(step.group, _Group())
        now = self.clock()
        inboxes: dict[str, int] = {}
        dead: list[str] = []
        for inbox, owned in group.owned.items():
            if not owned.members:
                continue
            if self.is_alive(inbox, now):
                owned.found_dead = False
                inboxes[inbox] = owned.version
            elif not owned.found_dead:
                owned.found_dead = True
                dead.append(inbox)
        return Audience(inboxes, list(group.channels), dead)

    def record(self, step: Record) -> Recorded:
        life, position = self.histories.record(step)
        return Recorded(self.lookup(Lookup(step.group)), life, position)

    def read_history(self, step: ReadHistory) -> History:
        owned = self._find(step)
        return self.histories.read(step)._replace(is_member=not step.inbox or step.member in owned.members)

    def set_start(self, step: SetStart) -> Start | None:
        if step.member in self._find(step).members:
            return None
        start = Start(step.life, step.position, step.last)
        if step.life == HEAD:
            start = Start(*self.histories.read(ReadHistory(step.group, HEAD, 0))[:2], step.last)
        owned = self._find_or_add(step)
        owned.starts[step.member] = start
        owned.deadline = max(owned.deadline, self.clock() + self._owned_expiry)
        return start

    def members(self, step: Members) -> Roster:
        owned = self._find(step)
        identities = dict(self._presence.here(step.group, step.inbox))
        restored = self._is_restored(step.inbox)
        return Roster(owned.known_version, list(owned.members), restored, identities, dict(owned.starts), self.epoch)

    def member_count(self, step: MemberCount) -> int:
        return len(self._find(step).members)

    def renew(self, step: Renew) -> None:
        owned = self.groups.get(step.group, _Group()).owned.get(step.inbox)
        if owned is not None:
            owned.deadline = self.clock() + self._owned_expiry

    def restore(self, step: Restore) -> None:
        if self._is_restored(step.inbox):
            return
        owned = self._find_or_add(step)
        owned.members.update(member for member in step.members if member not in owned.left)
        self._change(owned)
        owned.deadline = self.clock() + self._owned_expiry
        self._forget_if_empty(step.group, step.inbox)

    def audit(self, step: Audit) -> Audited:
        return Audited(self._find(step).known_version, 0, len(self._presence.here(step.group, step.inbox)))

    def _find(self, step: Any) -> _Owned:
        """Return what is stored of an inbox in a group; where that is nothing, an empty one that is not stored."""
        return self.groups.get(step.group, _Group()).owned.get(step.inbox, _Owned())

    def _find_or_add(self, step: Any) -> _Owned:
        return self.groups.setdefault(step.group, _Group()).owned.setdefault(step.inbox, _Owned())

    def _drop_lapsed(self, name: str) -> None:
        group = self.groups.get(name)
        if group is None:
            return
        now = self.clock()
        oldest = now - self.group_expiry
        group.channels = {channel: joined for channel, joined in group.channels.items() if joined > oldest}
        group.owned = {inbox: owned for inbox, owned in group.owned.items() if owned.deadline > now}
        self._presence.keep(name, group.owned, group.channels)
        self._forget_if_empty(name)

    def _forget_if_empty(self, name: str, inbox: str = "") -> None:
        group = self.groups.get(name)
        if group is None:
            return
        owned = group.owned.get(inbox)
        if owned is not None and not owned.members and not owned.left and not owned.starts:
            del group.owned[inbox]
        if not group.owned and not group.channels:
            del self.groups[name]

    def heartbeat(self, step: Heartbeat) -> tuple[int | None, ...]:
        restored = tuple(step.restored) == (self.epoch,)
        self.owners[step.inbox] = _Owner(self.clock() + LIVENESS, restored)
        return (self.epoch,)

    def retire(self, inbox: str) -> None:
        """Count an inbox as dead from now on."""
        owner = self.owners.get(inbox)
        if owner is not None:
            owner.alive_until = self.clock()  # kept: its memberships are as restored as they were

    def clear(self) -> None:
        """Forget everything but liveness."""
        self.groups.clear()
        self._presence = Presence(self.clock)
        self.histories.clear()

    def alive(self) -> list[str]:
        """Return the inboxes that are alive."""
        now = self.clock()
        return [inbox for inbox in self.owners if self.is_alive(inbox, now)]

    def sweep(self, now: float) -> None:
        """Drop what has expired."""
        # Owners for as long as they may have memberships, which a restoration must not revive.
        oldest = now - self._owned_expiry - LIVENESS
        self.owners = {inbox: owner for inbox, owner in self.owners.items() if owner.alive_until > oldest}
        for group in list(self.groups):
            self._drop_lapsed(group)
        self.histories.sweep(now - max(self.group_expiry, SECONDS_LIMIT))


STEPS: dict[type, Callable[[Memberships, Any], Any]] = {
    Join: Memberships.join,
    JoinAs: Memberships.join_as,
    RestoreIdentities: Memberships.restore_identities,
    GetPresence: Memberships.get_presence,
    GetPresenceGroups: Memberships.get_presence_groups,
    Leave: Memberships.leave,
    Lookup: Memberships.lookup,
    Record: Memberships.record,
    ReadHistory: Memberships.read_history,
    SetStart: Memberships.set_start,
    Members: Memberships.members,
    MemberCount: Memberships.member_count,
    TakeNotices: Memberships.take_notices,
    Renew: Memberships.renew,
    Restore: Memberships.restore,
    Audit: Memberships.audit,
    Heartbeat: Memberships.heartbeat,
}
