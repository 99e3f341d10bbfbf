"""An interface server and workers while their Redis breaks: sockets stay, and everything works again by itself."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from tests.faults.traffic import BACK, LONG
from tests.support.redis_server import RedisServer
from tests.support.running_site import RunningSite
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(90)


def kill(server: RedisServer) -> None:
    server.stop()
    server.start()


def flush(server: RedisServer) -> None:
    server.flush()


def cut(server: RedisServer) -> None:
    for _ in range(5):
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        time.sleep(0.05)  # so that some are connected again


def pause(server: RedisServer) -> None:
    server.pause()
    time.sleep(6)  # longer than the default timeout
    server.resume()


async def texts(sockets: list[ClientConnection], site: RunningSite) -> list[object]:
    """The next frame of each socket; where none comes, what the programs said."""

    async def text(socket: ClientConnection) -> object:
        try:
            return await asyncio.wait_for(socket.recv(), 10)
        except asyncio.TimeoutError:
            return site.output

    return await asyncio.gather(*map(text, sockets))


def reaches_everybody(layer: Any) -> bool:
    """Send to the group of all sockets; return whether nothing was lost."""
    lost = layer.losses.as_dict()
    layer.send_group("room", {"text": "again"})
    return bool(layer.losses.as_dict() == lost)


async def check(site: RunningSite, fault: Callable[[], object]) -> None:
    """Break what the site runs on while sockets are open: soon after, it answers, and its groups and sockets work."""
    async with site.sockets(20) as sockets:
        await asyncio.to_thread(fault)
        back = time.monotonic()
        await asyncio.to_thread(eventually, lambda: site.get("/")[0] == 200, 20)
        assert time.monotonic() - back < BACK, site.output
        with site.layer() as layer:
            await asyncio.to_thread(eventually, lambda: len(layer.group_channels("room")) == 20)
            assert time.monotonic() - back < BACK, site.output
            # A shard that lost its data refuses what is for an inbox until the next heartbeat of the interface server.
            await asyncio.to_thread(eventually, lambda: reaches_everybody(layer))
            assert time.monotonic() - back < BACK, site.output
        assert await texts(sockets, site) == ["again"] * 20
        for number, socket in enumerate(sockets):
            await socket.send(str(number))
        assert await texts(sockets, site) == [str(number) for number in range(20)]


@pytest.mark.parametrize("fault", [kill, flush, cut, *([pause] if LONG else [])])
def test_sockets_and_groups_survive(own_redis: RedisServer, fault: Callable[[RedisServer], None]) -> None:
    with RunningSite(own_redis.url, workers=2) as site:
        asyncio.run(check(site, lambda: fault(own_redis)))


@pytest.mark.parametrize("shard", [0, 1, 2] if LONG else [1])
def test_sockets_and_groups_survive_on_several_shards(start: Callable[[Any], Any], shard: int) -> None:
    servers = [start(RedisServer()) for _ in range(3)]
    with RunningSite(",".join(server.url for server in servers), workers=2) as site:
        asyncio.run(check(site, lambda: kill(servers[shard])))


def test_without_traffic_next_to_nothing_happens(own_redis: RedisServer) -> None:
    with RunningSite(own_redis.url, workers=2) as site:
        pids = [site.interface.pid, *(worker.pid for worker in site.workers)]
        time.sleep(1)  # usually, starting up is over then
        eventually(lambda: is_quiet(own_redis, pids), 15)


def is_quiet(server: RedisServer, pids: list[int]) -> bool:
    """Measure for some seconds; return whether the processes ask the server for little, and compute next to nothing."""
    server.command("CONFIG", "RESETSTAT")
    busy, begun = sum(map(seconds, pids)), time.monotonic()
    time.sleep(4)  # the time itself is what is measured
    passed = time.monotonic() - begun
    commands = Counter(server.statistics())
    rates = {
        # A script is one command; those inside are quick.
        "steps": (commands["evalsha"] + commands["blmpop"] + commands["time"]) / passed,
        "commands": commands.total() / passed,
        "processor": (sum(map(seconds, pids)) - busy) / passed,
    }
    sys.stdout.write(f"{rates}\n")
    return rates["steps"] < 4 and rates["commands"] < 12 and rates["processor"] < 0.02


def seconds(pid: int) -> float:
    """Processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
