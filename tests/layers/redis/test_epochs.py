"""Messages are never handed out twice when servers change roles, and none is dropped when only its place changes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from redis.crc import key_slot

from channels_classic import Group
from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.redis import RedisChannelLayer, RedisClusterChannelLayer
from channels_classic.layers.redis.cluster import tags
from channels_classic.layers.steps import Connection, Take
from channels_classic.message import Message
from tests.support.redis_server import Cluster, RedisServer
from tests.support.waiting import eventually, scaled
from tests.worker.harness import drain, make_worker, running

COUNT = 10
IDLE = 0.05
"""Seconds for which a connection rests, as behind a consumer: longer than a busy worker ever does."""


@pytest.fixture
def pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A master and its replica."""
    options: dict[str, Any] = {"repl_diskless_sync_delay": 0}
    with ExitStack() as stack:
        servers = []
        for _ in range(2):
            server = RedisServer(**options)
            stack.callback(server.close)
            server.start()
            servers.append(server)
        master, replica = servers
        follow(replica, master)
        yield master, replica


def follow(replica: RedisServer, master: RedisServer) -> None:
    """Make one a replica of the other, and wait until it has its data."""
    replica.command("REPLICAOF", "127.0.0.1", str(master.port))
    eventually(lambda: replica.info("replication").get("master_link_status") == "up", timeout=20)


def promote(server: RedisServer) -> None:
    server.command("REPLICAOF", "NO", "ONE")


def caught_up(replica: RedisServer, master: RedisServer) -> bool:
    return replica.info("replication")["slave_repl_offset"] == master.info("replication")["master_repl_offset"]


def make_layer(server: RedisServer) -> BaseChannelLayer:
    return RedisChannelLayer(hosts=[server.url])


def take(connection: Connection, layer: BaseChannelLayer) -> list[int]:
    """Take all that waits, as a worker does; what was lost on the way is counted by the layer."""
    connection.write([Take(["jobs"], 100, 0.0)])
    taken = connection.read()
    if taken is None:
        return []
    deliveries, _ = layer.open(taken)
    return [delivery.message["n"] for delivery in deliveries]


@pytest.mark.parametrize("somebody_used_the_other", [False, True])
def test_a_connection_that_idles_while_roles_change_and_change_back_gets_nothing_twice(
    pair: tuple[RedisServer, RedisServer], somebody_used_the_other: bool
) -> None:
    master, replica = pair
    layer = make_layer(master)
    connection = layer.connect()
    for n in range(COUNT):
        layer.send("jobs", {"n": n})
    eventually(lambda: caught_up(replica, master))
    promote(replica)  # from here on it lags: it misses that the jobs are taken
    assert take(connection, layer) == list(range(COUNT))

    if somebody_used_the_other:
        other = make_layer(replica)
        other.send("elsewhere", {})
        other.close()
    follow(master, replica)
    promote(master)
    assert int(master.command("LLEN", "asgi:{0}:queue:jobs")[1:]) == COUNT, "the jobs are there once more"
    time.sleep(IDLE)

    assert take(connection, layer) == []
    assert layer.losses.as_dict() == {"fenced": COUNT}
    connection.close()
    assert layer.receive(["jobs"]) == (None, None)
    layer.send("jobs", {"n": "new"})
    assert layer.receive(["jobs"]) == ("jobs", {"n": "new"})
    layer.close()


def test_a_master_that_loses_its_last_replica_keeps_what_waits(pair: tuple[RedisServer, RedisServer]) -> None:
    master, replica = pair
    layer = make_layer(master)
    connection = layer.connect()
    layer.send("jobs", {"n": 1})
    before = master.info("replication")["master_replid"]
    promote(replica)
    master.command("CONFIG", "SET", "repl-backlog-ttl", "1")
    eventually(lambda: master.info("replication")["master_replid"] != before, timeout=10)
    assert take(connection, layer) == [1]
    layer.send("jobs", {"n": 2})
    fresh = make_layer(master)
    assert fresh.receive(["jobs"]) == ("jobs", {"n": 2})
    for used in (layer, fresh):
        used.close()
    connection.close()


# A slot that moves


