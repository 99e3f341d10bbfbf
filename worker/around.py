"""The signals around a consumer, with a short way for the usual case that nobody but this package listens.

Sending both signals costs a tenth of the throughput of a trivial consumer; calling this package's own receivers does
not. Who connects another receiver gets all of them called by Django, as ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from django.db import close_old_connections, connections
from django.db.backends.signals import connection_created
from django.dispatch import Signal

from channels_classic.pending import pending_message_store
from channels_classic.signals import check_connections, consumer_finished, consumer_started

logger = logging.getLogger("django.channels")


_thread = threading.local()


def _has_connected(**kwargs: Any) -> None:
    _thread.may_be_connected = True


connection_created.connect(_has_connected)


def _close_old_connections() -> None:
    """What Django does behind a request, unless this thread is known to have no connection: to find none takes 4 µs."""
    if getattr(_thread, "may_be_connected", True):
        close_old_connections()
        open_ones = (connection.connection is not None for connection in connections.all(initialized_only=True))
        _thread.may_be_connected = any(open_ones)


class _Listeners:
    """Whether only some known receivers would get a signal."""

    def __init__(self, signal: Signal, sender: type, own: list[Callable[..., Any]]) -> None:
        self._signal = signal
        self._sender = sender
        self._own = own
        self._seen: list[Any] = []
        self._are_own = False

    def are_own(self) -> bool:
        """So at this moment; a list is compared, so that it may be asked for each message."""
        if self._signal.receivers != self._seen:
            self._seen = list(self._signal.receivers)
            synchronous, asynchronous = self._signal._live_receivers(self._sender)
            self._are_own = synchronous == self._own and not asynchronous
        return self._are_own


class Around:
    """Sends `consumer_started` and `consumer_finished`, for workers of one class."""

    def __init__(self, sender: type) -> None:
        self._sender = sender
        store = pending_message_store
        self._starting = _Listeners(consumer_started, sender, [check_connections, store.prepare])
        self._finishing = _Listeners(consumer_finished, sender, [close_old_connections, store.flush_after_consumer])

    def start(self) -> None:
        """What comes before a consumer. Raises what a receiver raises."""
        if self._starting.are_own():
            check_connections()
            pending_message_store.prepare()
        else:
            consumer_started.send(sender=self._sender, environ={})

    def finish(self) -> None:
        """What comes behind it; what goes wrong is in the log."""
        try:
            if not self._finishing.are_own():
                consumer_finished.send_robust(sender=self._sender)
                return
            try:
                _close_old_connections()
            finally:
                pending_message_store.flush_after_consumer()
        except BaseException:
            logger.exception("A receiver of consumer_finished failed.")

    async def start_async(self) -> None:
        """The same before a coroutine: receivers are called in a thread, as Django does, if there are others."""
        if not self._starting.are_own():
            await consumer_started.asend(sender=self._sender, environ={})
        pending_message_store.prepare()  # again, because what a thread does to a context stays there

    async def finish_async(self) -> None:
        """The same behind a coroutine. The connections to databases are left to the caller."""
        if not self._finishing.are_own():
            await consumer_finished.asend_robust(sender=self._sender)
        pending_message_store.flush_after_consumer()  # nothing is left when a receiver did it
