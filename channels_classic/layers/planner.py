"""Messages as steps, and results of steps as losses: the queue and quota of each entry, one entry per inbox of a group.

Pure: no I/O, no clock. Used by the synchronous and the asyncio methods of every layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from channels_classic.exceptions import StepRefused
from channels_classic.layers.capacity import Capacities
from channels_classic.layers.codec import (
    EntryKind,
    Outcome,
    append_fields,
    decode,
    encode,
    encode_group,
    encode_kept,
    encode_message,
    pack_message,
    seal,
)
from channels_classic.layers.history import Retention
from channels_classic.layers.losses import Losses
from channels_classic.layers.names import (
    check_channel,
    check_group,
    is_channel,
    is_managed,
    is_owned,
    managed_prefix,
    split,
)
from channels_classic.layers.results import (
    Audience,
    Identity,
    Item,
    MembershipChange,
    PushStatus,
    Recorded,
    Roster,
    Start,
    Taken,
)
from channels_classic.layers.steps import (
    EMPTY,
    Entry,
    Envelope,
    Lookup,
    Members,
    Publish,
    Push,
    Record,
    Step,
    owned_expiry,
)

GROUP_BACKLOG = 1000
"""Unread messages of one group that one inbox holds before further ones are dropped."""


@dataclass(slots=True)  # frozen would be slower
class Outgoing:
    """A message for a channel or a group.

    With a `token` its consumer is asked for a report to the inbox of the reply channel. `report`, on another message,
    is for the client with the reply channel `name`, and travels along. A message for a group does not go to the member
    `but`; with a `retention` the group keeps it, where it was `recorded`.
    """

    name: str
    message: Mapping[str, Any]
    group: bool = False
    token: str | None = None
    report: Report | None = None
    but: str = ""
    retention: Retention | None = None
    recorded: Recorded | None = None


@dataclass(slots=True)  # frozen would be slower
class Delivery:
    """A message that was taken from `channel`. With a `token`, the gate of its client waits for a report."""

    channel: str
    message: dict[str, Any]
    token: str | None
    item: Item
    deadline: float = math.inf
    """The time at which it expires, by the clock of its worker."""

    @property
    def reply_channel(self) -> str | None:
        """The reply channel in the message, to which a report would go."""
        name = self.message.get("reply_channel")
        return name if isinstance(name, str) and "!" in name else None

    def report(self, outcome: Outcome) -> Report | None:
        """Return a report for the gate of the client, if one waits for it."""
        if self.token is None or self.reply_channel is None:
            return None
        return Report(self.reply_channel, self.token, outcome)


@dataclass(slots=True)  # frozen would be slower
class Report:
    """The end of a gated message, or that it still runs, for the gate of the client `reply_channel`."""

    reply_channel: str
    token: str
    outcome: Outcome


@dataclass(slots=True)
class Refusals:
    """Messages that did not arrive: those for full channels, and those that the layer refused."""

    full: list[Outgoing]
    refused: list[tuple[Outgoing, Exception]]


class Planner:
    """Turns messages into steps, with the expiry and capacities of one layer, and results of steps into losses."""

    def __init__(self, expiry: float, group_expiry: float, capacities: Capacities, losses: Losses) -> None:
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacities = capacities
        self.losses = losses

    def lookups(self, sends: Iterable[Outgoing]) -> list[Lookup]:
        """Return the look-ups that `pushes` needs, one for each group named in `sends` that keeps no messages."""
        plain = (send.name for send in sends if send.group and send.retention is None)
        return [Lookup(name) for name in dict.fromkeys(map(check_group, plain))]

    def publish(self, send: Outgoing) -> Publish:
        """Return the step that does what `lookups` or `record`, and then `pushes` do, if it can."""
        group = check_group(send.name)
        apart, envelope, envelope_apart = self._envelopes(send)
        record = None if send.retention is None else self.record(send)
        bounds = (self.expiry, f"@{group}", GROUP_BACKLOG)
        return Publish(group, envelope, managed_prefix(), *bounds, apart, envelope_apart, record=record)

    @staticmethod
    def _envelopes(send: Outgoing) -> tuple[str, Envelope, Envelope]:
        """Return the inbox of the member that is left out, what other inboxes get, and what that inbox gets, if any."""
        packed = pack_message(send.name, send.message)
        inbox, local = split(check_channel(send.but)) if send.but else ("", "")
        if send.retention is None:
            apart = encode_group(send.name, packed, local) if local else EMPTY
            return inbox, encode_group(send.name, packed), apart
        envelope = encode_group(send.name, packed, "", following=2)
        apart = encode_group(send.name, packed, local, following=2) if local else EMPTY
        if send.recorded is None:
            return inbox, envelope, apart
        position = send.recorded[1:]
        return inbox, append_fields(envelope, *position), append_fields(apart, *position)

    @staticmethod
    def record(send: Outgoing) -> Record:
        """Return the step by which a group keeps a message. Raises what `pushes` does for one that cannot be sent."""
        assert send.retention is not None
        if send.but:
            check_channel(send.but)
        packed = pack_message(check_group(send.name), send.message)
        return Record(send.name, encode_kept(packed, send.but), *send.retention)

    @staticmethod
    def foreign(group: str, found: Audience) -> list[Members]:
        """Return the questions that `audience` needs: for members of inboxes that read no envelopes of this release.

        Every release stores memberships in the same way: otherwise programs of two releases would undo each other's
        changes.
        """
        return [Members(group, inbox) for inbox in found.inboxes if is_owned(inbox) and not is_managed(inbox)]

    def audience(self, found: Audience, rosters: Mapping[str, Roster] | None = None) -> Audience:
        """Return the receivers that a look-up found. Inboxes in `rosters` are replaced by their members.

        The inboxes that it found dead are counted, and so is what something else has written there.
        """
        for inbox in found.dead:
            self.losses.count("dead", inbox)
        rosters = rosters or {}
        inboxes = {inbox: version for inbox, version in found.inboxes.items() if inbox not in rosters}
        named = [inbox + local for inbox, roster in rosters.items() for local in roster.members]
        channels = [*found.channels, *named]
        odd = [name for name in channels if not is_channel(name)] + [name for name in inboxes if not is_owned(name)]
        for name in odd:
            self.losses.count("undecodable", ascii(name))
            inboxes.pop(name, None)
        return Audience(inboxes, [name for name in channels if name not in odd] if odd else channels, found.dead)

    def pushes(
        self, sends: Iterable[Outgoing], groups: Mapping[str, Audience], reports: Iterable[Report] = ()
    ) -> list[Push]:
        """Return pushes for `sends` in order, then `reports`; neighbours for one queue share a push."""
        merged: list[tuple[str, bool, list[Entry]]] = []
        for queue, alive, entry in self._entries(sends, groups, reports):
            if merged and merged[-1][0] == queue and merged[-1][1] is alive:
                merged[-1][2].append(entry)
            else:
                merged.append((queue, alive, [entry]))
        return [Push(queue, entries, alive) for queue, alive, entries in merged]

    def _entries(
        self, sends: Iterable[Outgoing], groups: Mapping[str, Audience], reports: Iterable[Report]
    ) -> Iterator[tuple[str, bool, Entry]]:
        for send in sends:
            if send.group:
                recorded = send.recorded
                yield from self._group_entries(send, groups[send.name] if recorded is None else recorded.audience)
            else:
                yield self._entry(send, send.name)
        for report in reports:
            inbox, local = split(report.reply_channel)
            yield inbox, False, Entry(encode(EntryKind.REPORT, local, report.token, int(report.outcome)), self.expiry)

    def _entry(self, send: Outgoing, channel: str) -> tuple[str, bool, Entry]:
        queue, local = split(check_channel(channel))
        report = send.report
        fields = () if report is None else (report.token, int(report.outcome))
        payload = encode_message(channel, EntryKind.MESSAGE, send.message, send.token, local, *fields)
        return queue, False, Entry(payload, self.expiry, local, self.capacities.of(queue), send)

    def _group_entries(self, send: Outgoing, audience: Audience) -> Iterator[tuple[str, bool, Entry]]:
        # Also for nobody: a message that cannot be sent is an error.
        apart, envelope, envelope_apart = self._envelopes(send)
        for inbox, version in audience.inboxes.items():
            payload = seal(envelope_apart if inbox == apart else envelope, version)
            yield inbox, True, Entry(payload, self.expiry, f"@{send.name}", GROUP_BACKLOG, send)
        for channel in audience.channels:
            if channel != send.but:
                yield self._entry(send, channel)

    def refusals(self, pushes: Iterable[Push], results: Iterable[Any]) -> Refusals:
        """Return which messages did not arrive, from the results of `pushes`. Dead inboxes are counted here."""
        found = Refusals([], [])
        for push, result in zip(pushes, results, strict=True):
            if isinstance(result, StepRefused):
                found.refused += [(entry.origin, result) for entry in push.entries if entry.origin]
                continue
            for entry, status in zip(push.entries, result, strict=True):
                if status == PushStatus.FULL and entry.origin:
                    found.full.append(entry.origin)
                elif status == PushStatus.DEAD:
                    self.losses.count("dead", push.queue)
        return found

    def hint(
        self,
        kind: EntryKind,
        group: str,
        channel: str,
        change: MembershipChange,
        identity: Identity | None = None,
        start: Start | None = None,
    ) -> list[Step]:
        """Return the step that tells the owner of a client that the client joined or left a group.

        Without a change there is nothing to tell. A hint may be lost: its owner notices by the versions. An owner of
        another release, which may not read it, does likewise.
        """
        inbox, local = split(channel)
        if change.previous == change.version or not is_managed(inbox):
            return []
        fields: tuple[Any, ...] = identity or ()
        if start is not None:
            fields = (*(identity or (None, None)), *start)
        return [Push(inbox, [Entry(encode(kind, group, local, *change, *fields), owned_expiry(self.group_expiry))])]

    def open(self, taken: Taken) -> tuple[list[Delivery], list[Report]]:
        """Return the messages of a `Take`, and reports for the gates of those that were lost, which are counted."""
        deliveries: list[Delivery] = []
        reports: list[Report] = []
        for item in taken.items:
            found = self.delivery(taken.queue, item)
            if isinstance(found, Delivery):
                deliveries.append(found)
            elif found is not None:
                reports.append(found)
        for kind, payload in taken.lost:
            self.losses.count(kind, taken.queue)
            lost = None if kind == "undecodable" else self.delivery(taken.queue, Item(payload, None))
            report = lost.report(Outcome.EXPIRED) if isinstance(lost, Delivery) else lost
            if report is not None:
                reports.append(report)
        return deliveries, reports

    def delivery(self, queue: str, item: Item) -> Delivery | Report | None:
        """Return the message in an item of a plain channel, or of an inbox that is not managed.

        Anything else is counted. An entry of a later release whose gate waits for a report gives the report.
        """
        try:
            kind, *fields = decode(item.payload)
        except ValueError:
            self.losses.count("undecodable", queue)
            return None
        if kind == EntryKind.MESSAGE:
            message, token, local, *_ = fields
            return Delivery(queue + local, message, token, item)
        self.losses.count("undecodable", queue)
        match fields:
            case [dict() as message, str() as token, *_]:
                return Delivery(queue, message, token, item).report(Outcome.DROPPED)
        return None


def member_of(channel: str) -> tuple[str, str]:
    """Return the inbox and the member for which `channel` stands in a group.

    The inbox is empty unless an interface server, of whichever release, owns the channel.
    """
    inbox, local = split(check_channel(channel))
    return (inbox, local) if is_owned(inbox) else ("", channel)
