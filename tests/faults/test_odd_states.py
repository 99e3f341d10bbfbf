"""States of a server that operators cause: writes that are paused, a disk that is full, an old snapshot, a sleep."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import pytest

from channels_classic.exceptions import ChannelsError, StepRefused
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.redis.commands import AUDIT, RESTORE
from tests.faults.conftest import IMPATIENT
from tests.faults.test_evictions import delete
from tests.faults.test_groups import Client, end, session_on
from tests.support.redis_proxy import BREAKS, Fault, RedisProxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, eventually_async

pytestmark = pytest.mark.timeout(120)


async def check_and_end(
    layer: RedisChannelLayer, session: LayerSession, found: Mapping[str, Client], members: Sequence[str]
) -> None:
    """Wait until these are the members of the group, check that they alone get a message, and end."""

    def named() -> set[str]:
        with suppress(ChannelsError):  # the server may not be back yet
            return set(layer.group_channels("room"))
        return set()

    await eventually_async(lambda: named() == set(members), 20)
    await layer.send_group_async("room", {"text": "after"})
    expected = [["after"] if channel in members else [] for channel in found]
    await eventually_async(lambda: [client.got for client in found.values()] == expected, 10)
    await end(session)
    await layer.close_async()
    layer.close()


def pause_writes(server: RedisServer) -> None:
    server.command("CLIENT", "PAUSE", "2000", "WRITE")


def pause_everything(server: RedisServer) -> None:
    server.command("CLIENT", "PAUSE", "2000", "ALL")


def sleep(server: RedisServer) -> None:
    threading.Thread(target=server.command, args=("DEBUG", "SLEEP", "2"), daemon=True).start()


@pytest.mark.parametrize("fault", [pause_writes, pause_everything, sleep])
def test_a_server_that_answers_late_loses_nothing_and_doubles_nothing(
    start: Callable[[RedisServer], RedisServer], fault: Callable[[RedisServer], None]
) -> None:
    server = start(RedisServer(enable_debug_command="yes"))

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[server.url])
        session, found = await session_on(RedisChannelLayer(hosts=[server.url]), 4)
        channels, clients = list(found), list(found.values())
        for channel in channels[:2]:
            await layer.group_add_async("room", channel)
        await asyncio.to_thread(fault, server)
        await layer.group_add_async("room", channels[2])
        await layer.group_discard_async("room", channels[0])
        for number in range(20):
            await layer.send_group_async("room", {"text": str(number)})
            await layer.send_async("jobs", {"n": number})
        everything = [str(number) for number in range(20)]
        await eventually_async(lambda: clients[1].got == clients[2].got == everything, 15)
        assert clients[0].got == clients[3].got == []
        assert [(await layer.receive_async(["jobs"]))[1] for _ in range(20)] == [{"n": n} for n in range(20)]
        assert layer.losses.as_dict() == {}
        assert session.stats.outages == 0
        await end(session)
        await layer.close_async()
        layer.close()

    asyncio.run(main())


def test_a_server_that_cannot_save_refuses_for_certain_and_keeps_memberships(
    start: Callable[[RedisServer], RedisServer],
) -> None:
    """It refuses every write then, takes and heartbeats included; afterwards all goes on as before."""
    server = RedisServer(dbfilename="full")
    start(server)
    os.mkdir(f"{server.folder}/full")  # in place of the file: it cannot be renamed

    async def main() -> None:
        layer = RedisChannelLayer(hosts=[server.url])
        session, found = await session_on(RedisChannelLayer(hosts=[server.url]), 3)
        channels, clients = list(found), list(found.values())
        for channel in channels:
            await layer.group_add_async("room", channel)
        await layer.send_async("jobs", {"n": 1})
        server.command("CONFIG", "SET", "save", "3600 1000000")
        await asyncio.to_thread(eventually, lambda: _cannot_save(server), 20)
        with pytest.raises(StepRefused, match="MISCONF"):
            await layer.send_async("jobs", {"n": 2})
        with pytest.raises(StepRefused, match="MISCONF"):
            await layer.group_discard_async("room", channels[0])
        session.remove(clients[2])  # its memberships end when the server can write again
        await asyncio.sleep(3)  # longer than a heartbeat: the fault itself
        server.command("CONFIG", "SET", "save", "")
        await layer.group_discard_async("room", channels[0])
        assert await layer.receive_async(["jobs"]) == ("jobs", {"n": 1})
        await check_and_end(layer, session, found, channels[1:2])

    asyncio.run(main())


def _cannot_save(server: RedisServer) -> bool:
    server.command("SET", "something", "else")
    server.command("BGSAVE")
    return server.info("persistence").get("rdb_last_bgsave_status") == "err"


@pytest.mark.parametrize("fault", BREAKS)
@pytest.mark.parametrize("script", [AUDIT, RESTORE], ids=["audit", "restore"])
def test_an_audit_that_breaks_is_made_again(
    own_redis: RedisServer, proxy: RedisProxy, fault: Fault, script: object
) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, found = await session_on(RedisChannelLayer(hosts=[proxy.url], connection_kwargs=IMPATIENT), 3)
        channels = list(found)
        for channel in channels:
            await layer.group_add_async("room", channel)
        await eventually_async(lambda: len(session.registry.groups.members("room")) == 3)
        armed = proxy.arm(fault, script.sha)  # type: ignore[attr-defined]
        await asyncio.to_thread(delete, [own_redis], ["group:room", "members:room:{inbox}"], "room", session.inbox)
        await eventually_async(armed.happened.is_set, 20)
        await layer.group_discard_async("room", channels[0])
        await check_and_end(layer, session, found, channels[1:])

    asyncio.run(main())


def test_a_snapshot_with_members_but_without_their_group_revives_nobody(own_redis: RedisServer) -> None:
    async def main() -> None:
        layer = RedisChannelLayer(hosts=[own_redis.url])
        session, found = await session_on(RedisChannelLayer(hosts=[own_redis.url]), 3)
        channels = list(found)
        for channel in channels:
            await layer.group_add_async("room", channel)
        await asyncio.to_thread(delete, [own_redis], ["group:room"], "room", session.inbox)
        own_redis.command("SAVE")
        await layer.group_discard_async("room", channels[0])
        await eventually_async(lambda: len(session.registry.groups.members("room")) == 2)
        await asyncio.to_thread(own_redis.stop)
        await asyncio.to_thread(own_redis.start)
        await check_and_end(layer, session, found, channels[1:])

    asyncio.run(main())
