"""Clients whose next message waits for room on its channel, or for the layer: per channel, first come, first served.

A report says that a worker took a message, so there is room for one: that many clients try again, and a channel that
stays full is not polled. Only while no report of this process can come, or none has for a second, a timer lets one try.

`RetryQueue` decides who may try; `RetryQueues` calls them.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

from .timers import Timers

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.2
"""Seconds between checks of a channel."""

REGROW_INTERVAL = 1.0
"""Seconds after the last refusal in which as many messages are under way as reports come; then more are tried."""

MAX_AT_ONCE = 256


class Retryable(Protocol):
    """A client that waits."""

    def retry(self) -> None:
        """Send again what waited; `passed` or `refused` follows."""


class RetryQueue:
    """The clients that wait for one channel. Pure: methods return the clients that are to try now.

    The rule is that of TCP's congestion control. A report is worth one try, as an acknowledgement is worth one
    segment, so with several interface servers each refills what it had. Where nothing is known, one client tries, and
    after each batch without a refusal twice as many, until there is one.
    """

    def __init__(self, now: float) -> None:
        self.clients: OrderedDict[Retryable, None] = OrderedDict()
        self._trying: set[Retryable] = set()
        self._permits = 0
        self._growing = False
        self._number = 1  # clients of the last batch while it grows
        self._was_refused = False  # one of the batch
        self._refused_at = now
        self._under_way = 0  # accepted messages on which a report may still come
        self._pause = FIRST_PAUSE
        self.deadline = now + FIRST_PAUSE
        """The time at which `due` has something to do."""

    def refused(self, client: Retryable, now: float) -> list[Retryable]:
        """Add a client whose message was refused; one that tried keeps its place."""
        self._refused_at = now
        if client not in self.clients:
            self.clients[client] = None
            return []
        if client in self._trying:
            self._was_refused = True
        return self._answered(client)

    def passed(self, client: Retryable) -> list[Retryable]:
        """Remove a client whose message was accepted, or given up."""
        if client not in self.clients:
            return []
        del self.clients[client]
        if client in self._trying:
            self._under_way += 1
            self._pause = FIRST_PAUSE
        return self._answered(client)

    def _answered(self, client: Retryable) -> list[Retryable]:
        if client not in self._trying:
            return []
        self._trying.discard(client)
        if self._trying:
            return []
        if self._was_refused:
            self._was_refused = self._growing = False
            self._permits = 0
        elif self._growing:
            self._number = min(2 * self._number, MAX_AT_ONCE)
            self._permits += self._number
        return self.release()

    def taken(self) -> list[Retryable]:
        """Record that a worker took a message from the channel."""
        self._under_way = max(0, self._under_way - 1)
        self._permits += 1
        return self.release()

    def restart(self) -> list[Retryable]:
        """Begin with one client again: how much room there is now is not known."""
        self._growing = True
        self._number = 1
        self._permits = max(1, self._permits)
        return self.release()

    def due(self, now: float) -> list[Retryable]:
        """Let one client try, unless a report will say when."""
        if now < self.deadline:
            return []
        self.deadline = now + self._pause
        self._pause = min(self._pause * 1.5, LONGEST_PAUSE)
        if self._trying or (self._under_way and now - self._refused_at < REGROW_INTERVAL):
            return []
        return self.restart()

    def release(self) -> list[Retryable]:
        """Return the next clients to try, if none tries already."""
        if self._trying:
            return []
        number = min(self._permits, len(self.clients), MAX_AT_ONCE)
        self._permits -= number
        released = list(islice(self.clients, number))
        self._trying.update(released)
        return released


class _TimedQueue:
    """A queue and its place among the timers."""

    slot: int | None = None

    def __init__(self, queue: RetryQueue, may_try: Callable[[], bool]) -> None:
        self.queue = queue
        self._may_try = may_try

    def due(self, now: float) -> float:
        """Let the clients try whose time has come; return the time of the next check."""
        if not self._may_try():
            return now + LONGEST_PAUSE
        _retry(self.queue.due(now))
        return self.queue.deadline if self.queue.clients else math.inf


class RetryQueues:
    """The queues by channel. While one client waits for a channel, everybody after it waits behind it."""

    def __init__(self, timers: Timers, clock: Callable[[], float], may_try: Callable[[], bool]) -> None:
        self._timers = timers
        self._clock = clock
        self._may_try = may_try
        self._timed: dict[str, _TimedQueue] = {}

    def must_wait(self, channel: str) -> bool:
        """Return True if a message for `channel` has to wait before it is tried at all."""
        return channel in self._timed or not self._may_try()

    def refused(self, channel: str, client: Retryable) -> None:
        """Queue a client whose message cannot be sent now: at the end, or where it was."""
        now = self._clock()
        timed = self._timed.get(channel)
        if timed is None:
            timed = self._timed[channel] = _TimedQueue(RetryQueue(now), self._may_try)
            self._timers.schedule(timed, timed.queue.deadline)
        _retry(timed.queue.refused(client, now))

    def passed(self, channel: str, client: Retryable) -> None:
        """Remove a client whose message was sent, or given up."""
        timed = self._timed.get(channel)
        if timed is None:
            return
        released = timed.queue.passed(client)
        if not timed.queue.clients:
            self._timers.cancel(timed)
            del self._timed[channel]
        _retry(released)

    def forget(self, client: Retryable) -> None:
        """Remove a client that is gone: nobody needs the answer it waited for."""
        for channel in list(self._timed):
            self.passed(channel, client)

    def taken(self, channel: str) -> None:
        """Record that a worker took a message from `channel`."""
        timed = self._timed.get(channel)
        if timed is not None and self._may_try():
            _retry(timed.queue.taken())

    def retry(self) -> None:
        """Let clients try on every channel: the layer is up again."""
        if self._may_try():
            for timed in list(self._timed.values()):
                _retry(timed.queue.restart())


def _retry(clients: Iterable[Retryable]) -> None:
    for client in clients:
        client.retry()
