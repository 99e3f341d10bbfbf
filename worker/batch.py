"""What one worker thread has taken from the layer and not finished, or finished and not written.

This is the one thing that a worker thread and the monitor share: two sequences under a lock. The worker thread fills a
batch, starts one message after another and writes what their consumers sent; the monitor may take over what was not
started and what was not written, when a consumer takes long.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from channels_classic.layers.planner import Delivery

from .result import ConsumerResult

LINGER = 0.002
"""Seconds for which what fast consumers sent is collected, to travel in one write."""

OVERTAKE = 1.0
"""Seconds for which what a thread sends waits for what the monitor writes for it, on another connection."""


class Batch:
    """Messages of one worker thread: those that wait, the one whose consumer runs, and those that ended just now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.thread = threading.get_ident()
        self._unstarted: deque[Delivery] = deque()
        self._running: Delivery | None = None
        self._since: float | None = None
        self._ended: list[ConsumerResult] = []
        self._ended_since = 0.0
        self._written = threading.Event()  # cleared while the monitor writes what ended
        self._written.set()

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

    def end(self, result: ConsumerResult) -> bool:
        """Keep what the running message came to → whether it is time to write it, and those before it."""
        with self._lock:
            self._running = None
            started, self._since = self._since, time.monotonic()
            if not self._ended:
                self._ended_since = self._since if started is None else started
            self._ended.append(result)
            return self._since - self._ended_since > LINGER

    def hand_over(self) -> None:
        """The running message goes on as a coroutine, and is no concern of the batch any more."""
        with self._lock:
            self._running = None
            self._since = time.monotonic()

    def ended(self) -> list[ConsumerResult]:
        """What is to be written, in order; it is the caller's from now on. Waits for what the monitor writes."""
        if not self._written.wait(OVERTAKE):
            self._written.set()
        with self._lock:
            ended, self._ended = self._ended, []
            return ended

    def unwritten(self) -> list[ConsumerResult]:
        """Return what is to be written, which stays here. Waits for what the monitor writes."""
        self._written.wait(OVERTAKE)
        with self._lock:
            return list(self._ended)

    def pause(self) -> None:
        """Let the monitor leave the messages alone: the layer is away, and could not take them back."""
        with self._lock:
            self._running = self._since = None

    def running(self) -> tuple[Delivery | None, float | None]:
        """The message whose consumer runs, and since when the thread is busy with one thing (`time.monotonic`)."""
        with self._lock:
            return self._running, self._since

    @property
    def holds(self) -> bool:
        """Whether there is anything that the monitor could take over."""
        return bool(self._unstarted or self._ended)

    def steal(self, before: float) -> tuple[list[Delivery], list[ConsumerResult]]:
        """What was not started and what was not written, if the thread has been busy with one thing since `before`.

        `written` must be called when the latter has arrived.
        """
        if not self.holds:
            return [], []
        with self._lock:
            if self._since is None or self._since > before:
                return [], []
            ended, self._ended = self._ended, []
            if ended:
                self._written.clear()
            return self._clear(), ended

    def written(self) -> None:
        """What was surrendered has arrived, or never will."""
        self._written.set()

    def abandon(self) -> list[Delivery]:
        """What was not started: the thread ends."""
        with self._lock:
            self._running = self._since = None
            return self._clear()

    def _clear(self) -> list[Delivery]:
        unstarted = list(self._unstarted)
        self._unstarted.clear()
        return unstarted
