"""Bounds how often the same failure is logged: a client that makes a consumer fail must not fill the disk.

Each failure has a key, such as the consumer. The first few of a second are logged in full, the rest are counted, and
their number is logged when the second is over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from channels_classic._log_escapes import KEEP_LINES

logger = logging.getLogger("django.channels")

PER_SECOND = 5
"""Failures with one key that are logged in one second."""

_KEYS = 1000
"""Keys that are counted separately; beyond them failures share one."""


class FailureLog:
    """Logs failures with tracebacks, each key at most `PER_SECOND` times. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: dict[str, tuple[float, int]] = {}
        """By key: the beginning of its second, and the failures in it."""

    def error(
        self, key: str, text: str, *args: object, exc_info: BaseException | None = None, keep_lines: bool = False
    ) -> None:
        """Log an error, unless as many with this key were logged in this second."""
        if self._admit(key):
            logger.error(text, *args, exc_info=exc_info, extra=KEEP_LINES if keep_lines else None)

    def _admit(self, key: str) -> bool:
        now = self._clock()
        self.flush(now)
        with self._lock:
            if key not in self._seconds and len(self._seconds) >= _KEYS:
                key = "other consumers"
            begin, number = self._seconds.get(key, (now, 0))
            self._seconds[key] = begin, number + 1
            return number < PER_SECOND

    @property
    def is_waiting(self) -> bool:
        """True if `flush` should be called within a second or so."""
        return bool(self._seconds)

    def flush(self, now: float = float("inf")) -> None:
        """Log how many failures were not logged in seconds that are over at the time `now`."""
        if not self._seconds:
            return
        with self._lock:
            over = {key: number for key, (begin, number) in self._seconds.items() if now - begin >= 1}
            for key in over:
                del self._seconds[key]
        for key, number in over.items():
            if number > PER_SECOND:
                logger.error("%s: %d more failures within a second were not logged.", key, number - PER_SECOND)
