"""Layers to run workers on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.worker import loop
from tests.layers.hosts import HostThread, folder
from tests.worker.programs import redis, start

__all__ = ["layer", "memory", "redis", "start"]


@pytest.fixture(params=["memory", "local", "redis"])
def layer(request: pytest.FixtureRequest) -> Iterator[BaseChannelLayer]:
    """A layer with room for a thousand messages per channel."""
    with ExitStack() as stack:
        layer = _LAYERS[request.param](request, stack)
        stack.callback(layer.close)
        yield layer


def _memory(request: pytest.FixtureRequest, stack: ExitStack) -> BaseChannelLayer:
    return ChannelLayer(capacity=1000)


def _local(request: pytest.FixtureRequest, stack: ExitStack) -> BaseChannelLayer:
    path = f"{stack.enter_context(folder())}/layer.sock"
    stack.callback(HostThread(path, capacity=1000).stop)
    return LocalChannelLayer(path, capacity=1000)


def _redis(request: pytest.FixtureRequest, stack: ExitStack) -> BaseChannelLayer:
    return RedisChannelLayer(hosts=[request.getfixturevalue("redis_url")], capacity=1000)


_LAYERS = {"memory": _memory, "local": _local, "redis": _redis}


@pytest.fixture
def large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers take as many messages at once as they may, even if the last one was slow by chance."""
    monkeypatch.setattr(loop, "PUT_BACK_AFTER", 3600.0)


@pytest.fixture
def memory() -> ChannelLayer:
    """A memory layer with room for a thousand messages per channel, where the kind of layer makes no difference."""
    return ChannelLayer(capacity=1000)
