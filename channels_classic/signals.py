"""Signals around consumers and workers; the worker and the test client send them.

Database connections are checked around consumers, as Django does around requests.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import close_old_connections, connections
from django.dispatch import Signal

# Without `use_caching`, which saves half a microsecond and refuses `sender=None`, as tests of 1.x projects send them.
consumer_started = Signal()
consumer_finished = Signal()
consumer_failed = Signal()
"""Arguments: `message`, `consumer`, `exception`, and `duration` in seconds. Sent while the exception is handled, before
`consumer_finished`, as `got_request_exception` is for requests."""
worker_ready = Signal()
worker_process_ready = Signal()


_CHECK_INTERVAL = 1
"""Seconds; `CONN_MAX_AGE` counts in seconds too, and connections are checked after every consumer anyway."""

_thread = threading.local()


def check_connections(**kwargs: Any) -> None:
    """Close what is unusable or too old before a consumer runs: a worker may have waited for hours.

    A connection inside a transaction is left alone: outside tests none is, and closing it would break the test.
    """
    now = time.monotonic()
    if now < getattr(_thread, "next_check", 0):
        return
    _thread.next_check = now + _CHECK_INTERVAL
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


consumer_started.connect(check_connections)
# The function itself, because test code written for 1.x disconnects it by name.
consumer_finished.connect(close_old_connections)
