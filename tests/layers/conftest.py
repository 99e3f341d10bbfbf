"""One fixture: a layer of each kind in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from tests.layers.hosts import HostThread, folder
from tests.support.redis_server import Cluster, RedisServer, Sentinel


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


@pytest.fixture(scope="session")
def redis_cluster(redis_server: RedisServer) -> Iterator[Cluster]:
    """A cluster of three masters that tests share."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def sentinels(redis_servers: list[RedisServer]) -> Iterator[list[Sentinel]]:
    """Three sentinels that watch the first two of the shared servers, as services b and a."""
    watching = [Sentinel({"b": redis_servers[0], "a": redis_servers[1]}, quorum=2) for _ in range(3)]
    try:
        for sentinel in watching:
            sentinel.start()
        yield watching
    finally:
        for sentinel in watching:
            sentinel.close()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    """A Valkey, where there is one."""
    server = RedisServer(program="valkey-server")
    try:
        server.start()
        yield server
    finally:
        server.close()
