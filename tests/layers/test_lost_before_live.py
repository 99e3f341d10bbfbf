"""A message that is lost in a channel does not hide those behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.steps import Entry, Push


def at_once(layer: BaseChannelLayer, channel: str) -> Any:
    return layer.receive([channel])


def blocking(layer: BaseChannelLayer, channel: str) -> Any:
    return layer.receive([channel], block=True)


def on_a_loop(layer: BaseChannelLayer, channel: str) -> Any:
    async def receive() -> Any:
        try:
            return await layer.receive_async([channel])
        finally:
            await layer.close_async()

    return asyncio.run(receive())


@pytest.mark.parametrize("receive", [at_once, blocking, on_a_loop])
@pytest.mark.parametrize("ttl", [0.01, 60], ids=["expired", "undecodable"])
@pytest.mark.parametrize("channel", ["plain", "reply?abc", "client!"])
def test_a_message_behind_lost_ones_is_received(
    layer: BaseChannelLayer, channel: str, ttl: float, receive: Callable[[BaseChannelLayer, str], Any]
) -> None:
    layer.run([Push(channel, [Entry(b"\xc1", ttl) for _ in range(3)])])
    layer.send(channel, {"live": True})
    time.sleep(0.05)
    assert receive(layer, channel) == (channel, {"live": True})
    assert layer.receive([channel]) == (None, None)
