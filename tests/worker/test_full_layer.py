"""A Redis server that is out of memory refuses what is put back; no message is lost, and none runs twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.message import Message
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, scaled
from tests.worker.harness import make_group, make_worker, running


@pytest.fixture
def layer(own_redis: RedisServer) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[own_redis.url], capacity=1000)
    yield layer
    layer.close()


class Counted:
    """A consumer that is fast, until one message uses up the memory of the server and waits."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.seen: Counter[int] = Counter()
        self.waiting = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, message: Message) -> None:
        self.seen[message["n"]] += 1
        if message["n"] == 150:
            self._server.command("CONFIG", "SET", "maxmemory", "1")
            self.waiting.set()
            self.go_on.wait(scaled(20))


@pytest.mark.parametrize("threads", [1, 3])
def test_messages_behind_a_slow_consumer_survive_a_server_without_memory(
    own_redis: RedisServer, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture, threads: int
) -> None:
    consumer = Counted(own_redis)
    for number in range(200):
        layer.send("test", {"n": number})
    worker = make_group(layer, {"test": consumer}, threads)
    with running(worker):
        assert consumer.waiting.wait(scaled(10))
        with suppress(AssertionError):  # on a busy machine batches are short, and nothing may wait behind it
            eventually(lambda: "stay with this worker" in caplog.text, 1)
        own_redis.command("CONFIG", "SET", "maxmemory", "0")
        consumer.go_on.set()
        eventually(lambda: len(consumer.seen) == 200)
    assert set(consumer.seen.values()) == {1}
    assert layer.losses.as_dict() == {}


def test_a_worker_that_stops_keeps_what_it_took_while_the_server_has_no_memory(
    own_redis: RedisServer, layer: RedisChannelLayer
) -> None:
    consumer = Counted(own_redis)
    for number in range(200):
        layer.send("test", {"n": number})
    with running(make_worker(layer, {"test": consumer})) as _:
        assert consumer.waiting.wait(scaled(10))
        threading.Timer(0.5, consumer.go_on.set).start()
    own_redis.command("CONFIG", "SET", "maxmemory", "0")
    with running(make_worker(layer, {"test": consumer})):
        eventually(lambda: len(consumer.seen) == 200)
    assert set(consumer.seen.values()) == {1}
