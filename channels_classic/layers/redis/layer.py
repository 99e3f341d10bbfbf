"""The Redis layer and its settings. Subclasses know where its shards are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from channels_classic._fork import renew_after_fork
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Patterns
from channels_classic.layers.redis.cipher import make_cipher
from channels_classic.layers.redis.commands import CommandBuilder
from channels_classic.layers.redis.connector import Connector, check_options, parameters_of
from channels_classic.layers.redis.endpoint import RedisEndpoint
from channels_classic.layers.redis.hosts import Host, hidden, parse_hosts
from channels_classic.layers.redis.keys import Keys
from channels_classic.layers.redis.routes import Routes
from channels_classic.layers.redis.sharded import ShardedConnection
from channels_classic.layers.redis.sharded_async import AsyncShardedConnection
from channels_classic.layers.redis.shards import Endpoint, Shards
from channels_classic.layers.steps import AsyncConnection, Connection


class RedisChannelLayer(BaseChannelLayer):
    """A channel layer in Redis 7 or later, or Valkey.

    `hosts` holds URLs (`redis://`, `rediss://`, `unix://`), `(host, port)` pairs, or dicts with arguments of redis-py
    (`{"address": "redis://…", "password": …}`); every process of a deployment gives the same, in the same order.
    Several are shards: each holds a part of the groups and inboxes, and of every plain channel up to `capacity`
    messages. One that is down fails what belongs to it alone; the others go on. `prefix` begins every key and keeps
    deployments on one server apart; the keys of the statistics begin with `stats_prefix`, or `prefix` without it. With
    `symmetric_encryption_keys` messages are encrypted with the first key and read with any. `connection_kwargs` goes to
    redis-py's connections. Nothing is connected before the first use.
    """

    def __init__(
        self,
        expiry: float = 60,
        hosts: Iterable[Any] | None = None,
        prefix: str = "asgi:",
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
        symmetric_encryption_keys: Sequence[str] | None = None,
        stats_prefix: str | None = None,
        connection_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(expiry, group_expiry, capacity, channel_capacity)
        if not isinstance(prefix, str) or not isinstance(stats_prefix, (str, type(None))):
            raise ValueError(f"`prefix` is {prefix!r} and `stats_prefix` is {stats_prefix!r}: expected text.")
        self._hosts = self._parse_hosts(hosts)
        self.prefix = prefix
        self.stats_prefix = prefix if stats_prefix is None else stats_prefix
        if not isinstance(connection_kwargs, (dict, type(None))):
            raise ValueError(
                f"`connection_kwargs` is {hidden(connection_kwargs)}: expected a dict of arguments of redis-py."
            )
        for name in ("host", "port", "path"):
            if name in (connection_kwargs or ()):
                raise ValueError(f"`connection_kwargs` has {name!r}: name the servers in `hosts`.")
        self.connection_kwargs = connection_kwargs or {}
        self._check_options()
        self._cipher = make_cipher(symmetric_encryption_keys)
        self._topology: tuple[Shards, Routes] | None = None
        renew_after_fork(self)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with a lock that nobody holds: while sentinels are asked, it is held for long."""
        self._topology_lock = threading.Lock()

    def _parse_hosts(self, hosts: Any) -> list[Host]:
        """Return the servers that `hosts` names. Raise `ValueError`."""
        return parse_hosts(hosts)

    def _check_options(self) -> None:
        """Raise `ValueError` for arguments that redis-py does not take."""
        for host in self._hosts:
            check_options(host.url, {**self.connection_kwargs, **host.options})
        self._check_shards()

    def _check_shards(self) -> None:
        """Raise `ValueError` for a server that is two shards, which would hold twice the capacity."""
        places: set[tuple[str, int]] = set()
        for host in self._hosts:
            given = {"db": 0, **self.connection_kwargs, **host.options, **parameters_of(host.url)}
            place = self._connector(host).where, int(given["db"] or 0)  # `where` of a Unix socket has no database
            if place in places:
                raise ValueError(f"`hosts` names {place[0]} twice: expected each server once, since each is a shard.")
            places.add(place)

    @property
    def hosts(self) -> list[str]:
        """The URLs of the servers."""
        return [host.url for host in self._hosts]

    def _connector(self, host: Host) -> Connector:
        return Connector(host.url, {**self.connection_kwargs, **host.options})

    def _connectors(self) -> list[tuple[Connector, str]]:
        """Return the server of each shard, and its hash tag. May ask servers; raise `LayerUnavailable`."""
        return [(self._connector(host), str(index)) for index, host in enumerate(self._hosts)]

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
        prefix = "" if self.prefix == "asgi:" else f", prefix {self.prefix}"
        return f"{type(self).__name__} ({', '.join(host.shown for host in self._hosts)}{prefix})"
