"""The state of one connection: steps written whose results are unread, and steps still to write. No I/O, no clock.

A push whose result was not read when the connection broke has an unknown outcome, so messages in it are lost and never
repeated (at most once), but reports are: the gate ignores a report it has had already. A push that the layer refused
was certainly not carried out, so it is retried, in order, for `RETRY_TIME` seconds. Then its messages are lost; its
reports are written again with whatever comes next, for as long as they could have waited in the inbox.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from channels_classic._throttled_log import ThrottledLog
from channels_classic.exceptions import StepRefused
from channels_classic.layers.codec import Outcome
from channels_classic.layers.losses import Losses
from channels_classic.layers.planner import Delivery, Outgoing, Planner, Report
from channels_classic.layers.results import Audience, PushStatus
from channels_classic.layers.steps import Entry, Push, Record

from . import inflight
from .result import ConsumerResult

logger = logging.getLogger("channels_classic.worker")

RETRY_TIME = 2.0
"""Seconds for which sending to a full channel is retried, as in Channels 1.1.8."""

RETRY_PAUSES = (0.02, 0.2)
"""Seconds between the attempts: initial, maximum."""


@dataclass(slots=True)
class Written:
    """Pushes whose results have not been read. Once read, the `deliveries` are finished.

    Pushes that are retried have `deadlines`, one each, at which they are given up.
    """

    pushes: Sequence[Push]
    deliveries: Sequence[Delivery] = ()
    deadlines: Sequence[float] = ()


@dataclass(slots=True)
class _KeptReport(Entry):
    """A refused report that nothing waits for any more. It may be written again until the time `until`."""

    until: float = 0.0


class Outstanding:
    """The state of one connection between what consumers sent and what the layer has answered."""

    def __init__(
        self, planner: Planner, losses: Losses, in_flight: inflight.InFlightRecord, refusals: ThrottledLog
    ) -> None:
        self._planner = planner
        self._losses = losses
        self._in_flight = in_flight
        self._refusals = refusals
        self._unread: deque[Written] = deque()
        self._refused: list[tuple[Push, str, float]] = []
        self._owed: list[Report] = []
        self._repeated: dict[str, list[Entry]] = {}

    # What is left to do

    @property
    def unread(self) -> Written | None:
        """The oldest steps whose results have not been read."""
        return self._unread[0] if self._unread else None

    @property
    def has_refused(self) -> bool:
        """True if pushes are to be retried."""
        return bool(self._refused)

    @property
    def has_unwritten(self) -> bool:
        """True if `outgoing` would return anything, even without new sends."""
        return bool(self._owed or self._repeated)

    @property
    def is_busy(self) -> bool:
        """True if there is anything to write, to read or to retry soon."""
        return bool(self._unread or self._refused or self.has_unwritten)

    # Writing

    def owe(self, reports: Sequence[Report]) -> None:
        """Add reports to the next write."""
        self._owed += reports

    def plan(self, results: Sequence[ConsumerResult], groups: Mapping[str, Audience]) -> list[Push]:
        """Return the pushes for what consumers sent and for all reports; a message that cannot be sent is dropped."""
        try:
            return self._pushes(results, groups)
        except Exception:
            for result in results:
                result.sends = [send for send in result.sends if self._is_sendable(send, groups, result)]
            return self._pushes(results, groups)

    def records(self, sends: Sequence[Outgoing]) -> list[tuple[Outgoing, Record]]:
        """Return the steps by which groups keep messages; one that cannot be sent is dropped by `plan`."""
        found = []
        for send in sends:
            if send.retention is not None:
                with suppress(Exception):
                    found.append((send, self._planner.record(send)))
        return found

    def _pushes(self, results: Sequence[ConsumerResult], groups: Mapping[str, Audience]) -> list[Push]:
        sends = [send for result in results for send in result.sends]
        # First, because a report may be attached to the last send.
        reports = [report for result in results for report in result.reports()]
        return self._planner.pushes(sends, groups, self._owed + reports)

    def _is_sendable(self, send: Outgoing, groups: Mapping[str, Audience], result: ConsumerResult) -> bool:
        try:
            self._planner.lookups([send])  # checks the name
            if send.retention is not None and send.recorded is None:
                self._planner.record(send)
            self._planner.pushes([send], groups)
        except Exception as error:
            self._losses.count("invalid", str(send.name))
            logger.error(
                "Lost a message for %s, sent by %s while it consumed a message of %s: %s",
                send.name,
                result.source,
                result.delivery.channel,
                error,
            )
            result.unsendable(send)
            return False
        return True

    def outgoing(self, planned: Sequence[Push]) -> list[Push]:
        """Remove and return what is to be written now: repeated reports, then the `planned` pushes."""
        pushes = [*(Push(queue, reports) for queue, reports in self._repeated.items()), *planned]
        self._repeated, self._owed = {}, []
        return pushes

    def wrote(self, written: Written) -> None:
        """Record that steps are written now; called before, because a write that fails may have been read."""
        self._unread.append(written)

    # Reading

    def answered(self, results: Sequence[Any], now: float) -> None:
        """Take the results of the oldest pushes; all of them have been read."""
        written = self._unread.popleft()
        self.release(written.deliveries)
        if not results:
            return
        self._planner.refusals(written.pushes, results)  # counts dead inboxes
        if any(isinstance(result, StepRefused) or PushStatus.FULL in result for result in results):
            deadlines = written.deadlines or [now + RETRY_TIME] * len(results)
            for push, result, deadline in zip(written.pushes, results, deadlines, strict=True):
                self._judge(push, result, now, deadline)

    def _judge(self, push: Push, result: StepRefused | Sequence[PushStatus], now: float, deadline: float) -> None:
        if isinstance(result, StepRefused):
            if all(isinstance(entry, _KeptReport) for entry in push.entries):
                self._keep(push.queue, push.entries, now)
                return
            if not result.again:
                self._refusals.error(logger, "Messages for %s were not accepted: %s", push.queue, result)
            self._refused.append((push, "refused", deadline))
            return
        refused = [entry for entry, status in zip(push.entries, result, strict=True) if status == PushStatus.FULL]
        self._keep(push.queue, refused, now)
        full = [entry for entry in refused if entry.origin]
        # As in Channels 1.1.8 a group send is not repeated: members that are full miss it.
        self._losses.count("full", push.queue, sum(entry.origin.group for entry in full))
        kept = [entry for entry in full if not entry.origin.group]
        if kept:
            self._refused.append((Push(push.queue, kept, push.alive), "full", deadline))

    def retried(self, now: float) -> Written:
        """Remove and return the refused pushes to write again; a push that is too old keeps only its reports."""
        refused, self._refused = self._refused, []
        for push, kind, deadline in refused:
            if now >= deadline:
                self._drop(push, kind)
                self._keep(push.queue, push.entries, now)
        again = [(push, deadline) for push, _, deadline in refused if now < deadline]
        return Written([push for push, _ in again], deadlines=[deadline for _, deadline in again])

    # Losing

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Record that messages are finished."""
        for delivery in deliveries:
            self._in_flight.release(delivery)

    def disconnected(self) -> None:
        """Give up everything unanswered: the connection broke. Reports are kept, to be written again."""
        unread, self._unread = self._unread, deque()
        refused, self._refused = self._refused, []
        for written in unread:
            self.release(written.deliveries)
            for push in written.pushes:
                self._drop(push, "broker")
                self._repeat(push.queue, push.entries)
        for push, kind, _ in refused:
            self._drop(push, kind)
            self._repeat(push.queue, push.entries)

    def give_up(self, pushes: Sequence[Push]) -> None:
        """Count messages in pushes that were never written as lost; keep their reports."""
        self._unread.append(Written(pushes))
        self.disconnected()

    def _keep(self, queue: str, entries: Sequence[Entry], now: float) -> None:
        """Repeat the reports among refused entries, but only while they could have waited in the inbox."""
        kept = [
            entry if isinstance(entry, _KeptReport) else _KeptReport(entry.payload, entry.ttl, until=now + entry.ttl)
            for entry in entries
            if entry.origin is None
        ]
        self._repeat(queue, [report for report in kept if now < report.until])

    def _repeat(self, queue: str, entries: Sequence[Entry]) -> None:
        """Add the reports among entries to the next write."""
        reports = [entry for entry in entries if entry.origin is None]
        if reports:
            self._repeated.setdefault(queue, []).extend(reports)

    def _drop(self, push: Push, kind: str) -> None:
        for entry in push.entries:
            if entry.origin is not None:
                self.lose(entry.origin, kind)

    def lose(self, send: Outgoing, kind: str) -> None:
        """Count a message as lost, and owe a report to the client that waits for it."""
        self._losses.count(kind, send.name)
        reply_channel = send.message.get("reply_channel")
        if send.token is not None and isinstance(reply_channel, str):
            self._owed.append(Report(reply_channel, send.token, Outcome.DROPPED))
        if send.report is not None and send.report.outcome is not Outcome.RUNNING:
            self._owed.append(send.report)
