"""The channel layer as plain data structures: queues with quotas and deadlines, waiting readers; groups are beside it.

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

from channels_classic._fork import renew_after_fork
from channels_classic.layers.codec import append_fields, seal
from channels_classic.layers.losses import Count, counted_name, describe
from channels_classic.layers.memberships import STEPS, Memberships
from channels_classic.layers.results import (
    Announcement,
    Audience,
    Item,
    Published,
    PushStatus,
    Taken,
)
from channels_classic.layers.steps import (
    Announce,
    Entry,
    Flush,
    GetCounters,
    GetPrograms,
    GetStatistics,
    Length,
    Lookup,
    Publish,
    Push,
    PutBack,
    Retire,
    Step,
    Take,
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
        self.clock = clock
        renew_after_fork(self)
        self.after_fork()
        self._queues: dict[str, _Queue] = {}
        self.memberships = Memberships(group_expiry, clock)
        self._watches: dict[str, list[Watch]] = {}
        self._counters: Counter[tuple[str, str]] = Counter()
        self._programs: dict[str, tuple[bytes, float, float]] = {}  # facts, when they were reported, deadline
        self._swept = clock()
        self.ended: Exception | None = None
        """The error that every later step raises, once another store has taken the place of this one."""

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

    def _push(self, step: Push) -> list[PushStatus]:
        now = self.clock()
        self._sweep(now)
        if step.alive and not self.memberships.is_alive(step.queue, now):
            return [PushStatus.DEAD] * len(step.entries)
        target = self._queues.setdefault(step.queue, _Queue())
        statuses, messages = [], 0
        for entry in step.entries:
            status = self._add(step.queue, target, entry, now)
            statuses.append(status)
            messages += status is PushStatus.ACCEPTED and entry.limit is not None
        self.count("messages", step.queue, messages)
        if not target.entries:
            del self._queues[step.queue]
        else:
            self._wake(step.queue, statuses.count(PushStatus.ACCEPTED))
        return statuses

    def _add(self, queue: str, target: _Queue, entry: Entry, now: float) -> PushStatus:
        if self._is_full(queue, target, entry):
            self.count("lost_expired", queue, target.drop_expired(now))
            if self._is_full(queue, target, entry):
                self.count("full", queue)
                return PushStatus.FULL
        target.add(_Stored(entry.payload, now + entry.ttl, entry.quota_key, now))
        return PushStatus.ACCEPTED

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

    def _publish(self, step: Publish) -> Published:
        inboxes, channels, dead = self.memberships.lookup(Lookup(step.group))
        kept = () if step.record is None else self.memberships.histories.record(step.record)
        left, full = {}, 0
        for inbox, version in inboxes.items():
            if not step.direct or not inbox.startswith(step.reading):
                left[inbox] = version
                continue
            envelope = step.apart_envelope if inbox == step.apart else step.envelope
            payload = seal(append_fields(envelope, *kept), version)
            entry = Entry(payload, step.ttl, step.quota_key, step.limit)
            full += self._push(Push(inbox, [entry])) == [PushStatus.FULL]
        return Published(Audience(left, channels, dead), full, 0, *kept)

    def _retire(self, step: Retire) -> None:
        self.memberships.retire(step.inbox)
        self._queues.pop(step.inbox, None)

    def _length(self, step: Length) -> int:
        found = self._queues.get(step.queue)
        return len(found.entries) if found else 0

    def _flush(self, step: Flush) -> list[str]:
        self._queues.clear()
        self.memberships.clear()
        self._counters.clear()
        return self.memberships.alive()

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
        self.memberships.sweep(now)


_RUN: dict[type, Callable[[Store, Any], Any]] = {
    **dict.fromkeys(STEPS, lambda store, step: store.memberships.run(step)),
    Push: Store._push,
    PutBack: Store._put_back,
    Take: Store._take,
    Publish: Store._publish,
    Retire: Store._retire,
    Length: Store._length,
    Flush: Store._flush,
    GetStatistics: Store._statistics,
    GetCounters: Store._get_counters,
    Announce: Store._announce,
    GetPrograms: Store._get_programs,
}
