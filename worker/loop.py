"""The hot loop of one worker thread: take a few messages, run their consumers, write what they send, and again.

In come messages from the layer's lists, out go replies and reports. One write per step: what the last consumer of a
batch sent and the next take travel together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from channels_classic.layers import rng
from channels_classic.layers.base import BLOCK, BaseChannelLayer
from channels_classic.layers.steps import Take
from channels_classic.message import pending_message_store

from .batch import Batch
from .connection import Pipeline
from .runner import Consumption
from .runtime import Shared
from .watchdog import HAND_BACK, put_back

if TYPE_CHECKING:
    from .worker import Worker

logger = logging.getLogger("django.channels")

_AGAIN = 0.05
"""Seconds, at most, until a channel whose limit was reached is listened to again.

A thread that has just finished does so at once; only when coroutines of the channel end does this count.
"""


class Loop:
    """Runs one worker thread until its worker is `termed`."""

    def __init__(self, worker: Worker, channels: Sequence[str], shared: Shared) -> None:
        self._worker = worker
        self._channels = list(channels)
        self._monitor = shared.monitor
        self._record = shared.record
        self._recycling = shared.recycling
        self._limits = shared.limits
        self._layer: BaseChannelLayer = worker.channel_layer.channel_layer
        self._batch = Batch()
        self._pipeline = Pipeline(self._layer, shared.outage, shared.record, on_away=self._batch.pause)
        self._consumption = Consumption(worker, shared.new_statistics(), shared.coroutines)
        self._count = 1  # until it is known that consumers are fast

    def run(self) -> None:
        """Consume until the worker is `termed`, which is read once before each take; what was taken is finished."""
        self._monitor.add(self._batch, self._consumption)
        try:
            with pending_message_store.deliver_with(self._consumption.deliver):
                while not self._worker.termed:
                    self._take()
                    self._work()
        finally:
            self._worker.in_job = False
            self._monitor.remove(self._batch)
            self._pipeline.owe(put_back(self._layer, self._record, self._batch.abandon()))
            self._pipeline.finish(self._batch.ended())

    def stop(self) -> None:
        """From any thread: end a take that waits."""
        self._pipeline.stop()

    def _take(self) -> None:
        """Write what the last consumers sent and fill the batch, in one step."""
        rng.shuffle(self._channels)  # an earlier one wins
        step = Take(self._channels, self._count, BLOCK)
        if self._limits.any:
            channels = self._limits.open(self._channels, _AGAIN)
            if not channels:
                self._pipeline.send(self._batch.ended())
                return self._pipeline.settle()
            if len(channels) < len(self._channels):
                step = Take(channels, self._count, _AGAIN)
        taken = self._pipeline.take(step, self._batch.ended())
        if taken is not None:
            deliveries, reports = self._layer.open(taken)
            self._pipeline.owe(reports)
            self._record.hold(deliveries)
            self._batch.fill(deliveries)
            self._monitor.attend(len(deliveries))
        self._pipeline.retry()

    def _work(self) -> None:
        """Run the consumers of the batch. What they send is written behind each, or together when they are fast."""
        self._consumption.verbose = logger.isEnabledFor(logging.DEBUG)
        started = time.monotonic()
        consumed = 0
        while (delivery := self._batch.start()) is not None:
            if self._limits.any and not self._limits.acquire(delivery.channel):
                unstarted = [delivery, *self._batch.abandon()]
                self._pipeline.owe(put_back(self._layer, self._record, unstarted))
                break
            self._worker.in_job = True
            ending = self._consumption.consume(delivery)
            self._worker.in_job = False
            consumed += 1
            if ending is None:
                self._batch.hand_over()
                continue
            if self._limits.any:
                self._limits.release(delivery.channel)
            if self._batch.end(ending):
                self._pipeline.send(self._batch.ended())
            if ending.interrupt is not None:
                raise ending.interrupt
        if consumed:
            self._recycling.consumed(consumed)
            mean = (time.monotonic() - started) / consumed
            self._count = batch_size(mean, self._worker.prefetch)


def batch_size(duration: float, prefetch: int) -> int:
    """How many messages to take when one lately took `duration` seconds: what is done before the monitor steps in."""
    return max(1, min(prefetch, int(HAND_BACK / max(duration, 1e-6))))
