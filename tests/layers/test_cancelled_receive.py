"""A coroutine that is cancelled while it receives: what was handed out at that moment is not lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from channels_classic.layers.base import BaseChannelLayer

MESSAGES = 300


async def cancel_many(layer: BaseChannelLayer, turns: int) -> list[int]:
    """Receive with tasks that are cancelled at any moment; return the numbers that arrived."""
    got: list[int] = []

    async def read() -> None:
        _, message = await layer.receive_async(["jobs"])
        if message is not None:
            got.append(message["n"])

    async def send() -> None:
        for number in range(MESSAGES):
            await layer.send_async("jobs", {"n": number})
            await asyncio.sleep(0)

    sending = asyncio.create_task(send())
    while not sending.done() or await waiting(layer):
        reader = asyncio.create_task(read())
        for _ in range(random.randrange(turns)):
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait([reader])
        # One that is not cancelled, so that there is an end.
        if sending.done() and await waiting(layer):
            await asyncio.wait_for(read(), 10)
    await sending
    return got


async def waiting(layer: BaseChannelLayer) -> int:
    """Return the number of messages that wait, once what was put back is there."""
    while layer._returns or layer._on_this_loop()._endings:
        await asyncio.sleep(0)
    return (await layer.channel_statistics_async("jobs"))["messages_pending"]


@pytest.mark.parametrize("turns", [4, 40])
def test_a_coroutine_that_is_cancelled_while_it_receives_loses_nothing(layer: BaseChannelLayer, turns: int) -> None:
    layer.planner.capacities.of = lambda name: 10_000  # type: ignore[method-assign]

    async def main() -> None:
        got = await cancel_many(layer, turns)
        assert sorted(got) == list(range(MESSAGES))
        assert layer.losses.as_dict() == {}
        await layer.close_async()

    asyncio.run(main())


def test_a_take_that_blocks_for_a_coroutine_that_was_cancelled_ends_at_once(layer: BaseChannelLayer) -> None:
    async def main() -> None:
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(layer.receive_async(["jobs"]), 0.02)
        assert len(layer._on_this_loop()._idle) <= 2
        await waiting(layer)
        assert layer._on_this_loop()._idle == [], "a late request to end would end the next take on such a connection"
        await layer.send_async("jobs", {"n": 1})
        assert await layer.receive_async(["jobs"]) == ("jobs", {"n": 1})
        await layer.close_async()

    asyncio.run(main())
