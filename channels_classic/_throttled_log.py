"""A log that writes few lines of each kind, with the number that was left out, so that no client can fill a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from channels_classic._fork import renew_after_fork

OMITTED = " (%d more were not logged before)"


@dataclass(slots=True)
class _Kind:
    begin: float
    lines: int = 0
    omitted: int = 0


class ThrottledLog:
    """Logs at most `lines` lines of each kind in `interval` seconds. Shared by threads.

    Equal format strings are one kind. The next line of a kind says how many were omitted before it.
    """

    def __init__(self, lines: int = 1, interval: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._interval = interval
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}
        renew_after_fork(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Start with a new lock."""
        self._lock = threading.Lock()

    def warn(self, logger: logging.Logger, text: str, *arguments: Any) -> None:
        """Log a warning, or only count it if too many of its kind were logged."""
        self._log(logger, logging.WARNING, text, *arguments)

    def error(self, logger: logging.Logger, text: str, *arguments: Any) -> None:
        """Log an error, or only count it if too many of its kind were logged."""
        self._log(logger, logging.ERROR, text, *arguments)

    def _log(self, logger: logging.Logger, level: int, text: str, *arguments: Any) -> None:
        omitted = self._admit(text)
        if omitted is None:
            return
        if omitted:
            text, arguments = text + OMITTED, (*arguments, omitted)
        logger.log(level, text, *arguments)

    def _admit(self, text: str) -> int | None:
        """Return the number of lines omitted before one that may be logged, or None for one that is omitted."""
        now = self._clock()
        with self._lock:
            kind = self._kinds.setdefault(text, _Kind(now))
            if now - kind.begin >= self._interval:
                kind.begin, kind.lines = now, 0
            if kind.lines == self._lines:
                kind.omitted += 1
                return None
            kind.lines += 1
            omitted, kind.omitted = kind.omitted, 0
            return omitted
