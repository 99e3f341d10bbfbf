"""Several shards: messages are found wherever they are, none is lost, a shard that is down stops only its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import redis

from channels_classic.exceptions import ChannelFull, ChannelsError, LayerUnavailable, StepRefused
from channels_classic.layers import names
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.redis.routes import Routes
from channels_classic.layers.steps import Entry, Heartbeat, Length, Push, PutBack, Take
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, eventually_async, scaled


@pytest.fixture
def layer(redis_servers: list[RedisServer]) -> Iterator[RedisChannelLayer]:
    for server in redis_servers:
        server.flush()
    layer = RedisChannelLayer(hosts=[server.url for server in redis_servers], capacity=1000)
    yield layer
    layer.close()


@pytest.fixture
def own_servers(own_redis: RedisServer) -> Iterator[list[RedisServer]]:
    """Two servers of the test's own."""
    other = RedisServer()
    try:
        other.start()
        yield [own_redis, other]
    finally:
        other.close()


def layer_on(servers: list[RedisServer]) -> RedisChannelLayer:
    return RedisChannelLayer(hosts=[server.url for server in servers], capacity=1000)


def name_on(shard: int, shards: int, mark: str = "") -> str:
    """A name that is pinned to a shard; with `mark` an inbox."""
    routes = Routes(range(shards), range(shards))
    candidates = (f"{'inbox' if mark else 'group'}{number}{mark}" for number in range(1000))
    return next(name for name in candidates if routes.pin(name) == shard)


def test_names_are_pinned_as_in_1_x() -> None:
    routes = Routes(range(5), range(5))
    pinned = {
        "http.response!": 4,
        "daphne.response.ABCDEFGHIJ!": 4,
        "http.request.body?abc": 0,
        "tgroup": 4,
        "chat": 0,
        "": 0,
    }
    assert {name: routes.pin(name) for name in pinned} == pinned


def test_plain_messages_are_spread_evenly(layer: RedisChannelLayer, redis_servers: list[RedisServer]) -> None:
    for _ in range(9):
        layer.send("jobs", {})
    lengths = [server.command("LLEN", f"asgi:{{{shard}}}:queue:jobs") for shard, server in enumerate(redis_servers)]
    assert lengths == [":3", ":3", ":3"]
    assert layer.run([Length("jobs")]) == [9]


@pytest.mark.parametrize("shard", [0, 1, 2])
def test_a_waiting_reader_is_woken_from_every_shard(
    layer: RedisChannelLayer, redis_servers: list[RedisServer], shard: int
) -> None:
    part = layer._known()[0].open(shard)
    connection = layer.connect()
    connection.write([Take(["jobs"], 1, 3600.0)])  # longer than a test may take
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(connection.read)
        for server in redis_servers:
            eventually(partial(is_waited_at, server))
        part.write([Push("jobs", [Entry(b"x", 60)])])
        taken = reading.result()
    part.read()
    assert [item.payload for item in taken.items] == [b"x"]
    connection.close()
    part.close()


@pytest.mark.parametrize("count", [1, 10])
def test_what_two_shards_have_at_once_is_not_held_by_one_reader(layer: RedisChannelLayer, count: int) -> None:
    shards = layer._known()[0]
    parts = [shards.open(shard) for shard in range(3)]
    reader, other = layer.connect(), layer.connect()
    for number in range(50):
        reader.write([Take(["jobs"], count, 5.0)])
        # The reader is given time to wait in some rounds and none in others.
        thread = threading.Thread(target=_push_to_all, args=(parts, number % 5 / 1000))
        thread.start()
        taken = reader.read()
        assert len(taken.items) == 1
        thread.join()
        for _ in range(2):
            other.write([Take(["jobs"], count, 0.0)])
            assert len(other.read().items) == 1
    for connection in (reader, other, *parts):
        connection.close()


def _push_to_all(parts: list[object], pause: float) -> None:
    time.sleep(pause)
    for part in parts:
        part.write([Push("jobs", [Entry(b"x", 60)])])  # type: ignore[attr-defined]
    for part in parts:
        part.read()  # type: ignore[attr-defined]


