"""One shard on one server, as the topologies see it: something to open connections to."""

from __future__ import annotations

from channels_classic.layers.losses import Losses
from channels_classic.layers.redis.commands import Shard
from channels_classic.layers.redis.connection import RedisConnection
from channels_classic.layers.redis.connection_async import AsyncRedisConnection
from channels_classic.layers.redis.connector import Server


class RedisPlace:
    """One shard on one server."""

    def __init__(self, server: Server, shard: Shard, losses: Losses) -> None:
        self._server = server
        self._shard = shard
        self._losses = losses

    @property
    def where(self) -> str:
        """For people."""
        return self._server.where

    def open(self) -> RedisConnection:
        """Raises `LayerUnavailable`."""
        return RedisConnection(self._server, self._shard, self._losses)

    async def open_async(self) -> AsyncRedisConnection:
        """Raises `LayerUnavailable`."""
        connection = AsyncRedisConnection(self._server, self._shard, self._losses)
        await connection.attach()
        return connection
