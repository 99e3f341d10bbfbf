"""The table of delayed messages."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from django.db import models
from django.utils import timezone

from channels_classic.asgi import channel_layers
from channels_classic.channel import Channel
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.losses import count_loss

__all__ = ["DelayedMessage", "DelayedMessageQuerySet"]


class DelayedMessageQuerySet(models.QuerySet["DelayedMessage"]):
    """Delayed messages."""

    def is_due(self) -> DelayedMessageQuerySet:
        """Return the messages that are due."""
        due: DelayedMessageQuerySet = self.filter(due_date__lte=timezone.now())
        return due


class DelayedMessage(models.Model):
    """A message for `channel_name` with `content` in JSON, to be sent at `due_date`.

    Setting `delay`, in milliseconds, also as an argument, sets `due_date` to that long from now. Reading it before
    raises `AttributeError`: it is not stored.
    """

    lost_its_row: bool = False
    """True if `send` did not send and could not restore the row that it had deleted: save the message again."""

    due_date: models.DateTimeField[datetime, datetime] = models.DateTimeField(db_index=True)
    channel_name: models.CharField[str, str] = models.CharField(max_length=512)
    content: models.TextField[str, str] = models.TextField()

    objects = DelayedMessageQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.channel_name} at {self.due_date}"

    @property
    def delay(self) -> float:
        """The milliseconds from when it was set until `due_date`."""
        return self._delay

    @delay.setter
    def delay(self, milliseconds: float) -> None:
        self._delay = milliseconds
        self.due_date = timezone.now() + timedelta(milliseconds=milliseconds)

    def send(self, channel_layer: Any = None, requeue_delay: float = 1000) -> bool:
        """Send the message now, on the layer given or the default one, unless another process has sent it.

        Returns whether this call sent it. The row is deleted before: a crash in between loses the message, and it is
        never sent twice. If it was certainly not sent the row is written back, for another attempt after
        `requeue_delay` milliseconds where the channel is full, or the layer refuses it, which is raised. If it is
        unknown whether it was sent, the message is lost and counted. Raises `ValueError` for content that is not JSON,
        and the error of the database: `lost_its_row` is true if the row could not be written back.
        """
        layer = channel_layer or channel_layers[DEFAULT_CHANNEL_LAYER]
        content = json.loads(self.content)
        if not self._claim():
            return False
        try:
            Channel(self.channel_name, channel_layer=layer).send(content, immediately=True)
        except (layer.ChannelFull, StepRefused) as error:
            self.delay = requeue_delay
            self._write_back()
            if isinstance(error, StepRefused):
                raise
            return False
        except Exception as error:
            if isinstance(error, LayerUnavailable) and error.written:
                count_loss(layer, "broker", self.channel_name)
            else:
                self._write_back()
            raise
        return True

    def _claim(self) -> bool:
        """Delete the row. Return whether it was still there: of several senders one gets it."""
        deleted: int = type(self).objects.using(self._state.db).filter(pk=self.pk).delete()[0]
        return deleted > 0

    def _write_back(self) -> None:
        self.lost_its_row = True
        self.save(force_insert=True)
        self.lost_its_row = False
