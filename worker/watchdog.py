"""The watchdog of a process: a thread that keeps slow consumers from delaying other messages, and enforces timeouts.

It puts messages that wait behind a slow consumer back to the head of their channel, for any free worker. It reports to
clients that a long consumer still runs, and that a consumer exceeding its timeout has failed. It shares only the
batches with the worker threads, and sleeps while they are idle.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from channels_classic.exceptions import ConsumerTimeout
from channels_classic.layers.codec import RUNNING_INTERVAL, Outcome
from channels_classic.layers.planner import Delivery, Report

from .async_runner import AsyncConsumerRunner, Running
from .batch import Batch
from .connection import WorkerConnection
from .context import Context
from .outage import Outage
from .put_back import put_back
from .runner import ConsumerRunner

logger = logging.getLogger("channels_classic.worker")

PUT_BACK_AFTER = 0.02
"""Seconds after which the messages behind a running consumer are put back."""

_TICK = 0.005
"""Seconds between looks at batches with waiting messages: how late `PUT_BACK_AFTER` may be."""

PACE = 1.0
"""Seconds between looks at running consumers with no messages behind them."""


@dataclass(slots=True)
class _Watched:
    batch: Batch
    runner: ConsumerRunner
    wake: Callable[[], object]
    since: float | None = None
    reported: float = 0.0
    overdue: bool = False
    retry_at: float = 0.0
    """The time from which messages may be put back again, after the layer did not take them."""


class Watchdog:
    """One thread; other threads may call `add`, `remove`, `wake_for` and `is_stuck`.

    A consumer that runs for more than `consumer_timeout` seconds (0: no limit) is given up: its failure is reported to
    its client, and `on_timeout` is called. The event loop cancels coroutines; the watchdog gives up those that do not
    end when they are cancelled.
    """

    def __init__(
        self,
        context: Context,
        outage: Outage,
        async_runner: AsyncConsumerRunner,
        on_timeout: Callable[[str], None],
    ) -> None:
        self._context = context
        self._clock = context.clock
        self._in_flight = context.in_flight
        self._failures = context.failures
        self._async_runner = async_runner
        self._consumer_timeout = context.consumer_timeout
        self._on_timeout = on_timeout
        self._watched: dict[int, _Watched] = {}
        self._wake = threading.Event()
        self._interval = math.inf
        self._wanted = math.inf
        self._stopped = False
        self._connection = WorkerConnection(context, outage, on_disconnect=lambda: context.in_flight.beat(True))
        self._thread = threading.Thread(target=self._watch, name="worker-watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread once it has written what it holds."""
        self._stopped = True
        self._connection.stop()
        self._wake.set()
        self._thread.join()

    def add(self, batch: Batch, runner: ConsumerRunner, wake: Callable[[], object]) -> None:
        """Watch a batch; `wake` ends a blocking take of its thread."""
        self._watched[id(batch)] = _Watched(batch, runner, wake)

    def remove(self, batch: Batch) -> None:
        """Stop watching a batch."""
        self._watched.pop(id(batch), None)

    def running(self) -> list[str]:
        """Return the names of the consumers that run in worker threads."""
        return [name for watched in list(self._watched.values()) if (name := watched.runner.running)]

    def wake_for(self, messages: int) -> None:
        """Wake up for a batch that was filled with `messages`. Costs almost nothing when awake already."""
        wanted = _TICK if messages > 1 else PACE
        self._wanted = min(self._wanted, wanted)
        if self._interval > wanted:
            self._in_flight.beat(busy=True)  # now: the next consumer may keep every other thread from running
            self._wake.set()

    def is_stuck(self) -> bool:
        """Return whether every thread that has not ended runs a consumer that was given up."""
        overdue = [watched.overdue for watched in list(self._watched.values()) if not watched.runner.is_waiting]
        overdue += [running.is_given_up for running in self._async_runner.running()]
        return bool(overdue) and all(overdue)

    def _watch(self) -> None:
        while not self._stopped:
            # `inf` while looking, so that a concurrent `wake_for` sets the event: no wake-up is lost.
            self._interval = math.inf
            # After messages it looks once more: others usually follow, and waking a thread costs more than a look.
            wanted, self._wanted = self._wanted, math.inf
            interval = PACE
            try:
                interval = min(self._look(self._clock()), wanted)
            except Exception:
                logger.exception("The worker's watchdog failed and continues.")
            idle = interval == math.inf
            self._in_flight.beat(busy=not idle)
            self._interval = interval
            if self._wake.wait(None if idle else interval):
                self._wake.clear()
        self._failures.flush()
        self._connection.finish([])

    def _look(self, now: float) -> float:
        """Check every batch and coroutine; return the seconds until the next look, `inf` when all are idle."""
        self._failures.flush(now)
        interval = PACE if self._failures.is_waiting else math.inf
        stolen: list[Batch] = []
        try:
            for watched in list(self._watched.values()):
                interval = self._look_at(watched, stolen, now, interval)
            for coroutine in self._async_runner.running():
                interval = min(interval, PACE)
                self._check_coroutine(coroutine, now)
            if self._connection.is_busy:
                self._connection.send([])  # the reports added by `owe`
                self._connection.settle()
        finally:
            for batch in stolen:
                batch.written()
        if self._connection.has_refused:
            return _TICK
        return min(interval, PACE) if self._connection.is_busy else interval

    def _look_at(self, watched: _Watched, stolen: list[Batch], now: float, interval: float) -> float:
        """Check one batch, and add it to those `stolen` from; return the seconds until the next look."""
        deliveries, results = watched.batch.steal(now - PUT_BACK_AFTER, with_unstarted=now >= watched.retry_at)
        if deliveries or results:
            stolen.append(watched.batch)
        # First what the thread has done, then what it has not: reports must not overtake results.
        if results:
            self._connection.send(results)
        self._put_back(watched, deliveries, now)
        may_time_out = not watched.runner.is_waiting  # looked at first: then its message may have been handed over
        running, since = watched.batch.running()
        if since is None:
            return interval
        self._check_batch(watched, running, since, now, may_time_out)
        waits = watched.batch.holds and now >= watched.retry_at
        return _TICK if waits or interval == _TICK else PACE

    def _put_back(self, watched: _Watched, deliveries: Sequence[Delivery], now: float) -> None:
        """Put back waiting messages; the thread keeps any that the layer does not accept."""
        kept, reports = put_back(self._context, deliveries)
        self._connection.owe(reports)
        if kept:
            watched.retry_at = now + PACE
            watched.batch.restore(kept)
            watched.wake()  # its consumer may have ended meanwhile, and the thread wait for messages

    def _check_batch(
        self, watched: _Watched, running: Delivery | None, since: float, now: float, may_time_out: bool
    ) -> None:
        if since != watched.since:
            watched.since = watched.reported = since
            watched.overdue = False
        if running is None or watched.overdue:
            return
        if may_time_out and 0 < self._consumer_timeout < now - since:
            watched.overdue = True
            self._report(running, Outcome.RAISED)
            self._give_up(watched, running)
        elif now - watched.reported >= RUNNING_INTERVAL - PACE:
            watched.reported = now
            self._report(running, Outcome.RUNNING)

    def _check_coroutine(self, running: Running, now: float) -> None:
        if running.is_given_up:
            return
        if 0 < self._consumer_timeout < now - running.attempt.started - 2 * PACE:
            self._report(running.attempt.result.delivery, Outcome.RAISED)
            self._async_runner.give_up(running)
            self._on_timeout("one of its coroutines does not let the others run")
        elif now - running.reported >= RUNNING_INTERVAL - PACE:
            running.reported = now
            self._report(running.attempt.result.delivery, Outcome.RUNNING)

    def _report(self, delivery: Delivery, outcome: Outcome) -> None:
        if delivery.token is not None and delivery.reply_channel is not None:
            self._connection.owe([Report(delivery.reply_channel, delivery.token, outcome)])

    def _give_up(self, watched: _Watched, running: Delivery) -> None:
        frame = sys._current_frames().get(watched.batch.thread)
        stack = "".join(traceback.format_stack(frame))
        watched.runner.give_up(ConsumerTimeout(running.channel, self._consumer_timeout), stack)
        self._on_timeout("one of its consumers does not end")
