"""Decides when a worker process is replaced by a fresh one: after a number of messages, or beyond a size of memory."""

from __future__ import annotations

import logging
import resource
import sys
import threading
from collections.abc import Callable

logger = logging.getLogger("channels_classic.worker")

_INTERVAL = 0.1
"""Seconds between measurements of memory, each of which takes about ten microseconds."""


class Recycling:
    """Counts the messages of all threads of a process; calls `ask` with the reason, once. 0: no limit. Thread-safe."""

    def __init__(
        self, max_messages: int, max_memory: int, ask: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._max_messages = max_messages
        self._max_memory = max_memory
        self._ask = ask
        self._lock = threading.Lock()
        self._messages = 0
        self._next_look = 0.0
        self._asked = False
        if 0 < max_memory <= (needed := resident_memory()):
            logger.error("Ignoring --max-memory %d: this process starts with %.0f MiB.", max_memory, needed)
            self._max_memory = 0

    def consumed(self, messages: int) -> None:
        """Count consumed messages."""
        with self._lock:
            self._messages += messages
            reason = None if self._asked else self._reason()
            self._asked = self._asked or reason is not None
        if reason is not None:
            self._ask(reason)

    def _reason(self) -> str | None:
        if 0 < self._max_messages <= self._messages:
            return f"it has consumed {self._messages} messages"
        now = self._clock()
        if self._max_memory and now >= self._next_look:
            self._next_look = now + _INTERVAL
            size = resident_memory()
            if size >= self._max_memory:
                return f"it has grown to {size:.0f} MiB"
        return None


def resident_memory() -> float:
    """Return the memory of this process in MiB; its peak where the system does not report the current size."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
