"""The connection of one worker thread to the layer: sends and the next take are written together, results read later.

It is given the sends and reports of consumers, and what to take; it returns messages. It knows what was written and not
answered yet, so it decides what is retried (refused pushes, and reports) and what is counted as lost. Only its own
thread uses a connection; other threads may call `stop` and `wake`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers import rng
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.names import check_group
from channels_classic.layers.planner import Delivery, Outgoing, Report
from channels_classic.layers.steps import Audience, Connection, Lookup, Push, Status, Step, Take, Taken

from .inflight import Record
from .result import ConsumerResult

logger = logging.getLogger("channels_classic.worker")

RETRY_TIME = 2.0
"""Seconds for which sending to a full channel is retried, as in Channels 1.1.8."""

_PAUSES = (0.02, 0.2)
"""Seconds between such attempts: initial, maximum."""

_BACKOFF = (0.02, 2.0)
"""Seconds between attempts to reach a layer that is down: initial, maximum."""


class Outage:
    """Logs once that the layer is down and once that it is back, for all threads of a process. Thread-safe.

    Outages are numbered: a thread that was busy may find its connection broken when others have reconnected already.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._is_down = False

    def begin(self, error: Exception, known: int) -> None:
        """Note that the layer is down; `known` is the number of outages that the caller knew of."""
        with self._lock:
            if known == self._number:
                self._number += 1
                self._is_down = True
                logger.error("%s Retrying until it is back; messages in transit may be lost.", error)

    def end(self) -> int:
        """Note that the layer answers; return the number of outages so far."""
        with self._lock:
            if self._is_down:
                self._is_down = False
                logger.info("The channel layer is back.")
            return self._number


@dataclass(slots=True)
class _Written:
    """Pushes whose results have not been read. Once read, the `deliveries` are finished."""

    pushes: Sequence[Push]
    deliveries: Sequence[Delivery] = ()


