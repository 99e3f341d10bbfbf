"""Connections to one shard, and the second ones by which takes on them are ended."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
import redis

from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Take
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, eventually_async

FOREVER = Take(["jobs"], 1, 3600.0)


def is_waited_at(server: RedisServer) -> bool:
    return server.info("clients")["blocked_clients"] == "1"


def kill_control(server: RedisServer) -> None:
    """End the connection by which takes are ended, as a firewall or `timeout` does to one that idles."""
    with redis.Redis(port=server.port) as client:
        (control,) = (each["id"] for each in client.client_list() if each["cmd"] == "client|unblock")
        client.client_kill_filter(_id=control)


def test_a_take_is_ended_although_the_connection_for_that_broke(own_redis: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    connection = layer._known()[0].open(0)
    for _ in range(3):
        connection.write([FOREVER])
        eventually(partial(is_waited_at, own_redis))
        connection.unblock()
        assert connection.read() is None
        kill_control(own_redis)
    connection.close()
    layer.close()


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
def test_a_coroutine_that_takes_is_ended_although_the_connection_for_that_broke(
    own_redis: RedisServer, is_busy: bool
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        connection = await layer._known()[0].open_async(0)
        for _ in range(3):
            taking = asyncio.create_task(connection.run([FOREVER]))
            await eventually_async(partial(is_waited_at, own_redis))
            await connection.unblock()
            assert await taking == [None]
            kill_control(own_redis)
            time.sleep(0.05) if is_busy else await asyncio.sleep(0.05)  # whether the loop hears of it
        await connection.close()
        layer.close()

    asyncio.run(main())
