"""Sentinel, Cluster and the mixed layer: how the right server is found, and found again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from channels_classic.exceptions import ChannelsError, LayerUnavailable
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.redis import (
    RedisClusterChannelLayer,
    RedisLocalChannelLayer,
    RedisSentinelChannelLayer,
)
from channels_classic.layers.redis.cluster import tags
from channels_classic.layers.redis.sentinel import SentinelConnector, Sentinels
from tests.layers.hosts import HostThread, folder
from tests.support.redis_server import Cluster, RedisServer, Sentinel
from tests.support.waiting import eventually


@pytest.fixture
def hosts(redis_servers: list[RedisServer], sentinels: list[Sentinel]) -> list[tuple[str, int]]:
    for server in redis_servers:
        server.flush()
    return [("127.0.0.1", sentinel.port) for sentinel in sentinels]


def test_services_are_discovered_in_an_order_all_processes_share(hosts: list[tuple[str, int]]) -> None:
    layer = RedisSentinelChannelLayer(hosts=hosts)
    layer.send("jobs", {})
    assert [endpoint.where for endpoint in layer._known()[0].endpoints] == ["service a", "service b"]
    layer.close()


def test_a_sentinel_that_is_away_is_passed_over(hosts: list[tuple[str, int]], free_port: int) -> None:
    layer = RedisSentinelChannelLayer(hosts=[("127.0.0.1", free_port), *hosts], services=["a"])
    layer.send("jobs", {})
    assert layer.receive(["jobs"]) == ("jobs", {})
    layer.close()


def test_an_address_that_is_forgotten_by_another_thread_is_given_all_the_same() -> None:
    class Forgetting(SentinelConnector):
        """Another thread finds the server unavailable at any moment: here after each time the address is kept."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, None if name == "_known" else value)

    class Answering(Sentinels):
        def master(self, service: str) -> tuple[str, int]:
            return ("127.0.0.1", 6379)

    connector = Forgetting("a", Answering([], {}), 60, {})
    assert connector.address() == {"host": "127.0.0.1", "port": 6379}


@pytest.fixture
def hanging() -> Iterator[socket.socket]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def accepted(listener: socket.socket) -> int:
    """Return the number of connections since the last call."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def test_a_sentinel_that_hangs_does_not_hold_up_each_connection(
    hosts: list[tuple[str, int]], hanging: socket.socket
) -> None:
    layer = RedisSentinelChannelLayer(hosts=[hanging.getsockname(), *hosts], services=["a"])
    for _ in range(3):
        layer.connect().close()
    assert accepted(hanging) == 1


def test_a_node_of_a_cluster_that_hangs_does_not_hold_up_each_connection(
    redis_cluster: Cluster, hanging: socket.socket
) -> None:
    urls = [f"redis://127.0.0.1:{hanging.getsockname()[1]}", redis_cluster.nodes[0].url]
    layer = RedisClusterChannelLayer(hosts=urls, shards=1, connection_kwargs={"socket_timeout": 2})
    for _ in range(3):
        layer.connect().close()
    assert accepted(hanging) == 1


def test_without_sentinels_the_failures_are_listed(free_port: int) -> None:
    for services in (None, ["a"]):
        layer = RedisSentinelChannelLayer(hosts=[("127.0.0.1", free_port)], services=services)
        with pytest.raises(LayerUnavailable, match=rf"127.0.0.1:{free_port}.*sentinels"):
            layer.send("jobs", {})


def test_an_unknown_service_is_named(hosts: list[tuple[str, int]]) -> None:
    layer = RedisSentinelChannelLayer(hosts=hosts, services=["unknown"])
    with pytest.raises(LayerUnavailable, match="no service 'unknown'"):
        layer.send("jobs", {})


@pytest.mark.parametrize(
    "arguments",
    [{"hosts": "localhost"}, {"hosts": ["redis://localhost"]}, {"services": "a"}, {"services": [1]}],
)
def test_wrong_arguments_for_sentinel_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"`(hosts|services)`"):
        RedisSentinelChannelLayer(**arguments)  # type: ignore[arg-type]  # that is the point


def test_the_shards_of_a_cluster_are_spread_over_its_masters(redis_cluster: Cluster) -> None:
    redis_cluster.flush()
    layer = RedisClusterChannelLayer(hosts=[redis_cluster.nodes[1].url])
    for _ in range(3):
        layer.send("jobs", {})
    for tag, node in zip(tags(3), redis_cluster.nodes, strict=True):
        assert node.command("LLEN", f"asgi:{{{tag}}}:queue:jobs") == ":1"
    layer.close()


def test_a_tag_that_moved_to_another_node_is_found_there() -> None:
    cluster = Cluster()
    try:
        cluster.start()
        layer = RedisClusterChannelLayer(hosts=[cluster.nodes[0].url], shards=1)
        (tag,) = tags(1)
        layer.send("jobs", {"n": 1})
        assert layer.receive(["jobs"])[1] == {"n": 1}
        source, target = cluster.nodes[1], cluster.nodes[2]
        slot = source.command("CLUSTER", "KEYSLOT", tag)[1:]
        _move(source, target, slot)

        def works() -> bool:
            try:
                layer.send("jobs", {"n": 2})
            except ChannelsError:
                return False
            return True

        eventually(works)
        assert layer.receive(["jobs"])[1] == {"n": 2}
        layer.close()
    finally:
        cluster.close()


def _move(source: RedisServer, target: RedisServer, slot: str) -> None:
    names = {node: node.command_text("CLUSTER", "MYID") for node in (source, target)}
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    for key in source.command_list("CLUSTER", "GETKEYSINSLOT", slot, "100"):
        source.command("MIGRATE", "127.0.0.1", str(target.port), key, "0", "1000")
    for node in (target, source):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", names[target])


def test_a_prefix_with_a_hash_tag_of_its_own_is_refused_in_a_cluster() -> None:
    with pytest.raises(ValueError, match="prefix"):
        RedisClusterChannelLayer(prefix="{site}:")


@pytest.fixture
def mixed(redis_url: str) -> Iterator[RedisLocalChannelLayer]:
    with folder() as name:
        host = HostThread(f"{name}/layer.sock")
        layer = RedisLocalChannelLayer(hosts=[redis_url], path=host.layer.path)
        yield layer
        layer.close()
        host.stop()


def test_plain_channels_stay_on_the_machine(mixed: RedisLocalChannelLayer, redis_server: RedisServer) -> None:
    mixed.send("jobs", {})
    assert redis_server.command("EXISTS", "asgi:{0}:queue:jobs") == ":0"
    local = LocalChannelLayer(mixed.local_layer.path)
    assert local.receive(["jobs"]) == ("jobs", {})
    local.close()


def test_replies_and_groups_are_on_redis(mixed: RedisLocalChannelLayer, redis_url: str) -> None:
    from channels_classic.layers.redis import RedisChannelLayer

    mixed.group_add("room", "inbox!client")
    everywhere = RedisChannelLayer(hosts=[redis_url])
    everywhere.send_group("room", {})
    assert mixed.receive(["jobs", "inbox!"], block=True) == ("inbox!client", {})
    everywhere.close()


def test_two_deployments_on_one_machine_have_sockets_of_their_own() -> None:
    one, two = RedisLocalChannelLayer(prefix="one:"), RedisLocalChannelLayer(prefix="two:")
    assert one.local_layer.path != two.local_layer.path
    assert one.local_layer.path == RedisLocalChannelLayer(prefix="one:").local_layer.path
