"""The status of a layer: what is read from every kind of layer, and what is made of it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from channels_classic.exceptions import ChannelFull, LayerUnavailable
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.names import new_inbox
from channels_classic.layers.programs import REMEMBERED, InterfaceFacts, ProgramAnnouncer, WorkerFacts
from channels_classic.layers.redis import RedisChannelLayer, RedisClusterChannelLayer, RedisSentinelChannelLayer
from channels_classic.layers.status import ChannelStatus, LayerStatus, read
from channels_classic.layers.steps import LIVENESS, Announce
from tests.support.redis_server import Cluster, RedisServer, Sentinel


def test_a_layer_on_which_nothing_runs_is_empty(layer: BaseChannelLayer) -> None:
    status = read(layer)
    assert (status.interface_servers, status.workers, status.channels) == ([], [], [])
    assert (status.groups, status.losses) == ({}, {})


def test_programs_channels_and_groups_are_read(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    facts: dict[str, Any] = {"inbox": inbox, "sockets": 7, "groups": 2, "largest_groups": {"room": 5, "hall": 1}}
    run = {"threads": 2, "channels": ["jobs", "other"], "parent": 1}
    layer.run([ProgramAnnouncer().announce(InterfaceFacts, **facts), ProgramAnnouncer().announce(WorkerFacts, **run)])
    layer.losses.count("died", "jobs", 2)
    layer.send("jobs", {})
    layer.send("nobody.listens", {})
    layer.send(f"{inbox}client", {})
    status = read(layer)
    assert [server.facts.sockets for server in status.interface_servers] == [7]
    (worker,) = status.workers
    assert (worker.processes, worker.threads, worker.channels) == (1, 2, ["jobs", "other"])
    assert status.groups == {"room": 5, "hall": 1}
    assert status.losses == {"died": 2}
    channels = {channel.name: channel for channel in status.channels}
    assert list(channels) == ["jobs", "other", "nobody.listens", inbox]
    assert [(channel.waiting, channel.workers) for channel in channels.values()] == [(1, 1), (0, 1), (1, 0), (1, 0)]
    assert channels["jobs"].losses == {"died": 2}
    assert channels[inbox].owner.startswith(status.interface_servers[0].facts.host)


def test_the_processes_of_one_supervisor_are_one_worker(layer: BaseChannelLayer) -> None:
    for busy in (0, 1):
        facts = ProgramAnnouncer().announce(WorkerFacts, parent=1, threads=2, busy=busy, running={"consumer": busy})
        layer.run([facts])
    layer.run([ProgramAnnouncer().announce(WorkerFacts, parent=2, threads=1)])
    workers = [(one.pid, one.processes, one.threads, one.busy, one.running) for one in read(layer).workers]
    assert workers == [(1, 2, 4, 1, {"consumer": 1}), (2, 1, 1, 0, {})]


def test_a_program_that_ended_without_a_word_is_remembered_and_counts_no_longer(
    layer: BaseChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, stopped = ProgramAnnouncer(), ProgramAnnouncer()
    layer.run([killed.announce(WorkerFacts, channels=["jobs"]), stopped.announce(InterfaceFacts), stopped.withdraw()])
    assert read(layer).missing == []
    monkeypatch.setattr("channels_classic.layers.status.LIVENESS", -1.0)
    status = read(layer)
    assert [(one.kind, one.pid) for one in status.missing] == [("worker", os.getpid())]
    assert (status.workers, status.channels) == ([], [])
    assert REMEMBERED > 4 * LIVENESS, "longer than it takes to come and look"


def test_an_announcement_that_cannot_be_read_hides_no_other(layer: BaseChannelLayer) -> None:
    layer.run([Announce("strange", b"\xc1", 60), ProgramAnnouncer().announce(WorkerFacts)])
    assert len(read(layer).workers) == 1


def test_refused_sends_are_shown(layer: BaseChannelLayer) -> None:
    for _ in range(layer.capacity + 3):
        with suppress(ChannelFull):
            layer.send("jobs", {})
    (channel,) = read(layer).channels
    assert (channel.waiting, channel.refused) == (layer.capacity, 3)


def test_rates_and_new_losses_are_those_between_two_readings(layer: BaseChannelLayer) -> None:
    layer.losses.count("died", "jobs")
    layer.send("jobs", {})
    earlier = read(layer)
    for _ in range(20):
        layer.send("jobs", {})
    layer.losses.count("died", "jobs", 4)
    layer.losses.count("expired", "jobs")
    layer.send("other", {})
    later = replace(read(layer), read_at=earlier.read_at + 10).since(earlier)
    assert {channel.name: channel.rate for channel in later.channels} == {"jobs": 2.0, "other": 0.1}
    assert later.new_losses == {"died": 4, "expired": 1}
    assert all(rate.rate == 0 for rate in earlier.since(later).channels), "a flush in between"


def everywhere(layer: BaseChannelLayer) -> None:
    """Announce a program, send some messages, and find each once."""
    layer.run([ProgramAnnouncer().announce(WorkerFacts, channels=["jobs"])])
    for _ in range(6):
        layer.send("jobs", {})
    status = read(layer)
    assert len(status.workers) == 1
    (jobs,) = status.channels
    assert (jobs.waiting, jobs.messages) == (6, 6)
    layer.close()


def test_several_servers_are_one_layer(redis_servers: list[RedisServer]) -> None:
    for server in redis_servers:
        server.flush()
    everywhere(RedisChannelLayer(hosts=[server.url for server in redis_servers]))


def test_a_cluster_is_one_layer(redis_cluster: Cluster) -> None:
    redis_cluster.flush()
    everywhere(RedisClusterChannelLayer(hosts=[redis_cluster.nodes[0].url]))


def test_services_of_sentinels_are_one_layer(redis_servers: list[RedisServer], sentinels: list[Sentinel]) -> None:
    for server in redis_servers:
        server.flush()
    everywhere(RedisSentinelChannelLayer(hosts=[("127.0.0.1", sentinel.port) for sentinel in sentinels]))


def test_a_shard_that_is_down_hides_no_program(redis_url: str, own_redis: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[redis_url, own_redis.url])
    layer.run([ProgramAnnouncer().announce(WorkerFacts, channels=["jobs"])])
    own_redis.stop()
    assert [worker.processes for worker in read(layer).workers] == [1]
    layer.run([ProgramAnnouncer().announce(WorkerFacts, channels=["jobs"])])
    assert [worker.processes for worker in read(layer).workers] == [2]
    layer.close()


def test_a_layer_that_is_down_is_an_error(own_redis: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    own_redis.stop()
    with pytest.raises(LayerUnavailable):
        read(layer)
    layer.close()


def test_a_server_without_memory_still_shows_what_runs(own_redis: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    layer.send("jobs", {})
    own_redis.command("CONFIG", "SET", "maxmemory", "1")
    layer.run([ProgramAnnouncer().announce(WorkerFacts)])
    assert len(read(layer).workers) == 1
    layer.close()


def test_the_channels_where_something_waits_come_first() -> None:
    names = [("idle", 0, 0, 0.0), ("busy", 0, 0, 9.0), ("waits", 1, 5, 0.0), ("waits longer", 1, 7, 0.0)]
    channels = [ChannelStatus(name, number, age, 10, 0, {}, rate=rate) for name, number, age, rate in names]
    found = [channel.name for channel in LayerStatus([], [], channels, {}, {}).channels_by_urgency]
    assert found == ["waits longer", "waits", "busy", "idle"]
