"""The Redis layer whose plain channels stay on each machine: less traffic where work is local."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from channels_classic.layers.capacity import Patterns
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.local.client import AsyncSocketConnection, SocketConnection
from channels_classic.layers.redis.layer import RedisChannelLayer
from channels_classic.layers.redis.routes import Routes
from channels_classic.layers.redis.shards import Endpoint


class RedisLocalChannelLayer(RedisChannelLayer):
    """A Redis layer whose plain channels are carried by the local layer of each machine.

    Inboxes, `?` channels and groups are on Redis, so that everybody reaches every client; what a client sends is worked
    on by the workers of the machine it is connected to, and a plain channel in a group gets what is sent on its own
    machine. So each machine needs an interface server, which hosts the local layer, and workers. The arguments are
    those of `RedisChannelLayer`, in the order of Channels 1.x, and `path`, the socket of the local layer. Messages on
    plain channels are not encrypted: they do not leave the machine.
    """

    def __init__(
        self,
        expiry: float = 60,
        prefix: str = "asgi:",
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
        hosts: Iterable[Any] | None = None,
        symmetric_encryption_keys: Sequence[str] | None = None,
        stats_prefix: str | None = None,
        connection_kwargs: dict[str, Any] | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(
            expiry=expiry,
            hosts=hosts,
            prefix=prefix,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            symmetric_encryption_keys=symmetric_encryption_keys,
            stats_prefix=stats_prefix,
            connection_kwargs=connection_kwargs,
        )
        self.local_layer = _LocalLayer(prefix, path, expiry, group_expiry, capacity, channel_capacity)

    def _endpoints(self) -> list[Endpoint]:
        return [_LocalEndpoint(self), *super()._endpoints()]

    def _routes(self, endpoints: Sequence[Endpoint]) -> Routes:
        return Routes([0], range(1, len(endpoints)))

    async def start(self) -> None:
        """Host the local layer, unless another interface server does."""
        await self.local_layer.start()

    async def stop(self) -> None:
        """Stop hosting it."""
        await self.local_layer.stop()


class _LocalLayer(LocalChannelLayer):
    """The local layer of one deployment: other deployments on this machine have other prefixes."""

    def __init__(self, deployment: str, *arguments: Any) -> None:
        self.deployment = deployment
        super().__init__(*arguments)


class _LocalEndpoint:
    """The local layer as one shard. The process that hosts it is a client of it too, so that it can poll a socket."""

    def __init__(self, layer: RedisLocalChannelLayer) -> None:
        self._layer = layer

    @property
    def where(self) -> str:
        """The address, for log lines."""
        return self._layer.local_layer.path

    def open(self) -> SocketConnection:
        """Raise `LayerUnavailable`."""
        return self._layer.local_layer.open_socket()

    async def open_async(self) -> AsyncSocketConnection:
        """Raise `LayerUnavailable`."""
        return await self._layer.local_layer.open_socket_async()
