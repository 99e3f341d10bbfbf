"""The heart of an interface server process: its inbox, its two connections to the layer, and its pulse.

Clients send through it and are found by it. It knows no HTTP, no WebSocket and no ASGI.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from itertools import islice

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers import names
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Kind, Outcome, encode
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.steps import LIVENESS, Entry, Heartbeat, Push, Rejoin, Retire

from ..config import InterfaceConfig
from ..log_throttle import ThrottledLog
from .client import Client
from .reader import Reader
from .reconnecting import ReconnectingConnection
from .registry import Registry
from .retry_queue import RetryQueues
from .timers import Timers
from .writer import SendCallback, Writer

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 2.0
"""Seconds between two signs of life."""

STEPS_AT_ONCE = 50
"""Steps for memberships that go into one batch."""

CATCH_UP_TIMEOUT = LIVENESS / 3
"""Seconds for which it waits to have read its inbox up to now; meanwhile it gives no sign of life."""

START_TIMEOUT = 3.0
"""Seconds for which a start waits for the layer; it goes on trying, but clients may come."""

LAST_REPORTS_TIMEOUT = 2.0
"""Seconds for which a stop waits for the consumers of clients that just left, so that their disconnect comes last."""

CANCEL_RETRY_INTERVAL = 0.2
"""Seconds after which a part of the server that was cancelled and goes on is cancelled once more."""

RESTART_PAUSE = 1.0
"""Seconds until a part of the server that failed begins again."""

STOP_TIMEOUT = 5.0
"""Seconds that a stop may take in all."""


class LayerSession:
    """One per process and event loop. `start` makes it live, `stop` ends it."""

    def __init__(self, layer: BaseChannelLayer, config: InterfaceConfig) -> None:
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.layer = layer
        self.config = config
        self.losses = layer.losses
        self.throttled_log = ThrottledLog()
        self.inbox = names.new_inbox()
        self.timers = Timers(self.clock)
        self.retry_queues = RetryQueues(self.timers, self.clock, lambda: self.available)
        self._reading = ReconnectingConnection(layer, self._on_disconnect, self._on_connect)
        self._writing = ReconnectingConnection(layer, self._on_disconnect, self._on_connect)
        self._writer = Writer(self._writing, layer.planner)
        self.registry = Registry(self.inbox, layer.group_expiry / 2, self.clock, self._writer.post)
        self._reader = Reader(self._reading, self.registry, self.losses, self._writer.send)
        self._down = {self._reading, self._writing}
        self._is_interrupted = False
        self._lost_since_heartbeat = False
        self._last_heartbeat = 0.0  # when the last beat was answered
        self._must_rejoin = False
        self._replace = False
        self._wake_heartbeat = asyncio.Event()
        self._alive = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def available(self) -> bool:
        """Whether the layer can be reached, as far as is known."""
        return not self._down

    async def start(self) -> None:
        """Begin to read, write and beat. Without the layer it returns all the same, and goes on trying."""
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
            await asyncio.wait_for(self._alive.wait(), START_TIMEOUT)

    async def stop(self) -> None:
        """Send what the last clients leave behind, end their memberships and retire the inbox."""
        await asyncio.wait([asyncio.create_task(self._finish())], timeout=STOP_TIMEOUT)
        self.timers.stop()
        await self._cancel_tasks()
        await self._reading.close()
        await self._writing.close()
        await self.layer.stop()

    async def _cancel_tasks(self) -> None:
        # Before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes in the moment in which it has its
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
            await self._writer.ask(Retire(self.inbox))
        except (LayerUnavailable, StepRefused) as error:
            logger.warning("%s", error)

    @staticmethod
    async def _run_forever(work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, which does not end, and begin again after a failure nobody thought of: clients depend on it."""
        while True:
            try:
                await work()
            except Exception:
                logger.exception("A part of the interface server failed and begins again")
                await asyncio.sleep(RESTART_PAUSE)

    # Clients

    def send(self, send: Outgoing, callback: SendCallback | None = None) -> None:
        """Send a message with everything else of this turn of the loop; `callback` is told its fate."""
        self._writer.send(send, callback)

    def add(self, client: Client) -> str:
        """Register a client; gives its reply channel."""
        return self.registry.add(client)

    def gone(self, client: Client) -> None:
        """A client is gone; reports still reach it."""
        self.registry.gone(client)

    def remove(self, client: Client) -> None:
        """A client is gone for good."""
        self.timers.forget(client)
        self.registry.remove(client)

    # The layer goes and comes

    def _on_disconnect(self, link: ReconnectingConnection, error: LayerUnavailable) -> None:
        if not self._is_interrupted:
            self._is_interrupted = True
            text = str(error).rstrip(".")
            logger.error("%s. Sockets stay open; HTTP requests are answered with 503 until the layer is back.", text)
        self._down.add(link)
        self._lost_since_heartbeat = True
        # The other connection most likely broke as well; nobody would know before something is sent.
        for other in (self._reading, self._writing):
            if other is not link and other.mark_stale():
                self._down.add(other)
        self._wake_heartbeat.set()

    def _on_connect(self, link: ReconnectingConnection) -> None:
        if not self._down:
            return
        self._down.discard(link)
        if self._down or not self._is_interrupted:
            return
        self._is_interrupted = False
        logger.warning("The channel layer is back.")
        for client in self.registry.everybody():
            client.layer_restored()
        self.retry_queues.retry()
        self._wake_heartbeat.set()

    # The pulse

    async def _heartbeat_loop(self) -> None:
        while True:
            try:
                await self._heartbeat()
            except LayerUnavailable:
                pass  # logged where it happened
            except StepRefused as error:
                logger.error("%s", error)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake_heartbeat.wait(), HEARTBEAT_INTERVAL)
            self._wake_heartbeat.clear()

    async def _heartbeat(self) -> None:
        known = await self._writer.ask(Heartbeat(self.inbox))
        if self._last_heartbeat and not known:
            self._must_rejoin = self._replace = True
            logger.warning("The layer did not know this interface server any more: groups are written again.")
        elif self._last_heartbeat and (self._lost_since_heartbeat or self.clock() - self._last_heartbeat >= LIVENESS):
            # Hints may be lost, and the inbox taken off groups.
            self._must_rejoin = True
        self._last_heartbeat = self.clock()
        self._alive.set()  # groups deliver to the inbox from now on
        self._lost_since_heartbeat = False
        if self._must_rejoin:
            await self._rejoin(self._replace)
            self._must_rejoin = self._replace = False
        self.registry.renew()

    async def _rejoin(self, replace: bool) -> None:
        """Be in all groups again, a few at a time, so that the messages of clients find their way in between."""
        await self._caught_up()
        steps = self.registry.rejoin(replace=replace)
        while some := list(islice(steps, STEPS_AT_ONCE)):
            results = await asyncio.gather(*map(self._writer.ask, some))
            for step, members in zip(some, results, strict=True):
                if isinstance(step, Rejoin) and not replace:
                    self.registry.settle(step.group, members)
        await self._caught_up()
        self.registry.rejoined()

    async def _caught_up(self) -> None:
        """Return once everything that is in the inbox now has been handled."""
        token, marked = self.registry.mark()
        entry = Entry(encode(Kind.REPORT, "", token, int(Outcome.CONSUMED)), self.layer.expiry)
        await self._writer.ask(Push(self.inbox, [entry]))
        await asyncio.wait([marked], timeout=CATCH_UP_TIMEOUT)