class WorkerConnection:
    """One connection to the layer, and what is unanswered on it.

    Messages are released from `record` when the results of their consumers have arrived. `on_disconnect` is called
    before each wait for a layer that is down.
    """

    def __init__(
        self, layer: BaseChannelLayer, outage: Outage, record: Record, on_disconnect: Callable[[], None] | None = None
    ) -> None:
        self._layer = layer
        self._record = record
        self._planner = layer.planner
        self._losses = layer.losses
        self._outage = outage
        self._outages = 0
        self._on_disconnect = on_disconnect
        self._connection: Connection | None = None
        self._unread: deque[_Written] = deque()
        self._owed: list[Report] = []
        self._again: list[Push] = []
        self._refused: list[tuple[Push, str]] = []
        self._retry_until = 0.0
        self._stopping = threading.Event()

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
            self._settle()
            if self._refused:
                # Refused pushes must not wait for the take to end; only another thread can end it.
                threading.Thread(target=self.wake, name="worker-wake", daemon=True).start()
            taken = self._live.read()
        except LayerUnavailable as error:
            self._lose(error)
            return None
        if isinstance(taken, StepRefused):
            self._refuse_take(taken)
            return None
        assert taken is None or isinstance(taken, Taken)
        return taken

    def owe(self, reports: Sequence[Report]) -> None:
        """Add reports to the next write."""
        self._owed += reports

    def settle(self) -> None:
        """Read the results of everything that was written, and retry once the pushes refused before."""
        try:
            self._settle()
            if self._refused:
                self._retry_once()
        except LayerUnavailable as error:
            self._lose(error)

    @property
    def is_busy(self) -> bool:
        """Whether `settle` should be called again soon."""
        return bool(self._unread or self._refused or self._owed or self._again)

    def retry(self) -> None:
        """Retry refused pushes, in order, until they are accepted or given up after `RETRY_TIME` seconds."""
        pause, longest = _PAUSES
        while self._refused:
            time.sleep(pause)
            pause = min(pause * 2, longest)
            self.settle()

    def finish(self, results: Sequence[ConsumerResult]) -> None:
        """Write everything that is left, read the results, and close the connection."""
        if results or self._owed:
            self._write(results, None)
        self.settle()
        self.retry()
        if self._owed or self._again:
            self._write([], None)
            self.settle()
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def stop(self) -> None:
        """From any thread: stop waiting, for messages and for a layer that is down."""
        self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """From any thread but its own: end a blocking take, without losing what it has taken."""
        connection = self._connection
        if connection is not None:
            with suppress(LayerUnavailable):  # the read notices as well
                connection.wake()

    # Writing

    @property
    def _live(self) -> Connection:
        if self._connection is None:
            raise AssertionError("not connected")
        return self._connection

    def _write(self, results: Sequence[ConsumerResult], step: Take | None) -> bool:
        """Write once the layer is up; return False if the worker stops before that, or the layer is lost."""
        sends = [send for result in results for send in result.sends]
        groups = self._look_up(sends)
        if groups is None:
            for send in sends:
                self._lose_send(send, "broker")
            self._release([result.delivery for result in results])
            return False
        reports = [report for result in results for report in result.reports()]
        try:
            pushes = self._planner.pushes(sends, groups, self._owed + reports)
        except Exception:
            for result in results:
                result.sends = [send for send in result.sends if self._is_sendable(send, groups, result)]
            sends = [send for result in results for send in result.sends]
            reports = [report for result in results for report in result.reports()]
            pushes = self._planner.pushes(sends, groups, self._owed + reports)
        others: list[Step] = [] if step is None else [step]
        pushes, self._again, self._owed = self._again + pushes, [], []
        try:
            if pushes or others:
                self._put(pushes, others, self._unconfirmed(results))
            else:
                self._release([result.delivery for result in results])
        except LayerUnavailable as error:
            self._lose(error)
            return False
        return True

    def _put(
        self,
        pushes: Sequence[Push],
        others: Sequence[Step],
        deliveries: Sequence[Delivery] = (),
    ) -> None:
        """Write; `_settle` reads the results of the pushes."""
        self._unread.append(_Written(pushes, deliveries))
        self._live.write([*pushes, *others])

    def _unconfirmed(self, results: Sequence[ConsumerResult]) -> list[Delivery]:
        """Return the messages that are finished once their results have arrived; release the others.

        A message that is put back belongs to whoever takes it next as soon as it is written.
        """
        self._release([result.delivery for result in results if result.outcome is None])
        return [result.delivery for result in results if result.outcome is not None]

    def _release(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._record.release(delivery)

    def _look_up(self, sends: Sequence[Outgoing]) -> dict[str, Audience] | None:
        """Return the audiences of all groups in `sends` once the layer is up; None if the worker stops before that."""
        names = list(dict.fromkeys(send.name for send in sends if send.group and _is_group(send.name)))
        tries = 0
        while self._connect():
            if not names:
                return {}
            tries += 1
            try:
                self._live.write([Lookup(name) for name in names])
                self._settle()
                found = [self._live.read() for _ in names]
            except LayerUnavailable as error:
                self._lose(error)  # a look-up may be repeated: none of `sends` has been written yet
                continue
            if tries > 2 or not any(isinstance(result, StepRefused) and result.again for result in found):
                return {name: self._audience(name, result) for name, result in zip(names, found, strict=True)}
        return None

    def _audience(self, name: str, found: Any) -> Audience:
        if isinstance(found, StepRefused):
            logger.error("Lost a message for the group %s: %s", name, found)
            self._losses.count("broker", name)
            return Audience({}, (), ())
        return self._planner.audience(found)

    def _is_sendable(self, send: Outgoing, groups: dict[str, Audience], result: ConsumerResult) -> bool:
        try:
            self._planner.lookups([send])  # checks the name
            self._planner.pushes([send], groups)
        except Exception as error:
            logger.error("Lost a message sent by a consumer of %s: %s", result.delivery.channel, error)
            result.unsendable(send)
            return False
        return True

    # Reading

    def _settle(self) -> None:
        """Read the results of everything that was written before, and handle refusals."""
        while self._unread:
            written = self._unread[0]
            results = [self._live.read() for _ in written.pushes]
            self._unread.popleft()
            self._release(written.deliveries)
            if results:
                self._judge(written.pushes, results)

    def _judge(self, pushes: Sequence[Push], results: Sequence[Any]) -> None:
        refusals = self._planner.refusals(pushes, results)
        if refusals.full or any(isinstance(result, StepRefused) for result in results):
            for push, result in zip(pushes, results, strict=True):
                self._judge_push(push, result)

    def _judge_push(self, push: Push, result: StepRefused | Sequence[Status]) -> None:
        if isinstance(result, StepRefused):
            if not result.again:
                logger.error("Messages for %s were not accepted: %s", push.queue, result)
            self._refuse(push, "broker")
            return
        full = [
            entry for entry, status in zip(push.entries, result, strict=True) if status == Status.FULL and entry.origin
        ]
        # As in Channels 1.1.8 a group send is not repeated: members that are full miss it.
        self._losses.count("full", push.queue, sum(entry.origin.group for entry in full))
        kept = [entry for entry in full if not entry.origin.group]
        if kept:
            self._refuse(Push(push.queue, kept, push.alive), "full")

    def _refuse(self, push: Push, kind: str) -> None:
        if not self._refused:
            self._retry_until = time.monotonic() + RETRY_TIME
        self._refused.append((push, kind))

    def _retry_once(self) -> None:
        refused, self._refused = self._refused, []
        until = self._retry_until
        if time.monotonic() >= until:
            for push, kind in refused:
                self._drop(push, kind)
            return
        self._put([push for push, _ in refused], [])
        self._settle()
        self._retry_until = until

    # When the layer is down

    def _connect(self) -> bool:
        """Connect if necessary, retrying until the layer is up; return False if the worker stops before that."""
        pause, longest = _BACKOFF
        while self._connection is None:
            try:
                self._connection = self._layer.connect()
                self._outages = self._outage.end()
            except LayerUnavailable as error:
                self._outage.begin(error, self._outages)
                if self._on_disconnect is not None:
                    self._on_disconnect()
                if self._stopping.wait(pause * rng.uniform(0.5, 1)):
                    return False
                pause = min(pause * 2, longest)
        return True

    def _lose(self, error: LayerUnavailable) -> None:
        """Handle a broken connection: unanswered steps may have been carried out, so only reports are repeated."""
        self._outage.begin(error, self._outages)
        self.close()
        for written in self._unread:
            self._release(written.deliveries)
        under_way = [push for written in self._unread for push in written.pushes]
        self._unread.clear()
        refused, self._refused = self._refused, []
        for push in under_way:
            self._drop(push, "broker")
            reports = [entry for entry in push.entries if entry.origin is None]
            if reports:
                self._again.append(Push(push.queue, reports))
        for push, kind in refused:
            self._drop(push, kind)

    def _drop(self, push: Push, kind: str) -> None:
        for entry in push.entries:
            if entry.origin is not None:
                self._lose_send(entry.origin, kind)

    def _lose_send(self, send: Outgoing, kind: str) -> None:
        self._losses.count(kind, send.name)
        reply_channel = send.message.get("reply_channel")
        if send.token is not None and isinstance(reply_channel, str):
            self._owed.append(Report(reply_channel, send.token, Outcome.DROPPED))
        if send.report is not None:
            self._owed.append(send.report)

    def _refuse_take(self, error: StepRefused) -> None:
        if not error.again:
            logger.error("Cannot take messages: %s", error)
            self._stopping.wait(_BACKOFF[1] * rng.uniform(0.5, 1))


def _is_group(name: str) -> bool:
    try:
        return bool(check_group(name))
    except TypeError:
        return False  # the planner raises the reason where the message is dropped
