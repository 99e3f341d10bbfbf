"""Layers to run workers on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer


@pytest.fixture(params=["memory", "redis"])
def layer(request: pytest.FixtureRequest) -> Iterator[BaseChannelLayer]:
    """A layer with room for a thousand messages per channel."""
    layer: BaseChannelLayer
    if request.param == "redis":
        layer = RedisChannelLayer(hosts=[request.getfixturevalue("redis_url")], capacity=1000)
    else:
        layer = ChannelLayer(capacity=1000)
    yield layer
    layer.close()


@pytest.fixture
def memory() -> ChannelLayer:
    """A memory layer with room for a thousand messages per channel, where the kind of layer makes no difference."""
    return ChannelLayer(capacity=1000)
