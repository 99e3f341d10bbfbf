"""The channel layer as user code sees it: the 1.x methods, their asyncio twins, and methods that both programs use.

Each operation is written once, as a flow: a generator that yields steps and is given their results. The two sets of
methods only carry the steps: `run` in a thread, `run_async` on an event loop. A layer adds the connections.
"""

from __future__ import annotations

import math
import warnings
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from channels_classic.exceptions import ChannelFull, InvalidChannelName, MessageTooLarge, StepRefused
from channels_classic.layers import names, rng
from channels_classic.layers.capacity import Capacities, Patterns
from channels_classic.layers.codec import Kind, Outcome, decode_kept, encode
from channels_classic.layers.history import ALL, SECONDS, Cursor, make_retention, parse_start
from channels_classic.layers.legacy_names import LegacyNames
from channels_classic.layers.losses import Losses
from channels_classic.layers.planner import Delivery, Outgoing, Planner, Report, member_of
from channels_classic.layers.pool import ConnectionPool, Multiplexer
from channels_classic.layers.presence import by_who, make_identity
from channels_classic.layers.steps import (
    AsyncConnection,
    Attend,
    Attendance,
    Audience,
    Connection,
    Entry,
    Flush,
    GetStatistics,
    Item,
    Join,
    Leave,
    Length,
    Lookup,
    MemberCount,
    Members,
    Published,
    Push,
    ReadHistory,
    Recorded,
    SetStart,
    Step,
    Take,
    Taken,
    waits,
)

T = TypeVar("T")
Flow = Generator[Sequence[Step], list[Any], T]
Received = tuple[str, dict[str, Any]] | tuple[None, None]

BLOCK = 5.0
"""Seconds for which `receive(block=True)` waits before it gives `(None, None)`."""

BeforeRun = Callable[["BaseChannelLayer", Sequence[Step]], None]

before_run: ContextVar[BeforeRun | None] = ContextVar("channels_classic_before_run", default=None)
"""Called with the layer and the steps before a thread carries them out. A worker, which collects what its consumers
send, writes first what these steps must not overtake."""

Answering = Callable[[str], Report | None]

answering: ContextVar[Answering | None] = ContextVar("channels_classic_answering", default=None)
"""Called with the channel of a message before it is sent; returns the report that travels along. A worker names in it
the message whose consumer sends."""


