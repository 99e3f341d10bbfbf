"""The local layer: the memory layer's store, served by one interface server to the processes of this machine.

Used where no other layer is named: nothing to install, nothing to configure. The first interface server of a project
that starts becomes the host; everything else is a client. When the host ends, messages end with it. Another interface
server takes its place as soon as it notices that, and each writes the groups of its own clients again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
from typing import Any

from channels_classic.exceptions import InvalidChannelLayerError, LayerUnavailable
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.capacity import Patterns
from channels_classic.layers.history import SECONDS
from channels_classic.layers.inmemory import AsyncStoreConnection, StoreConnection
from channels_classic.layers.local.address import check_address, check_path, default_address
from channels_classic.layers.local.claim import claim
from channels_classic.layers.local.client import (
    FOREIGN_NEXT_STEP,
    NO_HOST,
    AsyncSocketConnection,
    ForeignHost,
    SocketConnection,
    check_host,
    unavailable,
)
from channels_classic.layers.local.host import LocalHost
from channels_classic.layers.steps import AsyncConnection, Connection
from channels_classic.layers.store import Store

logger = logging.getLogger("channels_classic.layers")

TAKE_OVER_TIMEOUT = 5.0
"""Seconds for which a thread waits until the event loop of its process hosts the layer."""


class LocalChannelLayer(BaseChannelLayer):
    """A channel layer for the processes that one user runs on one machine.

    `path` is that of the socket, in a folder that nobody else may enter, or `@name` for an abstract socket on Linux. It
    follows from the user and the project's `SECRET_KEY` when not given. Without a host every operation raises
    `LayerUnavailable`, except for `send_group`, whose message is counted as `unhosted`: groups live in the host, so
    nobody is a member of any.
    """

    deployment = ""
    """Tells several layers of one project apart, for those without a `path`."""

    def __init__(
        self,
        path: str | None = None,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Patterns | None = None,
    ) -> None:
        super().__init__(expiry, group_expiry, capacity, channel_capacity)
        self._path = default_address(self.deployment) if path is None else check_path(path)
        self._host: LocalHost | None = None
        self._hosting_loop: asyncio.AbstractEventLoop | None = None
        self._giving_way: asyncio.Task[None] | None = None

    @property
    def path(self) -> str:
        """The address of the host's socket."""
        return self._path

    @property
    def host(self) -> LocalHost | None:
        """The object that serves the layer, when that is in this process: not in a child that it forked."""
        return self._host if self._host is not None and self._host.pid == os.getpid() else None

    async def start(self) -> None:
        """Host the layer, or find that another interface server does. Raise `InvalidChannelLayerError`."""
        if self.host is not None:
            return
        self._hosting_loop = asyncio.get_running_loop()
        check_address(self.path)
        if not await self._try_to_host():
            await self._check_host()
            logger.info("Another interface server hosts the channel layer at %s.", self.path)

    async def _check_host(self) -> None:
        """Raise `InvalidChannelLayerError` if a process of another user has the address."""
        try:
            await asyncio.to_thread(check_host, self.path)
        except ForeignHost as error:
            raise InvalidChannelLayerError(
                f"The local channel layer cannot use {self.path}: {error}. {FOREIGN_NEXT_STEP}", key="path"
            ) from error

    async def _try_to_host(self) -> bool:
        if self.host is not None:
            return True
        try:
            claimed = claim(self.path)
        except OSError as error:
            raise InvalidChannelLayerError(
                f"The local channel layer cannot listen at {self.path}: {error.strerror}. "
                "Give another `path` in the CONFIG of CHANNEL_LAYERS.",
                key="path",
            ) from error
        if claimed is None:
            return False
        host = LocalHost(Store(self.group_expiry), claimed, self._give_way)
        await host.start()
        self._host = host
        await self._drop_connections()
        logger.info("This interface server hosts the channel layer at %s.", self.path)
        return True

    def _give_way(self) -> None:
        """Become a client of the process that hosts now."""
        host, self._host = self.host, None
        if host is not None and self._hosting_loop is not None:
            self._giving_way = self._hosting_loop.create_task(self._end(host))

    async def _end(self, host: LocalHost) -> None:
        await host.stop()
        # The threads and tasks of this process would go on with messages that nobody else sees.
        host.store.end(unavailable(self.path, ConnectionResetError("another process hosts it now")))
        await self._drop_connections()

    async def stop(self) -> None:
        """Host no longer: messages and groups are gone, clients find that out at once."""
        self._hosting_loop = None
        host, self._host = self.host, None
        if host is not None:
            await host.stop()
        if self._giving_way is not None:
            await self._giving_way
        await self._drop_connections()

    async def _drop_connections(self) -> None:
        """Close connections to the previous host."""
        self.close()
        await self.close_async()

    def connect(self) -> Connection:
        if self.host is not None:
            return StoreConnection(self.host.store, self.losses)
        return self.open_socket()

    async def connect_async(self) -> AsyncConnection:
        if self.host is None:
            connection = await self.open_socket_async()
            if self.host is None:
                return connection
            await connection.close()
        return AsyncStoreConnection(self.host.store, self.losses)

    def open_socket(self) -> SocketConnection:
        """Return a connection to the host for a thread; if that is gone, an interface server takes its place first.

        Raise `LayerUnavailable`.
        """
        try:
            return SocketConnection(self.path, self.losses)
        except LayerUnavailable as error:
            loop = self._hosting_loop
            if loop is None or not isinstance(error.__cause__, NO_HOST) or loop is _running_loop():
                raise
            attempt = asyncio.run_coroutine_threadsafe(self._try_to_host(), loop)
            try:
                attempt.result(TAKE_OVER_TIMEOUT)
            except concurrent.futures.TimeoutError:
                attempt.cancel()
                raise error from error.__cause__
        return SocketConnection(self.path, self.losses)

    async def open_socket_async(self) -> AsyncSocketConnection:
        """Do the same for an event loop."""
        connection = AsyncSocketConnection(self.path, self.losses)
        try:
            await connection.connect()
        except LayerUnavailable as error:
            if not isinstance(error.__cause__, NO_HOST) or self._hosting_loop is not asyncio.get_running_loop():
                raise
            await self._try_to_host()  # of several interface servers the fastest hosts
            await connection.connect()
        return connection

    def send_group(
        self, group: str, message: dict[str, Any], but: str = "", keep: int = 0, seconds: float = SECONDS
    ) -> None:
        try:
            super().send_group(group, message, but, keep, seconds)
        except LayerUnavailable as error:
            self._reached_nobody(group, error)

    async def send_group_async(
        self, group: str, message: dict[str, Any], but: str = "", keep: int = 0, seconds: float = SECONDS
    ) -> None:
        try:
            await super().send_group_async(group, message, but, keep, seconds)
        except LayerUnavailable as error:
            self._reached_nobody(group, error)

    def _reached_nobody(self, group: str, error: LayerUnavailable) -> None:
        """Count the message when there is no host. Raise when there was one a moment ago: it may have been sent."""
        if not isinstance(error.__cause__, NO_HOST):
            raise error
        self.losses.count("unhosted", group)

    def __str__(self) -> str:
        return f"{type(self).__name__} at {self.path}"


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
