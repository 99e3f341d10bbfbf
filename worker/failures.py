"""Reports a failed consumer: one log entry, and the signal that error trackers listen to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from channels_classic.message import Message
from channels_classic.signals import consumer_failed
from channels_classic.utils import name_that_thing

if TYPE_CHECKING:
    from .worker import Worker

logger = logging.getLogger("django.channels")


def consumer_has_failed(
    worker: Worker, consumer: object, message: Message, error: BaseException, duration: float, where: str = ""
) -> None:
    """Log the failure and send `consumer_failed`. `where` is the stack of a consumer that still runs."""
    log_failure(consumer, message, error, duration, where)
    consumer_failed.send_robust(
        sender=type(worker), message=message, consumer=consumer, exception=error, duration=duration
    )


def log_failure(consumer: object, message: Message, error: BaseException, duration: float, where: str = "") -> None:
    """Log channel, consumer, duration and traceback of a failure."""
    logger.error(
        "The consumer %s of %s failed after %.3f s.%s",
        name_that_thing(consumer),
        message.channel.name,
        duration,
        f" {error}\n{where}" if where else "",
        exc_info=None if where else error,
    )
