"""The cost of operations: round trips, and commands as `INFO commandstats` counts them, inside scripts too."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from channels_classic.layers import names, pool
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.programs import ANNOUNCE_INTERVAL, InterfaceFacts, ProgramAnnouncer
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.redis.commands import QUOTAS_FROM, SCRIPTS
from channels_classic.layers.steps import Heartbeat, Join, Length, Members, Step, Take
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually_async


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy this machine is, no connection is probed because it idled."""
    monkeypatch.setattr(pool, "PROBE_AFTER", math.inf)


class CountingLayer(RedisChannelLayer):
    """Counts round trips: what `run` carries is one write and its answers."""

    trips = 0

    def run(self, steps: Sequence[Step]) -> list[Any]:
        self.trips += 1
        return super().run(steps)


class Cost:
    """The commands that the server ran, by name, since it was made."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        server.command("CONFIG", "RESETSTAT")

    def commands(self) -> dict[str, int]:
        found = Counter(self._server.statistics())
        for name in ("config|resetstat", "info", "select", "client|setinfo", "command"):
            del found[name]
        return dict(found)


@pytest.fixture
def redis_server(own_redis: RedisServer) -> RedisServer:
    """A server that nobody else talks to."""
    return own_redis


@pytest.fixture
def layer(redis_server: RedisServer) -> Iterator[CountingLayer]:
    layer = CountingLayer(hosts=[redis_server.url], capacity=20_000)
    for _ in range(20):  # connected, scripts loaded, counters made
        layer.send("jobs", {})
        layer.receive(["jobs"])
    layer.trips = 0
    yield layer
    layer.close()


def test_a_connection_loads_the_scripts_only_where_the_server_has_forgotten_one(
    layer: CountingLayer, redis_server: RedisServer
) -> None:
    """Else each one of the thousands that come back after an outage would send all of them."""
    cost = Cost(redis_server)
    layer.connect().close()
    assert "script|load" not in cost.commands()
    redis_server.command("SCRIPT", "FLUSH")
    layer.connect().close()
    assert cost.commands()["script|load"] == len(SCRIPTS)


def test_a_send_is_one_round_trip(layer: CountingLayer, redis_server: RedisServer) -> None:
    layer.send("jobs", {})
    layer.trips, cost = 0, Cost(redis_server)
    layer.send("jobs", {})
    assert layer.trips == 1
    assert cost.commands() == {"evalsha": 1, "time": 1, "hget": 1, "llen": 1, "rpush": 1, "hincrby": 1, "pexpire": 1}


def test_a_receive_is_one_round_trip(layer: CountingLayer, redis_server: RedisServer) -> None:
    layer.send("jobs", {})
    layer.trips, cost = 0, Cost(redis_server)
    assert layer.receive(["other", "jobs"])[0] == "jobs"
    assert layer.trips == 1
    assert cost.commands() == {"lmpop": 1, "time": 1}


def test_a_receive_that_waits_is_one_round_trip_however_long_it_waits(
    layer: CountingLayer, redis_server: RedisServer
) -> None:
    cost = Cost(redis_server)
    (taken,) = layer.run([Take(["jobs"], 1, 1.0)])
    assert taken is None
    assert cost.commands() == {"blmpop": 1, "time": 1}


def test_coroutines_take_what_waits_in_shared_round_trips_and_wait_only_for_what_is_to_come(
    layer: CountingLayer, redis_server: RedisServer
) -> None:
    channels = [f"jobs.{number}" for number in range(16)]

    def clients() -> int:
        listed = redis_server.command_text("CLIENT", "LIST").splitlines()
        return sum("cmd=client|list" not in client for client in listed)

    async def take_all() -> list[Any]:
        received = await asyncio.gather(*(layer.receive_async([channel]) for channel in channels))
        connections = clients()
        await layer.close_async()
        return [sorted(channel for channel, _ in received), connections]

    async def wait() -> Any:
        waiting = asyncio.ensure_future(layer.receive_async(["jobs"]))
        await eventually_async(lambda: "cmd=blmpop" in redis_server.command_text("CLIENT", "LIST"))
        await layer.send_async("jobs", {"n": 1})
        received = await waiting
        await layer.close_async()
        return received

    for channel in channels:
        layer.send(channel, {})
    before = clients()
    cost = Cost(redis_server)
    assert asyncio.run(take_all()) == [sorted(channels), before + 1]
    assert (cost.commands()["lmpop"], "blmpop" in cost.commands()) == (16, False)
    assert asyncio.run(wait()) == ("jobs", {"n": 1})


def test_a_step_of_a_worker_is_one_round_trip(layer: CountingLayer, redis_server: RedisServer) -> None:
    """Replies to one client and the next take: a worker's turn."""
    layer.send("jobs", {})
    replies = layer.planner.pushes([Outgoing("inbox!client", {"n": number}) for number in range(10)], {})
    layer.trips, cost = 0, Cost(redis_server)
    layer.run([*replies, Take(["jobs"], 10, 5.0)])
    assert layer.trips == 1
    found = cost.commands()
    assert (found["evalsha"], found["blmpop"], found["rpush"], found["time"]) == (1, 1, 10, 2)


