"""Servers that tests break, and layers that notice soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from tests.support.redis_proxy import RedisProxy
from tests.support.redis_server import Cluster, RedisServer, Sentinel

Make = Callable[[], BaseChannelLayer]

IMPATIENT: dict[str, Any] = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    return own_redis


@pytest.fixture
def make_layer(server: RedisServer) -> Make:
    return lambda: RedisChannelLayer(hosts=[server.url], capacity=100_000, connection_kwargs=IMPATIENT)


@pytest.fixture
def start(own_redis: RedisServer) -> Iterator[Callable[[Any], Any]]:
    """Starts servers of any kind and ends them after the test."""
    with ExitStack() as stack:

        def started(server: RedisServer | Sentinel | Cluster) -> Any:
            stack.callback(server.close)
            server.start()
            return server

        yield started


@pytest.fixture
def proxy(own_redis: RedisServer) -> Iterator[RedisProxy]:
    """A proxy to the server, which fails when told."""
    proxy = RedisProxy(own_redis)
    proxy.start()
    yield proxy
    proxy.close()
