"""The state of an interface server process: its inbox, a read and a write connection to the layer, its heartbeat.

Clients send through it and are found by it. It knows no HTTP, no WebSocket and no ASGI.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from channels_classic._health import Health
from channels_classic._throttled_log import ThrottledLog
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers import names, rng
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import EntryKind, Outcome, encode
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.programs import ANNOUNCE_INTERVAL, InterfaceFacts, ProgramAnnouncer, WorkerFacts, decode
from channels_classic.layers.results import Announcement, Roster
from channels_classic.layers.steps import (
    LIVENESS,
    Entry,
    GetPresenceGroups,
    GetPrograms,
    Heartbeat,
    Length,
    Members,
    Push,
    Restore,
    Retire,
)

from ..config import InterfaceConfig
from .addresses import Addresses
from .audit import GroupAudit
from .budget import ByteBudget
from .client import Client, Waiting
from .posts import Posts
from .reader import Reader
from .reconnecting import ReconnectingConnection
from .recovery import Recovery
from .registry import Registry
from .retry_queue import RetryQueues
from .stats import InterfaceStats
from .timers import Timers
from .writer import SendCallback, Writer

logger = logging.getLogger("channels_classic.interface_server")

HEARTBEAT_INTERVAL = 2.0
"""Seconds between two heartbeats."""

STEPS_AT_ONCE = 10
"""Steps in one batch while memberships are restored, so that messages of clients are sent in between.

