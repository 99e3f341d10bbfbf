"""Fail-overs and lost shards, with numbered messages: nothing twice, and work goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.redis import RedisChannelLayer, RedisClusterChannelLayer, RedisSentinelChannelLayer
from tests.faults.conftest import IMPATIENT
from tests.faults.test_server import READERS, SENDERS, park
from tests.faults.traffic import BATCH, TOTAL, Traffic
from tests.redis_server import Cluster, RedisServer, Sentinel
from tests.waiting import eventually

Start = Callable[[Any], Any]


class Watched:
    """A master, its replica and three sentinels."""

    def __init__(self, start: Start) -> None:
        options = {"repl_diskless_sync_delay": 0, "repl_ping_replica_period": 1}
        self.master: RedisServer = start(RedisServer(**options))
        self.replica: RedisServer = start(RedisServer(replicaof=f"127.0.0.1 {self.master.port}", **options))
        eventually(lambda: self.replica.info("replication").get("master_link_status") == "up", timeout=20)
        self.sentinels: list[Sentinel] = [start(Sentinel({"main": self.master}, quorum=2)) for _ in range(3)]
        eventually(lambda: all(map(self._knows_all, self.sentinels)), timeout=20)

    @staticmethod
    def _knows_all(sentinel: Sentinel) -> bool:
        return "slaves=1,sentinels=3" in sentinel.info("sentinel").get("master0", "")

    def make_layer(self) -> BaseChannelLayer:
        hosts = [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]
        return RedisSentinelChannelLayer(hosts=hosts, services=["main"], capacity=100_000, connection_kwargs=IMPATIENT)

    def promoted(self) -> bool:
        return self.replica.info("replication")["role"] == "master"


@pytest.fixture
def watched(start: Start) -> Watched:
    return Watched(start)


def test_a_fail_over_loses_what_waited_and_work_goes_on(watched: Watched) -> None:
    with Traffic(watched.make_layer).running() as traffic:
        watched.master.stop()
        eventually(watched.promoted, timeout=20)
        traffic.works_again(time.monotonic())
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS * 2)


def test_a_replica_that_lagged_delivers_nothing_again(watched: Watched) -> None:
    traffic = Traffic(watched.make_layer)
    parked = park(traffic, watched.make_layer)
    parked_list = ("LLEN", "asgi:{0}:list:parked")
    eventually(lambda: watched.replica.command(*parked_list) == f":{len(parked)}")
    watched.replica.command("REPLICAOF", "127.0.0.1", "1")  # it hears no more of what happens
    traffic.channels.append("parked")
    with traffic.running():
        eventually(lambda: parked <= set(traffic.received))
        assert watched.replica.command(*parked_list) == f":{len(parked)}"
        watched.master.stop()
        watched.replica.command("REPLICAOF", "NO", "ONE")
        eventually(watched.promoted, timeout=20)
        eventually(lambda: _leads_to(watched), timeout=20)
        traffic.works_again(time.monotonic())
        eventually(lambda: watched.replica.command(*parked_list) == ":0")
    assert traffic.lost("fenced") >= len(parked)
    traffic.accepted -= parked
    for number in parked:
        assert traffic.received.pop(number) == 1
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS * 2)


def _leads_to(watched: Watched) -> bool:
    """Whether a sentinel names the replica; it does once it noticed that the master is gone."""
    words = watched.sentinels[0].command_list("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
    return words[-1] == str(watched.replica.port)


@pytest.fixture
def shards(start: Start) -> list[RedisServer]:
    return [start(RedisServer()) for _ in range(3)]


def test_a_lost_shard_costs_what_it_held(shards: list[RedisServer]) -> None:
    def make_layer() -> BaseChannelLayer:
        hosts = [server.url for server in shards]
        return RedisChannelLayer(hosts=hosts, capacity=100_000, connection_kwargs=IMPATIENT)

    with Traffic(make_layer).running() as traffic:
        shards[1].stop()
        traffic.works_again(time.monotonic())
        shards[1].start()
        eventually(lambda: shards[1].command("EXISTS", "asgi:{1}:fence") == ":1")
        eventually(lambda: not any(layer._known()[0].away for layer in traffic.layers))  # type: ignore[attr-defined]
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS)


def test_a_stopped_shard_costs_only_what_was_under_way(shards: list[RedisServer]) -> None:
    def make_layer() -> BaseChannelLayer:
        hosts = [server.url for server in shards]
        return RedisChannelLayer(hosts=hosts, capacity=100_000, connection_kwargs=IMPATIENT)

    with Traffic(make_layer).running() as traffic:
        shards[1].pause()
        traffic.works_again(time.monotonic())
        shards[1].resume()
        eventually(lambda: not any(layer._known()[0].away for layer in traffic.layers))  # type: ignore[attr-defined]
    traffic.check(most_missing=READERS * BATCH * 4, most_unknown=SENDERS * 4)


def test_a_lost_master_of_a_cluster_costs_what_it_held(start: Start) -> None:
    cluster: Cluster = start(Cluster())

    def make_layer() -> BaseChannelLayer:
        hosts = [node.url for node in cluster.nodes]
        return RedisClusterChannelLayer(hosts=hosts, capacity=100_000, connection_kwargs=IMPATIENT)

    with Traffic(make_layer).running() as traffic:
        cluster.nodes[1].stop()
        traffic.works_again(time.monotonic())
        cluster.nodes[1].start()
        back = time.monotonic()
        traffic.works_again(back)
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS * 2)
