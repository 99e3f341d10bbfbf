"""Sends the signals around a consumer, or calls their usual receivers directly."""

from __future__ import annotations

import logging
import threading
from typing import Any

from django.db import close_old_connections, connections
from django.db.backends.signals import connection_created

from channels_classic._pending import pending_message_store
from channels_classic._transactions import open_transactions, roll_back
from channels_classic.signals import check_connections, consumer_finished, consumer_started

logger = logging.getLogger("channels_classic.worker")

_thread = threading.local()


def _note_connection(**kwargs: Any) -> None:
    _thread.may_be_connected = True


connection_created.connect(_note_connection)


def check_old_connections() -> None:
    """Call Django's `close_old_connections`, unless this thread has no open connection: finding none takes 4 µs."""
    if getattr(_thread, "may_be_connected", True):
        close_old_connections()
        open_ones = (connection.connection is not None for connection in connections.all(initialized_only=True))
        _thread.may_be_connected = any(open_ones)


class ConsumerHooks:
    """Sends `consumer_started` and `consumer_finished`, for workers of one class."""

    def __init__(self, sender: type) -> None:
        self._sender = sender
        self._transactions: frozenset[str] = frozenset()

    def enter_thread(self) -> None:
        """Record the transactions that are open around this worker, as in tests: they do not belong to a consumer."""
        self._transactions = open_transactions()

    def check_thread(self) -> None:
        """Roll back transactions that are open in this thread, and close old connections; no consumer uses it now."""
        self._end_transactions()
        close_old_connections()

    def start(self) -> None:
        """Do what comes before a consumer. Raises what a receiver raises."""
        if consumer_started.has_usual_receivers:
            check_connections()
            pending_message_store.prepare()
        else:
            consumer_started.send(sender=self._sender, environ={})

    def finish(self) -> None:
        """Do what comes after a consumer; errors are logged."""
        try:
            if getattr(_thread, "may_be_connected", True):
                self._end_transactions()
            if not consumer_finished.has_usual_receivers:
                consumer_finished.send_robust(sender=self._sender)
                self._end_transactions()  # of receivers
                return
            try:
                check_old_connections()
            finally:
                pending_message_store.flush_after_consumer()
        except BaseException:
            logger.exception("A receiver of consumer_finished failed.")

    def _end_transactions(self) -> None:
        for alias in roll_back(self._transactions):
            logger.error("A consumer left a transaction of the database %r open: it was rolled back.", alias)

    async def start_async(self) -> None:
        """Do what comes before a coroutine; as in Django, synchronous receivers are called in a thread."""
        # First: context variables that are set in the thread of the receivers stay there, and so would what they send.
        pending_message_store.prepare()
        if not consumer_started.has_usual_receivers:
            await consumer_started.asend(sender=self._sender, environ={})

    async def finish_async(self) -> None:
        """Do what comes after a coroutine. Checking database connections is left to the caller."""
        if not consumer_finished.has_usual_receivers:
            await consumer_finished.asend_robust(sender=self._sender)
        pending_message_store.flush_after_consumer()  # does nothing if a receiver has flushed
