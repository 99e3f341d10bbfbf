"""Sentences that many clients would say at once are said once in a while, with how many said them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

INTERVAL = 10.0
"""Seconds in which one sentence is logged at most once."""


class ThrottledLog:
    """Logs warnings; equal formats count as one."""

    def __init__(self) -> None:
        self._last_logged: dict[str, float] = {}
        self._suppressed: Counter[str] = Counter()

    def warn(self, logger: logging.Logger, sentence: str, *arguments: Any) -> None:
        """Log `sentence`, or count it when it was logged just now."""
        now = time.monotonic()
        if now - self._last_logged.get(sentence, -INTERVAL) < INTERVAL:
            self._suppressed[sentence] += 1
            return
        self._last_logged[sentence] = now
        logger.warning(sentence, *arguments)
        more = self._suppressed.pop(sentence, 0)
        if more:
            logger.warning("(%d more of this kind since the last one)", more)
