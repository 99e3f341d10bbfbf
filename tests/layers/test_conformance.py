"""The conformance suite over every layer of this package."""

from __future__ import annotations

import asyncio
import shutil
import unittest
from contextlib import ExitStack
from typing import Any, cast

import pytest
import uvloop

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.test.conformance import AsyncLayerConformance, LayerConformance, channels
from tests.layers.hosts import HostThread, folder
from tests.support.redis_server import Cluster, RedisServer, Sentinel
from tests.support.waiting import scaled


@pytest.fixture(autouse=True)
def _wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "WAKE_UP", scaled(channels.WAKE_UP))


class _Memory:
    def make_layer(self, **config: Any) -> BaseChannelLayer:
        return ChannelLayer(**config)

    def make_peer(self, layer: BaseChannelLayer, **config: Any) -> BaseChannelLayer:
        return layer


class TestMemory(_Memory, LayerConformance, unittest.TestCase):
    pass


class TestMemoryAsync(_Memory, AsyncLayerConformance, unittest.TestCase):
    pass


class _Redis:
    url: str

    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    def make_layer(self, **config: Any) -> BaseChannelLayer:
        from channels_classic.layers.redis import RedisChannelLayer

        return RedisChannelLayer(hosts=[self.url], **config)


class TestRedis(_Redis, LayerConformance, unittest.TestCase):
    pass


class TestRedisAsync(_Redis, AsyncLayerConformance, unittest.TestCase):
    pass


@pytest.mark.skipif(shutil.which("valkey-server") is None, reason="there is no valkey-server here")
class TestValkey(_Redis, LayerConformance, unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _server(self, valkey_server: RedisServer) -> None:
        valkey_server.flush()
        self.url = valkey_server.url


class _Shards:
    spread = 3
    urls: list[str]

    @pytest.fixture(autouse=True)
    def _servers(self, redis_servers: list[RedisServer]) -> None:
        for server in redis_servers:
            server.flush()
        self.urls = [server.url for server in redis_servers]

    def make_layer(self, **config: Any) -> BaseChannelLayer:
        from channels_classic.layers.redis import RedisChannelLayer

        return RedisChannelLayer(hosts=self.urls, **config)


class TestShards(_Shards, LayerConformance, unittest.TestCase):
    pass


class TestShardsAsync(_Shards, AsyncLayerConformance, unittest.TestCase):
    pass


class _Sentinel:
    """One service, of two that are watched."""

    hosts: list[tuple[str, int]]

    @pytest.fixture(autouse=True)
    def _servers(self, redis_servers: list[RedisServer], sentinels: list[Sentinel]) -> None:
        redis_servers[0].flush()
        self.hosts = [("127.0.0.1", sentinel.port) for sentinel in sentinels]

    def make_layer(self, **config: Any) -> BaseChannelLayer:
        from channels_classic.layers.redis import RedisSentinelChannelLayer

        return RedisSentinelChannelLayer(hosts=self.hosts, services=["b"], **config)


class TestSentinel(_Sentinel, LayerConformance, unittest.TestCase):
    pass


class TestSentinelAsync(_Sentinel, AsyncLayerConformance, unittest.TestCase):
    pass


class _Cluster:
    spread = 3
    url: str

    @pytest.fixture(autouse=True)
    def _servers(self, redis_cluster: Cluster) -> None:
        redis_cluster.flush()
        self.url = redis_cluster.nodes[0].url

    def make_layer(self, **config: Any) -> BaseChannelLayer:
        from channels_classic.layers.redis import RedisClusterChannelLayer

        return RedisClusterChannelLayer(hosts=[self.url], **config)


class TestCluster(_Cluster, LayerConformance, unittest.TestCase):
    pass


class TestClusterAsync(_Cluster, AsyncLayerConformance, unittest.TestCase):
    pass


class _RedisLocal:
    """Plain channels on a host in this process, the rest on two servers."""

    urls: list[str]

    @pytest.fixture(autouse=True)
    def _servers(self, redis_servers: list[RedisServer]) -> None:
        for server in redis_servers:
            server.flush()
        self.urls = [server.url for server in redis_servers[:2]]

    def make_layer(self, **config: Any) -> BaseChannelLayer:
        from channels_classic.layers.redis import RedisLocalChannelLayer

        stack = ExitStack()
        cast(unittest.TestCase, self).addCleanup(stack.close)
        path = f"{stack.enter_context(folder())}/layer.sock"
        host = HostThread(path, **config)
        stack.callback(host.stop)
        return RedisLocalChannelLayer(hosts=self.urls, path=path, **config)

    def make_peer(self, layer: BaseChannelLayer, **config: Any) -> BaseChannelLayer:
        from channels_classic.layers.redis import RedisLocalChannelLayer

        assert isinstance(layer, RedisLocalChannelLayer)
        return RedisLocalChannelLayer(hosts=self.urls, path=layer.local_layer.path, **config)


class TestRedisLocal(_RedisLocal, LayerConformance, unittest.TestCase):
    pass


class TestRedisLocalAsync(_RedisLocal, AsyncLayerConformance, unittest.TestCase):
    pass


class _Local:
    """A host in a thread, with a store of its own for every layer that is opened; tests are clients of it."""

    new_loop = staticmethod(asyncio.new_event_loop)

    def make_layer(self, **config: Any) -> BaseChannelLayer:
        stack = ExitStack()
        cast(unittest.TestCase, self).addCleanup(stack.close)
        path = f"{stack.enter_context(folder())}/layer.sock"
        host = HostThread(path, self.new_loop, **config)
        stack.callback(host.stop)
        return LocalChannelLayer(path, **config)

    def make_peer(self, layer: BaseChannelLayer, **config: Any) -> BaseChannelLayer:
        assert isinstance(layer, LocalChannelLayer)
        return LocalChannelLayer(layer.path, **config)


class TestLocal(_Local, LayerConformance, unittest.TestCase):
    pass


class TestLocalUnderUvloop(_Local, LayerConformance, unittest.TestCase):
    """Uvicorn runs on uvloop, whose transports are not those of asyncio."""

    new_loop = staticmethod(uvloop.new_event_loop)


class TestLocalAsync(_Local, AsyncLayerConformance, unittest.TestCase):
    pass
