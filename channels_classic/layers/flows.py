"""The operations of a channel layer, each as a flow: a generator that yields steps and is given their results.

A flow does no I/O: `base` carries the steps, in a thread or on an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from time import monotonic
from typing import Any, TypeVar

from channels_classic.exceptions import ChannelFull, InvalidChannelName, LayerUnavailable, StepRefused
from channels_classic.layers import names, rng
from channels_classic.layers.codec import EntryKind, Outcome, decode_kept, encode
from channels_classic.layers.history import ALL, SECONDS, make_retention, parse_start
from channels_classic.layers.planner import Outgoing, Planner, Report, member_of
from channels_classic.layers.presence import by_who, make_identity
from channels_classic.layers.results import Audience, History, Published, Recorded, Taken
from channels_classic.layers.steps import (
    Entry,
    Flush,
    GetPresence,
    GetStatistics,
    Join,
    JoinAs,
    Leave,
    Length,
    Lookup,
    MemberCount,
    Members,
    Push,
    ReadHistory,
    SetStart,
    Step,
    Take,
    owned_expiry,
)

T = TypeVar("T")
Flow = Generator[Sequence[Step], list[Any], T]
Received = tuple[str, dict[str, Any]] | tuple[None, None]

Answering = Callable[[str], Report | None]

answering: ContextVar[Answering | None] = ContextVar("channels_classic_answering", default=None)
"""Called with the channel of a message before it is sent; returns the report that travels along. A worker names in it
the message whose consumer sends."""


class Flows:
    """The flows of one layer: each does what the method of the same name of `BaseChannelLayer` promises."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner

    def send(self, channel: str, message: dict[str, Any]) -> Flow[None]:
        report_of = answering.get()
        report = report_of(channel) if report_of is not None else None
        pushes = self._planner.pushes([Outgoing(channel, message, report=report)], {})
        results = yield pushes
        refusals = self._planner.refusals(pushes, results)
        for _, error in refusals.refused:
            raise error
        if refusals.full:
            queue = names.inbox_of(channel)
            raise ChannelFull(channel, self._planner.capacities.of(queue))

    def receive(self, channels: Sequence[str], timeout: float, look: bool = False) -> Flow[Received]:
        if isinstance(channels, str):
            raise InvalidChannelName(channels, "receive takes a list of channel names")
        if not channels:
            return None, None
        queues = [names.check_receivable(channel) for channel in channels]
        for queue in queues:
            if names.is_owned(queue):
                raise InvalidChannelName(queue, "only the interface server that made this inbox reads it")
        deadline = monotonic() + timeout
        while (taken := (yield from self._take(queues, timeout, look))) is not None:
            deliveries, reports = self._planner.open(taken)
            reports += [report for delivery in deliveries if (report := delivery.report(Outcome.CONSUMED))]
            if reports:
                try:
                    yield self._planner.pushes([], {}, reports)
                except (GeneratorExit, LayerUnavailable):  # the caller was cancelled, or the layer was lost
                    self._planner.losses.count("broker", taken.queue, len(deliveries))
                    raise
            for delivery in deliveries:
                return delivery.channel, delivery.message
            # What was taken is lost, expired for instance: others may wait behind it.
            timeout = max(0.0, deadline - monotonic())
        return None, None

    @staticmethod
    def _take(queues: list[str], timeout: float, look: bool) -> Flow[Taken | None]:
        """Take one entry of any of the queues, or None after `timeout` seconds."""
        rng.shuffle(queues)
        taken: Taken | StepRefused | None = None
        if look:
            # Coroutines share the round trip of a take that does not wait; to wait each needs a connection of its own.
            (taken,) = yield [Take(queues, 1)]
        if taken is None:
            (taken,) = yield [Take(queues, 1, timeout)]
        if isinstance(taken, StepRefused):
            raise taken
        return taken

    def new_channel(self, pattern: str) -> Flow[str]:
        if not isinstance(pattern, str) or not pattern.endswith("?"):
            raise InvalidChannelName(pattern, "a pattern for a new channel ends in '?'")
        while True:
            name = names.check_channel(pattern + names.random_text(12))
            (length,) = yield [Length(name)]
            if not length:
                return name

    def group_add(
        self, group: str, channel: str, who: str | None, info: dict[str, Any] | None, after: str | None, keep: int
    ) -> Flow[None]:
        inbox, member = member_of(channel)
        identity = None if who is None and info is None else make_identity(who, info)
        retention = make_retention(keep, SECONDS) if keep else None
        if retention is None and after is not None:
            raise ValueError(f"after={after!r}: the group {group!r} keeps nothing, give `keep` to make it recoverable.")
        step: Step = Join(names.check_group(group), inbox, [member])
        if identity is not None:
            step = JoinAs(group, inbox, {member: identity})
        if retention is None:
            (change,) = yield from self._all([step])
            yield from self._all(self._planner.hint(EntryKind.JOINED, group, channel, change, identity))
            return
        cursor = parse_start(after, retention.keep)
        if not names.is_managed(inbox):
            reads = [ReadHistory(group, *cursor), *([ReadHistory(group, ALL, 0)] if keep == 1 else [])]
            *histories, change = yield from self._all([*reads, step])
            if change.previous != change.version:  # a member has got it
                yield from self._rest(self._replay(group, channel, histories, keep))
            return
        # In this order: whoever reads that it is a member reads also from where it is served.
        start, change = yield from self._all([SetStart(group, inbox, member, *cursor, keep == 1), step])
        yield from self._all(self._planner.hint(EntryKind.JOINED, group, channel, change, identity, start))

    def _replay(self, group: str, channel: str, histories: Sequence[History], keep: int) -> Flow[None]:
        """Send what a channel that no interface server of this release owns has missed; it may miss what comes now."""
        found = next((history.kept for history in histories if history.kept is not None), ())
        kept = [decode_kept(entry.payload) for entry in found]
        sends = [Outgoing(channel, message) for message, but in kept[-keep:] if but != channel]
        yield from self._push(group, self._planner.pushes(sends, {}))

    def group_discard(self, group: str, channel: str) -> Flow[None]:
        inbox, member = member_of(channel)
        (change,) = yield from self._all([Leave(names.check_group(group), inbox, [member])])
        yield from self._all(self._planner.hint(EntryKind.LEFT, group, channel, change))

    def group_channels(self, group: str) -> Flow[list[str]]:
        (audience,) = yield from self._all([Lookup(names.check_group(group))])
        rosters = yield from self._all([Members(group, inbox) for inbox in audience.inboxes])
        owned = zip(audience.inboxes, rosters, strict=True)
        return [*audience.channels, *(inbox + member for inbox, roster in owned for member in roster.members)]

    def group_count(self, group: str) -> Flow[int]:
        (audience,) = yield from self._all([Lookup(names.check_group(group))])
        counts: list[int] = yield from self._all([MemberCount(group, inbox) for inbox in audience.inboxes])
        return len(audience.channels) + sum(counts)

    def group_presence(self, group: str) -> Flow[dict[str, list[dict[str, Any]]]]:
        (found,) = yield from self._all([GetPresence(names.check_group(group))])
        return by_who(found)

    def send_group(self, group: str, message: dict[str, Any], but: str, keep: int, seconds: float) -> Flow[None]:
        send = Outgoing(group, message, group=True, but=but and names.check_channel(but))
        if keep:
            send.retention = make_retention(keep, seconds)
        published = yield from self._publish(send)
        if keep:
            send.recorded = Recorded(published.left, published.life, published.position)
        rest = self._push_to_group(send, published.left)
        yield from (self._rest(rest) if keep or published.reached else rest)

    @staticmethod
    def _rest(flow: Flow[None]) -> Flow[None]:
        """Do the rest of what was written in part, and say of its failures that it must not be repeated."""
        try:
            yield from flow
        except LayerUnavailable as error:
            if error.written:
                raise
            # Another one, as written as any: coroutines that shared the batch may be given this one too.
            raise LayerUnavailable(error.where, error.reason, error.next_step) from error
        except StepRefused as error:
            raise _partly_refused(error) from None

    def _publish(self, send: Outgoing) -> Flow[Published]:
        """Send a message to a group, as far as a single step does."""
        published: Published | StepRefused
        (published,) = yield [self._planner.publish(send)]
        if isinstance(published, Published):
            self._planner.losses.count("full", send.name, published.full)
            return published
        if not published.unknown:
            raise published
        if send.retention is None:
            (audience,) = yield from self._all(self._planner.lookups([send]))
            return Published(audience, 0)
        (recorded,) = yield from self._all([self._planner.record(send)])
        return Published(recorded.audience, 0, 0, recorded.life, recorded.position)

    def _push_to_group(self, send: Outgoing, audience: Audience) -> Flow[None]:
        questions = self._planner.foreign(send.name, audience)
        rosters = yield from self._all(questions)
        named = {question.inbox: roster for question, roster in zip(questions, rosters, strict=True)}
        audience = self._planner.audience(audience, named)
        if send.recorded is not None:
            send.recorded = send.recorded._replace(audience=audience)
        yield from self._push(send.name, self._planner.pushes([send], {send.name: audience}))

    def _push(self, group: str, pushes: Sequence[Push]) -> Flow[None]:
        """Push messages of a group, and count those that a full inbox refuses as lost."""
        if not pushes:
            return
        results = yield pushes
        refusals = self._planner.refusals(pushes, results)
        self._planner.losses.count("full", group, len(refusals.full))
        for refused in results:
            if isinstance(refused, StepRefused):
                is_written = any(not isinstance(result, StepRefused) for result in results)
                raise _partly_refused(refused) if is_written else refused

    def flush(self) -> Flow[None]:
        (inboxes,) = yield from self._all([Flush()])
        yield from self._all(
            [
                Push(inbox, [Entry(encode(EntryKind.FORGET), owned_expiry(self._planner.group_expiry))])
                for inbox in inboxes
            ]
        )

    def statistics(self, queue: str | None) -> Flow[dict[str, int]]:
        (found,) = yield from self._all([GetStatistics(queue)])
        counted: dict[str, int] = found
        return counted

    @staticmethod
    def _all(steps: Sequence[Step]) -> Flow[list[Any]]:
        """Carry out steps of which none may fail."""
        if not steps:
            return []
        results = yield steps
        for result in results:
            if isinstance(result, StepRefused):
                raise result
        return results


def _partly_refused(error: StepRefused) -> LayerUnavailable:
    """Return the error of a message that the layer has written in part when it refuses the rest."""
    return LayerUnavailable(error.where, f"it refused to carry it to some members ({error.reason})", error.next_step)
