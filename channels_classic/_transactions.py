"""Transactions that code of a project left open in a thread: what runs there next would write into them, in vain.

`atomic` ends with its block. It stays open when it was entered by hand, or by a context manager that was left behind,
and Django keeps a connection as long as it is in such a block. Autocommit stays off until it is turned on again.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

from django.db import Error, connections


def is_open(connection: Any) -> bool:
    """Return True if a connection is inside `atomic`, or commits otherwise than its settings say."""
    autocommit: bool = connection.settings_dict["AUTOCOMMIT"]
    return bool(
        connection.in_atomic_block or (connection.connection is not None and connection.autocommit != autocommit)
    )


def open_transactions() -> frozenset[str]:
    """Return the databases with an open transaction in this thread."""
    return frozenset(connection.alias for connection in connections.all(initialized_only=True) if is_open(connection))


def roll_back(others: Collection[str] = ()) -> list[str]:
    """Roll back the open transactions of this thread, but for those of `others`; return the databases."""
    ended = [alias for alias in open_transactions() if alias not in others]
    for alias in ended:
        connection = connections[alias]
        connection.in_atomic_block = False
        connection.savepoint_ids.clear()
        connection.atomic_blocks.clear()
        for end in (connection.rollback, connection.close):
            with suppress(Error):  # the connection may be dead, which ends a transaction too
                end()
    return ended
