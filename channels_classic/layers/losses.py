"""Every loss is counted, and said once per kind and interval. One `Losses` per layer object and process."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

logger = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds in which one kind of loss is logged at most once."""

KINDS = {
    "full": "the channel held its capacity",
    "expired": "nobody took it before its expiry",
    "fenced": "the server came back with old data, which may have been delivered before",
    "dead": "the interface server that owns the client is gone",
    "unknown": "the client is gone",
    "broker": "the layer was lost while it was sent or taken",
    "refused": "the layer refused to carry it, for the reason that is logged beside this",
    "undecodable": "it is of a kind or format this release does not know",
    "died": "the worker process that had taken it died",
    "unheard": "no worker said in time what became of it",
    "unhosted": "no interface server of this project and user runs: start `runinterface` or `runserver`",
}
"""Each way in which a message can be lost, and why."""

QUIET = {"unknown", "died", "unheard"}
"""Kinds that are no news: clients leave, and of a worker that died its supervisor and the interface server speak."""

Count = tuple[str, str, int]
"""Kind, name as in `counted_name`, and how many."""

MANY = 1000
"""Names for which losses wait to be told to the layer; those of further ones are told without a name."""


def counted_name(name: str) -> str:
    """The name by which a channel is counted: up to its `!` or `?`, behind which names are without number."""
    for mark in "!?":
        head, found, _ = name.partition(mark)
        if found:
            return head + found
    return name


class Losses:
    """Counts lost messages by kind. Thread-safe.

    Connections take from here what the layer was not told yet, and tell it with what they write next.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._suppressed: Counter[str] = Counter()
        self._last_logged: dict[str, float] = {}
        self._unreported: Counter[tuple[str, str]] = Counter()

    def count(self, kind: str, channel: str, number: int = 1) -> None:
        """Count `number` messages lost on their way to `channel`, and log a warning unless one was logged just now."""
        if number <= 0:
            return
        with self._lock:
            self._counts[kind] += number
            self._suppressed[kind] += number
            self._unreported[kind, counted_name(channel) if len(self._unreported) < MANY else ""] += number
            now = time.monotonic()
            if now - self._last_logged.get(kind, -INTERVAL) < INTERVAL:
                return
            self._last_logged[kind] = now
            suppressed = self._suppressed.pop(kind)
        level = logging.DEBUG if kind in QUIET else logging.WARNING
        logger.log(level, "Lost %d message(s), the last one for %s: %s.", suppressed, channel, KINDS[kind])

    def as_dict(self) -> dict[str, int]:
        """Lost messages by kind, since the process started."""
        with self._lock:
            return dict(self._counts)

    def unreported(self) -> list[Count]:
        """What the layer was not told yet; the caller tells it, and if that fails it stays untold for good."""
        if not self._unreported:
            return []
        with self._lock:
            unreported, self._unreported = self._unreported, Counter()
        return [(kind, name, number) for (kind, name), number in unreported.items()]
