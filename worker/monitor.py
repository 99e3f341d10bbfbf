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

logger = logging.getLogger("django.channels")

HAND_BACK = 0.02
"""Seconds after which a consumer is so slow that the messages behind it are handed back."""

STILL_RUNNING = 3.0
"""Seconds between reports that a consumer still runs, which keep the gate of its client waiting."""

_TICK = 0.005
"""Seconds between looks at batches with messages that wait: what `HAND_BACK` may be late by."""

_PACE = 1.0
"""Seconds between looks at consumers with nothing behind them."""


@dataclass(slots=True)
class _Watched:
    batch: Batch
    since: float | None = None
    reported: float = 0.0


class Monitor:
    """One thread; `add`, `remove`, `attend` and `put_back` may be called from any other."""

    def __init__(self, layer: BaseChannelLayer) -> None:
        self._layer = layer
        self._watched: dict[int, _Watched] = {}
        self._news = threading.Event()
        self._interval: float | None = None
        self._stopped = False
        self._owed: list[Report] = []
        self._thread = threading.Thread(target=self._watch, name="worker-monitor", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._news.set()
        self._thread.join(timeout=_PACE)

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
            interval: float | None = _PACE
            try:
                interval = self._look(time.monotonic())
            except Exception:
                logger.exception("The monitor of the worker failed; it goes on.")
            self._interval = interval
            if self._news.wait(interval):
                self._news.clear()

    def _look(self, now: float) -> float | None:
        """See to every batch → seconds until the next look, None when all are idle."""
        interval = _PACE if self._owed else None
        for watched in list(self._watched.values()):
            self.put_back(watched.batch.surrender(now - HAND_BACK))
            running, since = watched.batch.running()
            if since is None:
                continue
            interval = _TICK if len(watched.batch) or interval == _TICK else _PACE
            self._say_still_running(watched, running, since, now)
        self._report([])
        return interval

    def _say_still_running(self, watched: _Watched, running: Delivery | None, since: float, now: float) -> None:
        if since != watched.since:
            watched.since = watched.reported = since
        if running is None or now - watched.reported < STILL_RUNNING - _PACE / 2:
            return
        watched.reported = now
        if running.token is not None and running.reply_channel is not None:
            self._report([Report(running.reply_channel, running.token, Outcome.RUNNING)])

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put messages that were not started back to the head of their channel; when that fails they are lost, and
        counted."""
        if not deliveries:
            return
        queue = inbox_of(deliveries[0].channel)
        error: Exception | None
        try:
            (result,) = self._layer.run([PutBack(queue, [delivery.item for delivery in deliveries])])
            error = result if isinstance(result, StepRefused) else None
        except LayerUnavailable as unavailable:
            error = unavailable
        if error is None:
            logger.debug("%d messages of %s were handed back behind a slow consumer.", len(deliveries), queue)
            return
        logger.error("Messages of %s could not be handed back: %s", queue, error)
        self._layer.losses.count("broker", queue, len(deliveries))
        self._report(
            [
                Report(delivery.reply_channel, delivery.token, Outcome.DROPPED)
                for delivery in deliveries
                if delivery.reply_channel is not None and delivery.token is not None
            ]
        )

    def _report(self, reports: list[Report]) -> None:
        """Send reports, and those that could not be sent earlier."""
        self._owed += reports
        if not self._owed:
            return
        owed, self._owed = self._owed, []
        try:
            self._layer.run(self._layer.planner.pushes([], {}, owed))
        except LayerUnavailable:
            # Reports are idempotent. That a consumer runs is no news by then; how a message ended still is.
            self._owed += [report for report in owed if report.outcome is not Outcome.RUNNING]
