"""After much traffic everything is as it was before: keys, the server's memory, the processes."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from channels_classic.layers import names
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Heartbeat, Retire, Take
from tests.faults.traffic import LONG
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually, scaled

MESSAGES, SOCKETS, EXPIRED = (100_000, 10_000, 1_000) if LONG else (1_000, 100, 200)
GROUPS = 50
AT_ONCE = 50
"""Sockets that are open at the same time."""

SLACK = 512 * 1024
"""Bytes a server's memory may differ by: buffers of clients, fragments."""

GROWTH = 6 * 1024
"""KiB a process may differ by; with a leak of 100 bytes a message it would be 10 MiB in the long form."""

pytestmark = pytest.mark.timeout(600 if LONG else 60)


@pytest.fixture
def layer(own_redis: RedisServer) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[own_redis.url], capacity=1000, expiry=scaled(1))
    yield layer
    layer.close()


def test_a_layer_leaves_nothing_behind(layer: RedisChannelLayer, own_redis: RedisServer) -> None:
    work(layer, messages=200, sockets=50, expired=10)
    keys, memory = wait_for_quiet(own_redis), used(own_redis)
    work(layer, MESSAGES, SOCKETS, EXPIRED)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(layer, MESSAGES // 4, SOCKETS, EXPIRED)
    assert wait_for_quiet(own_redis) == keys
    assert used(own_redis) < memory + SLACK
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < resident + GROWTH


def work(layer: RedisChannelLayer, messages: int, sockets: int, expired: int) -> None:
    """Messages that are read, sockets that join and leave, messages that nobody reads."""
    for number in range(messages):
        layer.send("jobs", {"number": number})
        assert layer.receive(["jobs"])[1] == {"number": number}
    inbox = names.new_inbox()
    layer.run([Heartbeat(inbox, layer.run([Heartbeat(inbox)])[0])])
    for number in range(sockets):
        layer.group_add(f"group{number % GROUPS}", f"{inbox}client{number}")
    for number in range(GROUPS):
        layer.send_group(f"group{number}", {"text": "hello"})
    for number in range(sockets):
        layer.group_discard(f"group{number % GROUPS}", f"{inbox}client{number}")
    while layer.run([Take([inbox], 500)])[0]:
        pass
    layer.run([Retire(inbox)])
    leave_unread(layer, expired)


def leave_unread(layer: RedisChannelLayer, number: int) -> None:
    """Send messages that nobody reads."""
    for index in range(number):
        layer.send(f"unread{index % 20}", {"number": index})


def wait_for_quiet(server: RedisServer) -> list[str]:
    """The keys that are left once what nobody read has expired."""
    # Soon: lists outlive what is in them by a second.
    eventually(lambda: not any("queue:" in key for key in server.command_list("KEYS", "*")), 10)
    keys = server.command_list("KEYS", "*")
    # That of an interface server that stopped lasts for half a minute, those of empty groups for at most an hour.
    passing = [key for key in keys if ":restored:" in key or ":left:" in key]
    left = {key: int(server.command("PTTL", key)[1:]) for key in passing if ":left:" in key}
    assert all(time <= 3_600_000 for time in left.values()), left
    return sorted(set(keys) - set(passing))


def used(server: RedisServer) -> int:
    server.command("MEMORY", "PURGE")
    return int(server.info("memory")["used_memory"])


def test_a_site_leaves_nothing_behind(layer: RedisChannelLayer, own_redis: RedisServer) -> None:
    with RunningSite(own_redis.url, workers=2) as site:
        pids = [site.interface.pid, *(worker.pid for worker in site.workers)]
        # As much at once as later, so that buffers and pools have the size that they keep.
        asyncio.run(visit(site, SOCKETS // 5, MESSAGES // SOCKETS))
        leave_unread(layer, EXPIRED // 5)
        keys, memory, resident = wait_for_quiet(own_redis), used(own_redis), [*map(size, pids)]
        asyncio.run(visit(site, SOCKETS, MESSAGES // SOCKETS))
        leave_unread(layer, EXPIRED)
        assert wait_for_quiet(own_redis) == keys
        assert used(own_redis) < memory + SLACK
        growth = [after - before for before, after in zip(resident, map(size, pids), strict=True)]
        assert max(growth) < GROWTH, growth


async def visit(site: RunningSite, sockets: int, messages: int) -> None:
    """Open sockets, which join a group; let each echo some messages; close them."""
    left = iter(range(sockets))

    async def visitor() -> None:
        for _ in left:
            async with site.socket("/room") as socket:
                for number in range(messages):
                    await socket.send(str(number))
                    assert await asyncio.wait_for(socket.recv(), 20) == str(number)

    await asyncio.gather(*(visitor() for _ in range(AT_ONCE)))
    with site.layer() as layer:
        await asyncio.to_thread(eventually, lambda: not layer.group_channels("room"), 20)


def size(pid: int) -> int:
    """KiB of memory that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
