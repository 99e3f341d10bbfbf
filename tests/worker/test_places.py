"""A worker whose data moves to another server: what its consumers send waits for the new place, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from channels_classic import Channel, Group
from channels_classic.layers.redis import RedisClusterChannelLayer
from channels_classic.layers.redis.cluster import tags
from channels_classic.message import Message
from tests.support.redis_server import Cluster
from tests.worker.harness import drain, make_worker, running

SLOT = key_slot(tags(1)[0].encode())
SECONDS = 0.5
"""Time for which the slot is on its way."""

COUNT = 20


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def test_what_consumers_send_while_a_slot_moves_arrives_once_in_order(cluster: Cluster) -> None:
    source = cluster.owner(SLOT)
    target = next(node for node in cluster.nodes if node is not source)
    layer = RedisClusterChannelLayer(hosts=[node.url for node in cluster.nodes], shards=1, capacity=1000)

    def consumer(message: Message) -> None:
        Channel("answers", channel_layer=message.channel_layer).send({"n": message["n"]})
        Group("listeners", channel_layer=message.channel_layer).send({"n": message["n"]})

    layer.group_add("listeners", "heard")
    with running(make_worker(layer, {"jobs": consumer})):
        layer.send("jobs", {"n": 0})
        assert drain(layer, "answers", 1, 10.0) == [{"n": 0}]
        assert drain(layer, "heard", 1, 10.0) == [{"n": 0}]
        cluster.begin_move(SLOT, source, target)
        threading.Timer(SECONDS, cluster.end_move, (SLOT, source, target)).start()
        for n in range(COUNT):
            layer.send("jobs", {"n": n})
        assert drain(layer, "answers", COUNT, 20.0) == [{"n": n} for n in range(COUNT)]
        assert drain(layer, "heard", COUNT, 20.0) == [{"n": n} for n in range(COUNT)]
    assert layer.losses.as_dict() == {}
    layer.close()
