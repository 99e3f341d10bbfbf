"""Storing delayed messages so that none is lost or sent twice when the database does not take it.

The delay server passes in what it took from `asgi.delay`. A message that the database refused goes back to the
channel, where any delay server can take it. If the channel does not take it either it is kept here.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from django.db import DataError, connections, router, transaction
from django.utils import timezone

from channels_classic.delay.models import DelayedMessage
from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.blame import refusal
from channels_classic.layers.losses import count_loss
from channels_classic.layers.names import DELAY_CHANNEL, check_channel

logger = logging.getLogger("django.channels")


class Storage:
    """The table of delayed messages, for one delay server."""

    def __init__(self, channel_layer: Any) -> None:
        self._layer = channel_layer
        self._is_refusing = False
        self._kept: list[DelayedMessage] = []

    def check(self) -> None:
        """Raise the error of a database that refused a message and still would: then none should be taken."""
        while self._kept:
            message = self._kept[0]
            try:
                if not (self._is_refusing and _is_stored(message)):
                    message.save(force_insert=True)
            except DataError as error:
                # A value does not fit, and will not fit next time either.
                self.drop(message, error)
            self._kept.pop(0)
        if self._is_refusing:
            # By an insert, since a database that is locked or read-only still answers queries.
            with transaction.atomic(using=_alias()):
                DelayedMessage(channel_name=DELAY_CHANNEL, content="{}", delay=0).save()
                transaction.set_rollback(True, using=_alias())
            self._is_refusing = False

    def store(self, message: DelayedMessage) -> None:
        """Store a message. If the database refuses it goes back to the channel, and the error is raised."""
        self._kept.append(message)
        try:
            self.check()
        except Exception:
            self._is_refusing = True
            self._put_back()
            raise

    def keep(self, message: DelayedMessage) -> None:
        """Keep a message that is neither in the table nor on a channel, until `check` can store it."""
        self._is_refusing = True
        self._kept.append(message)

    def drop(self, message: object, reason: object) -> None:
        """Log and count a message that can never be sent."""
        logger.error("Dropped a delayed message: %s Message: %.200s", reason, message)
        count_loss(self._layer, "undecodable", DELAY_CHANNEL)

    def close(self) -> None:
        """Store the messages that are kept, or put them back on the channel; others are lost, logged and counted."""
        try:
            if self._kept:
                self.check()
        except Exception as error:
            logger.debug("Delayed messages cannot be stored: %s", error)
            self._put_back()
        for message in self._kept:
            logger.error("The delayed message for %s is lost: neither the database nor the layer took it.", message)
            count_loss(self._layer, "broker", message.channel_name)
        self._kept.clear()

    def _put_back(self) -> None:
        """Put the messages that are kept back on the channel, with the rest of their delay, if certainly not stored."""
        while self._kept and _is_certain():
            message = self._kept[0]
            try:
                self._layer.send(DELAY_CHANNEL, _as_sent(message))
            except LayerUnavailable as error:
                if not error.written:
                    return
                # It may be there, and must not be sent twice.
                logger.error("The delayed message for %s may be lost: %s", message, error)
                count_loss(self._layer, "broker", message.channel_name)
            except Exception:  # the channel is full, or the layer refuses
                logger.debug("A delayed message could not be put back.", exc_info=True)
                return
            self._kept.pop(0)


def delayed_message(message: dict[str, Any]) -> DelayedMessage:
    """Return the row for a message of `asgi.delay`.

    Raises `ValidationError`, `TypeError`, `ValueError` or `OverflowError` for an invalid one.
    """
    missing = [key for key in ("channel", "content", "delay") if key not in message]
    if missing:
        raise ValueError(f"It has no {' and no '.join(map(repr, missing))}.")
    delay, content = message["delay"], message["content"]
    if isinstance(delay, bool) or not isinstance(delay, (int, float)):
        raise TypeError(f"The delay is {delay!r}: expected milliseconds as a number.")
    if not isinstance(content, dict):
        raise TypeError(f"The content is of type {type(content).__name__}: expected a dict.")
    name = check_channel(message["channel"])
    try:
        text = json.dumps(content)
    except (TypeError, ValueError) as error:  # an earlier release did not look at it when it was sent
        raise TypeError(f"In its content {refusal(content, json.dumps, error)}.") from error
    delayed = DelayedMessage(channel_name=name, content=text, delay=delay)
    delayed.full_clean()
    return delayed


def _as_sent(message: DelayedMessage) -> dict[str, Any]:
    """Return the message of `asgi.delay` that asks for `message`."""
    left = (message.due_date - timezone.now()).total_seconds() * 1000
    return {"channel": message.channel_name, "content": json.loads(message.content), "delay": max(0.0, left)}


def _alias() -> str:
    alias: str = router.db_for_write(DelayedMessage)
    return alias


def _is_certain() -> bool:
    """Return whether the database certainly did not store the row for which it just raised an error.

    That is so when it answered, or there was no connection. When the connection broke, the row may be there.
    """
    connection = connections[_alias()]
    return connection.connection is None or bool(connection.is_usable())


def _is_stored(message: DelayedMessage) -> bool:
    """Return whether the row of a message is there: its time, to the microsecond, is unique."""
    same = {"due_date": message.due_date, "channel_name": message.channel_name, "content": message.content}
    return bool(DelayedMessage.objects.using(_alias()).filter(**same).exists())
