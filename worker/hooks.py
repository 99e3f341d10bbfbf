"""Sends the signals around a consumer, or calls their usual receivers directly."""

from __future__ import annotations

import logging

from django.db import close_old_connections

from channels_classic._pending import pending_message_store
from channels_classic.listeners import Listeners, check_old_connections
from channels_classic.signals import check_connections, consumer_finished, consumer_started

logger = logging.getLogger("channels_classic.worker")


class ConsumerHooks:
    """Sends `consumer_started` and `consumer_finished`, for workers of one class."""

    def __init__(self, sender: type) -> None:
        self._sender = sender
        store = pending_message_store
        self._starting = Listeners(consumer_started, sender, [check_connections, store.prepare])
        self._finishing = Listeners(consumer_finished, sender, [close_old_connections, store.flush_after_consumer])

    def start(self) -> None:
        """Do what comes before a consumer. Raises what a receiver raises."""
        if self._starting.are_usual():
            check_connections()
            pending_message_store.prepare()
        else:
            consumer_started.send(sender=self._sender, environ={})

    def finish(self) -> None:
        """Do what comes after a consumer; errors are logged."""
        try:
            if not self._finishing.are_usual():
                consumer_finished.send_robust(sender=self._sender)
                return
            try:
                check_old_connections()
            finally:
                pending_message_store.flush_after_consumer()
        except BaseException:
            logger.exception("A receiver of consumer_finished failed.")

    async def start_async(self) -> None:
        """Do what comes before a coroutine; as in Django, synchronous receivers are called in a thread."""
        # First: context variables that are set in the thread of the receivers stay there, and so would what they send.
        pending_message_store.prepare()
        if not self._starting.are_usual():
            await consumer_started.asend(sender=self._sender, environ={})

    async def finish_async(self) -> None:
        """Do what comes after a coroutine. Checking database connections is left to the caller."""
        if not self._finishing.are_usual():
            await consumer_finished.asend_robust(sender=self._sender)
        pending_message_store.flush_after_consumer()  # does nothing if a receiver has flushed
