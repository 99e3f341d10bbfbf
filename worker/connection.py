"""The connection of one worker thread to the layer: sends and the next take are written together, results read later.

It is given the sends and reports of consumers, and what to take; it returns messages. `outstanding` decides what is
retried and what is lost, except of what recoverable groups keep. Only its own thread uses a connection; other threads
may call `stop` and `wake`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers import rng
from channels_classic.layers.names import check_group
from channels_classic.layers.planner import Delivery, Outgoing, Report
from channels_classic.layers.pool import LOOK_AFTER, PROBE_AFTER, probes, refused_for_now
from channels_classic.layers.results import Audience, Recorded, Taken
from channels_classic.layers.steps import Connection, Lookup, Record, Step, Take

from .context import Context
from .outage import Outage
from .outstanding import RETRY_TIME, Outstanding, Written
from .overrides import Overrides
from .result import ConsumerResult

logger = logging.getLogger("channels_classic.worker")

_PAUSES = (0.02, 0.2)
"""Seconds between attempts to send to a full channel: initial, maximum."""

_BACKOFF = (0.02, 2.0)
"""Seconds between attempts to reach a layer that is down: initial, maximum."""

_NOWHERE = Recorded(Audience({}, (), ()), 0, 0)
"""Of a message for a group that was given up: it is pushed to nobody."""


class WorkerConnection:
    """One connection to the layer, made when it is needed and again after a loss.

    Messages are released from the context's `in_flight` when the results of their consumers have arrived.
    `on_disconnect` is called before each wait for a layer that is down.
    """

    def __init__(self, context: Context, outage: Outage, on_disconnect: Callable[[], None] | None = None) -> None:
        self._layer = context.layer
        self._clock = context.clock
        self._outstanding = Outstanding(self._layer.planner, self._layer.losses, context.in_flight, context.refusals)
        self._refusals = context.refusals
        self._overrides = Overrides(context)
        self._outage = outage
        self._outages = 0
        self._on_disconnect = on_disconnect
        self._connection: Connection | None = None
        self._used = 0.0
        """The time at which the layer last answered."""
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
            if self._outstanding.has_refused:
                # Refused pushes must not wait for the take to end; only another thread can end it.
                threading.Thread(target=self.wake, name="worker-wake", daemon=True).start()
            taken = self._live.read()
            self._used = self._clock()
        except LayerUnavailable as error:
            self._lose(error)
            return None
        if isinstance(taken, StepRefused) or (taken is not None and taken.lost):
            self._close_if_misplaced()
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
            self._settle()
            if self._outstanding.has_refused:
                self._retry_once()
        except LayerUnavailable as error:
            self._lose(error)

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
        pause, longest = _PAUSES
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
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._outage.closed()

    def disconnected(self, error: LayerUnavailable) -> None:
        """Record that the layer was lost on another connection, and wait until it is back."""
        self._lose(error)
        self._connect()

    def pause(self) -> None:
        """Wait before messages are taken again, unless the worker stops."""
        self._stopping.wait(_BACKOFF[1] * rng.uniform(0.5, 1))

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
        if self._overrides.any_send:
            self._overrides.send(results)
        sends = [send for result in results for send in result.sends]
        self._close_if_stale()
        groups = self._look_up(sends)
        if groups is None or not self._keep_in_groups(sends):
            for send in sends:
                if send.recorded is not _NOWHERE:
                    self._outstanding.lose(send, "broker")
            self._outstanding.release([result.delivery for result in results])
            return False
        pushes = self._outstanding.outgoing(self._outstanding.plan(results, groups))
        if pushes and not self._probe(pushes):
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
            self._lose(error)
            return False
        return True

    def _put(self, written: Written, steps: Sequence[Step]) -> None:
        self._outstanding.wrote(written)
        self._live.write(steps)

    def _unconfirmed(self, results: Sequence[ConsumerResult]) -> list[Delivery]:
        """Return the messages that are finished once their results have arrived; release the others.

        A message that is put back belongs to whoever takes it next as soon as it is written.
        """
        self._outstanding.release([result.delivery for result in results if result.outcome is None])
        return [result.delivery for result in results if result.outcome is not None]

    def _look_up(self, sends: Sequence[Outgoing]) -> dict[str, Audience] | None:
        """Return the audiences of the groups in `sends` that keep nothing; None if the worker stops before that."""
        plain = [send for send in sends if send.group and send.retention is None and _is_group(send.name)]
        if not plain:
            return {} if self._connect() else None
        names = list(dict.fromkeys(send.name for send in plain))
        results = self._read([*map(Lookup, names)])
        found = None if results is None else self._with_members(dict(zip(names, results, strict=True)))
        if found is None:
            return None
        for send in plain:
            refusal = found[send.name]
            if isinstance(refusal, StepRefused):
                self._refuse(send, refusal)
        return {name: audience for name, audience in found.items() if isinstance(audience, Audience)}

    def _keep_in_groups(self, sends: Sequence[Outgoing]) -> bool:
        """Let recoverable groups keep what is for them, and note who gets it; return False if the worker stops first.

        What was cut off is lost: it may have been kept, and have left the group again, so a second attempt may deliver
        it twice. What was refused is tried again unless the group has kept a later message of these.
        """
        records = self._outstanding.records(sends)
        if not records:
            return True
        recorded: list[tuple[Outgoing, Recorded]] = []
        pause, longest = _PAUSES
        deadline = 0.0  # once the layer has refused one
        while records:
            steps = [step for _, step in records]
            if not (self._connect() and self._probe(steps)):
                return False
            try:
                results = self._ask(steps)
            except LayerUnavailable as error:
                self._lose(error)
                for send, _ in records:
                    self._give_up(send, "broker")
                break
            now = self._clock()
            deadline = deadline or now + RETRY_TIME
            records, kept = self._refused_for_now([*zip(records, results, strict=True)], is_late=now >= deadline)
            recorded += kept
            if records:
                time.sleep(pause)
                pause = min(pause * 2, longest)
                self._close_if_misplaced()
        return self._note_receivers(recorded)

    def _refused_for_now(
        self, results: Sequence[tuple[tuple[Outgoing, Record], Any]], is_late: bool
    ) -> tuple[list[tuple[Outgoing, Record]], list[tuple[Outgoing, Recorded]]]:
        """Return the records to try again, and what was recorded; the rest is lost."""
        again, kept = [], []
        later: set[str] = set()  # the groups that have kept a later message
        for (send, step), result in reversed(results):
            if isinstance(result, Recorded):
                kept.append((send, result))
                later.add(send.name)
            elif refused_for_now([result]) and not is_late and send.name not in later:
                again.append((send, step))
            else:
                self._refuse(send, result)
        return again[::-1], kept[::-1]

    def _note_receivers(self, recorded: Sequence[tuple[Outgoing, Recorded]]) -> bool:
        found = self._with_members({send.name: result.audience for send, result in recorded})
        if found is None:
            return False
        for send, result in recorded:
            audience = found[send.name]
            if isinstance(audience, StepRefused):
                self._refuse(send, audience)
            else:
                send.recorded = result._replace(audience=audience)
        return True

    def _with_members(self, found: Mapping[str, Audience | StepRefused]) -> dict[str, Audience | StepRefused] | None:
        """Replace inboxes of other releases by their members; None if the worker stops before they are known."""
        planner = self._layer.planner
        audiences = {name: audience for name, audience in found.items() if isinstance(audience, Audience)}
        questions = [each for name, audience in audiences.items() for each in planner.foreign(name, audience)]
        results = self._read(questions)
        if results is None:
            return None
        made = dict(found)
        for name, audience in audiences.items():
            answers = zip(questions, results, strict=True)
            rosters = {question.inbox: roster for question, roster in answers if question.group == name}
            refusal = next((roster for roster in rosters.values() if isinstance(roster, StepRefused)), None)
            made[name] = refusal or planner.audience(audience, rosters)
        return made

    def _read(self, questions: Sequence[Step]) -> list[Any] | None:
        """Return the results of steps that change nothing, once the layer is up; None if the worker stops before that.

        They are tried again after a break, and while the layer refuses them for a passing reason.
        """
        pause, longest = _PAUSES
        deadline = 0.0  # once the layer has refused one
        while self._connect():
            if not questions:
                return []
            try:
                results = self._ask(questions)
            except LayerUnavailable as error:
                self._lose(error)
                continue
            now = self._clock()
            deadline = deadline or now + RETRY_TIME
            if now >= deadline or not refused_for_now(results):
                return results
            time.sleep(pause)
            pause = min(pause * 2, longest)
            self._close_if_misplaced()
        return None

    def _ask(self, steps: Sequence[Step]) -> list[Any]:
        """Write steps, and read their results behind those of everything that was written before."""
        self._live.write(steps)
        self._settle()
        results = [self._live.read() for _ in steps]
        self._used = self._clock()
        return results

    def _refuse(self, send: Outgoing, refusal: StepRefused) -> None:
        self._refusals.error(logger, "Lost a message for the group %s: %s", send.name, refusal)
        self._give_up(send, "refused")

    def _give_up(self, send: Outgoing, kind: str) -> None:
        """Count a message for a group as lost, before it was pushed to anybody."""
        send.recorded = _NOWHERE
        self._outstanding.lose(send, kind)

    # Reading

    def _settle(self) -> None:
        """Read the results of everything that was written before."""
        while (written := self._outstanding.unread) is not None:
            results = [self._live.read() for _ in written.pushes]
            self._used = self._clock()
            self._outstanding.answered(results, self._used)

    def _retry_once(self) -> None:
        self._close_if_misplaced()
        if not self._connect():
            self._outstanding.disconnected()
            return
        written = self._outstanding.retried(self._clock())
        if written.pushes:
            self._put(written, written.pushes)
            self._settle()

    def _close_if_misplaced(self) -> None:
        """Close a connection to a server that refuses because another one is the master. Nothing is unread."""
        if self._connection is not None and not self._connection.usable():
            self.close()

    def _refuse_take(self, error: StepRefused) -> None:
        if not error.again:
            self._refusals.error(logger, "Cannot take messages: %s", error)
            self.pause()

    # Connections that idle

    # While a consumer runs its connection idles, and the server's `timeout`, an administrator, a load balancer or a
    # firewall may end it meanwhile. A command written to such a connection is lost, and a push must not be repeated, as
    # it is unknown whether it was carried out. So after a pause a look at the socket precedes a write, and after a
    # long pause a round trip: a firewall that drops packets leaves no trace on the socket. Nothing has been written by
    # then, so the connection is made again, and that is not an outage.

    def _close_if_stale(self) -> None:
        """Close a connection that is known to have ended while it idled."""
        if self._connection is None or self._clock() - self._used < LOOK_AFTER:
            return
        try:
            self._settle()  # what was written before the pause has been answered long since
        except LayerUnavailable as error:
            self._lose(error)
        else:
            if not self._connection.usable():
                self.close()

    def _probe(self, steps: Sequence[Step]) -> bool:
        """Make sure that the layer can be reached where `steps` go; return False if the worker stops before that."""
        while self._clock() - self._used >= PROBE_AFTER:
            try:
                self._ask(probes(steps))
            except LayerUnavailable as error:
                if self._outstanding.unread is not None:
                    self._lose(error)  # what was written before the pause
                else:
                    self.close()
                if not self._connect():
                    return False
        return True

    # When the layer is down

    def _connect(self) -> bool:
        """Connect if necessary, retrying until the layer is up; return False if the worker stops before that."""
        pause, longest = _BACKOFF
        while self._connection is None:
            try:
                self._connection = self._layer.connect()
                self._used = self._clock()
                self._outages = self._outage.connected()
            except LayerUnavailable as error:
                self._outage.begin(error, self._outages)
                if self._on_disconnect is not None:
                    self._on_disconnect()
                if self._stopping.wait(pause * rng.uniform(0.5, 1)):
                    return False
                pause = min(pause * 2, longest)
        return True

    def _lose(self, error: LayerUnavailable) -> None:
        """Handle a broken connection."""
        self._outage.begin(error, self._outages)
        self.close()
        self._outstanding.disconnected()


def _is_group(name: str) -> bool:
    try:
        return bool(check_group(name))
    except TypeError:
        return False  # the planner raises the reason where the message is dropped
