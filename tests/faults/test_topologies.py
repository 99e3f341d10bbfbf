"""Fail-overs and lost shards, with numbered messages: nothing twice, what is lost is counted, and work goes on.

Most come twice: at a known moment, where losses are exact, and, at length, in full flight, where they are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.redis import RedisChannelLayer, RedisClusterChannelLayer, RedisSentinelChannelLayer
from tests.faults.conftest import IMPATIENT
from tests.faults.test_counted import PILE
from tests.faults.test_server import READERS, SENDERS, park
from tests.faults.traffic import BATCH, LONG, TOTAL, Traffic
from tests.support.redis_server import Cluster, RedisServer, Sentinel
from tests.support.waiting import eventually

Start = Callable[[Any], Any]

in_full_flight = pytest.mark.skipif(not LONG, reason="`make faults` runs it")


class Watched:
    """A master, its replica and three sentinels."""

    def __init__(self, start: Start) -> None:
        options: dict[str, Any] = {"repl_diskless_sync_delay": 0, "repl_ping_replica_period": 1}
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


def holds(server: RedisServer) -> int:
    """Messages that wait in a server."""
    lists = server.command_list("KEYS", "asgi:*:queue:jobs")
    return sum(int(server.command("LLEN", key)[1:]) for key in lists)


def test_a_fail_over_loses_exactly_what_waited_and_counts_it(watched: Watched) -> None:
    with Traffic(watched.make_layer).running() as traffic:
        held = traffic.pile_up(PILE)
        eventually(lambda: holds(watched.replica) == held)
        watched.master.stop()
        eventually(watched.promoted, timeout=20)
        traffic.go_on()
        traffic.works_again(time.monotonic())
    traffic.check_exactly(missing=held, fenced=held)


@in_full_flight
def test_a_fail_over_loses_what_waited_and_work_goes_on(watched: Watched) -> None:
    with Traffic(watched.make_layer).running() as traffic:
        watched.master.stop()
        eventually(watched.promoted, timeout=20)
        traffic.works_again(time.monotonic())
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS * 2)


def test_a_replica_that_lagged_delivers_nothing_again(watched: Watched) -> None:
    traffic = Traffic(watched.make_layer)
    parked = park(traffic, watched.make_layer)
    parked_list = ("LLEN", "asgi:{0}:queue:parked")
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
    """Return True once a sentinel names the replica, having noticed that the master is gone."""
    words = watched.sentinels[0].command_list("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
    return words[-1] == str(watched.replica.port)


@pytest.fixture
def shards(start: Start) -> list[RedisServer]:
    return [start(RedisServer()) for _ in range(3)]


@pytest.fixture
def make_layer(shards: list[RedisServer]) -> Callable[[], BaseChannelLayer]:
    hosts = [server.url for server in shards]
    return lambda: RedisChannelLayer(hosts=hosts, capacity=100_000, connection_kwargs=IMPATIENT)


def is_away(layer: BaseChannelLayer) -> bool:
    return bool(layer._known()[0].down)  # type: ignore[attr-defined]


def test_a_lost_shard_costs_exactly_what_it_held(
    shards: list[RedisServer], make_layer: Callable[[], BaseChannelLayer]
) -> None:
    with Traffic(make_layer).running() as traffic:
        traffic.pile_up(PILE)
        held = holds(shards[1])
        assert held > PILE // 5
        shards[1].stop()
        traffic.go_on()
        traffic.works_again(time.monotonic())
        shards[1].start()
        eventually(lambda: not any(map(is_away, traffic.layers)))
    traffic.check_exactly(missing=held)


@in_full_flight
def test_a_lost_shard_costs_what_it_held(shards: list[RedisServer], make_layer: Callable[[], BaseChannelLayer]) -> None:
    with Traffic(make_layer).running() as traffic:
        shards[1].stop()
        traffic.works_again(time.monotonic())
        shards[1].start()
        eventually(lambda: shards[1].command("EXISTS", "asgi:{1}:epoch") == ":1")
        eventually(lambda: not any(map(is_away, traffic.layers)))
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS)


def test_a_stopped_shard_costs_only_what_was_under_way(
    shards: list[RedisServer], make_layer: Callable[[], BaseChannelLayer]
) -> None:
    with Traffic(make_layer).running() as traffic:
        shards[1].pause()
        traffic.works_again(time.monotonic())
        shards[1].resume()
        eventually(lambda: not any(map(is_away, traffic.layers)))
    traffic.check(most_missing=READERS * BATCH * 4, most_unknown=SENDERS * 4)


@pytest.fixture
def cluster(start: Start) -> Cluster:
    cluster: Cluster = start(Cluster())
    return cluster


def cluster_layer(cluster: Cluster) -> BaseChannelLayer:
    hosts = [node.url for node in cluster.nodes]
    return RedisClusterChannelLayer(hosts=hosts, capacity=100_000, connection_kwargs=IMPATIENT)


def test_a_lost_master_of_a_cluster_costs_exactly_what_it_held(cluster: Cluster) -> None:
    with Traffic(lambda: cluster_layer(cluster)).running() as traffic:
        traffic.pile_up(PILE)
        held = holds(cluster.nodes[1])
        assert held > PILE // 5
        cluster.nodes[1].stop()
        traffic.go_on()
        traffic.works_again(time.monotonic())
        cluster.nodes[1].start()
        traffic.works_again(time.monotonic())
    traffic.check_exactly(missing=held)


@in_full_flight
def test_a_lost_master_of_a_cluster_costs_what_it_held(cluster: Cluster) -> None:
    with Traffic(lambda: cluster_layer(cluster)).running() as traffic:
        cluster.nodes[1].stop()
        traffic.works_again(time.monotonic())
        cluster.nodes[1].start()
        back = time.monotonic()
        traffic.works_again(back)
    traffic.check(most_missing=TOTAL // 3, most_unknown=SENDERS * 2)
