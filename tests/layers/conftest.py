"""One fixture: a layer of each kind in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from tests.layers.hosts import HostThread, folder
from tests.redis_server import RedisServer


@pytest.fixture(params=["memory", "local", "redis"])
def layer(request: pytest.FixtureRequest) -> Iterator[BaseChannelLayer]:
    """A layer as the programs use it, empty; for `local`, a client of a host in this process."""
    if request.param == "memory":
        yield ChannelLayer()
    elif request.param == "local":
        with folder() as name:
            host = HostThread(f"{name}/layer.sock")
            client = LocalChannelLayer(host.layer.path)
            yield client
            client.close()
            host.stop()
    else:
        from channels_classic.layers.redis import RedisChannelLayer

        redis = RedisChannelLayer(hosts=[request.getfixturevalue("redis_url")])
        yield redis
        redis.close()


@pytest.fixture(scope="session")
def redis_servers(redis_server: RedisServer) -> Iterator[list[RedisServer]]:
    """Three servers that tests share, the usual one among them."""
    others = [RedisServer(), RedisServer()]
    try:
        for server in others:
            server.start()
        yield [redis_server, *others]
    finally:
        for server in others:
            server.close()