class BaseChannelLayer(LegacyNames):
    """The methods of every channel layer.

    `expiry` and `group_expiry` are in seconds, `capacity` in unread messages per channel (for a process-local channel:
    per client); `channel_capacity` maps patterns to capacities. Subclasses give connections.
    """

    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge
    extensions: ClassVar[list[str]] = ["groups", "presence", "flush", "async", "statistics"]

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
    ) -> None:
        for name, value in {"expiry": expiry, "group_expiry": group_expiry, "capacity": capacity}.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"`{name}` is {value!r}, but it is a number.")
            if not (0 < value < math.inf or (name == "capacity" and value == 0)):
                raise ValueError(f"`{name}` is {value!r}: expected a finite number above 0.")
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self.channel_capacity = channel_capacity or {}
        self.losses = Losses()
        self.planner = Planner(expiry, group_expiry, Capacities(capacity, channel_capacity), self.losses)
        self._pool = ConnectionPool(self.connect)
        self._multiplexers: dict[AbstractEventLoop, Multiplexer] = {}

    # What a layer gives

    def connect(self) -> Connection:
        """A connection for one thread. Raises `LayerUnavailable`."""
        raise NotImplementedError

    async def connect_async(self) -> AsyncConnection:
        """A connection for the running event loop. Raises `LayerUnavailable`."""
        raise NotImplementedError

    async def start(self) -> None:
        """Called once by an interface server, before it uses the layer."""

    async def stop(self) -> None:
        """Called once by an interface server, after it used the layer."""

    # The synchronous face

    def send(self, channel: str, message: dict[str, Any]) -> None:
        """Put a message on a channel.

        Raises `ChannelFull` (the message was not sent), `MessageTooLarge`, `InvalidChannelName`, `InvalidMessage`, and
        `LayerUnavailable`: if `written`, it is unknown whether it was sent, and it must not be sent again. ASGI draft,
        "Specification Details".
        """
        self._drive(self._send(channel, message))

    def receive(self, channels: Sequence[str], block: bool = False) -> Received:
        """The next message of any of the channels as `(channel, message)`, or `(None, None)`.

        With `block` it waits some seconds. The message has left the layer: if the caller fails now, it is lost. A
        connection that breaks meanwhile may lose what was being handed out; it is never handed out twice.
        """
        return self._drive(self._receive(channels, BLOCK if block else 0.0))

    def receive_many(self, channels: Sequence[str], block: bool = False) -> Received:
        """The old name of `receive`."""
        warnings.warn("receive_many is deprecated: use receive", DeprecationWarning, stacklevel=2)
        return self.receive(channels, block)

    def new_channel(self, pattern: str) -> str:
        """A fresh name from a pattern that ends in `?`. It is not reserved, but cannot be guessed.

        If the connection breaks nothing happened. Raises `InvalidChannelName`.
        """
        return self._drive(self._new_channel(pattern))

    def group_add(
        self,
        group: str,
        channel: str,
        who: str | None = None,
        info: dict[str, Any] | None = None,
        after: str | None = None,
        keep: int = 0,
    ) -> None:
        """Make a channel a member, or renew its membership; complete for every sender when this returns.

        With `who` it is known to `group_presence` who is at the channel, and `info` about it. With `keep`, as in
        `send_group`, it first gets what the group keeps after the cursor `after`. If the connection breaks
        (`LayerUnavailable`) it is done or not; doing it again is harmless. Raises `InvalidPresence`.
        """
        self._drive(self._group_add(group, channel, who, info, after, keep))

    def group_discard(self, group: str, channel: str) -> None:
        """End a membership, if there is one; complete for every sender when this returns.

        If the connection breaks (`LayerUnavailable`) it is done or not; doing it again is harmless.
        """
        self._drive(self._group_discard(group, channel))

    def group_channels(self, group: str) -> list[str]:
        """The members of a group, without those that expired and the clients of interface servers that are gone."""
        return self._drive(self._group_channels(group))

    def group_count(self, group: str) -> int:
        """Return the number of members that `group_channels` would name, without naming them."""
        return self._drive(self._group_count(group))

    def group_presence(self, group: str) -> dict[str, list[dict[str, Any]]]:
        """Return who is in a group: for each `who` the `info` of each of their sockets.

        Members that were added without `who` are left out, and so are clients of interface servers that are gone.
        """
        return self._drive(self._group_presence(group))

    def send_group(
        self, group: str, message: dict[str, Any], but: str = "", keep: int = 0, seconds: float = SECONDS
    ) -> None:
        """Send a message to every member, except for the channel `but`.

        With `keep` the group keeps its last messages, as many as that and each for `seconds`, for members that come
        back. Members that are full miss it, and are counted; it never raises `ChannelFull`. If the connection breaks,
        some may have it and some not: `LayerUnavailable`, and unless its `written` is false it must not be sent again.
        """
        self._drive(self._send_group(group, message, but, keep, seconds))

    def flush(self) -> None:
        """Drop all messages, groups and statistics, for every process; if the connection breaks, maybe only some."""
        self._drive(self._flush())

    def global_statistics(self) -> dict[str, int]:
        """Return the number of messages that all channels accepted and refused, and of those lost, by kind.

        Since counting began: a week without messages, a flush or the end of the layer's data begin it anew. ASGI draft,
        "Statistics".
        """
        return self._drive(self._statistics(None))

    def channel_statistics(self, channel: str) -> dict[str, int]:
        """The same for one channel, and how many messages wait, with the age of the oldest in seconds.

        The clients of an inbox are counted together.
        """
        return self._drive(self._statistics(names.inbox_of(names.check_channel(channel))))

    # The asyncio face

    async def send_async(self, channel: str, message: dict[str, Any]) -> None:
        """`send` on an event loop."""
        await self._drive_async(self._send(channel, message))

    async def receive_async(self, channels: Sequence[str]) -> Received:
        """`receive` with `block`, on an event loop."""
        return await self._drive_async(self._receive(channels, BLOCK, look=True))

    async def group_add_async(
        self,
        group: str,
        channel: str,
        who: str | None = None,
        info: dict[str, Any] | None = None,
        after: str | None = None,
        keep: int = 0,
    ) -> None:
        """`group_add` on an event loop."""
        await self._drive_async(self._group_add(group, channel, who, info, after, keep))

    async def group_discard_async(self, group: str, channel: str) -> None:
        """`group_discard` on an event loop."""
        await self._drive_async(self._group_discard(group, channel))

    async def group_channels_async(self, group: str) -> list[str]:
        """`group_channels` on an event loop."""
        return await self._drive_async(self._group_channels(group))

    async def group_count_async(self, group: str) -> int:
        """`group_count` on an event loop."""
        return await self._drive_async(self._group_count(group))

    async def group_presence_async(self, group: str) -> dict[str, list[dict[str, Any]]]:
        """`group_presence` on an event loop."""
        return await self._drive_async(self._group_presence(group))

    async def send_group_async(
        self, group: str, message: dict[str, Any], but: str = "", keep: int = 0, seconds: float = SECONDS
    ) -> None:
        """`send_group` on an event loop."""
        await self._drive_async(self._send_group(group, message, but, keep, seconds))

    async def global_statistics_async(self) -> dict[str, int]:
        """`global_statistics` on an event loop."""
        return await self._drive_async(self._statistics(None))

    async def channel_statistics_async(self, channel: str) -> dict[str, int]:
        """`channel_statistics` on an event loop."""
        return await self._drive_async(self._statistics(names.inbox_of(names.check_channel(channel))))

    # Flows: what each operation does

    def _send(self, channel: str, message: dict[str, Any]) -> Flow[None]:
        report_of = answering.get()
        report = report_of(channel) if report_of is not None else None
        pushes = self.planner.pushes([Outgoing(channel, message, report=report)], {})
        results = yield pushes
        refusals = self.planner.refusals(pushes, results)
        for _, error in refusals.refused:
            raise error
        if refusals.full:
            queue = names.inbox_of(channel)
            raise ChannelFull(channel, self.planner.capacities.of(queue))

    def _receive(self, channels: Sequence[str], timeout: float, look: bool = False) -> Flow[Received]:
        if isinstance(channels, str):
            raise InvalidChannelName(channels, "receive takes a list of channel names")
        if not channels:
            return None, None
        queues = [names.check_receivable(channel) for channel in channels]
        for queue in queues:
            if names.is_owned(queue):
                raise InvalidChannelName(queue, "only the interface server that made this inbox reads it")
        rng.shuffle(queues)
        taken = None
        if look:
            # Coroutines share the round trip of a take that does not wait; to wait each needs a connection of its own.
            (taken,) = yield [Take(queues, 1)]
        if taken is None:
            (taken,) = yield [Take(queues, 1, timeout)]
        if isinstance(taken, StepRefused):
            raise taken
        if taken is None:
            return None, None
        deliveries, reports = self.open(taken)
        reports += [report for delivery in deliveries if (report := delivery.report(Outcome.CONSUMED))]
        if reports:
            yield self.planner.pushes([], {}, reports)
        for delivery in deliveries:
            return delivery.channel, delivery.message
        return None, None

    def _new_channel(self, pattern: str) -> Flow[str]:
        if not isinstance(pattern, str) or not pattern.endswith("?"):
            raise InvalidChannelName(pattern, "a pattern for a new channel ends in '?'")
        while True:
            name = names.check_channel(pattern + names.random_text(12))
            (length,) = yield [Length(name)]
            if not length:
                return name

    def _group_add(
        self, group: str, channel: str, who: str | None, info: dict[str, Any] | None, after: str | None, keep: int
    ) -> Flow[None]:
        inbox, member = member_of(channel)
        identity = None if who is None and info is None else make_identity(who, info)
        retention = make_retention(keep, SECONDS) if keep else None
        if retention is None and after is not None:
            raise ValueError(f"after={after!r}: the group {group!r} keeps nothing, give `keep` to make it recoverable.")
        step: Step = Join(names.check_group(group), inbox, [member])
        if identity is not None:
            step = Attend(group, inbox, {member: identity})
        if retention is None:
            (change,) = yield from self._all([step])
            yield from self._all(self.planner.hint(Kind.JOINED, group, channel, change, identity))
            return
        cursor = parse_start(after, retention.keep)
        if not names.is_managed(inbox):
            yield from self._replay(group, channel, cursor, retention.keep)
            yield from self._all([step])
            return
        # In this order: whoever reads that it is a member reads also from where it is served.
        start, change = yield from self._all([SetStart(group, inbox, member, *cursor, keep == 1), step])
        yield from self._all(self.planner.hint(Kind.JOINED, group, channel, change, identity, start))

    def _replay(self, group: str, channel: str, cursor: Cursor, keep: int) -> Flow[None]:
        """Send what a channel that no interface server of this release owns has missed; it may miss what comes now."""
        (history,) = yield from self._all([ReadHistory(group, *cursor)])
        if keep == 1 and history.kept is None:
            (history,) = yield from self._all([ReadHistory(group, ALL, 0)])
        kept = [decode_kept(entry.payload) for entry in history.kept or ()]
        sends = [Outgoing(channel, message) for message, but in kept[-keep:] if but != channel]
        yield from self._all(self.planner.pushes(sends, {}))

    def _group_discard(self, group: str, channel: str) -> Flow[None]:
        inbox, member = member_of(channel)
        (change,) = yield from self._all([Leave(names.check_group(group), inbox, [member])])
        yield from self._all(self.planner.hint(Kind.LEFT, group, channel, change))

    def _group_channels(self, group: str) -> Flow[list[str]]:
        (audience,) = yield from self._all([Lookup(names.check_group(group))])
        rosters = yield from self._all([Members(group, inbox) for inbox in audience.inboxes])
        owned = zip(audience.inboxes, rosters, strict=True)
        return [*audience.channels, *(inbox + member for inbox, roster in owned for member in roster.members)]

    def _group_count(self, group: str) -> Flow[int]:
        (audience,) = yield from self._all([Lookup(names.check_group(group))])
        counts: list[int] = yield from self._all([MemberCount(group, inbox) for inbox in audience.inboxes])
        return len(audience.channels) + sum(counts)

    def _group_presence(self, group: str) -> Flow[dict[str, list[dict[str, Any]]]]:
        (found,) = yield from self._all([Attendance(names.check_group(group))])
        return by_who(found)

    def _send_group(self, group: str, message: dict[str, Any], but: str, keep: int, seconds: float) -> Flow[None]:
        send = Outgoing(group, message, group=True, but=but and names.check_channel(but))
        recorded: Recorded | None = None
        if keep:
            send.retention = make_retention(keep, seconds)
            (recorded,) = yield from self._all([self.planner.record(send)])
            audience = recorded.audience
        else:
            audience = yield from self._publish(send)
        questions = self.planner.foreign(group, audience)
        rosters = yield from self._all(questions)
        named = {question.inbox: roster for question, roster in zip(questions, rosters, strict=True)}
        audience = self.planner.audience(audience, named)
        if recorded is not None:
            send.recorded = recorded._replace(audience=audience)
        pushes = self.planner.pushes([send], {group: audience})
        if not pushes:
            return
        results = yield pushes
        refusals = self.planner.refusals(pushes, results)
        self.losses.count("full", group, len(refusals.full))
        for _, error in refusals.refused:
            raise error

    def _publish(self, send: Outgoing) -> Flow[Audience]:
        """Send a message to a group, and return the receivers that this step did not reach."""
        published: Published | StepRefused
        (published,) = yield [self.planner.publish(send)]
        if isinstance(published, Published):
            self.losses.count("full", send.name, published.full)
            return published.left
        if not published.unknown:
            raise published
        audience: list[Audience] = yield from self._all(self.planner.lookups([send]))
        return audience[0]

    def _flush(self) -> Flow[None]:
        (inboxes,) = yield from self._all([Flush()])
        yield from self._all([Push(inbox, [Entry(encode(Kind.FORGET), self.group_expiry)]) for inbox in inboxes])

    def _statistics(self, queue: str | None) -> Flow[dict[str, int]]:
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

    def open(self, taken: Taken) -> tuple[list[Delivery], list[Report]]:
        """Return the messages of a `Take`, and reports for the gates of those that were lost, which are counted."""
        deliveries: list[Delivery] = []
        reports: list[Report] = []
        for item in taken.items:
            found = self.planner.delivery(taken.queue, item)
            if isinstance(found, Delivery):
                deliveries.append(found)
            elif found is not None:
                reports.append(found)
        for kind, payload in taken.lost:
            self.losses.count(kind, taken.queue)
            lost = None if kind == "undecodable" else self.planner.delivery(taken.queue, Item(payload, None))
            report = lost.report(Outcome.EXPIRED) if isinstance(lost, Delivery) else lost
            if report is not None:
                reports.append(report)
        return deliveries, reports

    # How steps are carried

    def run(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps, in order, in one round trip; a `StepRefused` is among the results, not raised."""
        before = before_run.get()
        if before is not None:
            before(self, steps)
        return self._pool.run(steps)

    async def run_async(self, steps: Sequence[Step]) -> list[Any]:
        """`run` on an event loop, for steps that do not wait."""
        return await self._on_this_loop().run(steps)

    def _on_this_loop(self) -> Multiplexer:
        loop = get_running_loop()
        pool = self._multiplexers.get(loop)
        if pool is None:
            # Loops that are over take their connections with them.
            self._multiplexers = {other: kept for other, kept in self._multiplexers.items() if not other.is_closed()}
            pool = self._multiplexers[loop] = Multiplexer(self.connect_async)
        return pool

    def close(self) -> None:
        """Close the connections nobody uses now; the layer can go on being used."""
        self._pool.close()

    async def close_async(self) -> None:
        """Close the connections of the running event loop; the layer can go on being used."""
        pool = self._multiplexers.pop(get_running_loop(), None)
        if pool is not None:
            await pool.close()

    def _drive(self, flow: Flow[T]) -> T:
        try:
            steps = next(flow)
            while True:
                steps = flow.send(self.run(steps))
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _drive_async(self, flow: Flow[T]) -> T:
        pool = self._on_this_loop()
        try:
            steps = next(flow)
            while True:
                run = pool.run_alone if any(map(waits, steps)) else pool.run
                steps = flow.send(await run(steps))
        except StopIteration as stop:
            result: T = stop.value
            return result

    def __str__(self) -> str:
        return type(self).__name__
