"""The status of a layer: what is read from every kind of layer, and what is made of it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from channels_classic.exceptions import ChannelFull, LayerUnavailable
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.diagnosis import MOST_ALIKE, problems
from channels_classic.layers.names import new_inbox
from channels_classic.layers.programs import REMEMBERED, Announcer, InterfaceFacts, WorkerFacts
from channels_classic.layers.redis import RedisChannelLayer, RedisClusterChannelLayer, RedisSentinelChannelLayer
from channels_classic.layers.status import ChannelStatus, InterfaceStatus, MissingProgram, Status, WorkerStatus, read
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
    layer.run([Announcer().announce(InterfaceFacts, **facts), Announcer().announce(WorkerFacts, **run)])
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
        facts = Announcer().announce(WorkerFacts, parent=1, threads=2, busy=busy, running={"consumer": busy})
        layer.run([facts])
    layer.run([Announcer().announce(WorkerFacts, parent=2, threads=1)])
    workers = [(one.pid, one.processes, one.threads, one.busy, one.running) for one in read(layer).workers]
    assert workers == [(1, 2, 4, 1, {"consumer": 1}), (2, 1, 1, 0, {})]


def test_a_program_that_ended_without_a_word_is_remembered_and_counts_no_longer(
    layer: BaseChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, stopped = Announcer(), Announcer()
    layer.run([killed.announce(WorkerFacts, channels=["jobs"]), stopped.announce(InterfaceFacts), stopped.withdraw()])
    assert read(layer).missing == []
    monkeypatch.setattr("channels_classic.layers.status.LIVENESS", -1.0)
    status = read(layer)
    assert [(one.kind, one.pid) for one in status.missing] == [("worker", os.getpid())]
    assert (status.workers, status.channels) == ([], [])
    assert REMEMBERED > 4 * LIVENESS, "longer than it takes to come and look"


def test_an_announcement_that_cannot_be_read_hides_no_other(layer: BaseChannelLayer) -> None:
    layer.run([Announce("strange", b"\xc1", 60), Announcer().announce(WorkerFacts)])
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
    layer.run([Announcer().announce(WorkerFacts, channels=["jobs"])])
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
    layer.run([Announcer().announce(WorkerFacts, channels=["jobs"])])
    own_redis.stop()
    assert [worker.processes for worker in read(layer).workers] == [1]
    layer.run([Announcer().announce(WorkerFacts, channels=["jobs"])])
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
    layer.run([Announcer().announce(WorkerFacts)])
    assert len(read(layer).workers) == 1
    layer.close()


# What is wrong

SERVER = InterfaceStatus(InterfaceFacts(host="web", pid=1), heard=1.0)
WORKER = WorkerStatus("jobs", 2, "1", 1, 2, 0, 0, {}, ["jobs"], 60.0, 1.0)
JOBS = ChannelStatus("jobs", 0, 0, 10, 0, {}, workers=1)
INBOX = ChannelStatus("interface.v2.x!", 0, 0, 10, 0, {}, owner="web:1")
WELL = Status([SERVER], [WORKER], [JOBS, INBOX], {}, {"died": 3})


def test_a_site_that_is_well_has_no_problems() -> None:
    assert problems(WELL) == []
    assert problems(replace(WELL, new_losses={"unknown": 3})) == [], "clients leave"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (replace(WELL, interface_servers=[]), "No interface server runs"),
        (replace(WELL, workers=[]), "No worker runs"),
        (replace(WELL, channels=[replace(JOBS, waiting=3, oldest=4, workers=0)]), "No worker listens on jobs, where 3"),
        (
            replace(
                WELL,
                workers=[replace(WORKER, busy=2, running={"shop.slow": 2})],
                channels=[replace(JOBS, waiting=9, oldest=5)],
            ),
            r"runs shop.slow × 2 in 2 of 2 thread\(s\), while 9 message\(s\) wait on jobs, the oldest for 5 s",
        ),
        (replace(WELL, channels=[replace(INBOX, waiting=5000)]), "5000 entries.*inbox of the interface server web:1"),
        (replace(WELL, channels=[replace(INBOX, waiting=1, oldest=9)]), "inbox of the interface server web:1"),
        (replace(WELL, interface_servers=[replace(SERVER, heard=20.0)]), "interface server web:1 has not reported"),
        (replace(WELL, workers=[replace(WORKER, heard=20.0)]), "worker jobs:2 has not reported for 20 s"),
        (
            replace(WELL, missing=[MissingProgram("worker", "b", 7, 90.0)]),
            "of a worker, b:7, was last heard of 90 s ago",
        ),
        (replace(WELL, new_losses={"refused": 2}), r"2 message\(s\) were lost a moment ago \(refused\): the layer ref"),
        (replace(WELL, new_losses={"of a later release": 2}), "see docs/delivery.md"),
        (
            replace(WELL, new_limits={"cut_off memory": 2, "closed 1009": 5}),
            r"^2 client\(s\) .*\(cut_off memory\): .*--so",
        ),
    ],
)
def test_what_is_wrong_is_named(status: Status, sentence: str) -> None:
    (found,) = problems(status)
    assert re.search(sentence, found)


def test_a_site_of_thousands_of_channels_is_described_in_a_few_lines() -> None:
    many = [replace(JOBS, name=f"jobs.{number}", waiting=1, oldest=number, workers=0) for number in range(5000)]
    status = replace(WELL, channels=many)
    found = problems(status)
    assert len(found) == MOST_ALIKE + 1
    assert found[0].startswith("No worker listens on jobs.4999, "), "the one that waits longest comes first"
    assert found[-1] == f"… and {5000 - MOST_ALIKE} more like the last one."
    running = {f"shop.slow_{number}": 1 for number in range(1000)}
    worker = replace(WORKER, busy=2, running=running, channels=[channel.name for channel in many])
    (sentence,) = problems(replace(status, workers=[worker], channels=[replace(one, workers=1) for one in many]))
    assert len(sentence) < 500 and "× 1 and 997 more in 2 of 2" in sentence


def test_the_channels_where_something_waits_come_first() -> None:
    names = [("idle", 0, 0, 0.0), ("busy", 0, 0, 9.0), ("waits", 1, 5, 0.0), ("waits longer", 1, 7, 0.0)]
    channels = [replace(JOBS, name=name, waiting=number, oldest=age, rate=rate) for name, number, age, rate in names]
    found = [channel.name for channel in replace(WELL, channels=channels).channels_by_urgency]
    assert found == ["waits longer", "waits", "busy", "idle"]
