"""The channel layer as plain data structures: queues with quotas and deadlines, groups by inbox, waiting readers.

It runs steps; the memory layer calls it from threads of one process, the host of the local layer for its clients. It
knows no sockets, no event loop and no messages; the clock is given.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from channels_classic.layers.codec import seal
from channels_classic.layers.fork import renew_after_fork
from channels_classic.layers.history import HEAD, SECONDS_LIMIT, Histories
from channels_classic.layers.losses import Count, counted_name, describe
from channels_classic.layers.presence import Presence
from channels_classic.layers.results import (
    Announcement,
    Audience,
    Change,
    History,
    Identity,
    Item,
    Notice,
    Published,
    Recorded,
    Roster,
    Start,
    Status,
    Taken,
)
from channels_classic.layers.steps import (
    LIVENESS,
    Announce,
    Entry,
    Flush,
    GetCounters,
    GetPresence,
    GetPresenceGroups,
    GetPrograms,
    GetStatistics,
    Heartbeat,
    Join,
    JoinAs,
    Leave,
    Length,
    Lookup,
    MemberCount,
    Members,
    Publish,
    Push,
    PutBack,
    ReadHistory,
    Record,
    Renew,
    Restore,
    RestoreIdentities,
    Retire,
    SetStart,
    Step,
    Take,
    TakeNotices,
)

INBOX_ENTRIES = 100_000
"""Most entries in one inbox, so that a stopped interface server cannot fill the layer.

