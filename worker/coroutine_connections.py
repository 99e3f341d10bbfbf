"""Checks the database connections of coroutines, which share those of one thread.

What they call through `sync_to_async` runs there, one function after another. So a transaction that is open between two
functions belongs to none: it would take the rows of other coroutines with it. It is rolled back when the next coroutine
begins or ends. The check is handed to the same thread, and not awaited: it precedes whatever comes next there.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.signals import connection_created

from channels_classic._transactions import is_open

from .hooks import ConsumerHooks

CHECK_INTERVAL = 1.0
"""Seconds between two checks of the age of connections; those of synchronous consumers are checked each time."""

_owner: ContextVar[CoroutineConnections] = ContextVar("_owner")


class CoroutineConnections:
    """The connections that coroutines of one event loop have made; all methods are called on it."""

    def __init__(self, hooks: ConsumerHooks, clock: Callable[[], float]) -> None:
        self._hooks = hooks
        self._clock = clock
        self._made: list[weakref.ref[Any]] = []
        self._checked = clock()
        self._timer: asyncio.TimerHandle | None = None

    async def begin(self) -> None:
        """Check before a coroutine, in its context; from then on its connections are noted."""
        _owner.set(self)
        if self._are_left_open() or (self._made and self._clock() - self._checked >= CHECK_INTERVAL):
            self._check()
            await asyncio.sleep(0)  # the check is handed over first

    def end(self) -> None:
        """Check after a coroutine, and once more when none has begun for a while."""
        if self._are_left_open():
            self._check()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(CHECK_INTERVAL, self._check)

    def note(self, connection: Any) -> None:
        """From any thread: remember a connection that a coroutine made."""
        made = [ref for ref in self._made if ref() is not None]
        if not any(ref() is connection for ref in made):
            self._made = [*made, weakref.ref(connection)]

    def _are_left_open(self) -> bool:
        # True also while a function is inside a transaction: the check waits for its end, and finds nothing.
        return any(connection is not None and is_open(connection) for connection in [ref() for ref in self._made])

    def _check(self) -> None:
        self._checked = self._clock()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        check = asyncio.ensure_future(sync_to_async(self._check_thread)())
        check.add_done_callback(asyncio.Future.exception)  # retrieved: an unreachable database fails no consumer

    def _check_thread(self) -> None:
        self._hooks.check_thread()
        for connection in connections.all(initialized_only=True):
            self.note(connection)  # one that was made before the first coroutine


def _note(connection: Any, **kwargs: Any) -> None:
    owner = _owner.get(None)
    if owner is not None:
        owner.note(connection)


connection_created.connect(_note)
