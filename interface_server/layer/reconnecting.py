"""A connection to the layer that reconnects when it breaks. Runs steps and knows nothing of messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers import rng
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.pool import refused_for_now
from channels_classic.layers.steps import AsyncConnection, Step

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between attempts to reach a layer that is down; each pause is up to twice as long as the one before."""


class ReconnectingConnection:
    """One connection of the session. `on_disconnect` is called after each failure, `on_connect` when it is usable."""

    def __init__(
        self,
        layer: BaseChannelLayer,
        on_disconnect: Callable[[ReconnectingConnection, LayerUnavailable], None],
        on_connect: Callable[[ReconnectingConnection], None],
    ) -> None:
        self._layer = layer
        self._on_disconnect = on_disconnect
        self._on_connect = on_connect
        self._connection: AsyncConnection | None = None
        self._failure: LayerUnavailable | None = None  # of the last attempt
        self._running = False
        self._is_stale = False

    @property
    def is_connected(self) -> bool:
        """True if there is a connection that is not known to be lost."""
        return self._connection is not None

    async def run(self, steps: Sequence[Step], *, wait: bool = True) -> list[Any]:
        """Run steps, waiting for a connection first, and return their results.

        Without `wait` there is one attempt, and none after one that failed. Raises `LayerUnavailable` when that fails,
        or the connection breaks: the outcome is unknown then, and the steps must not be repeated.
        """
        connection = await self.connect(wait=wait)
        self._running = True
        try:
            results = await connection.run(steps)
            refused = refused_for_now(results)
            if refused and (connection.usable() or await self._reconnect()):
                assert self._connection is not None
                for index, result in zip(refused, await self._connection.run([steps[i] for i in refused]), strict=True):
                    results[index] = result
            return results
        except LayerUnavailable as error:
            await self.close()
            self._on_disconnect(self, error)
            raise
        finally:
            self._running = False

    async def _reconnect(self) -> bool:
        """Connect to the current master; return False while there is none."""
        await self.close()
        try:
            self._connection = await self._layer.connect_async()
        except LayerUnavailable as error:
            self._on_disconnect(self, error)
        return self._connection is not None

    def mark_stale(self) -> bool:
        """Mark the connection stale: reconnect before its next use. Return False while it is in use."""
        self._is_stale = self._is_stale or not self._running
        return self._is_stale

    async def connect(self, *, wait: bool = True) -> AsyncConnection:
        """Return the connection, after as many attempts as it takes; without `wait`, after one at most."""
        if not wait and self._connection is None and self._failure is not None:
            raise self._failure
        if self._is_stale:
            self._is_stale = False
            await self.close()
        if self._connection is not None and not self._connection.usable():
            await self.close()
        pause = FIRST_PAUSE
        while self._connection is None:
            try:
                self._connection = await self._layer.connect_async()
            except LayerUnavailable as error:
                self._failure = error
                self._on_disconnect(self, error)
                if not wait:
                    raise
                # Jitter: all interface servers of a site lose the layer at the same moment.
                await asyncio.sleep(pause * rng.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)
        self._failure = None
        self._on_connect(self)
        return self._connection

    async def close(self) -> None:
        """Close the connection; the next `run` opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
