"""Workers that are suspended for longer than the lease on a frame, and resume when the next frame was handed out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually, scaled

pytestmark = pytest.mark.timeout(90)


class ShortLived(RunningSite):
    """A site whose messages expire after two seconds, so that leases end soon."""

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url, workers=1)
        self.environment["EXPIRY"] = "2"

    def start_worker(self) -> Process:
        worker = self.run("runworker")
        worker.wait_for_line("Listening on channels")
        return worker


async def text(socket: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(socket.recv(), scaled(20))


@asynccontextmanager
async def stopped(worker: Process) -> AsyncIterator[None]:
    worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send_signal(signal.SIGCONT)


async def losses(layer: BaseChannelLayer, **expected: int) -> None:
    """Wait until exactly these losses are known to the layer."""

    def known() -> dict[str, int]:
        statistics = layer.global_statistics()
        return {kind.removeprefix("lost_"): number for kind, number in statistics.items() if kind.startswith("lost_")}

    await asyncio.to_thread(eventually, lambda: known() == expected, 10)


@pytest.mark.parametrize(
    ("path", "long", "short", "first", "second", "late"),
    [
        ("/sleep", str(scaled(1)), "0", ["started"], ["started", "done"], 1),
        ("/sleep/immediately", str(scaled(1)), "0", ["started"], ["started", "done"], 1),
        ("/room/stream", str(scaled(0.5)), "0", ["0"], ["0", "1", "2", "3", "4"], 4),
    ],
)
def test_replies_of_a_consumer_whose_lease_ended_are_not_delivered_behind_those_to_later_frames(
    own_redis: RedisServer, path: str, long: str, short: str, first: list[str], second: list[str], late: int
) -> None:
    async def main(site: ShortLived, layer: BaseChannelLayer) -> None:
        (former,) = site.workers
        async with site.socket(path) as socket:
            await socket.send(long)
            assert [await text(socket) for _ in first] == first
            async with stopped(former):
                await asyncio.to_thread(site.start_worker)
                await socket.send(short)
                assert [await text(socket) for _ in second] == second
            await losses(layer, late=late)
            await socket.send(short)
            assert [await text(socket) for _ in second] == second

    with ShortLived(own_redis.url) as site, site.layer() as layer:
        asyncio.run(main(site, layer))


def test_a_frame_that_expired_with_a_worker_that_stood_still_is_counted_once(own_redis: RedisServer) -> None:
    async def main(site: ShortLived, layer: BaseChannelLayer) -> None:
        (former,) = site.workers
        async with site.socket("/echo") as socket:
            await socket.send("1")
            assert await text(socket) == "1"
            await asyncio.sleep(0.2)  # it waits for messages
            async with stopped(former):
                await socket.send("2")
                await asyncio.sleep(1)  # the layer has handed it out
                await asyncio.to_thread(site.start_worker)
                await socket.send("3")
                assert await text(socket) == "3"
                await losses(layer, unheard=1)
            await losses(layer, expired=1)
            await socket.send("4")
            assert await text(socket) == "4"

    with ShortLived(own_redis.url) as site, site.layer() as layer:
        asyncio.run(main(site, layer))


def test_replies_that_came_while_the_interface_server_stood_still_are_not_late(own_redis: RedisServer) -> None:
    """Leases have ended when it goes on, and the reports are in its inbox."""

    async def main(site: ShortLived, layer: BaseChannelLayer) -> None:
        async with site.socket("/sleep") as socket:
            await socket.send("1")
            assert await text(socket) == "started"
            await socket.send("0")
            await asyncio.sleep(0.3)  # it waits for the first one
            async with stopped(site.interface):
                await asyncio.sleep(11)  # longer than the lease
            assert [await text(socket) for _ in range(3)] == ["done", "started", "done"]
            await losses(layer)

    with ShortLived(own_redis.url) as site, site.layer() as layer:
        asyncio.run(main(site, layer))


def test_an_interface_server_that_stood_still_delivers_nothing_that_has_expired(own_redis: RedisServer) -> None:
    """The first message is the answer to its read, which waited; nobody has read that answer for too long."""

    async def main(site: ShortLived, layer: BaseChannelLayer) -> None:
        async with site.socket("/room") as socket:
            await asyncio.to_thread(eventually, lambda: len(layer.group_channels("room")) == 1)
            await asyncio.sleep(0.2)  # it waits for messages
            async with stopped(site.interface):
                layer.send_group("room", {"text": "old"})
                await asyncio.sleep(expiry + 0.5)
                layer.send_group("room", {"text": "new"})
            assert await text(socket) == "new"
            await losses(layer, expired=1)

    expiry = round(scaled(1))
    layer = RedisChannelLayer(hosts=[own_redis.url], expiry=expiry)
    with ShortLived(own_redis.url) as site:
        asyncio.run(main(site, layer))
    layer.close()
