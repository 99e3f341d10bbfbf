"""Fresh contexts for messages, so that none leaves a trace in the next.

Threads of workers consume one message after another, and most of what code sets "for this request" lives in context
variables: Django's active language, time zone, script prefix and URLconf, the scopes of error trackers, the bound
values of structured logs. So each message runs in a context of its own, which begins as the settings say.

What belongs to a thread stays with it, as under any other server: database connections, which Django keeps by thread,
and caches, which it keeps in context variables and which are therefore made before the contexts are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import Context
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.urls import set_script_prefix


class MessageContexts:
    """Makes contexts for the messages of the calling thread. Copying a context takes constant time."""

    def __init__(self, keep_caches: bool = True) -> None:
        self._template = Context()
        self._template.run(_configure, keep_caches)

    def new(self) -> Context:
        """Return a context in which no message has run."""
        return self._template.copy()

    @contextmanager
    def inside(self, manager: AbstractContextManager[Any]) -> Iterator[None]:
        """Inside the block, new contexts are as if they were entered inside `manager`."""
        self._template.run(manager.__enter__)
        try:
            yield
        finally:
            self._template.run(manager.__exit__, None, None, None)


def _configure(keep_caches: bool) -> None:
    # As `django.setup` does for the main thread alone.
    set_script_prefix(settings.FORCE_SCRIPT_NAME or "/")
    for alias in settings.CACHES if keep_caches else ():
        with suppress(Exception):  # a cache that cannot be made fails where it is used
            caches[alias]
