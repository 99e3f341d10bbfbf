"""Signals around consumers and workers; the worker and the test client send them.

Database connections are checked before and after every consumer, as Django does around requests.
"""

from __future__ import annotations

from typing import Any

from django.db import close_old_connections, connections
from django.dispatch import Signal

consumer_started = Signal()
consumer_finished = Signal()
worker_ready = Signal()
worker_process_ready = Signal()


def _check_connections(**kwargs: Any) -> None:
    """Close what is unusable or too old before a consumer runs: a worker may have waited for hours.

    A connection inside a transaction is left alone: outside tests none is, and closing it would break the test.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


consumer_started.connect(_check_connections)
# The function itself, because test code written for 1.x disconnects it by name.
consumer_finished.connect(close_old_connections)
