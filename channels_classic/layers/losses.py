"""Counts of lost messages, logged once per kind and interval, and the statistics made of them.

One `Losses` per layer object and process. ASGI draft, "Statistics".
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from channels_classic._fork import renew_after_fork
from channels_classic.exceptions import ChannelFull, LayerUnavailable, StepRefused

logger = logging.getLogger("channels_classic.layers")

INTERVAL = 10.0
"""Seconds in which one kind of loss is logged at most once."""

KINDS = {
    "full": "the channel held its capacity",
    "expired": "nobody took it before its expiry",
    "fenced": "the server came back with old data, which may have been delivered before",
    "dead": "its interface server has not been heard of lately",
    "unknown": "the client is gone",
    "broker": "the layer was lost while it was sent or taken",
    "refused": "the layer refused to carry it: no memory, no permission, or a replica; the log has the reason",
    "invalid": "it was too large, or its name or content was not valid",
    "retries": "its consumer asked for it to be put back too often",
    "undecodable": "it is of a kind or format this release does not know",
    "died": "the worker process that had taken it died",
    "unheard": "no worker reported in time what became of it",
    "flood": "its client sent more than --frame-rate, --byte-rate or --sockets-per-address allow",
    "gap": "a client of a recoverable group came back too late for what it missed",
    "late": "its consumer ended after the lease on its frame, and a later frame had been handed out",
    "unhosted": "no interface server of this project and user runs: start `runinterface` or `runserver`",
}
"""Each way in which a message can be lost, and why."""

QUIET = {"unknown", "died", "unheard"}
"""Logged at DEBUG: leaving clients are normal; dead workers are logged elsewhere."""

Count = tuple[str, str, int]
"""Kind, name as in `counted_name`, and how many."""

MAX_NAMES = 1000
"""Most pairs of kind and channel that a process counts separately; beyond it losses are summed."""


def counted_name(name: str) -> str:
    """The name by which a channel is counted: up to its `!` or `?`, since the part after it is unbounded."""
    for mark in "!?":
        head, found, _ = name.partition(mark)
        if found:
            return head + found
    return name


def kind_of(error: Exception) -> str:
    """Return the kind of loss of a message whose send by a consumer, a commit or an announcer raised `error`."""
    if isinstance(error, ChannelFull):
        return "full"
    if isinstance(error, LayerUnavailable):
        return "broker"
    return "refused" if isinstance(error, StepRefused) else "invalid"


def describe(counts: Mapping[str, int], pending: int | None = None, age: float = 0.0) -> dict[str, int]:
    """Return the answer of the statistics extension (ASGI draft, "Statistics").

    `counts` are those of `messages`, `full` and `lost_…`; `pending` and `age` (seconds) for one channel alone.
    Losses, beyond the draft, are named when there were any: a channel that lost nothing is described as in 1.x.
    """
    found = {"messages_count": counts.get("messages", 0), "channel_full_count": counts.get("full", 0)}
    if pending is not None:
        found |= {"messages_pending": pending, "messages_max_age": max(0, int(age)) if pending else 0}
    return found | {name: counts[name] for kind in KINDS if counts.get(name := f"lost_{kind}")}


def count_loss(layer: Any, kind: str, channel: str) -> None:
    """Count a lost message at a layer, unless it was written for Channels 1.x and counts none."""
    losses: Losses | None = getattr(layer, "losses", None)
    if losses is not None:
        losses.count(kind, channel)


class Losses:
    """Counts lost messages by kind. Thread-safe.

    Connections take from here what the layer does not have yet, and write it with their next steps.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._by_channel: Counter[tuple[str, str]] = Counter()
        self._suppressed: Counter[str] = Counter()
        self._last_logged: dict[str, float] = {}
        renew_after_fork(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Leave to the parent the losses that were not reported to the layer."""
        self._lock = threading.Lock()
        self._unreported: Counter[tuple[str, str]] = Counter()

    def count(self, kind: str, channel: str, number: int = 1) -> None:
        """Count `number` messages lost on their way to `channel`, and log a warning unless one was logged just now."""
        if number <= 0:
            return
        with self._lock:
            self._counts[kind] += number
            self._suppressed[kind] += number
            name = counted_name(channel)
            for counts in (self._by_channel, self._unreported):
                counts[kind, name if len(counts) < MAX_NAMES else ""] += number
            now = time.monotonic()
            if now - self._last_logged.get(kind, -INTERVAL) < INTERVAL:
                return
            self._last_logged[kind] = now
            suppressed = self._suppressed.pop(kind)
        level = logging.DEBUG if kind in QUIET else logging.WARNING
        logger.log(level, "Lost %d message(s), the last one for %s: %s.", suppressed, channel, KINDS[kind])

    def take_back(self, kind: str, channel: str) -> None:
        """Undo the count of one message: it was not lost, or it is counted under another kind."""
        with self._lock:
            self._counts[kind] -= 1
            for counts in (self._by_channel, self._unreported):
                counts[kind, counted_name(channel)] -= 1

    def as_dict(self) -> dict[str, int]:
        """Lost messages by kind, since the process started."""
        with self._lock:
            return {kind: number for kind, number in self._counts.items() if number}

    def by_channel(self) -> list[Count]:
        """Lost messages by kind and channel, since the process started."""
        with self._lock:
            return [(kind, name, number) for (kind, name), number in self._by_channel.items() if number > 0]

    def report_again(self, counts: Iterable[Count]) -> None:
        """Count again, as unreported, what the layer refused."""
        with self._lock:
            for kind, name, number in counts:
                self._unreported[kind, name] += number

    def unreported(self) -> list[Count]:
        """Return and clear the counts that the layer has not yet; if the caller cannot write them they are dropped."""
        if not self._unreported:
            return []
        with self._lock:
            unreported, self._unreported = self._unreported, Counter()
        return [(kind, name, number) for (kind, name), number in unreported.items() if number]
