"""The shards of a layer as one process sees them: how to connect to each, and which of them are down.

One that is down is tried again in the background, so that users of the others do not wait for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import NoReturn, Protocol

from channels_classic._fork import renew_after_fork
from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers import rng
from channels_classic.layers.steps import AsyncConnection, Connection

logger = logging.getLogger("channels_classic.layers")

_PAUSES = (0.05, 1.0)
"""Seconds between attempts to reach a shard that is down: initial, maximum."""


class ShardConnection(Connection, Protocol):
    """A connection to one shard that can be polled and unblocked, so that a take can wait for several."""

    def fileno(self) -> int:
        """Return the descriptor of the socket, which is readable once the reply to a `Take` has come."""

    def unblock(self) -> None:
        """Ask the server once to end the `Take` that blocks, from its own thread. Raise `LayerUnavailable`."""


class Endpoint(Protocol):
    """One shard, to which connections can be opened."""

    @property
    def where(self) -> str:
        """The address, for log lines."""

    def open(self) -> ShardConnection:
        """Return a connection for one thread. Raise `LayerUnavailable`."""

    async def open_async(self) -> AsyncConnection:
        """Return a connection for one event loop. Raise `LayerUnavailable`."""


class Shards:
    """All shards of a layer. Thread-safe."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = endpoints
        self._down: dict[int, LayerUnavailable] = {}
        renew_after_fork(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin without the thread that checks shards, which a fork does not copy."""
        self._lock = threading.Lock()
        self._prober: threading.Thread | None = None

    @property
    def down(self) -> frozenset[int]:
        """The shards that are known to be down."""
        return frozenset(self._down)

    def open(self, shard: int) -> ShardConnection:
        """Return a connection. Raise `LayerUnavailable`, at once when the shard is known to be down."""
        self._check(shard)
        try:
            return self.endpoints[shard].open()
        except LayerUnavailable as error:
            self._fail(shard, error)

    async def open_async(self, shard: int) -> AsyncConnection:
        """The same for an event loop."""
        self._check(shard)
        try:
            return await self.endpoints[shard].open_async()
        except LayerUnavailable as error:
            self._fail(shard, error)

    def lost(self, shard: int, error: LayerUnavailable) -> None:
        """Handle a broken connection. One that ended may be made again at once; a shard that timed out is down."""
        if isinstance(error.__cause__, TimeoutError) or "imeout" in type(error.__cause__).__name__:
            self._mark(shard, error)

    def _check(self, shard: int) -> None:
        error = self._down.get(shard)
        if error is not None:
            if self._prober is None:
                self._mark(shard, error)
            raise _copy(error)

    def _fail(self, shard: int, error: LayerUnavailable) -> NoReturn:
        self._mark(shard, error)
        error.written = False
        raise error

    def _mark(self, shard: int, error: LayerUnavailable) -> None:
        with self._lock:
            if shard not in self._down:
                logger.error("A shard is down: %s The other shards are used until it is back.", error)
                self._down[shard] = error
            if self._prober is None:
                self._prober = threading.Thread(target=self._probe, name="redis-shards", daemon=True)
                self._prober.start()

    def _probe(self) -> None:
        pause, longest = _PAUSES
        while True:
            for shard in list(self._down):
                self._try(shard)
            with self._lock:
                if not self._down:
                    self._prober = None
                    return
            time.sleep(pause * rng.uniform(0.5, 1))
            pause = min(pause * 2, longest)

    def _try(self, shard: int) -> None:
        try:
            self.endpoints[shard].open().close()
        except LayerUnavailable:
            return
        except Exception:
            logger.exception("Checking the shard at %s failed", self.endpoints[shard].where)
            return
        with self._lock:
            self._down.pop(shard, None)
        logger.warning("The shard at %s is back.", self.endpoints[shard].where)


def _copy(error: LayerUnavailable) -> LayerUnavailable:
    """Return a copy: code that raises an error changes it, so each caller gets one of its own."""
    copy = LayerUnavailable(error.where, error.reason, error.next_step)
    copy.written = False
    return copy
