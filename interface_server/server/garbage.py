"""Keeps the pauses of the garbage collector short, however many clients are connected.

A full collection looks at every object, some thirty for each socket, and stops the event loop meanwhile. So what has
survived one is left out of the next. It is still freed when nothing refers to it any more, which is how sockets and
requests end; only cycles among such objects would stay. For them everything is looked at again once an hour.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

INTERVAL = 3600.0
"""Seconds between two collections that look at everything."""


class Freezer:
    """Freezes what survives a full collection. A callback for `gc.callbacks`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unfreeze_at = clock() + INTERVAL

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase != "stop" or info["generation"] != 2:
            return
        if self._clock() < self._unfreeze_at:
            gc.freeze()
        else:
            gc.unfreeze()
            self._unfreeze_at = self._clock() + INTERVAL
