"""Round trips and connections of the coroutines of an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.pool import Multiplexer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.results import Item, Taken
from channels_classic.layers.steps import Entry, Push, Step, Take
from tests.support.redis_server import RedisServer
from tests.support.waiting import scaled


@pytest.fixture
def layer(own_redis: RedisServer) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    yield layer
    layer.close()


def test_what_coroutines_send_together_is_one_round_trip(layer: RedisChannelLayer, own_redis: RedisServer) -> None:
    async def scenario() -> int:
        await layer.send_async("jobs", {})  # connected
        before = int(own_redis.info("stats")["total_reads_processed"])
        await asyncio.gather(*(layer.send_async(f"jobs.{number}", {}) for number in range(50)))
        after = int(own_redis.info("stats")["total_reads_processed"])
        await layer.close_async()
        return after - before

    assert asyncio.run(scenario()) <= 5  # Redis reads 16 KiB at a time; and there is the question itself


def test_coroutines_that_receive_again_and_again_keep_their_connections(
    layer: RedisChannelLayer, own_redis: RedisServer
) -> None:
    async def exchange(channel: str) -> None:
        for _ in range(10):
            # Receivers that find nothing, so that each waits on a connection of its own.
            received, _ = await asyncio.gather(layer.receive_async([channel]), layer.send_async(channel, {}))
            assert received == (channel, {})

    async def scenario() -> None:
        await asyncio.gather(*(exchange(f"jobs.{number}") for number in range(5)))
        await layer.close_async()

    before = int(own_redis.info("stats")["total_connections_received"])
    asyncio.run(scenario())
    after = int(own_redis.info("stats")["total_connections_received"])
    assert after - before == 5 + 1 + 1  # the receivers, one for all sends, and the question itself


@pytest.mark.parametrize("turns", range(4))
def test_nobody_waits_for_a_task_that_was_cancelled(layer: RedisChannelLayer, turns: int) -> None:
    """Programs cancel all tasks of their event loop, before the one that carries steps began or later."""

    async def scenario() -> None:
        await layer.send_async("jobs", {})
        before = asyncio.all_tasks()
        sends = [asyncio.create_task(layer.send_async("jobs", {})) for _ in range(3)]
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - before - {*sends}:
            task.cancel()
        sends.append(asyncio.create_task(layer.send_async("jobs", {})))
        results = await asyncio.wait_for(asyncio.gather(*sends, return_exceptions=True), scaled(5))
        assert {type(result) for result in results} <= {LayerUnavailable, type(None)}
        await layer.send_async("jobs", {})
        await layer.close_async()

    asyncio.run(scenario())


class Forgetful:
    """A connection that refuses sends for a passing reason, and breaks when one is tried again."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed = False

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        self.asked += 1
        if self.asked > 1:
            raise LayerUnavailable("a server", "it broke", "")
        refusal = StepRefused("a server", "it forgot its scripts", again=True)
        return [Taken("jobs", [Item(b"x", b"raw")]) if isinstance(step, Take) else refusal for step in steps]

    def usable(self) -> bool:
        return True

    async def unblock(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("is_alone", [False, True], ids=["shared", "alone"])
def test_what_was_taken_is_abandoned_when_a_second_attempt_at_a_send_of_the_same_caller_breaks(is_alone: bool) -> None:
    async def scenario() -> None:
        connection, abandoned = Forgetful(), list[Any]()

        async def connect() -> Forgetful:
            return connection

        multiplexer = Multiplexer(connect, abandoned.extend)
        carry = multiplexer.run_alone if is_alone else multiplexer.run
        with pytest.raises(LayerUnavailable):
            await carry([Take(["jobs"], 1), Push("other", [Entry(b"", 1)])])
        assert abandoned[0] == Taken("jobs", [Item(b"x", b"raw")])
        assert connection.closed

    asyncio.run(scenario())


def test_a_second_attempt_that_breaks_hits_the_caller_alone_whose_send_it_was() -> None:
    async def scenario() -> None:
        async def connect() -> Forgetful:
            return Forgetful()

        multiplexer = Multiplexer(connect, lambda results: None)
        results: list[Any] = await asyncio.gather(
            multiplexer.run([Take(["jobs"], 1)]),
            multiplexer.run([Push("other", [Entry(b"", 1)])]),
            return_exceptions=True,
        )
        taken, lost = results
        assert taken == [Taken("jobs", [Item(b"x", b"raw")])]
        assert isinstance(lost, LayerUnavailable)

    asyncio.run(scenario())