@pytest.mark.parametrize(("keep", "commands"), [(0, 12), (5, 16)])
@pytest.mark.parametrize("members", [10, 10_000])
def test_a_group_send_is_one_round_trip_whatever_the_number_of_members(
    layer: CountingLayer, redis_server: RedisServer, members: int, keep: int, commands: int
) -> None:
    inbox = names.new_inbox()
    layer.run([Heartbeat(inbox)])
    for first in range(0, members, 1000):
        layer.run([Join("room", inbox, [f"client{number}" for number in range(first, min(first + 1000, members))])])
    for _ in range(keep + 1):
        layer.send_group("room", {}, keep=keep)
    layer.trips, cost = 0, Cost(redis_server)
    layer.send_group("room", {}, keep=keep)
    assert layer.trips == 1
    found = cost.commands()
    assert (found["evalsha"], found["rpush"], found["zrange"]) == (1, 2 if keep else 1, 2)
    assert sum(found.values()) - found["evalsha"] == commands
    assert len(layer.run([Members("room", inbox)])[0].members) == members


def test_a_group_send_to_many_interface_servers_is_one_round_trip_and_one_more_for_those_with_long_queues(
    layer: CountingLayer, redis_server: RedisServer
) -> None:
    inboxes = [names.new_inbox() for _ in range(20)]
    layer.run([step for inbox in inboxes for step in (Heartbeat(inbox), Join("room", inbox, ["client"]))])
    layer.trips, cost = 0, Cost(redis_server)
    layer.send_group("room", {})
    assert (layer.trips, cost.commands()["evalsha"], cost.commands()["rpush"]) == (1, 1, 20)
    for number in range(QUOTAS_FROM):
        layer.send(f"{inboxes[0]}client", {"n": number})
    layer.trips, cost = 0, Cost(redis_server)
    layer.send_group("room", {})
    assert (layer.trips, cost.commands()["evalsha"], cost.commands()["rpush"]) == (2, 2, 20)
    lengths = [QUOTAS_FROM + 2, *[2] * 19]
    assert layer.run([Length(inbox) for inbox in inboxes]) == lengths


def test_a_large_group_send_keeps_the_server_busy_for_a_bounded_time(
    layer: CountingLayer, redis_server: RedisServer
) -> None:
    inboxes = [names.new_inbox() for _ in range(20)]
    layer.run([step for inbox in inboxes for step in (Heartbeat(inbox), Join("room", inbox, ["client"]))])
    layer.trips, cost = 0, Cost(redis_server)
    layer.send_group("room", {"text": "x" * 1024 * 1024})
    assert (layer.trips, cost.commands()["evalsha"], cost.commands()["rpush"]) == (2, 1 + 12, 20)
    assert layer.run([Length(inbox) for inbox in inboxes]) == [1] * 20


def test_an_announcement_is_four_commands_in_five_seconds(layer: CountingLayer, redis_server: RedisServer) -> None:
    announcer = ProgramAnnouncer()
    layer.run([announcer.announce(InterfaceFacts)])
    layer.trips, cost = 0, Cost(redis_server)
    layer.run([announcer.announce(InterfaceFacts)])
    assert layer.trips == 1
    assert cost.commands() == {"evalsha": 1, "time": 1, "hset": 1, "pexpire": 1}
    assert sum(cost.commands().values()) / ANNOUNCE_INTERVAL < 1


def test_joining_a_group_is_one_round_trip_and_one_for_the_hint(layer: CountingLayer) -> None:
    client = f"{names.new_inbox()}client"
    layer.group_add("room", client)
    assert layer.trips == 2
    layer.group_add("room", client)
    assert layer.trips == 3, "there is nothing to tell"
