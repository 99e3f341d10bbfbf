"""The memory layer: a store in this process, for tests and for `runserver`. Its channels end at the process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Patterns
from channels_classic.layers.losses import Losses
from channels_classic.layers.results import Taken
from channels_classic.layers.steps import AsyncConnection, Connection, Step, Take
from channels_classic.layers.store import Store


class ChannelLayer(BaseChannelLayer):
    """A channel layer for the threads and event loops of one process."""

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
    ) -> None:
        super().__init__(expiry, group_expiry, capacity, channel_capacity)
        self.store = Store(group_expiry)

    def connect(self) -> Connection:
        return StoreConnection(self.store, self.losses)

    async def connect_async(self) -> AsyncConnection:
        return AsyncStoreConnection(self.store, self.losses)

    @property
    def _groups(self) -> dict[str, dict[str, None]]:
        """The members of each group, as tests of 1.x projects read them from the memory layer: a copy."""
        with self.store.lock:
            return {group: dict.fromkeys(self.group_channels(group)) for group in list(self.store.memberships.groups)}


class StoreConnection:
    """A connection to a store of this process.

    Steps run when they are written. Only a `Take` that may wait runs when it is read, and with it the steps behind it.
    """

    def __init__(self, store: Store, losses: Losses) -> None:
        self._store = store
        self._losses = losses
        self._steps: deque[Step] = deque()
        self._results: deque[Any] = deque()
        self._awake = threading.Event()
        self._woken = False

    def write(self, steps: Sequence[Step]) -> None:
        self._store.lose(self._losses.unreported())
        self._steps.extend(steps)
        self._run()

    def _run(self) -> None:
        """Run what is to be run before a `Take` that may wait."""
        while self._steps and not (isinstance(step := self._steps[0], Take) and step.timeout):
            self._results.append(self._store.run(self._steps.popleft()))

    def read(self) -> Any:
        if not self._results:
            step = self._steps.popleft()
            assert isinstance(step, Take)
            self._results.append(self._wait(step))
            self._run()
        return self._results.popleft()

    def _wait(self, step: Take) -> Taken | None:
        deadline = time.monotonic() + step.timeout
        while not self._woken:
            self._awake.clear()
            found = self._store.take_or_watch(step, self._awake.set)
            if isinstance(found, Taken):
                return found
            woken = not self._woken and self._awake.wait(max(0.0, deadline - time.monotonic()))
            self._store.unwatch(found)
            if not woken:
                break
        self._woken = False
        return None

    def usable(self) -> bool:
        return self._store.ended is None

    def wake(self) -> None:
        self._woken = True
        self._awake.set()

    def close(self) -> None:
        self._steps.clear()
        self._results.clear()


class AsyncStoreConnection:
    """The same for one event loop; the store may be used from other threads meanwhile."""

    def __init__(self, store: Store, losses: Losses) -> None:
        self._store = store
        self._losses = losses
        self._taking: asyncio.Future[Taken | None] | None = None

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        self._store.lose(self._losses.unreported())
        return [await self._take(step) if isinstance(step, Take) else self._store.run(step) for step in steps]

    async def _take(self, step: Take) -> Taken | None:
        if not step.timeout:
            return await take(self._store, step)
        self._taking = asyncio.ensure_future(take(self._store, step))
        try:
            await asyncio.wait([self._taking])
            return None if self._taking.cancelled() else self._taking.result()
        finally:
            self._taking.cancel()

    async def unblock(self) -> None:
        if self._taking is not None:
            self._taking.cancel()

    def usable(self) -> bool:
        return self._store.ended is None

    async def close(self) -> None:
        pass


async def take(store: Store, step: Take) -> Taken | None:
    """Take from `store`, waiting on the running event loop for as long as the step says."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + step.timeout
    while True:
        came: asyncio.Future[bool] = loop.create_future()
        # From this thread as well: what others wait for leaves the process before the loop goes on with what came.
        found = store.take_or_watch(step, partial(loop.call_soon_threadsafe, _settle, came, True))
        if isinstance(found, Taken):
            return found
        timer = loop.call_at(deadline, _settle, came, False)
        try:
            if not await came:
                return None
        finally:
            timer.cancel()
            store.unwatch(found)


def _settle(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)
