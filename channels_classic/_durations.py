"""Durations, counted in steps of 6 to 12 %: cheap enough for every message, exact enough for percentiles.

A duration of m × 2^e seconds, with m from 0.5 up to 1, falls into one of eight steps of e, by m. So the powers of two
are exact limits of steps, and a histogram with such limits can be made from the counts at any time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

EXPONENTS = range(-10, 7)
"""The powers of two that are limits of histograms: from 1 ms to 64 s."""

LIMITS: Sequence[float] = [math.ldexp(1.0, exponent) for exponent in EXPONENTS]
"""The upper limits of the buckets of a histogram, in seconds."""


@dataclass(slots=True, eq=False)
class Durations:
    """Counts durations in seconds."""

    counts: dict[int, int] = field(default_factory=dict)
    """Number of durations by step."""
    seconds: float = 0.0
    """Their sum."""

    def add(self, duration: float) -> None:
        """Count a duration."""
        mantissa, exponent = math.frexp(duration)
        step = exponent * 8 + int(mantissa * 16)
        self.counts[step] = self.counts.get(step, 0) + 1
        self.seconds += duration

    @property
    def number(self) -> int:
        """The number of durations."""
        return sum(self.counts.values())

    def include(self, other: Durations) -> None:
        """Add the counts of `other`, to which another thread may be adding meanwhile."""
        for step, number in other.counts.copy().items():
            self.counts[step] = self.counts.get(step, 0) + number
        self.seconds += other.seconds

    def percentile(self, percent: float) -> float:
        """Return the seconds within which `percent` of the durations were, within 6 %."""
        rank, seen = math.ceil(self.number * percent / 100), 0
        for step, number in sorted(self.counts.items()):
            seen += number
            if seen >= rank:
                return math.ldexp((step % 8 + 8.5) / 16, step // 8 - 1)
        return 0.0

    def histogram(self) -> list[int]:
        """Return the number of durations below each of `LIMITS`, and at last of all durations."""
        by_exponent: dict[int, int] = {}
        for step, number in self.counts.copy().items():
            exponent = max(step // 8 - 1, EXPONENTS[0])
            by_exponent[exponent] = by_exponent.get(exponent, 0) + number
        total, found = 0, []
        for exponent in EXPONENTS:
            total += by_exponent.pop(exponent, 0)
            found.append(total)
        return [*found, total + sum(by_exponent.values())]
