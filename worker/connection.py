"""The connection of one worker thread to the layer: sends and the next take are written together, results read later.

It is given the sends and reports of consumers, and what to take; it returns messages. `link` makes the connection again
after a loss, `group_sends` asks who is in a group, and `outstanding` decides what is retried and what is lost. Only its
own thread uses a connection; other threads may call `stop` and `wake`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.planner import Delivery, Report
from channels_classic.layers.results import Taken
from channels_classic.layers.steps import Step, Take

from .context import Context
from .group_sends import GroupSends
from .link import Link
from .outage import Outage
from .outstanding import RETRY_PAUSES, Outstanding, Written
from .overrides import Overrides
from .result import ConsumerResult

logger = logging.getLogger("channels_classic.worker")


class WorkerConnection:
    """One connection to the layer, made when it is needed and again after a loss.

    Messages are released from the context's `in_flight` when the results of their consumers have arrived.
    `on_disconnect` is called before each wait for a layer that is down.
    """

    def __init__(self, context: Context, outage: Outage, on_disconnect: Callable[[], None] | None = None) -> None:
        layer = context.layer
        self._clock = context.clock
        self._refusals = context.refusals
        self._overrides = Overrides(context)
        self._outstanding = Outstanding(layer.planner, layer.losses, context.in_flight, context.refusals)
        self._link = Link(context, outage, self._outstanding, on_disconnect)
        self._groups = GroupSends(context, self._link, self._outstanding)

    # For the loop

    def send(self, results: Sequence[ConsumerResult]) -> None:
        """Write what consumers sent, and their reports, without waiting for the results."""
        self._write(results, None)

    def take(self, step: Take, results: Sequence[ConsumerResult]) -> Taken | None:
        """Write what the last consumers sent together with `step`, and wait for its result. `retry` must follow.

        None when there was nothing in time, when `wake` was called, or when the layer was lost meanwhile: messages it
        may have taken are lost then.
        """
        if not self._write(results, step):
            return None
        try:
            self._link.settle()
            if self._outstanding.has_refused:
                # Refused pushes must not wait for the take to end; only another thread can end it.
                threading.Thread(target=self.wake, name="worker-wake", daemon=True).start()
            (taken,) = self._link.read(1)
        except LayerUnavailable as error:
            self._link.lose(error)
            return None
        if isinstance(taken, StepRefused) or (taken is not None and taken.lost):
            self._link.close_if_misplaced()
        if isinstance(taken, StepRefused):
            self._refuse_take(taken)
            return None
        assert taken is None or isinstance(taken, Taken)
        return taken

    def owe(self, reports: Sequence[Report]) -> None:
        """Add reports to the next write."""
        self._outstanding.owe(reports)

    def settle(self) -> None:
        """Read the results of everything that was written, and retry once the pushes refused before."""
        try:
            self._link.settle()
            if self._outstanding.has_refused:
                self._retry_once()
        except LayerUnavailable as error:
            self._link.lose(error)

    @property
    def is_busy(self) -> bool:
        """True if there is anything to write, to read or to retry."""
        return self._outstanding.is_busy

    @property
    def has_refused(self) -> bool:
        """True if `settle` should be called again soon."""
        return self._outstanding.has_refused

    def retry(self) -> None:
        """Retry refused pushes, in order, until they are accepted or given up after `RETRY_TIME` seconds."""
        pause, longest = RETRY_PAUSES
        while self._outstanding.has_refused:
            time.sleep(pause)
            pause = min(pause * 2, longest)
            self.settle()

    def finish(self, results: Sequence[ConsumerResult]) -> None:
        """Write everything that is left, read the results, and close the connection."""
        if results or self._outstanding.has_unwritten:
            self._write(results, None)
        self.settle()
        self.retry()
        if self._outstanding.has_unwritten:
            self._write([], None)
            self.settle()
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def disconnected(self, error: LayerUnavailable) -> None:
        """Record that the layer was lost on another connection, and wait until it is back."""
        self._link.lose(error)
        self._link.connect()

    def pause(self) -> None:
        """Wait before messages are taken again, unless the worker stops."""
        self._link.pause()

    def stop(self) -> None:
        """From any thread: stop waiting, for messages and for a layer that is down."""
        self._link.stop()

    def wake(self) -> None:
        """From any thread but its own: end a blocking take, without losing what it has taken."""
        self._link.wake()

    # Writing

    def _write(self, results: Sequence[ConsumerResult], step: Take | None) -> bool:
        """Write once the layer is up; return False if the worker stops before that, or the layer is lost."""
        if self._overrides.any_send:
            self._overrides.send(results)
        sends = [send for result in results for send in result.sends]
        self._link.close_if_stale()
        audiences = self._groups.prepare(sends)
        if audiences is None:
            self._outstanding.release([result.delivery for result in results])
            return False
        pushes = self._outstanding.outgoing(self._outstanding.plan(results, audiences))
        if pushes and not self._link.probe(pushes):
            self._outstanding.give_up(pushes)
            self._outstanding.release([result.delivery for result in results])
            return False
        try:
            if pushes or step is not None:
                taking = [] if step is None else [step]
                self._put(Written(pushes, self._unconfirmed(results)), [*pushes, *taking])
            else:
                self._outstanding.release([result.delivery for result in results])
        except LayerUnavailable as error:
            self._link.lose(error)
            return False
        return True

    def _put(self, written: Written, steps: Sequence[Step]) -> None:
        self._outstanding.wrote(written)
        self._link.write(steps)

    def _unconfirmed(self, results: Sequence[ConsumerResult]) -> list[Delivery]:
        """Return the messages that are finished once their results have arrived; release the others.

        A message that is put back belongs to whoever takes it next as soon as it is written.
        """
        self._outstanding.release([result.delivery for result in results if result.outcome is None])
        return [result.delivery for result in results if result.outcome is not None]

    def _retry_once(self) -> None:
        self._link.close_if_misplaced()
        if not self._link.connect():
            self._outstanding.disconnected()
            return
        written = self._outstanding.retried(self._clock())
        if written.pushes:
            self._put(written, written.pushes)
            self._link.settle()

    def _refuse_take(self, error: StepRefused) -> None:
        if not error.again:
            self._refusals.error(logger, "Cannot take messages: %s", error)
            self.pause()
