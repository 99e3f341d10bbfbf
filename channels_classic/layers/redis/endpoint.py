"""One shard on one server, to which connections can be opened."""

from __future__ import annotations

from channels_classic.layers.losses import Losses
from channels_classic.layers.redis.commands import CommandBuilder
from channels_classic.layers.redis.connection import RedisConnection
from channels_classic.layers.redis.connection_async import AsyncRedisConnection
from channels_classic.layers.redis.connector import Connector


class RedisEndpoint:
    """One shard on one server."""

    def __init__(self, connector: Connector, builder: CommandBuilder, losses: Losses) -> None:
        self._connector = connector
        self._builder = builder
        self._losses = losses

    @property
    def where(self) -> str:
        """The address, for log lines."""
        return self._connector.where

    def open(self) -> RedisConnection:
        """Return a connection. Raise `LayerUnavailable`."""
        return RedisConnection(self._connector, self._builder, self._losses)

    async def open_async(self) -> AsyncRedisConnection:
        """Return a connection. Raise `LayerUnavailable`."""
        connection = AsyncRedisConnection(self._connector, self._builder, self._losses)
        await connection.register()
        return connection