Hints and reports, which count against no client, are accepted up to twice as many.
"""

QUEUE_BYTES = 64 * 1024 * 1024
"""Most bytes in one queue: an inbox, or a plain channel."""

TAKE_BYTES = 8 * 1024 * 1024
"""Bytes after which a `Take` ends, whatever its count; the last entry may go beyond."""

MOST_COUNTERS = 4096
"""Most pairs of kind and channel that are counted separately."""

SWEEP_INTERVAL = 10.0
"""Seconds between sweeps for entries that expired in queues nobody reads."""


@dataclass(slots=True)
class _Stored:
    payload: bytes
    deadline: float
    quota_key: str
    since: float


@dataclass(slots=True)
class _Queue:
    """One queue: its entries, and the number of entries by quota key."""

    entries: deque[_Stored] = field(default_factory=deque)
    quotas: dict[str, int] = field(default_factory=dict)
    size: int = 0

    def add(self, stored: _Stored, *, front: bool = False) -> None:
        (self.entries.appendleft if front else self.entries.append)(stored)
        self.quotas[stored.quota_key] = self.quotas.get(stored.quota_key, 0) + 1
        self.size += len(stored.payload)

    def pop(self) -> _Stored:
        stored = self.entries.popleft()
        self.size -= len(stored.payload)
        count = self.quotas[stored.quota_key]
        if count > 1:
            self.quotas[stored.quota_key] = count - 1
        else:
            del self.quotas[stored.quota_key]
        return stored

    def drop_expired(self, now: float) -> int:
        """Remove expired entries from the head, where the oldest are; return their number."""
        before = len(self.entries)
        while self.entries and self.entries[0].deadline <= now:
            self.pop()
        return before - len(self.entries)


@dataclass(slots=True)
class _Owned:
    """The members that one inbox has in a group; `left` are those to leave out when the owner restores them."""

    version: int = 0
    members: set[str] = field(default_factory=set)
    starts: dict[str, Start] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    deadline: float = 0.0
    found_dead: bool = False


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


class Watch:
    """A reader that waits for an entry in any of some queues.

    `wake` is called once, under the lock, from whichever thread pushes.
    """

    __slots__ = ("fired", "queues", "wake")

    def __init__(self, queues: Iterable[str], wake: Callable[[], object]) -> None:
        self.queues = tuple(queues)
        self.wake = wake
        self.fired = False


class Store:
    """Runs steps on plain data. Thread-safe. No step blocks: to wait for a `Take`, watch its queues."""

    def __init__(self, group_expiry: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.group_expiry = group_expiry
        self.clock = clock
        renew_after_fork(self)
        self.after_fork()
        self._queues: dict[str, _Queue] = {}
        self._groups: dict[str, _Group] = {}
        self._presence = Presence(clock)
        self._owners: dict[str, _Owner] = {}
        self._watches: dict[str, list[Watch]] = {}
        self._counters: Counter[tuple[str, str]] = Counter()
        self._programs: dict[str, tuple[bytes, float, float]] = {}  # facts, when they were reported, deadline
        self._swept = clock()
        self.ended: Exception | None = None
        """The error that every later step raises, once another store has taken the place of this one."""
        self.epoch = secrets.randbits(48)
        # Versions never repeat, also not after another store took the place of this one: it begins at a later time.
        self._versions = count(time.time_ns() // 1000)
        self._histories = Histories(clock, self._versions.__next__)

    def after_fork(self) -> None:
        """Begin with a lock that nobody holds."""
        self.lock = threading.RLock()

    def run(self, step: Step) -> Any:
        """Return the result of one step, as described by its class."""
        with self.lock:
            if self.ended is not None:
                raise self.ended
            return _RUN[type(step)](self, step)

    def end(self, error: Exception) -> None:
        """Raise `error` for every later step, and now for every reader that waits."""
        with self.lock:
            self.ended = error
            for queue, watches in list(self._watches.items()):
                self._wake(queue, len(watches))

    def take_or_watch(self, step: Take, wake: Callable[[], object]) -> Taken | Watch:
        """Take, or else be woken when there is a reason to try again. A watch must end in `unwatch`, fired or not."""
        with self.lock:
            if self.ended is not None:
                raise self.ended
            taken = self._take(step)
            if taken is not None:
                return taken
            watch = Watch(step.queues, wake)
            for queue in watch.queues:
                self._watches.setdefault(queue, []).append(watch)
            return watch

    def unwatch(self, watch: Watch) -> None:
        """Stop waiting. A wake-up that came meanwhile goes to the next waiting reader, so that none is lost."""
        with self.lock:
            for queue in watch.queues:
                watches = self._watches.get(queue, [])
                if watch in watches:
                    watches.remove(watch)
                if not watches:
                    self._watches.pop(queue, None)
                elif watch.fired and queue in self._queues:
                    self._wake(queue, 1)

    def count(self, kind: str, name: str, number: int = 1) -> None:
        """Count for the statistics: `messages`, `full` or `lost_…`."""
        if not number:
            return
        with self.lock:
            self._counters[kind, counted_name(name)] += number
            if len(self._counters) > MOST_COUNTERS:
                # The sums stay, each channel begins again.
                counters, self._counters = self._counters, Counter()
                for (known, _), sum_ in counters.items():
                    self._counters[known, ""] += sum_

    def lose(self, counts: Iterable[Count]) -> None:
        """Add the losses that a process counted."""
        for kind, name, number in counts:
            self.count(f"lost_{kind}", name, number)

    def _wake(self, queue: str, entries: int) -> None:
        watches = self._watches.get(queue)
        for watch in list(watches or ())[:entries]:
            watch.fired = True
            for name in watch.queues:
                others = self._watches[name]
                others.remove(watch)
                if not others:
                    del self._watches[name]
            watch.wake()

    def _push(self, step: Push) -> list[Status]:
        now = self.clock()
        self._sweep(now)
        if step.alive and not self._is_alive(step.queue, now):
            return [Status.DEAD] * len(step.entries)
        target = self._queues.setdefault(step.queue, _Queue())
        statuses, messages = [], 0
        for entry in step.entries:
            status = self._add(step.queue, target, entry, now)
            statuses.append(status)
            messages += status is Status.ACCEPTED and entry.limit is not None
        self.count("messages", step.queue, messages)
        if not target.entries:
            del self._queues[step.queue]
        else:
            self._wake(step.queue, statuses.count(Status.ACCEPTED))
        return statuses

    def _add(self, queue: str, target: _Queue, entry: Entry, now: float) -> Status:
        if self._is_full(queue, target, entry):
            self.count("lost_expired", queue, target.drop_expired(now))
            if self._is_full(queue, target, entry):
                self.count("full", queue)
                return Status.FULL
        target.add(_Stored(entry.payload, now + entry.ttl, entry.quota_key, now))
        return Status.ACCEPTED

    @staticmethod
    def _is_full(queue: str, target: _Queue, entry: Entry) -> bool:
        if entry.limit is None:
            return queue.endswith("!") and len(target.entries) >= 2 * INBOX_ENTRIES
        if target.quotas.get(entry.quota_key, 0) >= entry.limit:
            return True
        if queue.endswith("!") and len(target.entries) >= INBOX_ENTRIES:
            return True
        return target.size + len(entry.payload) > QUEUE_BYTES

    def _put_back(self, step: PutBack) -> None:
        target = self._queues.setdefault(step.queue, _Queue())
        for item in reversed(step.items):
            deadline, quota_key = item.raw
            target.add(_Stored(item.payload, deadline, quota_key, self.clock()), front=True)
        self._wake(step.queue, len(step.items))

    def _take(self, step: Take) -> Taken | None:
        now = self.clock()
        for queue in step.queues:
            source = self._queues.get(queue)
            if source is None:
                continue
            items: list[Item] = []
            lost: list[tuple[str, bytes]] = []
            enough = source.size - TAKE_BYTES
            while source.entries and len(items) < step.count and source.size > enough:
                stored = source.pop()
                if stored.deadline > now:
                    items.append(Item(stored.payload, (stored.deadline, stored.quota_key), stored.deadline - now))
                else:
                    lost.append(("expired", stored.payload))
            if not source.entries:
                del self._queues[queue]
            return Taken(queue, items, lost)
        return None

    def _is_alive(self, inbox: str, now: float) -> bool:
        owner = self._owners.get(inbox)
        return owner is not None and owner.alive_until > now

    def _is_restored(self, inbox: str) -> bool:
        """Return True if the owner of an inbox has confirmed that all of its memberships are stored."""
        owner = self._owners.get(inbox)
        return owner is not None and owner.restored

    def _join(self, step: Join) -> Change:
        group = self._groups.setdefault(step.group, _Group())
        now = self.clock()
        if not step.inbox:
            group.channels.update(dict.fromkeys(step.members, now))
            return Change(0, 0)
        owned = group.owned.setdefault(step.inbox, _Owned())
        previous = owned.version if owned.members else 0
        owned.deadline = now + self.group_expiry
        owned.left.difference_update(step.members)
        if not owned.members.issuperset(step.members):
            owned.members.update(step.members)
            self._change(owned)
        return Change(previous, owned.version)

    def _join_as(self, step: JoinAs) -> Change:
        change = self._join(Join(step.group, step.inbox, list(step.members)))
        appeared = [
            self._presence.appear(step.group, step.inbox, member, Identity(*identity))
            for member, identity in step.members.items()
        ]
        if step.inbox and any(appeared) and change.previous == change.version:
            owned = self._groups[step.group].owned[step.inbox]
            self._change(owned)  # its owner is to hear of it
            change = Change(change.previous, owned.version)
        return change

    def _restore_identities(self, step: RestoreIdentities) -> None:
        owned = self._groups.get(step.group, _Group()).owned.get(step.inbox, _Owned())
        for member, identity in step.members.items():
            if member in owned.members and not self._presence.has(step.group, step.inbox, member):
                self._presence.appear(step.group, step.inbox, member, Identity(*identity), step.announce)

    def _get_presence(self, step: GetPresence) -> list[Identity]:
        self._drop_lapsed(step.group)
        now = self.clock()
        return list(self._presence.everybody(step.group, lambda inbox: self._is_alive(inbox, now)))

    def _get_presence_groups(self, step: GetPresenceGroups) -> list[str]:
        return self._presence.groups_of(step.inbox)

    def _take_notices(self, step: TakeNotices) -> list[Notice]:
        now = self.clock()
        return self._presence.take(step.count, lambda inbox: self._is_alive(inbox, now))

    def _change(self, owned: _Owned) -> None:
        owned.version = next(self._versions)
        owned.found_dead = False

    def _leave(self, step: Leave) -> Change:
        group = self._groups.get(step.group, _Group())
        self._presence.disappear(step.group, step.inbox, step.members)
        if not step.inbox:
            for channel in step.members:
                group.channels.pop(channel, None)
            self._forget_if_empty(step.group)
            return Change(0, 0)
        owned = group.owned.get(step.inbox, _Owned())
        previous = owned.version = owned.version if owned.members else 0
        for member in step.members:
            owned.starts.pop(member, None)
        if not owned.members.isdisjoint(step.members):
            owned.members.difference_update(step.members)
            if not step.gone:
                self._change(owned)
        if not step.gone and not self._is_restored(step.inbox):
            # The owner has yet to restore its memberships, from an index that may not have seen this change.
            self._groups.setdefault(step.group, group).owned[step.inbox] = owned
            owned.deadline = self.clock() + self.group_expiry
            owned.left.update(step.members)
        self._forget_if_empty(step.group, step.inbox)
        return Change(previous, owned.version)

    def _lookup(self, step: Lookup) -> Audience:
        self._drop_lapsed(step.group)
        group = self._groups.get(step.group, _Group())
        now = self.clock()
        inboxes: dict[str, int] = {}
        dead: list[str] = []
        for inbox, owned in group.owned.items():
            if not owned.members:
                continue
            if self._is_alive(inbox, now):
                owned.found_dead = False
                inboxes[inbox] = owned.version
            elif not owned.found_dead:
                owned.found_dead = True
                dead.append(inbox)
        return Audience(inboxes, list(group.channels), dead)

    def _publish(self, step: Publish) -> Published:
        inboxes, channels, dead = self._lookup(Lookup(step.group))
        left, full = {}, 0
        for inbox, version in inboxes.items():
            if not step.direct or not inbox.startswith(step.reading):
                left[inbox] = version
                continue
            envelope = step.apart_envelope if inbox == step.apart else step.envelope
            entry = Entry(seal(envelope, version), step.ttl, step.quota_key, step.limit)
            full += self._push(Push(inbox, [entry])) == [Status.FULL]
        return Published(Audience(left, channels, dead), full)

    def _record(self, step: Record) -> Recorded:
        life, position = self._histories.record(step)
        return Recorded(self._lookup(Lookup(step.group)), life, position)

    def _read_history(self, step: ReadHistory) -> History:
        owned = self._groups.get(step.group, _Group()).owned.get(step.inbox, _Owned())
        return self._histories.read(step)._replace(is_member=not step.inbox or step.member in owned.members)

    def _set_start(self, step: SetStart) -> Start:
        start = Start(step.life, step.position, step.last)
        if step.life == HEAD:
            start = Start(*self._histories.read(ReadHistory(step.group, HEAD, 0))[:2], step.last)
        owned = self._groups.setdefault(step.group, _Group()).owned.setdefault(step.inbox, _Owned())
        owned.starts[step.member] = start
        owned.deadline = max(owned.deadline, self.clock() + self.group_expiry)
        return start

    def _members(self, step: Members) -> Roster:
        owned = self._groups.get(step.group, _Group()).owned.get(step.inbox, _Owned())
        version = owned.version if owned.members else 0
        identities = dict(self._presence.here(step.group, step.inbox))
        return Roster(version, list(owned.members), self._is_restored(step.inbox), identities, dict(owned.starts))

    def _member_count(self, step: MemberCount) -> int:
        return len(self._groups.get(step.group, _Group()).owned.get(step.inbox, _Owned()).members)

    def _renew(self, step: Renew) -> None:
        owned = self._groups.get(step.group, _Group()).owned.get(step.inbox)
        if owned is not None:
            owned.deadline = self.clock() + self.group_expiry

    def _restore(self, step: Restore) -> None:
        if self._is_restored(step.inbox):
            return
        owned = self._groups.setdefault(step.group, _Group()).owned.setdefault(step.inbox, _Owned())
        owned.members.update(member for member in step.members if member not in owned.left)
        self._change(owned)
        owned.deadline = self.clock() + self.group_expiry
        self._forget_if_empty(step.group, step.inbox)

    def _drop_lapsed(self, name: str) -> None:
        group = self._groups.get(name)
        if group is None:
            return
        now = self.clock()
        oldest = now - self.group_expiry
        group.channels = {channel: joined for channel, joined in group.channels.items() if joined > oldest}
        group.owned = {inbox: owned for inbox, owned in group.owned.items() if owned.deadline > now}
        self._presence.keep(name, group.owned, group.channels)
        self._forget_if_empty(name)

    def _forget_if_empty(self, name: str, inbox: str = "") -> None:
        group = self._groups.get(name)
        if group is None:
            return
        owned = group.owned.get(inbox)
        if owned is not None and not owned.members and not owned.left and not owned.starts:
            del group.owned[inbox]
        if not group.owned and not group.channels:
            del self._groups[name]

    def _heartbeat(self, step: Heartbeat) -> tuple[int | None, ...]:
        restored = tuple(step.restored) == (self.epoch,)
        self._owners[step.inbox] = _Owner(self.clock() + LIVENESS, restored)
        return (self.epoch,)

    def _retire(self, step: Retire) -> None:
        owner = self._owners.get(step.inbox)
        if owner is not None:
            owner.alive_until = self.clock()  # kept: its memberships are as restored as they were
        self._queues.pop(step.inbox, None)

    def _length(self, step: Length) -> int:
        found = self._queues.get(step.queue)
        return len(found.entries) if found else 0

    def _flush(self, step: Flush) -> list[str]:
        self._queues.clear()
        self._groups.clear()
        self._presence = Presence(self.clock)
        self._histories.clear()
        self._counters.clear()
        now = self.clock()
        return [inbox for inbox in self._owners if self._is_alive(inbox, now)]

    def _statistics(self, step: GetStatistics) -> dict[str, int]:
        counts: Counter[str] = Counter()
        if step.queue is None:
            for (kind, _), number in self._counters.items():
                counts[kind] += number
            return describe(counts)
        name = counted_name(step.queue)
        counts.update({kind: number for (kind, known), number in self._counters.items() if known == name})
        found = self._queues.get(step.queue)
        if found is None:
            return describe(counts, 0)
        return describe(counts, len(found.entries), self.clock() - found.entries[0].since)

    def _get_counters(self, step: GetCounters) -> list[Count]:
        return [(kind, name, number) for (kind, name), number in self._counters.items()]

    def _announce(self, step: Announce) -> None:
        now = self.clock()
        self._programs = {name: known for name, known in self._programs.items() if known[2] > now}
        if step.ttl > 0:
            self._programs[step.program] = step.facts, now, now + step.ttl
        else:
            self._programs.pop(step.program, None)

    def _get_programs(self, step: GetPrograms) -> list[Announcement]:
        now = self.clock()
        found = self._programs.items()
        return [Announcement(name, facts, now - since) for name, (facts, since, deadline) in found if deadline > now]

    def _sweep(self, now: float) -> None:
        if now - self._swept < SWEEP_INTERVAL:
            return
        self._swept = now
        for queue, found in list(self._queues.items()):
            self.count("lost_expired", queue, found.drop_expired(now))
            if not found.entries:
                del self._queues[queue]
        # For as long as it may have memberships, which a restoration must not revive.
        oldest = now - self.group_expiry - LIVENESS
        self._owners = {inbox: owner for inbox, owner in self._owners.items() if owner.alive_until > oldest}
        for group in list(self._groups):
            self._drop_lapsed(group)
        self._histories.sweep(now - max(self.group_expiry, SECONDS_LIMIT))


_RUN: dict[type, Callable[[Store, Any], Any]] = {
    Push: Store._push,
    PutBack: Store._put_back,
    Take: Store._take,
    Join: Store._join,
    JoinAs: Store._join_as,
    RestoreIdentities: Store._restore_identities,
    Leave: Store._leave,
    Lookup: Store._lookup,
    Publish: Store._publish,
    Record: Store._record,
    ReadHistory: Store._read_history,
    SetStart: Store._set_start,
    Members: Store._members,
    MemberCount: Store._member_count,
    GetPresence: Store._get_presence,
    GetPresenceGroups: Store._get_presence_groups,
    TakeNotices: Store._take_notices,
    Renew: Store._renew,
    Restore: Store._restore,
    Heartbeat: Store._heartbeat,
    Retire: Store._retire,
    Length: Store._length,
    Flush: Store._flush,
    GetStatistics: Store._statistics,
    GetCounters: Store._get_counters,
    Announce: Store._announce,
    GetPrograms: Store._get_programs,
}
