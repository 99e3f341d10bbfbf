"""The conformance suite over every layer of this package."""

from __future__ import annotations

import unittest
from typing import Any

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.test.conformance import AsyncLayerConformance, LayerConformance


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
