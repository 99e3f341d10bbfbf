"""Bounds the lines of one kind that a process logs per second, so that no client can fill a disk. Shared by threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from channels_classic.layers.fork import renew_after_fork

LINES_PER_SECOND = 10
"""Most lines of one kind. The next line says how many were omitted."""


class LineLimit:
    """The limit for one kind of line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._omitted = 0
        renew_after_fork(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with a lock that nobody holds."""
        self._lock = threading.Lock()

    def admit(self) -> str | None:
        """Return the end of a line that may be logged, often empty, or ``None`` for one that is to be omitted."""
        second = int(self._clock())
        with self._lock:
            if second != self._second:
                self._second, self._lines = second, 0
            if self._lines == LINES_PER_SECOND:
                self._omitted += 1
                return None
            self._lines += 1
            omitted, self._omitted = self._omitted, 0
        return f" ({omitted} more were not logged before)" if omitted else ""
