"""What `BACKEND` names: the Redis layer with its settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Patterns
from channels_classic.layers.redis.cipher import make_cipher
from channels_classic.layers.redis.connection import AsyncRedisConnection, RedisConnection, Server
from channels_classic.layers.redis.keys import Keys
from channels_classic.layers.redis.shard import Shard
from channels_classic.layers.steps import AsyncConnection, Connection

Host = str | tuple[str, int]


class RedisChannelLayer(BaseChannelLayer):
    """A channel layer in Redis 7 or later, or Valkey.

    `hosts` holds URLs (`redis://`, `rediss://`, `unix://`) or `(host, port)` pairs, one for now; every process of a
    deployment gives the same. `prefix` begins every key and keeps deployments on one server apart. `connection_kwargs`
    goes to redis-py's connections. Nothing is connected before the first use.
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
        if isinstance(hosts, (str, bytes)):
            raise ValueError(
                f"`hosts` is a list of URLs or (host, port) pairs; {hosts!r} is a single one: write [{hosts!r}]."
            )
        self.hosts = [_url(host) for host in hosts or [("localhost", 6379)]]
        if len(self.hosts) != 1:
            raise ValueError(f"`hosts` names {len(self.hosts)} servers; give one.")
        self.prefix = prefix
        self._server = Server(self.hosts[0], connection_kwargs or {})
        self._shard = Shard(Keys(prefix, "0", stats_prefix), group_expiry, make_cipher(symmetric_encryption_keys))

    def connect(self) -> Connection:
        return RedisConnection(self._server, self._shard, self.losses)

    async def connect_async(self) -> AsyncConnection:
        connection = AsyncRedisConnection(self._server, self._shard, self.losses)
        await connection.attach()
        return connection

    def __str__(self) -> str:
        return f"{type(self).__name__} ({self._server.where})"


def _url(host: Host) -> str:
    if isinstance(host, str):
        return host
    name, port = host
    return f"redis://{f'[{name}]' if ':' in name else name}:{port}/0"