SLOT = key_slot(tags(1)[0].encode())
SEVERAL = key_slot(tags(3)[0].encode())
SECONDS = 0.5
"""Time for which a slot is on its way."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def move(cluster: Cluster) -> Iterator[tuple[RedisServer, RedisServer]]:
    """The node that has the slot, and another one; afterwards it is back."""
    cluster.flush()
    source = cluster.owner(SLOT)
    target = next(node for node in cluster.nodes if node is not source)
    yield source, target
    if f"[{SLOT}" in source.command_text("CLUSTER", "NODES"):
        cluster.end_move(SLOT, source, target)
    cluster.begin_move(SLOT, target, source)
    cluster.end_move(SLOT, target, source)


def on_cluster(cluster: Cluster) -> RedisClusterChannelLayer:
    return RedisClusterChannelLayer(hosts=[node.url for node in cluster.nodes], shards=1)


def test_a_slot_that_moves_takes_along_what_waits(cluster: Cluster, move: tuple[RedisServer, RedisServer]) -> None:
    layer = on_cluster(cluster)
    for n in range(50):
        layer.send("jobs", {"n": n})
    layer.group_add("g", "jobs")
    cluster.begin_move(SLOT, *move)
    cluster.end_move(SLOT, *move)
    assert [layer.receive(["jobs"])[1] for _ in range(50)] == [{"n": n} for n in range(50)]
    assert layer.group_channels("g") == ["jobs"]
    assert layer.losses.as_dict() == {}
    layer.close()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_send_while_its_slot_moves_waits_for_the_new_place(
    cluster: Cluster, move: tuple[RedisServer, RedisServer], asynchronous: bool
) -> None:
    layer = on_cluster(cluster)
    layer.send("jobs", {"n": 0})
    cluster.begin_move(SLOT, *move)
    began = time.monotonic()
    threading.Timer(SECONDS, cluster.end_move, (SLOT, *move)).start()
    if asynchronous:
        asyncio.run(_send_async(layer, "new", {"n": 1}))
    else:
        layer.send("new", {"n": 1})
    assert time.monotonic() - began > SECONDS / 2
    assert layer.receive(["new"]) == ("new", {"n": 1})
    assert layer.receive(["jobs"]) == ("jobs", {"n": 0})
    assert layer.losses.as_dict() == {}
    layer.close()


async def _send_async(layer: BaseChannelLayer, channel: str, message: dict[str, Any]) -> None:
    try:
        await layer.send_async(channel, message)
    finally:
        await layer.close_async()


def test_on_several_shards_what_belongs_to_the_slot_waits_for_its_new_place(
    cluster: Cluster, move: tuple[RedisServer, RedisServer]
) -> None:
    layer = RedisClusterChannelLayer(hosts=[node.url for node in cluster.nodes], shards=len(cluster.nodes))
    slots = [key_slot(tag.encode()) for tag in tags(layer.shards)]
    assert slots[layer._known()[1].pin("room")] == SEVERAL
    source = cluster.owner(SEVERAL)
    target = next(node for node in cluster.nodes if node is not source)
    for _ in range(layer.shards):
        layer.send("warm", {})  # each has its connection
    cluster.begin_move(SEVERAL, source, target)
    began = time.monotonic()
    threading.Timer(SECONDS, cluster.end_move, (SEVERAL, source, target)).start()
    try:
        layer.group_add("room", "members")
        assert time.monotonic() - began > SECONDS / 2
        assert layer.group_channels("room") == ["members"]
    finally:
        layer.close()
        cluster.begin_move(SEVERAL, target, source)
        cluster.end_move(SEVERAL, target, source)


def test_a_reader_on_an_event_loop_waits_while_its_slot_moves(
    cluster: Cluster, move: tuple[RedisServer, RedisServer]
) -> None:
    async def received(layer: BaseChannelLayer) -> object:
        try:
            return await layer.receive_async(["jobs"])
        finally:
            await layer.close_async()

    layer = on_cluster(cluster)
    layer.send("warm", {})
    cluster.begin_move(SLOT, *move)
    threading.Timer(SECONDS, cluster.end_move, (SLOT, *move)).start()
    threading.Timer(2 * SECONDS, lambda: layer.send("jobs", {"n": 1})).start()
    assert asyncio.run(received(layer)) == ("jobs", {"n": 1})
    layer.close()


@pytest.mark.parametrize("keep", [0, 10])
def test_a_consumer_that_sends_to_a_group_while_its_slot_moves_loses_nothing(
    cluster: Cluster, move: tuple[RedisServer, RedisServer], keep: int
) -> None:
    started, go_on = threading.Event(), threading.Event()

    def consumer(message: Message) -> None:
        started.set()
        go_on.wait(scaled(10))
        Group("g", channel_layer=message.channel_layer, keep=keep).send({"n": 1})

    layer = on_cluster(cluster)
    layer.group_add("g", "members")
    with running(make_worker(layer, {"test": consumer})):
        layer.send("test", {})
        assert started.wait(scaled(10))
        cluster.begin_move(SLOT, *move)
        threading.Timer(SECONDS, cluster.end_move, (SLOT, *move)).start()
        go_on.set()
        assert drain(layer, "members", 1, 10)[0]["n"] == 1
    assert layer.losses.as_dict() == {}
    layer.close()


def test_a_slot_that_is_on_its_way_for_long_refuses_for_certain(
    cluster: Cluster, move: tuple[RedisServer, RedisServer]
) -> None:
    layer = on_cluster(cluster)
    layer.send("jobs", {"n": 0})
    cluster.begin_move(SLOT, *move)
    with pytest.raises(StepRefused, match="Nothing was written"):
        layer.send("new", {"n": 1})
    cluster.end_move(SLOT, *move)
    assert layer.receive(["new"]) == (None, None)
    assert layer.receive(["jobs"]) == ("jobs", {"n": 0})
    layer.close()


def test_a_replica_refuses_for_certain(pair: tuple[RedisServer, RedisServer]) -> None:
    _, replica = pair
    layer = make_layer(replica)
    with pytest.raises((StepRefused, LayerUnavailable), match="name the master") as caught:
        layer.send("jobs", {})
    assert not getattr(caught.value, "written", False)
    layer.close()


def test_a_master_that_becomes_a_replica_under_a_connection_refuses_for_certain(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    master, replica = pair
    layer = make_layer(master)
    layer.send("jobs", {"n": 1})
    eventually(lambda: caught_up(replica, master))
    promote(replica)
    master.command("REPLICAOF", "127.0.0.1", str(replica.port))
    with pytest.raises(StepRefused, match="name the master"):
        layer.send("jobs", {"n": 2})
    layer.close()