def is_waited_at(server: RedisServer) -> bool:
    return server.info("clients")["blocked_clients"] == "1"


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("fault", [("SCRIPT", "FLUSH"), ("CONFIG", "SET", "maxmemory", "1")], ids=["scripts", "memory"])
def test_what_another_shard_has_at_once_goes_back_to_a_server_that_forgot_its_scripts_or_is_full(
    own_servers: list[RedisServer], fault: tuple[str, ...], asynchronous: bool
) -> None:
    layer = layer_on(own_servers)
    clients = [redis.Redis(port=server.port, socket_timeout=10) for server in own_servers]
    queues = [f"asgi:{{{shard}}}:queue:jobs" for shard in range(2)]
    for number in range(2):
        layer.send("jobs", {"number": number})
    entries = [client.lpop(queue) for client, queue in zip(clients, queues, strict=True)]

    async def receive() -> Any:
        try:
            return await layer.receive_async(["jobs"])
        finally:
            await layer.close_async()

    def push(client: Any, queue: str, entry: Any) -> None:
        with client.pipeline() as together:
            together.rpush(queue, entry)
            together.execute_command(*fault)
            together.execute()

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(asyncio.run, receive()) if asynchronous else pool.submit(layer.receive, ["jobs"], True)
        for server in own_servers:
            eventually(partial(is_waited_at, server))
        for server in own_servers:
            server.pause()
        pushing = [pool.submit(push, *each) for each in zip(clients, queues, entries, strict=True)]
        time.sleep(0.2)  # both servers find it when they go on
        for server in own_servers:
            server.resume()
        received: Any = reading.result(scaled(10))
        first = received[1]["number"]
        for each in pushing:
            each.result(scaled(10))
    for client in clients:
        client.config_set("maxmemory", 0)
        client.close()
    eventually(lambda: layer.receive(["jobs"])[1] == {"number": 1 - first})
    assert layer.losses.as_dict() == {}
    layer.close()


def test_many_writers_and_readers_of_both_faces_see_each_message_once(layer: RedisChannelLayer) -> None:
    total = 900
    seen: list[Any] = []

    def write(first: int) -> None:
        for number in range(first, total, 3):
            layer.send("jobs", {"n": number})

    def read() -> None:
        connection = layer.connect()
        while len(seen) < total:
            connection.write([Take(["jobs", "other"], 3, 0.3)])
            taken = connection.read()
            seen.extend(delivery.message["n"] for delivery in (layer.open(taken)[0] if taken else ()))
        connection.close()

    async def read_async() -> None:
        connection = await layer.connect_async()
        while len(seen) < total:
            (taken,) = await connection.run([Take(["jobs", "other"], 3, 0.3)])
            seen.extend(delivery.message["n"] for delivery in (layer.open(taken)[0] if taken else ()))
        await connection.close()

    threads = [threading.Thread(target=write, args=(first,)) for first in range(3)]
    threads += [threading.Thread(target=read) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: asyncio.run(read_async())))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(30))
    assert sorted(seen) == list(range(total))


def test_a_take_that_waits_for_all_shards_can_be_woken(layer: RedisChannelLayer) -> None:
    connection = layer.connect()
    for pause in (0.0, 0.01, 0.2):
        connection.write([Take(["jobs"], 1, 3600.0)])  # longer than a test may take
        thread = threading.Timer(pause, connection.wake)
        thread.start()
        assert connection.read() is None
        thread.join()
    connection.close()


def test_items_go_back_to_the_shard_they_came_from(layer: RedisChannelLayer) -> None:
    for number in range(6):
        layer.send("jobs", {"n": number})
    (first,) = layer.run([Take(["jobs"], 2)])
    (second,) = layer.run([Take(["jobs"], 2)])
    layer.run([PutBack("jobs", [*first.items, *second.items])])
    received = [layer.receive(["jobs"])[1] for _ in range(7)]
    assert sorted(message["n"] for message in received if message) == list(range(6))


def test_an_owner_hears_of_data_lost_on_any_shard(layer: RedisChannelLayer, redis_servers: list[RedisServer]) -> None:
    inbox = names.new_inbox()
    (before,) = layer.run([Heartbeat(inbox)])
    for server in redis_servers:
        server.flush()
        (now,) = layer.run([Heartbeat(inbox, before)])
        assert sum(new != old for new, old in zip(now, before, strict=True)) == 1
        before = now
    assert layer.run([Heartbeat(inbox, before)]) == [before]


def test_a_shard_that_is_away_stops_only_what_belongs_to_it(own_servers: list[RedisServer]) -> None:
    layer = layer_on(own_servers)
    layer.send("jobs", {})
    own_servers[1].stop()
    received = 0
    for number in range(10):
        with suppress(LayerUnavailable):
            layer.send("jobs", {"n": number})
    while layer.receive(["jobs"])[1] is not None:
        received += 1
    assert received >= 9
    there, down = name_on(0, 2, "!"), name_on(1, 2, "!")
    layer.send(f"{there}client", {})
    with pytest.raises(ChannelsError, match=str(own_servers[1].port)):
        layer.send(f"{down}client", {})
    own_servers[1].start()
    eventually(lambda: _sends(layer, f"{down}client"))
    layer.close()


