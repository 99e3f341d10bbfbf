"""Signals around consumers and workers; the worker and the test client send them.

Their first receivers check database connections around consumers, as Django does around requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import close_old_connections, connections
from django.dispatch import Signal


class _ConsumerSignal(Signal):
    """A signal that knows whether any but its usual receivers are connected.

    The signals around consumers are sent for each message, and hardly any project connects a receiver. While only the
    usual receivers are connected, a sender may call these directly, in order, which saves a tenth of a short consumer.
    """

    def __init__(self) -> None:
        # Without `use_caching`: it would save half a microsecond, but refuse `sender=None`, which tests of 1.x projects
        # send.
        super().__init__()
        self._usual: list[Any] = []

    @property
    def has_usual_receivers(self) -> bool:
        """True if exactly the usual receivers are connected, in whatever order."""
        if self.receivers == self._usual:
            return True
        # The test clients disconnect one for a moment, which puts it last.
        return len(self.receivers) == len(self._usual) and all(entry in self._usual for entry in self.receivers)

    def connect_usual(self, receiver: Callable[..., Any]) -> None:
        """Connect a receiver that senders may call directly."""
        self.connect(receiver)
        self._usual.append(self.receivers[-1])


consumer_started = _ConsumerSignal()
consumer_finished = _ConsumerSignal()
consumer_failed = Signal()
"""Arguments: `message`, `consumer`, `exception`, and `duration` in seconds. Sent while the exception is handled, before
`consumer_finished`, as `got_request_exception` is for requests."""
worker_ready = Signal()
worker_process_ready = Signal()


_CHECK_INTERVAL = 1
"""Seconds between checks; `CONN_MAX_AGE` is in seconds too, and connections are checked after every consumer anyway."""

_thread = threading.local()


def check_connections(**kwargs: Any) -> None:
    """Close unusable or too old connections before a consumer runs: a worker may have waited for hours.

    Connections inside a transaction are left alone: there are none except in tests, which closing would break.
    """
    now = time.monotonic()
    if now < getattr(_thread, "next_check", 0):
        return
    _thread.next_check = now + _CHECK_INTERVAL
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


consumer_started.connect_usual(check_connections)
# Django's function itself, because tests written for 1.x disconnect it by name.
consumer_finished.connect_usual(close_old_connections)
