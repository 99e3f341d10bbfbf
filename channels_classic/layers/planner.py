"""From messages to steps and back: which list carries an entry, who is charged, one entry per inbox for a group.

Pure: no I/O, no clock. Written once for the synchronous and the asyncio face of every layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from channels_classic.exceptions import StepRefused
from channels_classic.layers.capacity import Capacities
from channels_classic.layers.codec import Kind, Outcome, decode, encode, encode_message
from channels_classic.layers.losses import Losses
from channels_classic.layers.names import check_channel, check_group, is_managed, split
from channels_classic.layers.steps import Delist, Entry, Item, Members, Push, Status, Step

GROUP_BACKLOG = 1000
"""Unread messages of one group that one inbox holds before further ones are dropped."""


@dataclass(slots=True)  # frozen would be slower
class Outgoing:
    """A message for a channel or a group.

    `token` asks who consumes it for a report to the inbox of its reply channel. `report`, on another message, is for
    the client whose reply channel `name` is, and travels along.
    """

    name: str
    message: Mapping[str, Any]
    group: bool = False
    token: str | None = None
    report: Report | None = None


@dataclass(slots=True)  # frozen would be slower
class Delivery:
    """A message that was taken from `channel`. With a `token`, the gate of its client waits for a report."""

    channel: str
    message: dict[str, Any]
    token: str | None
    item: Item

    @property
    def reply_channel(self) -> str | None:
        """The reply channel that the message names, where a report would go."""
        name = self.message.get("reply_channel")
        return name if isinstance(name, str) and "!" in name else None


@dataclass(slots=True)  # frozen would be slower
class Report:
    """How a gated message ended, or that it still runs, for the gate of the client `reply_channel`."""

    reply_channel: str
    token: str
    outcome: Outcome


Membership = Mapping[str, Sequence[str]]
"""What `Members` gives: list → its members."""


@dataclass(slots=True)
class Refusals:
    """What did not arrive of some pushes: sends to full channels, pushes the layer refused, and inboxes found dead."""

    full: list[Outgoing]
    refused: list[tuple[Outgoing, Exception]]
    dead: list[Delist]


class Planner:
    """Turns messages into steps, for one layer's expiry and capacities, and their results into what was lost."""

    def __init__(self, expiry: float, group_expiry: float, capacities: Capacities, losses: Losses) -> None:
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacities = capacities
        self.losses = losses

    def lookups(self, sends: Iterable[Outgoing]) -> list[Members]:
        """The look-ups that `pushes` needs to be answered, one for each group named in `sends`."""
        return [Members(name) for name in dict.fromkeys(check_group(send.name) for send in sends if send.group)]

    def pushes(
        self, sends: Iterable[Outgoing], groups: Mapping[str, Membership], reports: Iterable[Report] = ()
    ) -> list[Push]:
        """Everything in `sends` in order, then `reports`; neighbours for one list travel in one push."""
        merged: list[tuple[str, bool, list[Entry]]] = []
        for queue, alive, entry in self._entries(sends, groups, reports):
            if merged and merged[-1][0] == queue and merged[-1][1] is alive:
                merged[-1][2].append(entry)
            else:
                merged.append((queue, alive, [entry]))
        return [Push(queue, entries, alive) for queue, alive, entries in merged]

    def _entries(
        self, sends: Iterable[Outgoing], groups: Mapping[str, Membership], reports: Iterable[Report]
    ) -> Iterator[tuple[str, bool, Entry]]:
        for send in sends:
            if send.group:
                yield from self._group_entries(send, groups[send.name])
            else:
                yield self._entry(send, send.name)
        for report in reports:
            inbox, local = split(report.reply_channel)
            yield inbox, False, Entry(encode(Kind.REPORT, local, report.token, int(report.outcome)), self.expiry)

    def _entry(self, send: Outgoing, channel: str) -> tuple[str, bool, Entry]:
        queue, local = split(check_channel(channel))
        report = send.report
        fields = () if report is None else (report.token, int(report.outcome))
        payload = encode_message(channel, Kind.MESSAGE, send.message, send.token, local, *fields)
        return queue, False, Entry(payload, self.expiry, local, self.capacities.of(queue), send)

    def _group_entries(self, send: Outgoing, membership: Membership) -> Iterator[tuple[str, bool, Entry]]:
        if not membership:
            encode_message(
                send.name, Kind.GROUP, send.message
            )  # an empty group is no excuse for a message that cannot be sent
        for queue, members in membership.items():
            if is_managed(queue):
                payload = encode_message(send.name, Kind.GROUP, send.message, send.name, list(members))
                yield queue, True, Entry(payload, self.expiry, f"@{send.name}", GROUP_BACKLOG, send)
            else:
                yield from (self._entry(send, queue + member) for member in members)

    def refusals(self, pushes: Iterable[Push], results: Iterable[Any]) -> Refusals:
        """What did not arrive, from the results of `pushes`. Dead inboxes are counted here."""
        found = Refusals([], [], [])
        for push, result in zip(pushes, results, strict=True):
            if isinstance(result, StepRefused):
                found.refused += [(entry.origin, result) for entry in push.entries if entry.origin]
                continue
            for entry, status in zip(push.entries, result, strict=True):
                if status == Status.FULL and entry.origin:
                    found.full.append(entry.origin)
                elif status == Status.DEAD:
                    self.losses.count("dead", push.queue)
                    found.dead.append(Delist(entry.origin.name, push.queue))
        return found

    def hint(self, kind: Kind, group: str, channel: str) -> list[Step]:
        """Tell the owner of a client that it joined or left a group, so that it can act for it when it goes."""
        inbox, local = split(channel)
        if not is_managed(inbox):
            return []
        return [Push(inbox, [Entry(encode(kind, group, local), self.group_expiry)])]

    def delivery(self, queue: str, item: Item) -> Delivery | None:
        """The message in an item of a plain list or an inbox that is not managed.

        None, and counted, when it is none.
        """
        try:
            kind, message, token, local, *_ = decode(item.payload)
        except ValueError:
            kind = None
        if kind != Kind.MESSAGE:
            self.losses.count("undecodable", queue)
            return None
        return Delivery(queue + local, message, token, item)


def member_of(channel: str) -> tuple[str, str]:
    """The list and the member that stand for `channel` in a group; joined they are its name again."""
    return split(check_channel(channel))
