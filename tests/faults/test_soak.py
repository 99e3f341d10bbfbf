"""After much traffic everything is as it was before: keys, the server's memory, the process."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import pytest

from channels_classic.layers import names
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Beat, Retire, Take
from tests.faults.traffic import LONG
from tests.redis_server import RedisServer
from tests.waiting import eventually

MESSAGES, SOCKETS, EXPIRED = (100_000, 10_000, 1_000) if LONG else (4_000, 1_000, 200)
GROUPS = 50
SLACK = 512 * 1024
"""Bytes a server's memory may differ by: buffers of clients, fragments."""

pytestmark = pytest.mark.timeout(600 if LONG else 60)


@pytest.fixture
def layer(own_redis: RedisServer) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[own_redis.url], capacity=1000, expiry=1)
    yield layer
    layer.close()


def test_nothing_is_left_behind(layer: RedisChannelLayer, own_redis: RedisServer) -> None:
    work(layer, messages=200, sockets=50, expired=10)
    keys, memory = wait_for_quiet(own_redis), used(own_redis)
    work(layer, MESSAGES, SOCKETS, EXPIRED)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(layer, MESSAGES // 4, SOCKETS, EXPIRED)
    assert wait_for_quiet(own_redis) == keys
    assert used(own_redis) < memory + SLACK
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < resident + 8 * 1024  # KiB


def work(layer: RedisChannelLayer, messages: int, sockets: int, expired: int) -> None:
    """Messages that are read, sockets that join and leave, messages that nobody reads."""
    for number in range(messages):
        layer.send("jobs", {"number": number})
        assert layer.receive(["jobs"])[1] == {"number": number}
    inbox = names.new_inbox()
    layer.run([Beat(inbox)])
    for number in range(sockets):
        layer.group_add(f"group{number % GROUPS}", f"{inbox}client{number}")
    for number in range(GROUPS):
        layer.send_group(f"group{number}", {"text": "hello"})
    for number in range(sockets):
        layer.group_discard(f"group{number % GROUPS}", f"{inbox}client{number}")
    while layer.run([Take([inbox], 500)])[0]:
        pass
    layer.run([Retire(inbox)])
    for number in range(expired):
        layer.send(f"unread{number % 20}", {"number": number})


def wait_for_quiet(server: RedisServer) -> list[str]:
    """The keys that are left once what nobody read has expired."""
    time.sleep(2.2)  # the expiry, and the second that lists outlive it
    eventually(lambda: not any("list:" in key for key in server.command_list("KEYS", "*")))
    return sorted(server.command_list("KEYS", "*"))


def used(server: RedisServer) -> int:
    server.command("MEMORY", "PURGE")
    return int(server.info("memory")["used_memory"])
