"""The channel layer as plain data structures: queues with quotas and deadlines, groups by inbox, waiting readers.

It runs steps; the memory layer calls it from threads of one process, the host of the local layer for its clients. It
knows no sockets, no event loop and no messages; the clock is given.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from channels_classic.layers.losses import Count, counted_name, describe
from channels_classic.layers.steps import (
    LIVENESS,
    Alive,
    Delist,
    Entry,
    Flush,
    GetStatistics,
    Heartbeat,
    Item,
    Join,
    Leave,
    Length,
    Members,
    Push,
    PutBack,
    Rejoin,
    Retire,
    Status,
    Step,
    Take,
    Taken,
)

INBOX_ENTRIES = 100_000
"""Entries one inbox holds, so that a stopped interface server cannot fill the layer.

Hints and reports, which no client is charged for, find room up to twice as many.
"""

INBOX_BYTES = 64 * 1024 * 1024
"""Bytes one inbox holds."""

TAKE_BYTES = 8 * 1024 * 1024
"""Bytes after which a `Take` ends, however many entries it may have; the last one may go beyond."""

MOST_COUNTERS = 4096
"""Kinds and channels that are counted apart."""

SWEEP_INTERVAL = 10.0
"""Seconds between sweeps for entries that expired in lists nobody reads."""


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
        """Remove expired entries from the head, where the oldest are; give how many."""
        before = len(self.entries)
        while self.entries and self.entries[0].deadline <= now:
            self.pop()
        return before - len(self.entries)


class Watch:
    """One who waits for an entry in any of some lists.

    `wake` is called once, under the lock, from whichever thread pushes.
    """

    __slots__ = ("fired", "queues", "wake")

    def __init__(self, queues: Iterable[str], wake: Callable[[], object]) -> None:
        self.queues = tuple(queues)
        self.wake = wake
        self.fired = False


class Store:
    """Runs steps on plain data. Thread-safe; no step blocks: who wants to wait for a `Take` watches."""

    def __init__(self, group_expiry: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.group_expiry = group_expiry
        self.clock = clock
        self.lock = threading.RLock()
        self._queues: dict[str, _Queue] = {}
        self._groups: dict[str, dict[str, dict[str, float]]] = {}
        self._delisted: dict[str, set[str]] = {}
        self._beats: dict[str, float] = {}
        self._watches: dict[str, list[Watch]] = {}
        self._counters: Counter[tuple[str, str]] = Counter()
        self._swept = clock()

    def run(self, step: Step) -> Any:
        """The result of one step, as its class says."""
        with self.lock:
            return _RUN[type(step)](self, step)

    def take_or_watch(self, step: Take, wake: Callable[[], object]) -> Taken | Watch:
        """Take, or else be woken when it is worth another try. A watch must end in `unwatch`, fired or not."""
        with self.lock:
            taken = self._take(step)
            if taken is not None:
                return taken
            watch = Watch(step.queues, wake)
            for queue in watch.queues:
                self._watches.setdefault(queue, []).append(watch)
            return watch

    def unwatch(self, watch: Watch) -> None:
        """Stop waiting. A wake-up that came meanwhile goes to the next one who waits, so that none is lost."""
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
                # What they sum up to stays, each channel begins anew.
                counters, self._counters = self._counters, Counter()
                for (known, _), sum_ in counters.items():
                    self._counters[known, ""] += sum_

    def lose(self, counts: Iterable[Count]) -> None:
        """Count what a process lost."""
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
        if step.alive and self._beats.get(step.queue, 0.0) <= now:
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
        return queue.endswith("!") and (
            len(target.entries) >= INBOX_ENTRIES or target.size + len(entry.payload) > INBOX_BYTES
        )

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
                    items.append(Item(stored.payload, (stored.deadline, stored.quota_key)))
                else:
                    lost.append(("expired", stored.payload))
            if not source.entries:
                del self._queues[queue]
            return Taken(queue, items, lost)
        return None

    def _join(self, step: Join) -> None:
        members = self._groups.setdefault(step.group, {}).setdefault(step.queue, {})
        now = self.clock()
        for member in step.members:
            members[member] = now
        self._relist(step.group, step.queue)

    def _leave(self, step: Leave) -> None:
        inboxes = self._groups.get(step.group, {})
        members = inboxes.get(step.queue, {})
        for member in step.members:
            members.pop(member, None)
        self._forget_if_empty(step.group, step.queue)

    def _members(self, step: Members) -> dict[str, list[str]]:
        oldest = self.clock() - self.group_expiry
        found = {}
        for queue, members in list(self._groups.get(step.group, {}).items()):
            for member in [member for member, joined in members.items() if joined <= oldest]:
                del members[member]
            self._forget_if_empty(step.group, queue)
            if members and queue not in self._delisted.get(step.group, ()):
                found[queue] = list(members)
        return found

    def _delist(self, step: Delist) -> None:
        if step.inbox in self._groups.get(step.group, {}):
            self._delisted.setdefault(step.group, set()).add(step.inbox)

    def _relist(self, group: str, queue: str) -> None:
        delisted = self._delisted.get(group, set())
        delisted.discard(queue)
        if not delisted:
            self._delisted.pop(group, None)

    def _rejoin(self, step: Rejoin) -> list[str]:
        inboxes = self._groups.setdefault(step.group, {})
        if step.replace or step.inbox not in inboxes:
            inboxes[step.inbox] = {}
            self._join(Join(step.group, step.inbox, step.members))
            self._forget_if_empty(step.group, step.inbox)
        self._relist(step.group, step.inbox)
        return list(self._groups.get(step.group, {}).get(step.inbox, ()))

    def _forget_if_empty(self, group: str, queue: str) -> None:
        inboxes = self._groups.get(group, {})
        if queue in inboxes and not inboxes[queue]:
            del inboxes[queue]
            self._relist(group, queue)
        if group in self._groups and not inboxes:
            del self._groups[group]

    def _beat(self, step: Heartbeat) -> bool:
        now = self.clock()
        known = step.inbox in self._beats
        self._beats[step.inbox] = now + LIVENESS
        return known

    def _alive(self, step: Alive) -> bool:
        return self._beats.get(step.inbox, 0.0) > self.clock()

    def _retire(self, step: Retire) -> None:
        self._beats.pop(step.inbox, None)
        self._queues.pop(step.inbox, None)

    def _length(self, step: Length) -> int:
        found = self._queues.get(step.queue)
        return len(found.entries) if found else 0

    def _flush(self, step: Flush) -> list[str]:
        self._queues.clear()
        self._groups.clear()
        self._delisted.clear()
        self._counters.clear()
        now = self.clock()
        return [inbox for inbox, deadline in self._beats.items() if deadline > now]

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

    def _sweep(self, now: float) -> None:
        if now - self._swept < SWEEP_INTERVAL:
            return
        self._swept = now
        for queue, found in list(self._queues.items()):
            self.count("lost_expired", queue, found.drop_expired(now))
            if not found.entries:
                del self._queues[queue]
        # As long as it may have memberships: then its owner is told that they are still here.
        for inbox in [inbox for inbox, deadline in self._beats.items() if deadline + self.group_expiry <= now]:
            del self._beats[inbox]
        for group in list(self._groups):
            self._members(Members(group))


_RUN: dict[type, Callable[[Store, Any], Any]] = {
    Push: Store._push,
    PutBack: Store._put_back,
    Take: Store._take,
    Join: Store._join,
    Leave: Store._leave,
    Members: Store._members,
    Delist: Store._delist,
    Rejoin: Store._rejoin,
    Heartbeat: Store._beat,
    Alive: Store._alive,
    Retire: Store._retire,
    Length: Store._length,
    Flush: Store._flush,
    GetStatistics: Store._statistics,
}