def _sends(layer: RedisChannelLayer, channel: str) -> bool:
    try:
        layer.send(channel, {})
    except (StepRefused, LayerUnavailable, ChannelFull):
        return False
    return True


def test_a_reader_goes_on_without_a_shard_and_with_it_again(own_servers: list[RedisServer]) -> None:
    layer = layer_on(own_servers)
    connection = layer.connect()

    def payload() -> bytes | None:
        connection.write([Take(["jobs"], 1, 20.0)])
        taken = connection.read()
        return taken.items[0].payload if taken else None

    threading.Timer(0.2, own_servers[1].stop).start()
    threading.Timer(0.5, _sends, [layer, "jobs"]).start()
    threading.Timer(0.6, _sends, [layer, "jobs"]).start()
    eventually(payload)
    own_servers[1].start()
    shards = layer._known()[0]
    eventually(lambda: not shards.down)
    part = shards.open(1)
    part.write([Push("jobs", [Entry(b"back", 60)])])
    part.read()
    part.close()
    eventually(lambda: payload() == b"back")
    connection.close()
    layer.close()


def test_an_outcome_that_is_unknown_gives_back_what_other_shards_gave(own_servers: list[RedisServer]) -> None:
    layer = layer_on(own_servers)
    connection = layer.connect()
    down, there = name_on(1, 2, "!"), name_on(0, 2, "!")
    connection.write([Push(down, [Entry(b"x", 60)]), Push(there, [Entry(b"kept", 60)])])
    connection.read(), connection.read()
    own_servers[1].pause()
    connection.write([Push(down, [Entry(b"x", 60)]), Take([there], 1, 1.0)])
    own_servers[1].stop()
    with pytest.raises(LayerUnavailable):
        connection.read()
    connection.close()
    (taken,) = layer.run([Take([there], 1)])
    assert [item.payload for item in taken.items] == [b"kept"]
    layer.close()


def test_without_any_shard_connecting_fails(own_servers: list[RedisServer]) -> None:
    layer = layer_on(own_servers)
    for server in own_servers:
        server.stop()
    for _ in range(2):
        with pytest.raises(LayerUnavailable) as caught:
            layer.send("jobs", {})
        assert not caught.value.written
    own_servers[0].start()
    eventually(lambda: _sends(layer, "jobs"))
    layer.close()


async def _receive(layer: RedisChannelLayer) -> object:
    while (received := await layer.receive_async(["jobs"])) == (None, None):
        pass
    return received


def test_the_asyncio_face_goes_on_without_a_shard(own_servers: list[RedisServer]) -> None:
    async def scenario() -> object:
        layer = layer_on(own_servers)
        reading = asyncio.ensure_future(_receive(layer))
        for server in own_servers:
            await eventually_async(partial(is_waited_at, server))
        own_servers[1].stop()
        for _ in range(4):
            with suppress(ChannelsError):
                await layer.send_async("jobs", {"n": 1})
        received = await reading
        await layer.close_async()
        return received

    assert asyncio.run(scenario()) == ("jobs", {"n": 1})


def test_groups_of_all_shards_reach_members_of_all_shards(layer: RedisChannelLayer) -> None:
    inboxes = [name_on(shard, 3, "!") for shard in range(3)]
    for group in (name_on(shard, 3) for shard in range(3)):
        for inbox in inboxes:
            layer.group_add(group, f"{inbox}client")
        layer.send_group(group, {"to": group})
        for inbox in inboxes:
            assert layer.receive([inbox]) == (f"{inbox}client", {"to": group})


def test_a_group_send_that_one_shard_refuses_tells_that_others_have_it(own_servers: list[RedisServer]) -> None:
    layer = layer_on(own_servers)
    there, refuses = name_on(0, 2, "!"), name_on(1, 2, "!")
    group = name_on(0, 2)
    for inbox in (there, refuses):
        layer.group_add(group, f"{inbox}client")
    own_servers[1].command("CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(LayerUnavailable, match="NOREPLICAS") as partly:
        layer.send_group(group, {"n": 1})
    assert partly.value.written
    assert layer.receive([there]) == (f"{there}client", {"n": 1})
    own_servers[1].stop()
    with pytest.raises(LayerUnavailable) as partly:
        layer.send_group(group, {"n": 2})
    assert partly.value.written
    layer.close()
