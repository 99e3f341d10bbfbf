"""How many messages came to what end, and how long their consumers took: cheap enough to be counted always.

Each thread counts for itself; who asks reads all counts, which may be a message apart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from channels_classic.layers.codec import Outcome
from channels_classic.utils import name_that_thing

from .awaitables import is_async

_KNOWN = 1000
"""Consumers that are looked up by identity; a routing that makes one per message must not fill the memory."""


@dataclass(slots=True, eq=False)
class ConsumerStats:
    """The messages of one consumer in one thread."""

    name: str
    is_async: bool = False
    consumed: int = 0
    others: Counter[Outcome | None] = field(default_factory=Counter)
    durations: dict[int, int] = field(default_factory=dict)
    """Messages by duration, in steps of an eighth to a sixteenth."""
    was_slow: bool = False
    """Whether it was said that it holds back what it sends."""

    def add(self, duration: float, outcome: Outcome | None) -> None:
        """A message ended after so many seconds."""
        if outcome is Outcome.CONSUMED:
            self.consumed += 1
        else:
            self.others[outcome] += 1
        if duration:
            mantissa, exponent = math.frexp(duration)
            step = exponent * 8 + int(mantissa * 16)
            self.durations[step] = self.durations.get(step, 0) + 1

    def include(self, other: ConsumerStats) -> None:
        """Add the counts of another one."""
        self.consumed += other.consumed
        self.others.update(other.others.copy())
        for step, number in other.durations.copy().items():
            self.durations[step] = self.durations.get(step, 0) + number

    @property
    def taken(self) -> int:
        """All messages."""
        return self.consumed + sum(self.others.values())

    def percentile(self, percent: float) -> float:
        """The seconds within which that part of the messages was consumed, give or take a sixteenth."""
        rank, seen = math.ceil(sum(self.durations.values()) * percent / 100), 0
        for step, number in sorted(self.durations.items()):
            seen += number
            if seen >= rank:
                return math.ldexp((step % 8 + 8.5) / 16, step // 8 - 1)
        return 0.0


class Stats:
    """The tallies of one thread, by consumer."""

    def __init__(self) -> None:
        self._by_identity: dict[int, tuple[object, ConsumerStats]] = {}
        self._by_name: dict[str, ConsumerStats] = {}

    def of(self, consumer: object) -> ConsumerStats:
        """The tally of a consumer."""
        known = self._by_identity.get(id(consumer))
        if known is None:
            if len(self._by_identity) >= _KNOWN:
                self._by_identity.clear()
            name = name_that_thing(consumer)
            stats = self._by_name.setdefault(name, ConsumerStats(name, is_async(consumer)))
            known = self._by_identity[id(consumer)] = consumer, stats
        return known[1]

    def named(self, name: str) -> ConsumerStats:
        """The tally of what no consumer took."""
        return self._by_name.setdefault(name, ConsumerStats(name))

    def all(self) -> list[ConsumerStats]:
        """All of them."""
        return list(self._by_name.values())


def report(statistics: Iterable[Stats], losses: Mapping[str, int]) -> str:
    """A table of what several threads counted and what the layer lost, for the log; empty when there was nothing."""
    merged: dict[str, ConsumerStats] = {}
    for one in statistics:
        for stats in one.all():
            merged.setdefault(stats.name, ConsumerStats(stats.name)).include(stats)
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
    return (
        f"{stats.name:{width}} {stats.taken:9} {failed:7} {stats.others[None]:7} "
        f"{stats.others[Outcome.DROPPED]:7} {stats.percentile(50) * 1000:9.2f} {stats.percentile(99) * 1000:9.2f}"
    )
