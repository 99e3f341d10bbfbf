"""Clients whose next message waits for room on its channel, or for the layer: per channel, first come, first served.

Retried when a report says that a worker took something, and on a timer. Knows clients only as something to retry.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Protocol

from .timers import Timers

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.2
"""Seconds between two attempts on a channel that stays full."""

MOST_AT_ONCE = 256


class Retryable(Protocol):
    """A client that waits."""

    def retry(self) -> None:
        """Send again what waited, then tell the backlog `passed` or `refused`."""


class _RetryQueue:
    """The clients that wait for one channel."""

    slot: int | None = None

    def __init__(self, may_try: Callable[[], bool]) -> None:
        self.clients: OrderedDict[Retryable, None] = OrderedDict()
        self.trying: set[Retryable] = set()
        self._may_try = may_try
        self._refused = False
        self._number = 1
        self._pause = FIRST_PAUSE

    def due(self, now: float) -> float:
        """Try again; then after a pause that grows while the channel stays full."""
        if not self.clients:
            return float("inf")
        self.retry()
        self._pause = min(self._pause * 1.5, LONGEST_PAUSE)
        return now + self._pause

    def retry(self) -> None:
        """Let the first ones try, unless some still do."""
        if self.trying or not self._may_try():
            return
        self._refused = False
        self.trying = set(islice(self.clients, self._number))
        for client in list(islice(self.clients, self._number)):
            client.retry()

    def callback(self, client: Retryable, accepted: bool) -> None:
        """One that tried has its answer. While nobody is refused, more and more try at once."""
        self.trying.discard(client)
        self._refused = self._refused or not accepted
        if accepted:
            self.clients.pop(client, None)
            self._pause = FIRST_PAUSE
        if self.trying:
            return
        self._number = 1 if self._refused else min(2 * self._number, MOST_AT_ONCE)
        if not self._refused and self.clients:
            self.retry()


class RetryQueues:
    """All lines, by channel. While one waits for a channel, everybody after it waits behind it."""

    def __init__(self, timers: Timers, clock: Callable[[], float], may_try: Callable[[], bool]) -> None:
        self._wheel = timers
        self._clock = clock
        self._may_try = may_try
        self._queues: dict[str, _RetryQueue] = {}

    def must_wait(self, channel: str) -> bool:
        """Whether a message for `channel` has to wait before it is tried at all."""
        return channel in self._queues or not self._may_try()

    def refused(self, channel: str, client: Retryable) -> None:
        """A message of `client` cannot be sent now: it waits at the end, or where it was."""
        line = self._queues.get(channel)
        if line is None:
            line = self._queues[channel] = _RetryQueue(self._may_try)
            self._wheel.schedule(line, self._clock() + FIRST_PAUSE)
        if client in line.clients:
            line.callback(client, accepted=False)
        else:
            line.clients[client] = None

    def passed(self, channel: str, client: Retryable) -> None:
        """The message of `client` was sent, or given up."""
        line = self._queues.get(channel)
        if line is not None and client in line.clients:
            line.callback(client, accepted=True)
            if not line.clients:
                self._wheel.forget(line)
                del self._queues[channel]

    def taken(self, channel: str) -> None:
        """A worker took a message from `channel`: there may be room."""
        line = self._queues.get(channel)
        if line is not None:
            line.retry()

    def retry(self) -> None:
        """The layer is back."""
        for line in list(self._queues.values()):
            line.retry()
