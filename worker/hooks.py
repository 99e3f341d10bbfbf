"""The signals around a consumer, or what their usual receivers would do."""

from __future__ import annotations

import logging

from django.db import close_old_connections

from channels_classic._pending import pending_message_store
from channels_classic.listeners import Listeners, check_old_connections
from channels_classic.signals import check_connections, consumer_finished, consumer_started

logger = logging.getLogger("django.channels")


class ConsumerHooks:
    """Sends `consumer_started` and `consumer_finished`, for workers of one class."""

    def __init__(self, sender: type) -> None:
        self._sender = sender
        store = pending_message_store
        self._starting = Listeners(consumer_started, sender, [check_connections, store.prepare])
        self._finishing = Listeners(consumer_finished, sender, [close_old_connections, store.flush_after_consumer])

    def start(self) -> None:
        """What comes before a consumer. Raises what a receiver raises."""
        if self._starting.are_usual():
            check_connections()
            pending_message_store.prepare()
        else:
            consumer_started.send(sender=self._sender, environ={})

    def finish(self) -> None:
        """What comes behind it; what goes wrong is in the log."""
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
        """The same before a coroutine: receivers are called in a thread, as Django does, if there are others."""
        if not self._starting.are_usual():
            await consumer_started.asend(sender=self._sender, environ={})
        pending_message_store.prepare()  # again, because what a thread does to a context stays there

    async def finish_async(self) -> None:
        """The same behind a coroutine. The connections to databases are left to the caller."""
        if not self._finishing.are_usual():
            await consumer_finished.asend_robust(sender=self._sender)
        pending_message_store.flush_after_consumer()  # nothing is left when a receiver did it
