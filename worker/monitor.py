"""The watchdog beside the worker threads of a process: it sees to it that one slow consumer delays nobody else.

Messages that wait behind a slow consumer go back to the head of their channel, for any worker that has time; clients
whose consumer runs long are told that it still runs. It shares the batches with the worker threads, nothing else, and
sleeps while they are idle.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.delivery import Delivery, Report
from channels_classic.layers.names import inbox_of
from channels_classic.layers.steps import PutBack
from channels_classic.worker.batch import Batch
from channels_classic.worker.pipeline import Outage, Pipeline

logger = logging.getLogger("django.channels")

HAND_BACK = 0.02
"""Seconds after which a consumer is so slow that the messages behind it are handed back."""

STILL_RUNNING = 3.0
"""Seconds, at most, between reports that a consumer still runs, which keep the gate of its client waiting."""

_TICK = 0.005
"""Seconds between looks at batches with messages that wait: what `HAND_BACK` may be late by."""

PACE = 1.0
"""Seconds between looks at consumers with nothing behind them."""


@dataclass(slots=True)
class _Watched:
    batch: Batch
    since: float | None = None
    reported: float = 0.0


class Monitor:
    """One thread; `add`, `remove` and `attend` may be called from any other."""

    def __init__(self, layer: BaseChannelLayer, outage: Outage) -> None:
        self._layer = layer
        self._watched: dict[int, _Watched] = {}
        self._news = threading.Event()
        self._interval: float | None = None
        self._stopped = False
        self._pipeline = Pipeline(layer, outage)
        self._thread = threading.Thread(target=self._watch, name="worker-monitor", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, which writes what it still has."""
        self._stopped = True
        self._pipeline.stop()
        self._news.set()
        self._thread.join()

    def add(self, batch: Batch) -> None:
        """Watch a batch."""
        self._watched[id(batch)] = _Watched(batch)

    def remove(self, batch: Batch) -> None:
        """Watch a batch no longer."""
        self._watched.pop(id(batch), None)

    def attend(self, messages: int) -> None:
        """A batch was filled with so many messages: be awake. Costs next to nothing when awake enough already."""
        interval = self._interval
        if interval is None or (messages > 1 and interval > _TICK):
            self._news.set()

    def _watch(self) -> None:
        while not self._stopped:
            # Not a number while looking: who fills a batch after it was looked at must find that nobody is awake.
            self._interval = None
            interval: float | None = PACE
            try:
                interval = self._look(time.monotonic())
            except Exception:
                logger.exception("The monitor of the worker failed; it goes on.")
            self._interval = interval
            if self._news.wait(interval):
                self._news.clear()
        self._pipeline.finish([])

    def _look(self, now: float) -> float | None:
        """See to every batch → seconds until the next look, None when all are idle."""
        interval: float | None = None
        for watched in list(self._watched.values()):
            deliveries, endings = watched.batch.surrender(now - HAND_BACK)
            self._pipeline.owe(put_back(self._layer, deliveries))
            if endings:
                self._pipeline.send(endings)
            running, since = watched.batch.running()
            if since is not None:
                interval = _TICK if watched.batch.holds or interval == _TICK else PACE
                self._say_still_running(watched, running, since, now)
        if self._pipeline.is_busy:
            self._pipeline.send([])  # what it owes
            self._pipeline.settle()
        return _TICK if self._pipeline.is_busy else interval

    def _say_still_running(self, watched: _Watched, running: Delivery | None, since: float, now: float) -> None:
        if since != watched.since:
            watched.since = watched.reported = since
        if running is None or now - watched.reported < STILL_RUNNING - PACE:
            return
        watched.reported = now
        if running.token is not None and running.reply_channel is not None:
            self._pipeline.owe([Report(running.reply_channel, running.token, Outcome.RUNNING)])


def put_back(layer: BaseChannelLayer, deliveries: Sequence[Delivery]) -> list[Report]:
    """Put messages nobody has started back to the head of their channel.

    If that fails they are lost, and counted: then there are reports to send.
    """
    if not deliveries:
        return []
    queue = inbox_of(deliveries[0].channel)
    error: Exception | None
    try:
        (result,) = layer.run([PutBack(queue, [delivery.item for delivery in deliveries])])
        error = result if isinstance(result, StepRefused) else None
    except LayerUnavailable as unavailable:
        error = unavailable
    if error is None:
        logger.debug("%d messages of %s were handed back behind a slow consumer.", len(deliveries), queue)
        return []
    logger.error("Messages of %s could not be handed back: %s", queue, error)
    layer.losses.count("broker", queue, len(deliveries))
    return [
        Report(delivery.reply_channel, delivery.token, Outcome.DROPPED)
        for delivery in deliveries
        if delivery.reply_channel is not None and delivery.token is not None
    ]
