"""Signals around consumers and workers; the worker and the test client send them.

Their first receivers check database connections around consumers, as Django does around requests.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import close_old_connections, connections
from django.dispatch import Signal

# Without `use_caching`: it would save half a microsecond, but refuse `sender=None`, which tests of 1.x projects send.
consumer_started = Signal()
consumer_finished = Signal()
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


consumer_started.connect(check_connections)
# Django's function itself, because tests written for 1.x disconnect it by name.
consumer_finished.connect(close_old_connections)
