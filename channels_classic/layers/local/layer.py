"""The local layer: the memory layer's store, served by one interface server to the processes of this machine.

Used where no other layer is named: nothing to install, nothing to configure. The first interface server of a project
that starts becomes the host; everything else is a client. When the host ends, messages and groups end with it.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Patterns
from channels_classic.layers.inmemory import AsyncStoreConnection, StoreConnection
from channels_classic.layers.local.client import NO_HOST, AsyncSocketConnection, SocketConnection
from channels_classic.layers.local.host import Host, acquire
from channels_classic.layers.local.path import check_path, default_path
from channels_classic.layers.steps import AsyncConnection, Connection
from channels_classic.layers.store import Store

logger = logging.getLogger(__name__)


class LocalChannelLayer(BaseChannelLayer):
    """A channel layer for the processes that one user runs on one machine.

    `path` is that of the socket, in a folder that nobody else may enter; it follows from the project when not given.
    Without a host every operation raises `LayerUnavailable`, except for `send_group`: groups live in the host, so
    nobody is a member of any.
    """

    def __init__(
        self,
        path: str | None = None,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
    ) -> None:
        super().__init__(expiry, group_expiry, capacity, channel_capacity)
        self._path = None if path is None else os.fspath(path)
        self._host: Host | None = None

    @property
    def path(self) -> str:
        """Where the socket is."""
        if self._path is None:
            self._path = default_path()
        return self._path

    @property
    def host(self) -> Host | None:
        """What serves the layer, when that is this process: not a child that it forked."""
        return self._host if self._host is not None and self._host.pid == os.getpid() else None

    async def start(self) -> None:
        """Host the layer, or find that another interface server does. Raises `InvalidChannelLayerError`."""
        if self.host is not None:
            return
        check_path(self.path)
        lock_path = f"{self.path}.lock"
        lock = acquire(lock_path)
        if lock is None:
            logger.info("Another interface server hosts the channel layer at %s.", self.path)
            return
        host = Host(Store(self.group_expiry), self.path, lock, lock_path)
        await host.start()
        self._host = host
        await self._let_go()
        logger.info("This interface server hosts the channel layer at %s.", self.path)

    async def stop(self) -> None:
        """Host no longer: messages and groups are gone, clients find that out at once."""
        host, self._host = self.host, None
        if host is not None:
            await host.stop()
        await self._let_go()

    async def _let_go(self) -> None:
        """Connections lead to where the layer was before."""
        self.close()
        await self.close_async()

    def connect(self) -> Connection:
        if self.host is not None:
            return StoreConnection(self.host.store, self.losses)
        return SocketConnection(self.path, self.losses)

    async def connect_async(self) -> AsyncConnection:
        if self.host is not None:
            return AsyncStoreConnection(self.host.store, self.losses)
        connection = AsyncSocketConnection(self.path, self.losses)
        await connection.connect()
        return connection

    def send_group(self, group: str, message: dict[str, Any]) -> None:
        try:
            super().send_group(group, message)
        except LayerUnavailable as error:
            _reached_nobody(group, error)

    async def send_group_async(self, group: str, message: dict[str, Any]) -> None:
        try:
            await super().send_group_async(group, message)
        except LayerUnavailable as error:
            _reached_nobody(group, error)

    def __str__(self) -> str:
        return f"{type(self).__name__} at {self.path}"


def _reached_nobody(group: str, error: LayerUnavailable) -> None:
    """Say so when there is no host; raise when there was one a moment ago: then it is unknown who was reached."""
    if not isinstance(error.__cause__, NO_HOST):
        raise error
    logger.debug("The message for the group %s reached nobody: %s", group, error)
