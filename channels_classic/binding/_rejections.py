"""The log of rejected inbound changes: one line for each, without a traceback, and a bounded number of lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError

from channels_classic._throttled_log import ThrottledLog
from channels_classic.utils import name_that_thing

logger = logging.getLogger("django.channels")

REJECTIONS = (ValidationError, IntegrityError, DataError, OverflowError, RecursionError)
"""Errors that clients cause, besides `DoesNotExist` of the model. The driver of SQLite raises `OverflowError` where
others raise `DataError`; JSON that is nested just less deeply than can be read cannot always be written."""


class RejectionLog:
    """Logs the rejected changes of one binding, a bounded number per second and process. Shared by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = ThrottledLog(10, 1.0, clock)

    def add(self, binding: Any, action: Any, pk: Any, error: Exception) -> None:
        """Log why a change was rejected, with escaped control characters, so that no client can start a new line."""
        self._log.warn(
            logger,
            "%s rejected a change: %.500r (action %.40r, primary key %.80r)",
            name_that_thing(binding),
            _reason(error),
            action,
            pk,
        )


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(f"{name}: {' '.join(messages)}" for name, messages in error.message_dict.items())
