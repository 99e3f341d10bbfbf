"""A server that refuses for a while: nothing is lost meanwhile, or it is counted under its kind.

Workers run in this process, on a Redis of the test's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from channels_classic import Channel
from channels_classic.exceptions import ConsumeLater
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.message import Message
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.worker.harness import Inbox, make_worker, running

BATCH = 32
"""Most messages that a worker takes together."""

FULL, NOT_FULL = ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")


@pytest.fixture
def layer(own_redis: RedisServer) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[own_redis.url], capacity=1000)
    yield layer
    layer.close()


def lost(layer: RedisChannelLayer) -> dict[str, int]:
    """Return the losses that the layer knows of."""
    return {kind: number for kind, number in layer.global_statistics().items() if kind.startswith("lost_")}


def test_losses_that_the_server_refuses_to_record_are_recorded_later(
    own_redis: RedisServer, layer: RedisChannelLayer
) -> None:
    layer.send("jobs", {})
    own_redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
    layer.losses.count("retries", "jobs", 7)
    assert layer.channel_statistics("jobs")["messages_pending"] == 1
    own_redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
    layer.close()
    layer.receive(["jobs"])
    assert lost(layer) == {"lost_retries": 7}


def test_a_message_that_is_asked_for_again_waits_for_a_server_that_refuses_it(
    own_redis: RedisServer, layer: RedisChannelLayer
) -> None:
    seen: list[Any] = []

    def consumer(message: Message) -> None:
        seen.append(message["n"])
        if len(seen) == 1:
            own_redis.command(*FULL)
            raise ConsumeLater

    with running(make_worker(layer, {"test": consumer})):
        layer.send("test", {"n": 1})
        eventually(lambda: seen)
        time.sleep(0.3)  # it is refused
        own_redis.command(*NOT_FULL)
        eventually(lambda: seen == [1, 1], timeout=10)
    assert layer.losses.as_dict() == {}


def test_a_message_for_another_layer_that_refuses_it_is_counted(layer: RedisChannelLayer) -> None:
    with ExitStack() as stack:
        server = RedisServer()
        stack.callback(server.close)
        server.start()
        other = RedisChannelLayer(hosts=[server.url])
        stack.callback(other.close)
        server.command(*FULL)

        def consumer(message: Message) -> None:
            Channel("elsewhere", channel_layer=other).send({})

        with running(make_worker(layer, {"test": consumer})):
            layer.send("test", {})
            eventually(lambda: other.losses.as_dict() == {"refused": 1}, timeout=10)


def test_announcements_wait_for_a_server_that_refuses_them(own_redis: RedisServer, layer: RedisChannelLayer) -> None:
    came: list[str] = []
    people = [f"person-{number}" for number in range(20)]

    with running(make_worker(layer, {"group.join": lambda message: came.append(message["who"])})):
        eventually(lambda: own_redis.command("EXISTS", "asgi:{0}:listening") == ":1")
        inbox = Inbox(layer)
        for who in people:
            layer.group_add("g", inbox.client(who), who=who, info={})
        own_redis.command(*FULL)
        time.sleep(1.5)  # in which the worker takes notices and cannot send them
        own_redis.command(*NOT_FULL)
        eventually(lambda: sorted(came) == sorted(people), timeout=10)
    assert layer.losses.as_dict() == {}


@pytest.mark.parametrize("right", ["time", "info"])
def test_a_worker_that_may_not_ask_what_belongs_to_a_take_loses_at_most_one_batch(
    own_redis: RedisServer, layer: RedisChannelLayer, right: str
) -> None:
    own_redis.command("ACL", "SETUSER", "admin", "on", ">secret", "~*", "+@all")
    admin: Any = redis.Redis(port=own_redis.port, username="admin", password="secret")
    seen: list[int] = []
    with running(make_worker(layer, {"test": lambda message: seen.append(message["n"])})):
        layer.send("test", {"n": -1})
        eventually(lambda: seen)
        layer.close()
        sender = RedisChannelLayer(hosts=[f"redis://admin:secret@127.0.0.1:{own_redis.port}"], capacity=1000)
        time.sleep(0.1)  # the worker waits in its next take
        admin.execute_command("ACL", "SETUSER", "default", f"-{right}")
        for n in range(100):
            sender.send("test", {"n": n})
        time.sleep(1)  # in which it would take all of them
        admin.execute_command("ACL", "SETUSER", "default", "+@all")
        eventually(lambda: len(seen) - 1 + sum(layer.losses.as_dict().values()) == 100, timeout=15)
    sender.close()
    admin.close()
    assert seen == sorted(set(seen))
    assert sum(layer.losses.as_dict().values()) <= BATCH
