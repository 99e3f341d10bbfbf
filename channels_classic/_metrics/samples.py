"""The values of metrics at one moment, of one process or of several: plain data, to be sent between processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgpack

from channels_classic._durations import Durations
from channels_classic._metrics.catalogue import METRICS, MetricKind

MOST_LABELS = 100
"""Most combinations of labels of one metric."""

OTHER = "other"
"""Stands for the labels of all further ones."""

Histogram = tuple[list[int], float]
"""Number of values below each limit of `channels_classic._durations`, then of all; and their sum."""

Value = float | Histogram
Labels = tuple[str, ...]


@dataclass(slots=True)
class Samples:
    """Values by metric and labels."""

    values: dict[str, dict[Labels, Value]] = field(default_factory=dict)

    def add(self, name: str, value: Value, *labels: str) -> None:
        """Add a value to what is there for these labels; too many labels become `OTHER`."""
        known = self.values.setdefault(name, {})
        if labels not in known and len(known) >= MOST_LABELS:
            labels = (OTHER,) * len(labels)
        before = known.get(labels)
        known[labels] = value if before is None else _sum(before, value)

    def add_durations(self, name: str, durations: Durations, *labels: str) -> None:
        """Add a histogram."""
        self.add(name, (durations.histogram(), durations.seconds), *labels)

    def include(self, other: Samples) -> None:
        """Add all values of `other`."""
        for name, labels, value in other:
            self.add(name, value, *labels)

    def lasting(self) -> Samples:
        """Return what stays of these values when their process has ended: all but gauges."""
        return Samples(
            {name: found for name, found in self.values.items() if METRICS[name].kind is not MetricKind.GAUGE}
        )

    def __iter__(self) -> Iterator[tuple[str, Labels, Value]]:
        for name, found in self.values.items():
            for labels, value in found.items():
                yield name, labels, value

    def encode(self) -> bytes:
        """Return the values as bytes."""
        encoded: bytes = msgpack.packb(list(self))
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Samples:
        """Return the values in bytes that `encode` made. Raise `ValueError`."""
        found = cls()
        for name, labels, value in msgpack.unpackb(data):
            if name in METRICS:  # of the same release, unless code was replaced while the program runs
                found.add(name, (value[0], value[1]) if isinstance(value, list) else value, *labels)
        return found


def _sum(one: Value, other: Value) -> Value:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return [a + b for a, b in zip(one[0], other[0], strict=True)], one[1] + other[1]
    assert not isinstance(one, tuple) and not isinstance(other, tuple)
    return one + other
