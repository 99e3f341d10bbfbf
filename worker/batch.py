"""The messages of one worker thread that are taken but not finished, and the results that are not written yet.

A worker thread and the watchdog share nothing else: two sequences under a lock. The worker thread fills a batch, starts
one message after another and writes what their consumers sent. When a consumer is slow, the watchdog takes over the
messages that have not been started and the results that have not been written.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from channels_classic.layers.planner import Delivery

from .result import ConsumerResult

COLLECT_TIME = 0.002
"""Seconds for which results of fast consumers are collected, to be written together."""

OVERTAKE = 30.0
"""Seconds for which a thread waits, before it writes, for earlier results that the watchdog is writing for it.

Order depends on this, so it ends only when the watchdog must have failed: on a busy machine a write may take seconds.
"""


class Batch:
    """The waiting messages of one worker thread, the one whose consumer runs, and the results not written yet.

    Without `shares_results` its thread writes each result by itself at once: the watchdog must not wait, and a
    project's own way to send may.
    """

    def __init__(self, clock: Callable[[], float], shares_results: bool = True) -> None:
        self._clock = clock
        self._shares_results = shares_results
        self._lock = threading.Lock()
        self.thread = threading.get_ident()
        self._unstarted: deque[Delivery] = deque()
        self._running: Delivery | None = None
        self._since: float | None = None
        self._ended: list[ConsumerResult] = []
        self._ended_since = 0.0
        self._written = threading.Event()  # cleared while the watchdog writes results or puts messages back
        self._written.set()

    def fill(self, deliveries: Sequence[Delivery], ahead: bool = False) -> None:
        """Add messages that were taken, `ahead` of the waiting ones; from now on the thread counts as busy."""
        with self._lock:
            if ahead:
                self._unstarted.extendleft(reversed(deliveries))
            else:
                self._unstarted.extend(deliveries)
            self._since = self._clock()

    def start(self) -> Delivery | None:
        """Return the next message, which the watchdog can no longer steal; None after the last: the thread is idle."""
        with self._lock:
            if self._unstarted:
                self._running = self._unstarted.popleft()
                self._since = self._clock()
            else:
                self._running = self._since = None
            return self._running

    def end(self, result: ConsumerResult) -> bool:
        """Keep the result of the running message; return whether the results should be written now."""
        with self._lock:
            self._running = None
            started, self._since = self._since, self._clock()
            if not self._ended:
                self._ended_since = self._since if started is None else started
            self._ended.append(result)
            return not self._shares_results or self._since - self._ended_since > COLLECT_TIME

    def hand_over(self) -> None:
        """Drop the running message from the batch: it continues as a coroutine."""
        with self._lock:
            self._running = None
            self._since = self._clock()

    def ended(self) -> list[ConsumerResult]:
        """Remove and return the results to write, in order, once the watchdog has written those it took over."""
        if not self._written.wait(OVERTAKE):
            self._written.set()
        with self._lock:
            ended, self._ended = self._ended, []
            return ended

    def unwritten(self) -> list[ConsumerResult]:
        """Return the results to write, which stay here, once the watchdog has written those it took over."""
        self._written.wait(OVERTAKE)
        with self._lock:
            return list(self._ended)

    def pause(self) -> None:
        """Count the thread as idle while the layer is down: the watchdog could not put messages back."""
        with self._lock:
            self._running = self._since = None

    def resume(self, delivery: Delivery) -> None:
        """Count the thread as busy again with a message whose consumer runs, if the layer was down meanwhile."""
        with self._lock:
            if self._since is None:
                self._running, self._since = delivery, self._clock()

    def running(self) -> tuple[Delivery | None, float | None]:
        """Return the message whose consumer runs, and since when the thread is busy with it."""
        with self._lock:
            return self._running, self._since

    @property
    def holds(self) -> bool:
        """True if there is anything to steal."""
        return bool(self._unstarted or (self._ended and self._shares_results))

    def restore(self, deliveries: Sequence[Delivery]) -> None:
        """Return messages to the head of the batch, because they could not be put back on their channel."""
        with self._lock:
            self._unstarted.extendleft(reversed(deliveries))

    @property
    def has_unstarted(self) -> bool:
        """True if messages wait."""
        return bool(self._unstarted)

    def waiting(self) -> list[str]:
        """Return the channels of the messages that wait, in order."""
        with self._lock:
            return [delivery.channel for delivery in self._unstarted]

    def steal(self, before: float, with_unstarted: bool = True) -> tuple[list[Delivery], list[ConsumerResult]]:
        """Remove and return waiting messages and unwritten results if one thing has kept the thread since `before`.

        Without `with_unstarted` the messages stay. If there are any, the caller must call `written` once they are put
        back or written: until then the thread neither writes nor takes, so that nothing comes out of order.
        """
        if not self.holds:
            return [], []
        with self._lock:
            if self._since is None or self._since > before:
                return [], []
            ended: list[ConsumerResult] = []
            if self._shares_results:
                ended, self._ended = self._ended, []
            unstarted = self._clear() if with_unstarted else []
            if ended or unstarted:
                self._written.clear()
            return unstarted, ended

    def written(self) -> None:
        """Let the thread write and take again: what was stolen has been put back or written, or is lost."""
        self._written.set()

    def abandon(self) -> list[Delivery]:
        """Remove and return the messages that have not been started; the thread counts as idle."""
        with self._lock:
            self._running = self._since = None
            return self._clear()

    def _clear(self) -> list[Delivery]:
        unstarted = list(self._unstarted)
        self._unstarted.clear()
        return unstarted
