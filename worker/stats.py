"""Counts messages by consumer and outcome, and the durations of consumers; cheap enough to be always on.

Each thread has its own counters. A report adds them up while threads go on counting, so it may be off by a message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from channels_classic._durations import Durations
from channels_classic.layers.codec import Outcome
from channels_classic.utils import name_that_thing

from .awaitables import is_async

_KNOWN = 1000
"""Maximum number of consumers looked up by identity: a routing that makes a consumer per message must not leak."""


@dataclass(slots=True, eq=False)
class ConsumerStats:
    """The counters of one consumer in one thread."""

    name: str
    is_async: bool = False
    consumed: int = 0
    others: Counter[Outcome | None] = field(default_factory=Counter)
    durations: Durations = field(default_factory=Durations)
    was_slow: bool = False
    """True if a warning about held messages was logged."""

    def add(self, duration: float, outcome: Outcome | None) -> None:
        """Count a message whose consumer took `duration` seconds."""
        if outcome is Outcome.CONSUMED:
            self.consumed += 1
        else:
            self.others[outcome] += 1
        if duration:
            self.durations.add(duration)

    def include(self, other: ConsumerStats) -> None:
        """Add the counters of `other`."""
        self.consumed += other.consumed
        self.others.update(other.others.copy())
        self.durations.include(other.durations)

    @property
    def taken(self) -> int:
        """Number of messages, whatever their outcome."""
        return self.consumed + sum(self.others.values())


class Stats:
    """The counters of one thread, by consumer."""

    def __init__(self) -> None:
        self._by_identity: dict[int, tuple[object, ConsumerStats]] = {}
        self._by_name: dict[str, ConsumerStats] = {}

    def of(self, consumer: object) -> ConsumerStats:
        """Return the counters of a consumer."""
        known = self._by_identity.get(id(consumer))
        if known is None:
            if len(self._by_identity) >= _KNOWN:
                self._by_identity.clear()
            name = name_that_thing(consumer)
            stats = self._by_name.setdefault(name, ConsumerStats(name, is_async(consumer)))
            known = self._by_identity[id(consumer)] = consumer, stats
        return known[1]

    def named(self, name: str) -> ConsumerStats:
        """Return counters by name, for messages without a consumer."""
        return self._by_name.setdefault(name, ConsumerStats(name))

    def all(self) -> list[ConsumerStats]:
        """Return the counters of all consumers."""
        return list(self._by_name.values())


def merge(statistics: Iterable[Stats]) -> dict[str, ConsumerStats]:
    """Return the counters of several threads together, by consumer."""
    merged: dict[str, ConsumerStats] = {}
    for one in statistics:
        for stats in one.all():
            merged.setdefault(stats.name, ConsumerStats(stats.name)).include(stats)
    return merged


def report(statistics: Iterable[Stats], losses: Mapping[str, int]) -> str:
    """Return a table of counters of several threads and the layer's losses, for the log; empty without messages."""
    merged = merge(statistics)
    if not merged:
        return ""
    total = ConsumerStats("all consumers")
    for stats in merged.values():
        total.include(stats)
    width = max(len(name) for name in [*merged, total.name])
    lines = [f"{'':{width}} {'taken':>9} {'failed':>7} {'retried':>7} {'dropped':>7} {'p50 ms':>9} {'p99 ms':>9}"]
    lines += [_line(stats, width) for stats in [*sorted(merged.values(), key=lambda stats: -stats.taken), total]]
    if losses:
        lines.append("lost: " + ", ".join(f"{number} {kind}" for kind, number in sorted(losses.items())))
    return "\n".join(lines)


def _line(stats: ConsumerStats, width: int) -> str:
    failed = stats.others[Outcome.RAISED] + stats.others[Outcome.UNROUTED]
    p50, p99 = (stats.durations.percentile(percent) * 1000 for percent in (50, 99))
    return (
        f"{stats.name:{width}} {stats.taken:9} {failed:7} {stats.others[None]:7} "
        f"{stats.others[Outcome.DROPPED]:7} {p50:9.2f} {p99:9.2f}"
    )
