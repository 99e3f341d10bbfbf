"""Sends that wait until a database transaction is committed.

Django keeps what is to be called, and forgets what belongs to a savepoint or transaction that is rolled back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from django.db import transaction

from channels_classic.layers.losses import count_loss, kind_of

logger = logging.getLogger("django.channels")


class _Sender(Protocol):
    name: str
    channel_layer: Any


def call_on_commit(function: Callable[[], None], using: str | None) -> bool:
    """Call `function` when the open transaction on a database is committed. Return False if none is open.

    A connection that was not made yet has no transaction, and is not made for this. Raises
    `TransactionManagementError`, as Django does, for a connection that is without autocommit and outside of `atomic`.
    """
    connection = transaction.get_connection(using)
    if not connection.in_atomic_block and (connection.connection is None or connection.autocommit):
        return False
    connection.on_commit(function)
    return True


def report_errors(sender: _Sender, send: Callable[[], None]) -> Callable[[], None]:
    """Return a function that sends, and logs and counts an error: the data is committed, so the caller must go on."""

    def send_after_commit() -> None:
        try:
            send()
        except Exception as error:
            logger.exception("Lost a message for %s, which was to be sent after a commit: %s", sender.name, error)
            count_loss(sender.channel_layer, kind_of(error), sender.name)

    return send_after_commit
