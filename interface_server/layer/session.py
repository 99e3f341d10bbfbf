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
from channels_classic.layers.planner import Send
from channels_classic.layers.steps import LIVENESS, Beat, Entry, Push, Rejoin, Retire

from ..config import InterfaceConfig
from ..log_throttle import Notices
from .client import Client
from .reader import Reader
from .reconnecting import Link
from .registry import Registry
from .retry_queue import Backlog
from .timers import Wheel
from .writer import Settled, Writer

logger = logging.getLogger(__name__)

PULSE = 2.0
"""Seconds between two signs of life."""

STEPS_AT_ONCE = 50
"""Steps for memberships that go into one batch."""

CATCH_UP_PATIENCE = LIVENESS / 3
"""Seconds for which it waits to have read its inbox up to now; meanwhile it gives no sign of life."""

START_PATIENCE = 3.0
"""Seconds for which a start waits for the layer; it goes on trying, but clients may come."""

LAST_REPORTS = 2.0
"""Seconds for which a stop waits for the consumers of clients that just left, so that their disconnect comes last."""

CANCEL_AGAIN = 0.2
"""Seconds after which a part of the server that was cancelled and goes on is cancelled once more."""

MISTAKE_PAUSE = 1.0
"""Seconds until a part of the server that failed begins again."""

STOP_PATIENCE = 5.0
"""Seconds that a stop may take in all."""


class Hub:
    """One per process and event loop. `start` makes it live, `stop` ends it."""

    def __init__(self, layer: BaseChannelLayer, config: InterfaceConfig) -> None:
        loop = asyncio.get_running_loop()
        self.clock = loop.time
        self.layer = layer
        self.config = config
        self.losses = layer.losses
        self.notices = Notices()
        self.inbox = names.new_inbox()
        self.wheel = Wheel(self.clock)
        self.backlog = Backlog(self.wheel, self.clock, lambda: self.available)
        self._reading = Link(layer, self._lost, self._back)
        self._writing = Link(layer, self._lost, self._back)
        self._writer = Writer(self._writing, layer.planner)
        self.registry = Registry(self.inbox, layer.group_expiry / 2, self.clock, self._writer.post)
        self._reader = Reader(self._reading, self.registry, self.losses)
        self._away = {self._reading, self._writing}
        self._was_lost = False
        self._lost_since_beat = False
        self._beaten = 0.0  # when the last beat was answered
        self._must_rejoin = False
        self._replace = False
        self._stirred = asyncio.Event()
        self._alive = asyncio.Event()
        self._works: list[asyncio.Task[None]] = []

    @property
    def available(self) -> bool:
        """Whether the layer can be reached, as far as is known."""
        return not self._away

    async def start(self) -> None:
        """Begin to read, write and beat. Without the layer it returns all the same, and goes on trying."""
        await self.layer.start()
        self._works = [
            asyncio.create_task(self._keep(work), name=f"channels_classic {name}")
            for name, work in (("reader", self._reader.run), ("writer", self._writer.run), ("pulse", self._pulse))
        ]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._alive.wait(), START_PATIENCE)

    async def stop(self) -> None:
        """Send what the last clients leave behind, end their memberships and retire the inbox."""
        await asyncio.wait([asyncio.create_task(self._finish())], timeout=STOP_PATIENCE)
        self.wheel.stop()
        await self._end_works()
        await self._reading.close()
        await self._writing.close()
        await self.layer.stop()

    async def _end_works(self) -> None:
        # Before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes in the moment in which it has its
        # result, and the Redis client sends through it: a reader that was just about to read would read on.
        pending = set(self._works)
        while pending:
            for work in pending:
                work.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN)

    async def _finish(self) -> None:
        if not self.available:
            return
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.registry.emptied(), LAST_REPORTS)
        for client in self.registry.everybody():
            client.hurry()
        await self._writer.drained()
        for client in self.registry.everybody():
            self.remove(client)
        self.registry.leave()
        try:
            await self._writer.ask(Retire(self.inbox))
        except (LayerUnavailable, StepRefused) as error:
            logger.warning("%s", error)

    @staticmethod
    async def _keep(work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, which does not end, and begin again after a failure nobody thought of: clients depend on it."""
        while True:
            try:
                await work()
            except Exception:
                logger.exception("A part of the interface server failed and begins again")
                await asyncio.sleep(MISTAKE_PAUSE)

    # Clients

    def send(self, send: Send, settled: Settled | None = None) -> None:
        """Send a message with everything else of this turn of the loop; `settled` is told its fate."""
        self._writer.send(send, settled)

    def add(self, client: Client) -> str:
        """Register a client; gives its reply channel."""
        return self.registry.add(client)

    def gone(self, client: Client) -> None:
        """A client is gone; reports still reach it."""
        self.registry.gone(client)

    def remove(self, client: Client) -> None:
        """A client is gone for good."""
        self.wheel.forget(client)
        self.registry.remove(client)

    # The layer goes and comes

    def _lost(self, link: Link, error: LayerUnavailable) -> None:
        if not self._was_lost:
            self._was_lost = True
            text = str(error).rstrip(".")
            logger.error("%s. Sockets stay open; HTTP requests are answered with 503 until the layer is back.", text)
        self._away.add(link)
        self._lost_since_beat = True
        # The other connection most likely broke as well; nobody would know before something is sent.
        for other in (self._reading, self._writing):
            if other is not link and other.doubt():
                self._away.add(other)
        self._stirred.set()

    def _back(self, link: Link) -> None:
        if not self._away:
            return
        self._away.discard(link)
        if self._away or not self._was_lost:
            return
        self._was_lost = False
        logger.warning("The channel layer is back.")
        for client in self.registry.everybody():
            client.layer_back()
        self.backlog.retry()
        self._stirred.set()

    # The pulse

    async def _pulse(self) -> None:
        while True:
            try:
                await self._beat()
            except LayerUnavailable:
                pass  # logged where it happened
            except StepRefused as error:
                logger.error("%s", error)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), PULSE)
            self._stirred.clear()

    async def _beat(self) -> None:
        known = await self._writer.ask(Beat(self.inbox))
        if self._beaten and not known:
            self._must_rejoin = self._replace = True
            logger.warning("The layer did not know this interface server any more: groups are written again.")
        elif self._beaten and (self._lost_since_beat or self.clock() - self._beaten >= LIVENESS):
            # Hints may be lost, and the inbox taken off groups.
            self._must_rejoin = True
        self._beaten = self.clock()
        self._alive.set()  # groups deliver to the inbox from now on
        self._lost_since_beat = False
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
        await asyncio.wait([marked], timeout=CATCH_UP_PATIENCE)
