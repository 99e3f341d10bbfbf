"""A fake next release beside this one, both ways: what one cannot read is counted, and costs itself alone."""

from __future__ import annotations

import asyncio
import sys
import time

import pytest
from websockets.asyncio.client import ClientConnection

from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from tests.faults.test_groups import end, session_on
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.site import ROOT
from tests.support.waiting import eventually, eventually_async, scaled

pytestmark = pytest.mark.timeout(60)

SOON = scaled(5.0)
"""Seconds for a few frames: a lease lasts 65."""


def next_release(*arguments: str) -> Process:
    command = [sys.executable, "-m", "tests.support.next_release", *arguments]
    return Process(command, cwd=ROOT, env={"TZ": "UTC"})


def lost(layer: BaseChannelLayer) -> dict[str, int]:
    statistics = layer.global_statistics()
    return {kind: number for kind, number in statistics.items() if kind.startswith("lost_")}


async def text(socket: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(socket.recv(), scaled(20))


def test_workers_of_this_release_serve_an_interface_server_of_the_next(own_redis: RedisServer) -> None:
    texts = ("one", "new kind", "two")
    with (
        RunningSite(own_redis.url, workers=1) as site,
        site.layer() as layer,
        next_release("interface", own_redis.url, *texts) as program,
    ):
        program.wait_for_line("frame 2 took")
        lines = [line for line in program.output.splitlines() if line.startswith(("got", "report"))]
        assert lines == ["got one", "report 0 CONSUMED", "report 1 DROPPED", "got two", "report 2 CONSUMED"]
        assert max(float(line.split()[3]) for line in program.output.splitlines() if "took" in line) < SOON
        eventually(lambda: lost(layer) == {"lost_undecodable": 1})
        eventually(lambda: "it is of a kind or format this release does not know" in site.output)


def test_an_interface_server_of_this_release_is_served_by_workers_of_the_next(own_redis: RedisServer) -> None:
    async def frames(site: RunningSite) -> None:
        async with site.socket("/echo") as socket:
            began = time.monotonic()
            for each in ("one", "new kind", "two", "new outcome", "three"):
                await socket.send(each)
            assert [await text(socket) for _ in range(4)] == ["one", "two", "new outcome", "three"]
            assert time.monotonic() - began < SOON

    with RunningSite(own_redis.url, workers=0) as site, site.layer() as layer:
        site.environment |= {"DJANGO_SETTINGS_MODULE": "tests.projects.site.settings", "PYTHONPATH": str(ROOT)}
        worker = site.start(sys.executable, "-m", "tests.support.next_release", "worker")
        worker.wait_for_line("Listening on channels")
        eventually(lambda: site.get("/")[0] == 200, 20)
        asyncio.run(frames(site))
        eventually(lambda: lost(layer) == {"lost_undecodable": 1})


def test_plain_channels_carry_messages_both_ways(own_redis: RedisServer) -> None:
    """To a worker of the next release and back; what it writes as a kind of its own is counted by who takes it."""
    with RunningSite(own_redis.url, workers=0) as site, site.layer() as layer:
        inbox = "answers"
        site.environment |= {"DJANGO_SETTINGS_MODULE": "tests.projects.site.settings", "PYTHONPATH": str(ROOT)}
        worker = site.start(sys.executable, "-m", "tests.support.next_release", "worker")
        worker.wait_for_line("Listening on channels")
        for each in ("one", "new kind", "two"):
            layer.send("websocket.receive", {"reply_channel": inbox, "path": "/echo", "text": each})
        found: list[str] = []
        while len(found) < 2:
            _, message = layer.receive([inbox], block=True)
            if message is not None:
                found.append(message["text"])
        assert found == ["one", "two"]
        assert layer.losses.as_dict() == {"undecodable": 1}


def test_members_are_members_whoever_added_them_and_get_each_message_once(own_redis: RedisServer) -> None:
    """Groups of sockets here, added by a worker of the next release, and a client there, added by each in turn."""

    async def members(site: RunningSite, layer: BaseChannelLayer, client: Process, channel: str) -> None:
        async with site.socket("/room") as socket:
            assert len(await asyncio.to_thread(layer.group_channels, "room")) == 2
            await asyncio.to_thread(layer.send_group, "room", {"text": "from this release"})
            with next_release("send-group", own_redis.url, "room") as sender:
                await asyncio.to_thread(sender.wait_for_line, "sent {}")
            await asyncio.to_thread(layer.send_group, "room", {"text": "again"})
            both = ["from this release", "from the next release", "again"]
            assert [await text(socket) for _ in both] == both
            await asyncio.to_thread(client.wait_for_line, "got again")
            assert [line[4:] for line in client.output.splitlines() if line.startswith("got")] == both
            await asyncio.to_thread(layer.group_discard, "room", channel)
            assert len(await asyncio.to_thread(layer.group_channels, "room")) == 1
            with next_release("send-group", own_redis.url, "room") as sender:
                await asyncio.to_thread(sender.wait_for_line, "sent {}")
            assert await text(socket) == "from the next release"
            await asyncio.to_thread(layer.group_add, "room", channel)
            await asyncio.to_thread(layer.send_group, "room", {"text": "last"})
            assert await text(socket) == "last"
            await asyncio.to_thread(client.wait_for_line, "got last")
            assert [line[4:] for line in client.output.splitlines() if line.startswith("got")] == [*both, "last"]

    with RunningSite(own_redis.url, workers=0) as site, next_release("interface", own_redis.url) as client:
        site.environment |= {"DJANGO_SETTINGS_MODULE": "tests.projects.site.settings", "PYTHONPATH": str(ROOT)}
        site.start(sys.executable, "-m", "tests.support.next_release", "worker").wait_for_line("Listening on channels")
        channel = client.wait_for_line("channel interface.v3").split()[1]
        layer = RedisChannelLayer(hosts=[own_redis.url])
        asyncio.run(members(site, layer, client, channel))
        assert layer.losses.as_dict() == {}
        layer.close()


def test_members_that_the_next_release_added_come_back_after_a_loss_if_a_message_of_this_one_came_before(
    own_redis: RedisServer,
) -> None:
    """The next release sends no hint to an interface server of this one, which learns of them with that message."""

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, found = await session_on(RedisChannelLayer(hosts=[own_redis.url]), 1)
        ((channel, client),) = found.items()
        await layer.group_add_async("own", channel)
        with next_release("add", own_redis.url, channel, "sent-to", "silent") as program:
            await asyncio.to_thread(program.wait_for_line, "added")
        assert await layer.group_channels_async("silent") == [channel]
        await layer.send_group_async("sent-to", {"text": "before"})
        await eventually_async(lambda: client.got == ["before"])
        await restored_after_flush(session, layer)
        assert await layer.group_channels_async("sent-to") == [channel]
        assert await layer.group_channels_async("silent") == []
        for group in ("silent", "sent-to"):
            await layer.send_group_async(group, {"text": group})
        await eventually_async(lambda: client.got == ["before", "sent-to"])
        await end(session)
        await layer.close_async()

    async def restored_after_flush(session: LayerSession, layer: BaseChannelLayer) -> None:
        restored = session._restored
        own_redis.flush()
        await eventually_async(lambda: session._restored != restored, 20)

    asyncio.run(main())
