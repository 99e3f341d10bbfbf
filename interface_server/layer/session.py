"""The state of an interface server process: its inbox, a read and a write connection to the layer, its heartbeat.

Clients send through it and are found by it. It knows no HTTP, no WebSocket and no ASGI.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from channels_classic._health import Health
from channels_classic._throttled_log import ThrottledLog
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers import names
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import LIVENESS, Heartbeat, Length, Retire

from ..config import InterfaceConfig
from .addresses import Addresses
from .announcements import Announcements
from .audit import GroupAudit
from .budget import ByteBudget
from .client import Client, Waiting
from .posts import Posts
from .reader import Reader
from .reconnecting import ReconnectingConnection
from .recovery import Recovery
from .registry import Registry
from .restoration import Restoration
from .retry_queue import RetryQueues
from .stats import InterfaceStats
from .timers import Timers
from .writer import SendCallback, Writer

logger = logging.getLogger("channels_classic.interface_server")

HEARTBEAT_INTERVAL = 2.0
"""Seconds between two heartbeats."""

TAKEN_FOR_DEAD = LIVENESS - 2 * HEARTBEAT_INTERVAL
"""Seconds without a heartbeat after which the layer may have taken this process for dead."""

LONG_SILENCE = 120.0
"""Seconds without a heartbeat after which the layer may have forgotten that the last member of a group left."""

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
        self._restoration = Restoration(self.inbox, self.registry, self._writer, layer.expiry)
        self._audit = GroupAudit(
            self.registry, self._recovery, self.stats, self._writer.ask, self._restoration.caught_up
        )
        self._announcements = Announcements(
            self.inbox, self.registry, self.stats, self._writer, self.clock, HEARTBEAT_INTERVAL
        )
        self._down = {self._reading, self._writing}
        self._is_interrupted = False
        self._logged_steps: set[str] = set()  # what to do about an outage, as logged, until all of the layer is back
        self._is_refused = False  # the layer refused the last heartbeat: the shard of the inbox is down, for instance
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
        return Health.READY if not limit or self._announcements.heard_worker(within=limit) else Health.NO_WORKER

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
            self._announcements.withdraw()
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
        self._announcements.announce()
        # When it was carried out is not known: the answer may have been read much later.
        self._silence, self._asked_at = max(self._silence, self.clock() - self._asked_at), asked_at
        await self._restore(epochs)
        if self._silence > TAKEN_FOR_DEAD:
            self.registry.restore_all_identities()
            self._recovery.doubt_all()
        if self._silence > LONG_SILENCE:
            self.registry.groups.doubt_all()
        self._silence = 0.0
        self.registry.renew()
        await self._audit.look()
        if self.config.ready_worker:
            await self._announcements.look_for_workers()
        await self._remove_ghosts()
        await self._recovery.catch_up()

    async def _restore(self, epochs: tuple[int | None, ...]) -> None:
        """Write all memberships again if these epochs show that a part of the layer lost them."""
        # A shard that cannot be reached has no epoch here: the one known before stays.
        is_partial = None in epochs
        if self._logged_steps and self.available and not is_partial:
            self._logged_steps.clear()
            logger.warning("The channel layer is back.")
        earlier = self._restored or (None,) * len(epochs)
        epochs = tuple(now or before for now, before in zip(epochs, earlier, strict=True))
        if epochs != self._restored:
            self._may_have_ghosts = True
            await self._restoration.restore(max(epoch or 0 for epoch in epochs), is_partial)
            self._restored = epochs
            await self._writer.ask(Heartbeat(self.inbox, epochs))

    async def _remove_ghosts(self) -> None:
        """Remove ghosts, and catch up in all groups, if steps that report joins and departures may have been lost."""
        if not self._may_have_ghosts:
            return
        self._may_have_ghosts = False  # first, because more may be lost meanwhile
        try:
            await self._restoration.remove_ghosts()
        except Exception:
            self._may_have_ghosts = True
            raise
        self._recovery.doubt_all()
