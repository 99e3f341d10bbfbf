"""The log of rejected inbound changes: one line for each, without a traceback, and a bounded number of lines."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError

from channels_classic.utils import name_that_thing

logger = logging.getLogger("django.channels")

REJECTIONS = (ValidationError, IntegrityError, DataError, OverflowError)
"""Errors that clients cause, besides ``DoesNotExist`` of the model. The driver of SQLite raises ``OverflowError`` where
others raise ``DataError``."""

LINES_PER_SECOND = 10
"""Most lines per binding and process. The next line says how many were omitted."""


class RejectionLog:
    """Logs the rejected changes of one binding. Shared by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._second = 0
        self._lines = 0
        self._omitted = 0

    def add(self, binding: Any, action: Any, pk: Any, error: Exception) -> None:
        """Log why a change was rejected, with escaped control characters, so that no client can start a new line."""
        omitted = self._take(int(self._clock()))
        if omitted is None:
            return
        logger.warning(
            "%s rejected a change: %.500r (action %.40r, primary key %.80r)%s",
            name_that_thing(binding),
            _reason(error),
            action,
            pk,
            f"; {omitted} more were not logged before" if omitted else "",
        )

    def _take(self, second: int) -> int | None:
        """Return how many lines were omitted before this one, or ``None`` if this one is to be omitted."""
        with self._lock:
            if second != self._second:
                self._second, self._lines = second, 0
            if self._lines == LINES_PER_SECOND:
                self._omitted += 1
                return None
            self._lines += 1
            omitted, self._omitted = self._omitted, 0
            return omitted


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items())
