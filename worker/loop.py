"""The loop of one worker thread: take a few messages, run their consumers, write what they sent, repeat.

Messages come in from the layer's lists; replies and reports go out. What the last consumer of a batch sent and the
next take are written together, in one round trip.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from channels_classic._isolation import MessageContexts
from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers import rng
from channels_classic.layers.base import BLOCK, BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Delivery
from channels_classic.layers.steps import Step, Take
from channels_classic.message import pending_message_store

from .batch import Batch
from .connection import WorkerConnection
from .context import Context, Progress
from .ordering import must_wait
from .outstanding import RETRY_TIME
from .overrides import Overrides
from .put_back import lose, put_back
from .result import ConsumerResult
from .runner import ConsumerRunner
from .runtime import Runtime
from .watchdog import PUT_BACK_AFTER

_AGAIN = 0.05
"""Maximum seconds until a channel whose limit was reached is listened to again.

A thread that has just finished a consumer looks at once; this matters only when a coroutine of the channel ends.
"""


class Loop:
    """Runs one worker thread, in which it is made, until `progress` says that its worker is `termed`."""

    def __init__(self, progress: Progress, runtime: Runtime, context: Context) -> None:
        self._progress = progress
        self._channels = list(runtime.channels)
        self._watchdog = runtime.watchdog
        self._recycling = runtime.recycling
        self._limits = runtime.limits
        self._context = context
        self._layer = context.layer
        self._in_flight = context.in_flight
        self._clock = context.clock
        self._prefetch = context.prefetch
        self._overrides = Overrides(context)
        self._batch = Batch(context.clock, shares_results=not self._overrides.any_send)
        self._contexts = MessageContexts()
        self._connection = WorkerConnection(context, runtime.outage, on_disconnect=self._batch.pause)
        self._runner = ConsumerRunner(context, self._contexts, runtime.new_statistics(), runtime.async_runner.start)
        self._count = 1  # until consumers turn out to be fast

    def run(self) -> None:
        """Consume until the worker is `termed`, which is read before each take; taken messages are finished."""
        self._runner.enter_thread()
        self._watchdog.add(self._batch, self._runner, self._connection.wake)
        try:
            with self._contexts.inside(pending_message_store.deliver_with(self._runner.deliver, self._write_first)):
                while not self._progress.termed:
                    self._take()
                    self._work()
                self._finish_received()
        finally:
            self._progress.in_job = False
            self._watchdog.remove(self._batch)
            left = self._batch.abandon()  # from now on the watchdog takes nothing
            ended = self._batch.ended()  # once it has put back what it took before
            self._leave([*self._batch.abandon(), *left])
            self._connection.finish(ended)

    def _finish_received(self) -> None:
        """Run what the project's own `receive` returned, which cannot be put back, when the worker stops."""
        while waiting := self._batch.waiting() if self._overrides.receives else []:
            self._limits.open(waiting[:1], _AGAIN)
            self._work()
            self._write(self._batch.ended())

    def _leave(self, deliveries: Sequence[Delivery]) -> None:
        """Put messages back when the thread ends, retrying as long as for a full channel."""
        deadline = self._clock() + RETRY_TIME
        kept, reports = put_back(self._context, deliveries)
        self._connection.owe(reports)
        while kept and self._clock() < deadline:
            time.sleep(_AGAIN)
            kept, reports = put_back(self._context, kept)
            self._connection.owe(reports)
        self._connection.owe(lose(self._context, kept, Outcome.DROPPED))

    def stop(self) -> None:
        """From any thread: end a blocking take."""
        self._connection.stop()

    def _take(self) -> None:
        """Write what the last consumers sent and fill the batch, in one round trip."""
        rng.shuffle(self._channels)  # an earlier one wins
        step = Take(self._channels, self._count, BLOCK)
        if self._limits.any:
            channels = self._limits.open(self._channels, _AGAIN)
            if not channels:
                self._connection.send(self._batch.ended())
                return self._connection.settle()
            if len(channels) < len(self._channels):
                step = Take(channels, self._count, _AGAIN)
        if self._overrides.receives:
            return self._receive(step.queues)
        if self._batch.has_unstarted:  # the layer did not take them back
            step = replace(step, timeout=_AGAIN if self._limits.any else 0.0)
        taken = self._connection.take(step, self._batch.ended())
        if taken is not None:
            now = self._clock()
            deliveries, reports = self._layer.open(taken)
            for delivery in deliveries:
                delivery.deadline = now + delivery.item.left
            self._connection.owe(reports)
            self._in_flight.hold(deliveries)
            self._batch.fill(deliveries)
            self._watchdog.wake_for(len(deliveries))
        self._connection.retry()

    def _receive(self, channels: Sequence[str]) -> None:
        """Fill the batch by the project's own `receive`.

        Messages that it returned cannot be put back. While one waits for its limit, those of other channels go first.
        """
        self._write(self._batch.ended())
        waiting = self._batch.waiting()
        if waiting and self._limits.open(waiting[:1], 0):
            return
        channels = [channel for channel in channels if channel not in waiting]
        try:
            deliveries = self._overrides.receive(channels, block=not waiting) if channels else []
        except LayerUnavailable as error:
            self._connection.disconnected(error)
            return
        except Exception as error:
            self._context.failures.error(
                "The `receive` of the channel layer",
                "The `receive` of %s failed; it is called again.",
                type(self._layer).__name__,
                exc_info=error,
            )
            self._connection.pause()
            return
        if waiting and not deliveries:
            self._limits.open(waiting[:1], _AGAIN)
            return
        self._in_flight.hold(deliveries)
        self._batch.fill(deliveries, ahead=True)
        self._watchdog.wake_for(len(deliveries))

    def _write_first(self, layer: BaseChannelLayer, steps: Sequence[Step]) -> None:
        """Before a consumer or a receiver carries out steps by itself: write what these must not overtake.

        Another thread that has a copy of a consumer's context comes here too. It does not use this thread's connection.
        """
        if layer is not self._layer or threading.get_ident() != self._batch.thread:
            return
        current = self._runner.result
        results = self._batch.unwritten() + ([] if current is None else [current])
        if must_wait(steps, (send for result in results for send in result.sends)):
            self._write([*self._batch.ended(), *([] if current is None else [current.split()])])
            if current is not None:
                self._batch.resume(current.delivery)

    def _write(self, results: Sequence[ConsumerResult]) -> None:
        """Write what consumers sent, and wait until it has arrived."""
        self._connection.send(results)
        self._connection.settle()
        self._connection.retry()

    def _work(self) -> None:
        """Run the consumers of the batch. Results are written after each one, or together when consumers are fast."""
        self._runner.begin_batch()
        started = self._clock()
        consumed = 0
        while (delivery := self._batch.start()) is not None:
            if self._limits.any and not self._limits.acquire(delivery.channel):
                unstarted = [delivery, *self._batch.abandon()]
                kept, reports = put_back(self._context, unstarted)
                self._connection.owe(reports)
                self._batch.restore(kept)
                break
            self._progress.in_job = True
            result = self._runner.consume(delivery)
            self._progress.in_job = False
            consumed += 1
            if result is None:
                self._batch.hand_over()
                self._runner.is_waiting = False
                continue
            if self._limits.any:
                self._limits.release(delivery.channel)
            if self._batch.end(result):
                self._connection.send(self._batch.ended())
            if result.interrupt is not None:
                raise result.interrupt
        if consumed:
            self._recycling.consumed(consumed)
            mean = (self._clock() - started) / consumed
            self._count = batch_size(mean, self._prefetch)


def batch_size(duration: float, prefetch: int) -> int:
    """Return how many messages of `duration` seconds to take: as many as end before the watchdog puts the rest back."""
    return max(1, min(prefetch, int(PUT_BACK_AFTER / max(duration, 1e-6))))
