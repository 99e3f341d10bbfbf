"""A log that writes each kind of warning at most once per interval, with the number that was left out."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

INTERVAL = 10.0
"""Seconds in which one kind of warning is logged at most once."""


class ThrottledLog:
    """Logs warnings; equal format strings are one kind."""

    def __init__(self) -> None:
        self._last_logged: dict[str, float] = {}
        self._suppressed: Counter[str] = Counter()

    def warn(self, logger: logging.Logger, text: str, *arguments: Any) -> None:
        """Log `text`, or only count it if it was logged less than `INTERVAL` ago."""
        now = time.monotonic()
        if now - self._last_logged.get(text, -INTERVAL) < INTERVAL:
            self._suppressed[text] += 1
            return
        self._last_logged[text] = now
        logger.warning(text, *arguments)
        more = self._suppressed.pop(text, 0)
        if more:
            logger.warning("(%d more warnings of this kind since the last one)", more)
