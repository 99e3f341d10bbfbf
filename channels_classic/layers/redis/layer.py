"""What `BACKEND` names: the Redis layer with its settings. Subclasses say where its shards are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Patterns
from channels_classic.layers.redis.cipher import make_cipher
from channels_classic.layers.redis.commands import CommandBuilder
from channels_classic.layers.redis.connector import Connector
from channels_classic.layers.redis.endpoint import RedisEndpoint
from channels_classic.layers.redis.keys import Keys
from channels_classic.layers.redis.routes import Routes
from channels_classic.layers.redis.sharded import ShardedConnection
from channels_classic.layers.redis.sharded_async import AsyncShardedConnection
from channels_classic.layers.redis.shards import Endpoint, Shards
from channels_classic.layers.steps import AsyncConnection, Connection

Host = str | tuple[str, int]


class RedisChannelLayer(BaseChannelLayer):
    """A channel layer in Redis 7 or later, or Valkey.

    `hosts` holds URLs (`redis://`, `rediss://`, `unix://`) or `(host, port)` pairs; every process of a deployment gives
    the same, in the same order. Several are shards: each holds a part of the groups and inboxes, and of every plain
    channel up to `capacity` messages. One that is away fails what belongs to it alone; the others go on. `prefix`
    begins every key and keeps deployments on one server apart, `stats_prefix` those of the statistics. With
    `symmetric_encryption_keys` messages are encrypted with the first key and read with any. `connection_kwargs` goes to
    redis-py's connections. Nothing is connected before the first use.
    """

    def __init__(
        self,
        expiry: float = 60,
        hosts: Iterable[Host] | None = None,
        prefix: str = "asgi:",
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
        symmetric_encryption_keys: Sequence[str] | None = None,
        stats_prefix: str = "asgi-meta:",
        connection_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(expiry, group_expiry, capacity, channel_capacity)
        if not isinstance(prefix, str) or not isinstance(stats_prefix, str):
            raise ValueError("`prefix` and `stats_prefix` are texts.")
        self.hosts = self._check_hosts(hosts)
        self.prefix = prefix
        self.stats_prefix = stats_prefix
        self.connection_kwargs = connection_kwargs or {}
        self._cipher = make_cipher(symmetric_encryption_keys)
        self._topology: tuple[Shards, Routes] | None = None
        self._topology_lock = threading.Lock()

    def _check_hosts(self, hosts: Any) -> list[Any]:
        """What `hosts` was given as, in one form. Raises `ValueError`."""
        if isinstance(hosts, (str, bytes)):
            raise ValueError(
                f"`hosts` is a list of URLs or (host, port) pairs; {hosts!r} is a single one: write [{hosts!r}]."
            )
        return [_url(host) for host in hosts or [("localhost", 6379)]]

    def _connectors(self) -> list[tuple[Connector, str]]:
        """The server of each shard, and its hash tag. May ask servers; raises `LayerUnavailable`."""
        return [(Connector(url, self.connection_kwargs), str(index)) for index, url in enumerate(self.hosts)]

    def _endpoints(self) -> list[Endpoint]:
        return [RedisEndpoint(connector, self._shard(tag), self.losses) for connector, tag in self._connectors()]

    def _shard(self, tag: str) -> CommandBuilder:
        return CommandBuilder(Keys(self.prefix, tag, self.stats_prefix), self.group_expiry, self._cipher)

    def _routes(self, endpoints: Sequence[Endpoint]) -> Routes:
        every = range(len(endpoints))
        return Routes(every, every)

    def _known(self) -> tuple[Shards, Routes]:
        with self._topology_lock:
            if self._topology is None:
                endpoints = self._endpoints()
                self._topology = Shards(endpoints), self._routes(endpoints)
            return self._topology

    def connect(self) -> Connection:
        shards, routes = self._known()
        if len(shards.endpoints) == 1:
            return shards.endpoints[0].open()
        return ShardedConnection(shards, routes, self.losses)

    async def connect_async(self) -> AsyncConnection:
        # Finding out may mean asking sentinels.
        shards, routes = await asyncio.to_thread(self._known) if self._topology is None else self._topology
        if len(shards.endpoints) == 1:
            return await shards.endpoints[0].open_async()
        connection = AsyncShardedConnection(shards, routes, self.losses)
        await connection.connect()
        return connection

    def __str__(self) -> str:
        return f"{type(self).__name__} ({', '.join(map(_shown, self.hosts))})"


def _url(host: Host) -> str:
    if isinstance(host, str):
        return host
    name, port = host
    return f"redis://{f'[{name}]' if ':' in name else name}:{port}/0"


def _shown(host: Host) -> str:
    """A host without its password."""
    text = host if isinstance(host, str) else f"{host[0]}:{host[1]}"
    scheme, mark, rest = text.rpartition("://")
    return scheme + mark + rest.rpartition("@")[2]
