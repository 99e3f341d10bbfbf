"""What one worker thread has taken from the layer and not finished.

This is the one thing that a worker thread and the monitor share: a deque under a lock. The worker thread fills it and
starts one message after another; the monitor may take away those that were not started.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from channels_classic.layers.delivery import Delivery


class Batch:
    """Messages of one worker thread: those that wait, and the one whose consumer runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unstarted: deque[Delivery] = deque()
        self._running: Delivery | None = None
        self._since: float | None = None

    def __len__(self) -> int:
        """How many messages were not started."""
        return len(self._unstarted)

    def fill(self, deliveries: Sequence[Delivery]) -> None:
        """Put in what was taken; from now on the thread counts as busy."""
        with self._lock:
            self._unstarted.extend(deliveries)
            self._since = time.monotonic()

    def start(self) -> Delivery | None:
        """The next message, out of the monitor's reach from now on; None after the last, and the thread is idle."""
        with self._lock:
            if self._unstarted:
                self._running = self._unstarted.popleft()
                self._since = time.monotonic()
            else:
                self._running = self._since = None
            return self._running

    def pause(self) -> None:
        """Let the monitor leave the messages alone: the layer is away, and could not take them back."""
        with self._lock:
            self._running = self._since = None

    def running(self) -> tuple[Delivery | None, float | None]:
        """The message whose consumer runs, and since when the thread is busy with one thing (`time.monotonic`)."""
        with self._lock:
            return self._running, self._since

    def surrender(self, before: float) -> list[Delivery]:
        """All messages that were not started, if the thread has been busy with one thing since `before`."""
        if not self._unstarted:
            return []
        with self._lock:
            if self._since is None or self._since > before:
                return []
            return self._clear()

    def abandon(self) -> list[Delivery]:
        """All messages that were not started: the thread ends."""
        with self._lock:
            self._running = self._since = None
            return self._clear()

    def _clear(self) -> list[Delivery]:
        unstarted = list(self._unstarted)
        self._unstarted.clear()
        return unstarted
