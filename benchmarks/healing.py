"""Healing: how soon all groups deliver again after Redis lost its data, and for how long that keeps Redis busy.

`python -m benchmarks.healing` plays ten interface servers in this process, with 10,000 members each: in one group, or
in a thousand. A process of its own sends `PING` all the while, as a program that shares the Redis would.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping

import redis
import uvloop

from benchmarks.clients import Figures
from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer.client import Broadcast
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Join, Members
from tests.support.client import FakeClient

SERVERS, MEMBERS = 10, 10_000
GROUPS = (1, 1_000)
CHUNK = 500
"""Members that join with one step, before the measurement."""

TOGETHER = 10
"""Groups that are sent to at the same time: the sender must not be what keeps Redis busy."""

INTERVAL = 0.05
"""Seconds between two rounds of messages, to the groups that have not delivered to all yet."""

GIVE_UP = 60.0
"""Seconds after which groups count as lost."""

PING_INTERVAL = 0.001


class Client(FakeClient):
    """A client that notes that it got something."""

    served = False

    def broadcast(self, broadcast: Broadcast) -> None:
        self.served = True


async def _server(layer: RedisChannelLayer, groups: int) -> tuple[LayerSession, list[Client]]:
    """Return a session that lives, and its clients, which are members."""
    session = LayerSession(layer, InterfaceConfig())
    await session.start()
    clients = [Client(f"{number:016x}") for number in range(MEMBERS)]
    for client in clients:
        session.add(client)
    for group in range(groups):
        members = [client.local for client in clients[group::groups]]
        for start in range(0, len(members), CHUNK):
            await layer.run_async([Join(f"group{group}", session.inbox, members[start : start + CHUNK])])
        (roster,) = await layer.run_async([Members(f"group{group}", session.inbox)])
        session.registry.take_over(f"group{group}", roster)
    return session, clients


async def _heal(url: str, groups: int) -> Figures:
    """Remove all data, and send to all groups until each client has got a message."""
    layer = RedisChannelLayer(hosts=[url])
    servers = [await _server(RedisChannelLayer(hosts=[url]), groups) for _ in range(SERVERS)]
    clients = [client for _, clients in servers for client in clients]
    by_group = {
        f"group{group}": [client for _, clients in servers for client in clients[group::groups]]
        for group in range(groups)
    }
    await _deliver(layer, by_group)
    server = redis.Redis.from_url(url)
    for client in clients:
        client.served = False
    server.flushall()
    server.slowlog_reset()
    server.config_set("slowlog-log-slower-than", 1000)
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.healing", "--ping", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as pings:
        seconds = await _deliver(layer, by_group)
        longest_ping = json.loads((await asyncio.to_thread(pings.communicate, b"\n"))[0])
    slow = server.slowlog_get(128)
    for session, _ in servers:
        for each in session.registry.everybody():
            session.remove(each)
        await session.stop()
    await layer.close_async()
    return {
        f"s for {groups} groups": seconds,
        f"ms, longest ping, {groups} groups": longest_ping * 1e3,
        f"ms, longest command, {groups} groups": max((entry["duration"] for entry in slow), default=0) / 1e3,
    }


async def _deliver(layer: RedisChannelLayer, by_group: Mapping[str, list[Client]]) -> float:
    """Send to groups until each of their clients has got a message; return the seconds that took."""
    begun = time.perf_counter()
    waiting = list(by_group)
    while waiting:
        if time.perf_counter() - begun > GIVE_UP:
            return math.inf
        for start in range(0, len(waiting), TOGETHER):
            sends = [layer.send_group_async(group, {"text": "x"}) for group in waiting[start : start + TOGETHER]]
            await asyncio.gather(*sends)
        await asyncio.sleep(INTERVAL)
        waiting = [group for group in waiting if not all(client.served for client in by_group[group])]
    return time.perf_counter() - begun


def ping(url: str) -> float:
    """Return the seconds of the slowest `PING`, until something comes on standard input."""
    os.set_blocking(0, False)
    client, longest = redis.Redis.from_url(url), 0.0
    while not _has_input():
        begun = time.perf_counter()
        client.ping()
        longest = max(longest, time.perf_counter() - begun)
        time.sleep(PING_INTERVAL)
    return longest


def _has_input() -> bool:
    try:
        os.read(0, 1)
    except BlockingIOError:
        return False
    return True


def main() -> None:
    """Measure, or with `--ping` be the process that shares the Redis."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ping", metavar="URL")
    parser.add_argument("--seconds", type=float, help="as for every client; a loss of data is one event")
    options = parser.parse_args()
    if options.ping:
        print(json.dumps(ping(options.ping)))
        return
    figures: Figures = {}
    for groups in GROUPS:
        figures |= uvloop.run(_heal(os.environ["REDIS_URL"], groups))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
