"""Planned fail-overs keep what waits; where a replica may have missed something, nothing is handed out twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial

import pytest
from redis.crc import key_slot

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.redis import RedisChannelLayer, RedisClusterChannelLayer
from channels_classic.layers.redis.cluster import tags
from channels_classic.layers.redis.handover import TIMEOUT, Former, fields_of, proves, replicas
from channels_classic.layers.steps import Take
from tests.layers.redis.test_epochs import caught_up, follow, pair, promote
from tests.support.redis_server import Cluster, RedisServer, free_port
from tests.support.waiting import eventually, scaled

__all__ = ["pair"]

COUNT = 10


def fail_over(master: RedisServer, replica: RedisServer) -> None:
    """Let them change roles as Redis does it by itself, which waits until the replica has everything."""
    eventually(lambda: master.command("FAILOVER", "TO", "127.0.0.1", str(replica.port)) == "+OK", timeout=10)
    eventually(lambda: replica.info("replication")["role"] == "master", timeout=10)


def is_linked(replica: RedisServer) -> bool:
    return replica.info("replication").get("master_link_status") == "up"


def make_layer(server: RedisServer) -> BaseChannelLayer:
    return RedisChannelLayer(hosts=[server.url])


def receive(layer: BaseChannelLayer, asynchronous: bool) -> object:
    if not asynchronous:
        return layer.receive(["jobs"])[1]

    async def received() -> object:
        try:
            (taken,) = await layer.run_async([Take(["jobs"], 1, 0.0)])
            return layer.open(taken)[0][0].message if taken else None
        finally:
            await layer.close_async()

    return asyncio.run(received())


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_planned_fail_over_loses_nothing_there_and_back(
    pair: tuple[RedisServer, RedisServer], asynchronous: bool
) -> None:
    former, next_ = pair
    layer = make_layer(former)
    for n in range(COUNT):
        layer.send("jobs", {"n": n})
    layer.group_add("g", "jobs")
    layer.close()
    for n in range(COUNT):
        fail_over(former, next_)
        former, next_ = next_, former
        layer = make_layer(former)
        assert receive(layer, asynchronous) == {"n": n}
        assert layer.losses.as_dict() == {}
        assert layer.group_channels("g") == ["jobs"]
        layer.close()
        eventually(partial(is_linked, next_), timeout=10)


@pytest.mark.parametrize("follows", [False, True], ids=["former master goes on", "former master follows"])
def test_a_replica_that_missed_something_hands_out_nothing_again(
    pair: tuple[RedisServer, RedisServer], follows: bool
) -> None:
    former, replica = pair
    layer = make_layer(former)
    for n in range(COUNT):
        layer.send("jobs", {"n": n})
    eventually(lambda: caught_up(replica, former))
    promote(replica)
    assert [layer.receive(["jobs"])[1] for _ in range(COUNT)] == [{"n": n} for n in range(COUNT)]
    layer.close()
    if follows:
        follow(former, replica)
    layer = make_layer(replica)
    assert layer.receive(["jobs"]) == (None, None)
    assert layer.losses.as_dict()["fenced"] >= 1
    layer.send("jobs", {"n": "new"})
    eventually(lambda: layer.receive(["jobs"])[1] == {"n": "new"})
    assert layer.losses.as_dict() == {"fenced": COUNT}
    layer.close()


def test_without_the_former_master_work_goes_on_soon_and_what_waited_is_dropped(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    former, replica = pair
    layer = make_layer(former)
    layer.send("jobs", {"n": 1})
    eventually(lambda: caught_up(replica, former))
    layer.close()
    former.stop()
    promote(replica)
    began = time.monotonic()
    layer = make_layer(replica)
    assert layer.receive(["jobs"]) == (None, None)
    assert time.monotonic() - began < scaled(TIMEOUT + 2)
    assert layer.losses.as_dict() == {"fenced": 1}
    layer.close()


@pytest.fixture
def cluster() -> Iterator[tuple[Cluster, RedisServer, RedisServer]]:
    """A cluster, the master that holds the one shard of a layer, and a replica of that."""
    cluster = Cluster()
    bus = free_port()
    replica = RedisServer(cluster_enabled="yes", cluster_port=bus, cluster_node_timeout=round(scaled(1000)))
    try:
        cluster.start()
        replica.start()
        master = cluster.owner(key_slot(tags(1)[0].encode()))
        master.command("CLUSTER", "MEET", "127.0.0.1", str(replica.port), str(bus))
        name = master.command_text("CLUSTER", "MYID")
        eventually(lambda: replica.command("CLUSTER", "REPLICATE", name) == "+OK", timeout=20)
        eventually(lambda: is_linked(replica), timeout=20)
        yield cluster, master, replica
    finally:
        replica.close()
        cluster.close()


def test_a_planned_fail_over_in_a_cluster_loses_nothing(cluster: tuple[Cluster, RedisServer, RedisServer]) -> None:
    nodes, _, replica = cluster
    layer = RedisClusterChannelLayer(hosts=[node.url for node in nodes.nodes], shards=1)
    for n in range(COUNT):
        layer.send("jobs", {"n": n})
    assert layer.receive(["jobs"])[1] == {"n": 0}
    eventually(lambda: replica.command("CLUSTER", "FAILOVER") == "+OK", timeout=10)
    eventually(lambda: replica.info("replication")["role"] == "master", timeout=10)
    assert [layer.receive(["jobs"])[1] for _ in range(1, COUNT)] == [{"n": n} for n in range(1, COUNT)]
    assert layer.losses.as_dict() == {}
    layer.close()


# The decision alone

FORMER = Former("a" * 40, "1" * 40)
PROOF = {"run_id": "a" * 40, "role": "slave", "master_replid": "2" * 40, "master_replid2": "1" * 40}


def test_the_former_master_that_continued_is_a_proof() -> None:
    assert proves(FORMER, "2" * 40, PROOF)


@pytest.mark.parametrize(
    "differs",
    [
        {"run_id": "b" * 40},  # another replica, or it was restarted
        {"role": "master"},  # it goes on by itself
        {"master_replid": "1" * 40},  # it does not follow yet
        {"master_replid2": "0" * 40},  # it had something of its own, and copied everything
        {"master_replid2": "3" * 40},
    ],
)
def test_anything_else_is_none(differs: dict[str, str]) -> None:
    assert not proves(FORMER, "2" * 40, {**PROOF, **differs})


def test_a_master_names_its_replicas() -> None:
    info = fields_of(b"role:master\r\nconnected_slaves:1\r\nslave0:ip=10.0.0.2,port=6380,state=online,offset=1\r\n")
    assert list(replicas(info)) == [{"host": "10.0.0.2", "port": 6380}]
