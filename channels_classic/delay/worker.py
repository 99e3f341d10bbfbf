"""The delay server: takes messages off the channel ``asgi.delay``, stores them, and sends each when its time comes.

A message there is ``{"channel": name, "content": {…}, "delay": milliseconds}``; the delay counts from when it is taken.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.exceptions import ValidationError

from channels_classic.delay.models import DelayedMessage
from channels_classic.layers.names import check_channel
from channels_classic.signals import check_connections

__all__ = ["Worker"]

logger = logging.getLogger("django.channels")

CHANNEL = "asgi.delay"

_PAUSE = 0.1
"""Seconds between two looks at an empty channel."""

_AT_ONCE = 100
"""Rows that are read together."""

_PAUSE_AFTER_FAILURE = 1.0
"""Seconds until the next attempt when the layer or the database is away."""


class Worker:
    """Stores and sends delayed messages, in the calling thread.

    What is due is looked for every ``database_sleep_duration`` seconds. ``termed`` ends ``run``; with
    ``signal_handlers`` SIGTERM and SIGINT set it. ``in_job`` tells that a message is being stored or sent. Several
    workers may share a database: each message is sent by the one that deletes its row.
    """

    def __init__(self, channel_layer: Any, signal_handlers: bool = True, database_sleep_duration: float = 1) -> None:
        self.channel_layer = channel_layer
        self.signal_handlers = signal_handlers
        self.database_sleep_duration = database_sleep_duration
        self.termed = False
        self.in_job = False

    def install_signal_handler(self) -> None:
        """Let SIGTERM and SIGINT end ``run``; in the main thread only."""
        signal.signal(signal.SIGTERM, self.sigterm_handler)
        signal.signal(signal.SIGINT, self.sigterm_handler)

    def sigterm_handler(self, signo: int, stack_frame: FrameType | None) -> None:
        """What those signals call: nothing that was taken is lost."""
        self.termed = True
        logger.info("Shutdown signal received%s", ": finishing what was taken" if self.in_job else "")

    def run(self) -> None:
        """Store and send until ``termed``; may be called again afterwards.

        Failures of the layer and the database are logged and do not end it; a message taken while the database is away
        is lost.
        """
        logger.info("Listening on %s", CHANNEL)
        last_check = -math.inf
        with self._signals():
            while not self.termed:
                try:
                    check_connections()
                    self._store_next()
                    if time.monotonic() - last_check > self.database_sleep_duration:
                        self._send_due()
                        last_check = time.monotonic()
                except Exception:
                    logger.exception("The delay server failed; it goes on.")
                    time.sleep(_PAUSE_AFTER_FAILURE)
                self.in_job = False

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Inside the block signals are caught, if they are to be."""
        if not self.signal_handlers or threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        self.install_signal_handler()
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _store_next(self) -> None:
        """Store the next message, if there is one; a bad one is logged and skipped."""
        _, message = self.channel_layer.receive([CHANNEL], block=False)
        if message is None:
            time.sleep(_PAUSE)
            return
        self.in_job = True
        try:
            delayed = delayed_message(message)
        except (TypeError, ValueError, OverflowError, ValidationError) as error:
            logger.error("Invalid message on %s, which is dropped: %s Message: %.200r", CHANNEL, error, message)
            return
        delayed.save()

    def _send_due(self) -> None:
        """Send what is due, oldest first."""
        due = DelayedMessage.objects.is_due().order_by("due_date", "pk")
        while messages := list(due[:_AT_ONCE]):
            for message in messages:
                self._send(message)
        logger.debug("No more delayed messages are due")

    def _send(self, message: DelayedMessage) -> None:
        self.in_job = True
        logger.info("Sending the delayed message %s for %s", message.pk, message.channel_name)
        try:
            message.send(channel_layer=self.channel_layer)
        except (TypeError, ValueError) as error:
            # It will be no better the next time, and would keep all others waiting.
            logger.error("The delayed message for %s cannot be sent and is dropped: %s", message, error)
            message.delete()


def delayed_message(message: dict[str, Any]) -> DelayedMessage:
    """What is to be stored for a message of ``asgi.delay``. Raises what says why nothing can be: ``ValidationError``,
    ``TypeError``, ``ValueError``, ``OverflowError``."""
    missing = [key for key in ("channel", "content", "delay") if key not in message]
    if missing:
        raise ValueError(f"It has no {' and no '.join(map(repr, missing))}.")
    delay, content = message["delay"], message["content"]
    if isinstance(delay, bool) or not isinstance(delay, (int, float)):
        raise TypeError(f"The delay is {delay!r}: expected milliseconds as a number.")
    if not isinstance(content, dict):
        raise TypeError(f"The content is of type {type(content).__name__}: expected a dict.")
    name = check_channel(message["channel"])
    delayed = DelayedMessage(channel_name=name, content=json.dumps(content), delay=delay)
    delayed.full_clean()
    return delayed