Redis carries out the batches of all interface servers before it serves anybody else: 10 take it 2 ms, each with 100
members.
"""

CATCH_UP_TIMEOUT = LIVENESS / 3
"""Most seconds until the inbox has been read up to now; no heartbeat is sent meanwhile."""

TAKEN_FOR_DEAD = LIVENESS - 2 * HEARTBEAT_INTERVAL
"""Seconds without a heartbeat after which the layer may have taken this process for dead."""

LONG_SILENCE = 120.0
"""Seconds without a heartbeat after which the layer may have forgotten that the last member of a group left."""

RESTORE_SPREAD = 1.0
"""Most seconds until memberships are restored: all interface servers find at once that the layer lost its data."""

ANNOUNCED_GROUPS = 20
"""Groups that are announced with their size."""

START_TIMEOUT = 3.0
"""Seconds for which a start waits for the layer; then clients may come, and it keeps trying."""

LAST_REPORTS_TIMEOUT = 2.0
"""Seconds for which a stop waits for the consumers of clients that just left, so that their disconnect comes last."""

CANCEL_RETRY_INTERVAL = 0.2
"""Seconds after which a task that was cancelled and still runs is cancelled again."""

RESTART_PAUSE = 1.0
"""Seconds until a task that failed is started again."""

COUNT_TIMEOUT = 1.0
"""Seconds in which the layer counts waiting messages; if it takes longer, whatever waits there waits long."""

STOP_TIMEOUT = 5.0
"""Seconds that a stop may take in all."""


class LayerSession:
    """The layer session; one per process and event loop. `start` makes it live, `stop` ends it."""

    def __init__(self, layer: BaseChannelLayer, config: InterfaceConfig) -> None:
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.layer = layer
        self.config = config
        self.losses = layer.losses
        self.stats = InterfaceStats()
        self.waiting: set[Waiting] = set()
        """Clients for which something waited lately. Metrics look at these alone, and remove those that are done."""
        self.throttled_log = ThrottledLog()
        self.budget = ByteBudget(config.socket_memory)
        self.addresses = Addresses(config.sockets_per_address)
        self.inbox = names.new_inbox()
        self.timers = Timers(self.clock)
        self.retry_queues = RetryQueues(self.timers, self.clock, lambda: self.available)
        self._reading = ReconnectingConnection(layer, self._on_disconnect, self._on_connect)
        self._writing = ReconnectingConnection(layer, self._on_disconnect, self._on_connect)
        self._writer = Writer(self._writing, layer.planner)
        self.registry = Registry(self.inbox, layer.group_expiry / 2, self.clock, self._writer.post)
        self._recovery = Recovery(self.registry, self._writer.ask, self.losses)
        self.registry.on_left = self._recovery.gone
        self.posts = Posts(self.inbox, self._writer.ask, self._writer.post, lambda: self.available)
        self._reader = Reader(self._reading, self.registry, self._recovery, self.losses, self._writer.send, self.posts)
        self._audit = GroupAudit(self.registry, self._recovery, self.stats, self._writer.ask, self._caught_up)
        self._down = {self._reading, self._writing}
        self._is_interrupted = False
        self._logged_steps: set[str] = set()  # what to do about an outage, as logged, until all of the layer is back
        self._is_refused = False  # the layer refused the last heartbeat: the shard of the inbox is down, for instance
        self._announcer = ProgramAnnouncer()
        self._worker_heard_at = -math.inf
        self._announce_at = self.clock()
        self.is_stopping = False
        """True once the server accepts no more clients."""
        self._restored: tuple[int | None, ...] = ()  # the epochs for which all memberships are written
        self._asked_at = self.clock()  # when the last heartbeat that the layer answered began
        # The longest time without a heartbeat, as the layer may have seen it, until it is dealt with.
        self._silence = 0.0
        self._may_have_ghosts = False  # steps that report joins and departures may have been lost
        self._wake_heartbeat = asyncio.Event()
        self._alive = asyncio.Event()
        self._connected = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def available(self) -> bool:
        """True unless the layer is known to be unreachable."""
        return not self._down

    @property
    def connections(self) -> int:
        """The number of open connections to the layer."""
        return sum(connection.is_connected for connection in (self._reading, self._writing))

    @property
    def health(self) -> Health:
        """The state of the process as clients find it."""
        if self.is_stopping:
            return Health.STOPPING
        if not self.available or self._is_refused:
            return Health.LAYER_DOWN
        limit = self.config.ready_worker
        return Health.NO_WORKER if limit and self.clock() - self._worker_heard_at > limit else Health.READY

    async def start(self) -> None:
        """Begin to read, write and send heartbeats. Without the layer it returns as well, and keeps trying."""
        await self.layer.start()
        self._tasks = [
            asyncio.create_task(self._run_forever(work), name=f"channels_classic {name}")
            for name, work in (
                ("reader", self._reader.run),
                ("writer", self._writer.run),
                ("heartbeat", self._heartbeat_loop),
            )
        ]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(self._alive.wait(), self._connected.wait()), START_TIMEOUT)

    async def stop(self, before_layer_ends: Callable[[LayerSession], Awaitable[None]] | None = None) -> None:
        """Send the last messages of clients, end their memberships and retire the inbox.

        `before_layer_ends` is awaited after that, while the layer still works: it may end with this process.
        """
        await asyncio.wait([asyncio.create_task(self._finish())], timeout=STOP_TIMEOUT)
        if before_layer_ends is not None:
            await before_layer_ends(self)
        self.timers.stop()
        await self._recovery.stop()
        await self._cancel_tasks()
        await self._reading.close()
        await self._writing.close()
        await self.layer.stop()

    async def _cancel_tasks(self) -> None:
        # Before Python 3.12 `asyncio.wait_for` swallows a cancellation that arrives together with its
        # result, and the Redis client sends through it: a reader that was just about to read would read on.
        pending = set(self._tasks)
        while pending:
            for work in pending:
                work.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_RETRY_INTERVAL)

    async def _finish(self) -> None:
        if not self.available:
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.registry.emptied(), LAST_REPORTS_TIMEOUT)
        for client in self.registry.everybody():
            client.flush()
        await self._writer.drained()
        for client in self.registry.everybody():
            self.remove(client)
        self.registry.leave()
        try:
            self._writer.post(self._announcer.withdraw())
            await self._writer.ask(Retire(self.inbox))
        except (LayerUnavailable, StepRefused) as error:
            logger.warning("%s", error)

    @staticmethod
    async def _run_forever(work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` forever; restart it after an unexpected exception."""
        while True:
            try:
                await work()
            except Exception:
                logger.exception("A task of the interface server failed and was restarted")
                await asyncio.sleep(RESTART_PAUSE)

    # Clients

    def send(self, send: Outgoing, callback: SendCallback | None = None) -> None:
        """Send a message with everything else of this turn of the loop; `callback` is called with the result."""
        self._writer.send(send, callback)

    def add(self, client: Client) -> str:
        """Register a client; return its reply channel."""
        return self.registry.add(client)

    def opened(self, client: Client) -> None:
        """Serve a client that is open now what it missed in its groups."""
        self._recovery.begin(client.local)

    def gone(self, client: Client) -> None:
        """Let a client that is gone leave its groups; reports still reach it."""
        self.registry.gone(client)

    def remove(self, client: Client) -> None:
        """Forget a client for good."""
        self.timers.cancel(client)
        self.waiting.discard(client)
        self.budget.forget(client)
        self.registry.remove(client)

    async def has_waiting(self, channels: Sequence[str], most: int) -> bool:
        """Return True if more than `most` messages wait on these channels, or would because the layer is down."""
        if not self.available:
            return True
        asked = self._writer.try_all([Length(channel) for channel in channels])
        try:
            lengths = await asyncio.wait_for(asked, COUNT_TIMEOUT)
        except (asyncio.TimeoutError, LayerUnavailable):
            return True
        return any(isinstance(length, StepRefused) for length in lengths) or sum(lengths) > most

    # Outages of the layer

    def _on_disconnect(self, connection: ReconnectingConnection, error: LayerUnavailable) -> None:
        if not self._is_interrupted:
            self._is_interrupted = True
            self.stats.outages += 1
        if error.next_step not in self._logged_steps:
            self._logged_steps.add(error.next_step)
            text = str(error).rstrip(".")
            logger.error("%s. Sockets stay open; HTTP requests are answered with 503 until the layer is back.", text)
        self._down.add(connection)
        self._may_have_ghosts = True
        # The other connection most likely broke as well, which would show only when something is sent.
        for other in (self._reading, self._writing):
            if other is not connection and other.mark_stale():
                self._down.add(other)
        self._wake_heartbeat.set()

    def _on_connect(self, connection: ReconnectingConnection) -> None:
        if not self._down:
            return
        self._down.discard(connection)
        if self._down:
            return
        self._connected.set()
        if not self._is_interrupted:
            return
        self._is_interrupted = False
        for client in self.registry.everybody():
            client.layer_restored()
        self.retry_queues.retry()
        self._wake_heartbeat.set()

    # The heartbeat

    async def _heartbeat_loop(self) -> None:
        while True:
            try:
                await self._heartbeat()
            except LayerUnavailable:
                pass  # logged where it happened
            except StepRefused as error:
                self.throttled_log.warn(logger, "%s", error)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake_heartbeat.wait(), HEARTBEAT_INTERVAL)
            self._wake_heartbeat.clear()

    async def _heartbeat(self) -> None:
        asked_at = self.clock()
        try:
            epochs: tuple[int | None, ...] = await self._writer.ask(Heartbeat(self.inbox, self._restored))
        except StepRefused:
            self._is_refused = True
            raise
        self._is_refused = False
        self._alive.set()  # groups deliver to the inbox from now on
        self._writer.repeat()
        self._announce()
        # When it was carried out is not known: the answer may have been read much later.
        self._silence, self._asked_at = max(self._silence, self.clock() - self._asked_at), asked_at
        # A shard that cannot be reached has no epoch here: the one known before stays.
        is_partial = None in epochs
        if self._logged_steps and self.available and not is_partial:
            self._logged_steps.clear()
            logger.warning("The channel layer is back.")
        earlier = self._restored or (None,) * len(epochs)
        epochs = tuple(now or before for now, before in zip(epochs, earlier, strict=True))
        if epochs != self._restored:
            self._may_have_ghosts = True
            await self._restore(max(epoch or 0 for epoch in epochs), is_partial)
            self._restored = epochs
            await self._writer.ask(Heartbeat(self.inbox, epochs))
        if self._silence > TAKEN_FOR_DEAD:
            self.registry.restore_all_identities()
            self._recovery.doubt_all()
        if self._silence > LONG_SILENCE:
            self.registry.groups.doubt_all()
        self._silence = 0.0
        self.registry.renew()
        await self._audit.look()
        await self._look_for_workers()
        if self._may_have_ghosts:
            self._may_have_ghosts = False  # first, because more may be lost meanwhile
            try:
                await self._remove_ghosts()
            except Exception:
                self._may_have_ghosts = True
                raise
            self._recovery.doubt_all()
        await self._recovery.catch_up()

    async def _look_for_workers(self) -> None:
        """Find out when a worker last announced itself, if --ready-worker asks for it."""
        if not self.config.ready_worker:
            return
        found = [program for program in await self._writer.ask(GetPrograms()) if _is_worker(program)]
        if found:
            self._worker_heard_at = self.clock() - min(program.age for program in found)

    def _announce(self) -> None:
        """Announce what this process does, for those who ask what runs on the layer."""
        if self.clock() < self._announce_at:
            return
        self._announce_at = self.clock() + ANNOUNCE_INTERVAL - HEARTBEAT_INTERVAL / 2
        groups = self.registry.groups
        facts = self._announcer.announce(
            InterfaceFacts,
            inbox=self.inbox,
            sockets=self.stats.sockets,
            requests=self.stats.open_requests,
            groups=len(groups),
            largest_groups=groups.largest(ANNOUNCED_GROUPS),
            limits=self.stats.limits(),
        )
        self._writer.post(facts)

    async def _remove_ghosts(self) -> None:
        """End memberships of clients that left while the layer was down: others would see them forever."""
        groups = await self._writer.ask(GetPresenceGroups(self.inbox))
        for start in range(0, len(groups), STEPS_AT_ONCE):
            batch = groups[start : start + STEPS_AT_ONCE]
            rosters = await self._writer.try_all([Members(group, self.inbox) for group in batch])
            for group, roster in zip(batch, rosters, strict=True):
                if isinstance(roster, Roster):
                    self.registry.prune_gone(group, roster)
                elif not roster.foreign:
                    raise roster

    async def _restore(self, epoch: int, is_partial: bool) -> None:
        """Write all memberships, for a layer that lost them. What was not lost stays as it is, see `Restore`.

        First it reads the hints of changes from before the loss, which the layer does not know any more. Groups that
        cannot be written, because of a key that something else has written or a shard that is down or full, are left
        to the audit. Raises `StepRefused` where the layer refuses all of them, though no part of it is known to be
        down.
        """
        if not self.registry.groups.groups():
            return
        logger.warning("The channel layer lost this server's state; restoring group memberships.")
        await asyncio.sleep(rng.uniform(0.0, RESTORE_SPREAD))
        await self._caught_up()
        steps = self.registry.restore_all()
        refused, is_tried_again = None, not is_partial
        while batch := list(islice(steps, STEPS_AT_ONCE)):
            for step, result in zip(batch, await self._writer.try_all(batch), strict=True):
                if isinstance(result, StepRefused) and isinstance(step, Restore):
                    refused = result
                    self.registry.groups.not_restored(step.group, epoch)
                is_tried_again &= isinstance(result, StepRefused) and not result.foreign
        if refused is not None and is_tried_again:
            raise refused

    async def _caught_up(self) -> None:
        """Return once every entry that is in the inbox now has been handled."""
        token, marked = self.registry.mark()
        entry = Entry(encode(EntryKind.REPORT, "", token, int(Outcome.CONSUMED)), self.layer.expiry)
        try:
            await self._writer.ask(Push(self.inbox, [entry]))
            await asyncio.wait([marked], timeout=CATCH_UP_TIMEOUT)
        finally:
            self.registry.unmark(token)


def _is_worker(program: Announcement) -> bool:
    return isinstance(decode(program.facts), WorkerFacts)
