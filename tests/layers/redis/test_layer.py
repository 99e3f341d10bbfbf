"""Tests of the Redis layer alone: nothing taken twice, nothing thrown away, quotas right."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import signature
from typing import Any

import pytest
import redis

from channels_classic.exceptions import ChannelFull, LayerUnavailable, StepRefused
from channels_classic.layers import names
from channels_classic.layers.codec import EntryKind, decode
from channels_classic.layers.history import HEAD
from channels_classic.layers.redis import RedisChannelLayer, commands, connector
from channels_classic.layers.redis.commands import BARRIER, QUOTAS_FROM
from channels_classic.layers.results import Audited, PushStatus
from channels_classic.layers.steps import (
    Audit,
    Entry,
    Heartbeat,
    Join,
    Leave,
    Members,
    Push,
    PutBack,
    ReadHistory,
    Restore,
    Take,
)
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, scaled


@contextmanager
def layer_on(url: str, **options: object) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[url], **options)  # type: ignore[arg-type]
    try:
        yield layer
    finally:
        layer.close()


@pytest.fixture
def layer(redis_url: str) -> Iterator[RedisChannelLayer]:
    with layer_on(redis_url, capacity=5) as layer:
        yield layer


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the Redis server that is not the layer."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_a_message_restored_from_a_snapshot_is_dropped_and_counted(own_redis: RedisServer) -> None:
    with layer_on(own_redis.url) as layer:
        layer.send("jobs", {"n": 1})
        own_redis.command("SAVE")
        assert layer.receive(["jobs"]) == ("jobs", {"n": 1})
        own_redis.stop()
        own_redis.start()
        assert own_redis.command("EXISTS", "asgi:{0}:queue:jobs") == ":1"
        layer.send("jobs", {"n": 2})
        received = [layer.receive(["jobs"]), layer.receive(["jobs"]), layer.receive(["jobs"])]
        assert [message for _, message in received if message] == [{"n": 2}]
        assert layer.losses.as_dict() == {"fenced": 1}


def test_a_connection_made_before_a_restart_is_not_used_after_it(own_redis: RedisServer) -> None:
    with layer_on(own_redis.url) as layer:
        layer.send("jobs", {"n": 1})
        own_redis.stop()
        own_redis.start()
        layer.send("jobs", {"n": 2})
        assert layer.receive(["jobs"]) == ("jobs", {"n": 2})


def test_a_server_that_is_not_there_is_named_with_the_next_step(own_redis: RedisServer) -> None:
    own_redis.stop()
    with layer_on(own_redis.url) as layer, pytest.raises(LayerUnavailable, match=rf"127.0.0.1:{own_redis.port}.*hosts"):
        layer.send("jobs", {})


def test_an_error_for_one_step_keeps_what_the_others_took(layer: RedisChannelLayer, redis_server: RedisServer) -> None:
    layer.send("jobs", {"n": 1})
    redis_server.command("SET", "asgi:{0}:queue:broken", "no list")
    connection = layer.connect()
    connection.write([Push("broken", [Entry(b"x", 60)]), Take(["jobs"]), Push("other", [Entry(b"x", 60)])])
    refused, taken, pushed = connection.read(), connection.read(), connection.read()
    connection.close()
    assert isinstance(refused, StepRefused)
    assert layer.open(taken)[0][0].message == {"n": 1}
    assert pushed == [PushStatus.ACCEPTED]


BROKEN = [
    b"",
    b"short",
    struct.pack(">IdI", 0, 0.0, 0),  # one byte short of its head
    struct.pack(">IdIB", 2**32 - 1, math.inf, 2**32 - 1, 200) + b"shorter than its quota key",
    struct.pack(">IdIB", 2**32 - 1, math.inf, 2**32 - 1, 0) + b"\xc1",
    struct.pack(">IdIB", 2**32 - 1, math.nan, 0, 0) + b"\x93\x00\x81\x90\xc0\xc0\xa0",  # a key that cannot be hashed
    struct.pack(">IdIB", 2**32 - 1, math.inf, 2**32 - 1, 0) + b"\x91" * 5000,
]
"""A value that no program of this project writes."""


@pytest.mark.parametrize("queue", ["jobs", "inbox!"])
def test_a_hostile_entry_costs_itself_only(redis_url: str, raw: redis.Redis, queue: str) -> None:
    name = queue + "client" * queue.endswith("!")
    with layer_on(redis_url, capacity=100) as layer:
        for number, entry in enumerate(BROKEN):
            layer.send(name, {"number": number})
            raw.rpush(f"asgi:{{0}}:queue:{queue}", entry)
        assert layer.channel_statistics(name)["messages_pending"] == 2 * len(BROKEN)
        (taken,) = layer.run([Take([queue], 100)])
        deliveries, _ = layer.open(taken)
        assert [delivery.message["number"] for delivery in deliveries] == list(range(len(BROKEN)))
        assert layer.losses.as_dict() == {"undecodable": len(BROKEN)}


@pytest.mark.parametrize("queue", ["jobs", "inbox!"])
def test_a_full_channel_with_a_broken_head_takes_messages_again(redis_url: str, raw: redis.Redis, queue: str) -> None:
    name = queue + "client" * queue.endswith("!")
    with layer_on(redis_url, capacity=QUOTAS_FROM * 2) as layer:
        raw.rpush(f"asgi:{{0}}:queue:{queue}", *BROKEN[:4])
        for _ in range(QUOTAS_FROM * 2 - (0 if queue.endswith("!") else 4)):
            layer.send(name, {})
        assert layer.channel_statistics(name)["messages_max_age"] == 0
        if queue == "jobs":
            layer.send(name, {"last": True})
            assert layer.global_statistics()["lost_undecodable"] == 4
        else:
            with pytest.raises(ChannelFull):
                layer.send(name, {})


HOSTILE_MEMBERS: dict[str, tuple[str, ...]] = {
    "a name that is not text": ("ZADD", "channels:g", "9e15", "\\xff\\xfe"),
    "a name that is not a channel": ("ZADD", "channels:g", "9e15", "no channel!!"),
    "an inbox that is not one": ("ZADD", "group:g", "5", "inbox"),
    "a version with a fraction": ("ZADD", "group:g", "1.5", "{inbox}"),
    "a version without an end": ("ZADD", "group:g", "inf", "{inbox}"),
    "a version that runs backwards": ("ZADD", "group:g", "7", "{inbox}"),
    "a member that is not text": ("SADD", "members:g:{inbox}", "\\xff"),
    "a start that is not one": ("HSET", "starts:g:{inbox}", "client", "nonsense"),
    "an identity without a name": ("HSET", "attends:g:{inbox}", "client", ""),
    "an identity that is too short": ("HSET", "attends:g:{inbox}", "client", "\\xff"),
    "an identity with other facts": ("HSET", "attends:g:{inbox}", "client", "\\x01azz"),
}
"""Commands that write what no program of this project writes, by what it is."""


@pytest.mark.parametrize("written", HOSTILE_MEMBERS)
def test_what_something_else_wrote_about_a_group_keeps_no_message_from_its_members(
    layer: RedisChannelLayer, raw: redis.Redis, written: str
) -> None:
    inbox = names.new_inbox()
    layer.run([Heartbeat(inbox)])
    layer.group_add("g", f"{inbox}client", who="ada", info={})
    layer.group_add("g", "plain")
    command, key, *rest = HOSTILE_MEMBERS[written]
    words = [command, f"asgi:{{0}}:{key}", *rest]
    if written == "an inbox that is not one":
        raw.set("asgi:{0}:alive:inbox", 1)
        raw.sadd("asgi:{0}:members:g:inbox", "x")
    raw.execute_command(  # type: ignore[no-untyped-call]
        *(word.replace("{inbox}", inbox).encode().decode("unicode_escape").encode("latin-1") for word in words)
    )
    layer.send_group("g", {"n": 1})
    assert layer.receive(["plain"]) == ("plain", {"n": 1})
    (taken,) = layer.run([Take([inbox], 10)])
    kinds = [decode(item.payload)[0] for item in taken.items]
    assert kinds.count(EntryKind.GROUP) == 1
    assert set(layer.losses.as_dict()) <= {"undecodable"}
    assert layer.group_presence("g").keys() <= {"ada"}
    (roster,) = layer.run([Members("g", inbox)])
    if "version" not in written:  # a lower one is that of data from before a restart
        assert "client" in roster.members
        assert f"{inbox}client" in layer.group_channels("g")


@pytest.mark.parametrize("entry", [b"", b"short", b"\xff" * 30], ids=["empty", "short", "other"])
@pytest.mark.parametrize("push", ["LPUSH", "RPUSH"])
def test_what_something_else_wrote_among_kept_messages_is_a_gap_and_no_more(
    layer: RedisChannelLayer, raw: redis.Redis, push: str, entry: bytes
) -> None:
    for n in range(3):
        layer.send_group("g", {"n": n}, keep=10)
    raw.execute_command(push, "asgi:{0}:kept:g", entry)  # type: ignore[no-untyped-call]
    layer.send_group("g", {"n": 3}, keep=10)
    (kept,) = layer.run([ReadHistory("g", HEAD, 0)])
    (read,) = layer.run([ReadHistory("g", kept.life, kept.head)])
    assert not read.kept, "a client that has them all gets nothing again"
    layer.group_add("g", "reader", after="0", keep=10)
    found = []
    while (message := layer.receive(["reader"])[1]) is not None:
        found.append(message["n"])
    assert found in ([], list(range(4)))
    layer.send_group("g", {"n": 4}, keep=10)
    assert layer.receive(["reader"])[1] == {"n": 4}


def test_scripts_that_the_server_forgot_are_loaded_again(layer: RedisChannelLayer, redis_server: RedisServer) -> None:
    layer.send("jobs", {"n": 1})
    redis_server.command("SCRIPT", "FLUSH")
    layer.send("jobs", {"n": 2})
    assert [layer.receive(["jobs"])[1] for _ in range(3)] == [{"n": 1}, {"n": 2}, None]


def test_scripts_that_were_forgotten_while_they_were_loaded_are_loaded_again(redis_server: RedisServer) -> None:
    """The server knows the last one, which stands for all."""
    redis_server.command("SCRIPT", "FLUSH")
    redis_server.command("SCRIPT", "LOAD", BARRIER.source.decode())
    layer = RedisChannelLayer(hosts=[redis_server.url], prefix=f"{names.random_text(8)}:")
    with pytest.raises(LayerUnavailable, match="NOSCRIPT"):
        layer.send("jobs", {"n": 1})
    layer.send("jobs", {"n": 2})
    assert layer.receive(["jobs"])[1] == {"n": 2}
    layer.close()


def test_scripts_that_the_server_forgot_are_loaded_again_on_an_event_loop(redis_server: RedisServer) -> None:
    async def scenario() -> list[dict[str, Any] | None]:
        layer = RedisChannelLayer(hosts=[redis_server.url], prefix=f"{names.random_text(8)}:")
        await layer.send_async("jobs", {"n": 1})
        redis_server.command("SCRIPT", "FLUSH")
        await layer.send_async("jobs", {"n": 2})
        received = [(await layer.receive_async(["jobs"]))[1] for _ in range(2)]
        await layer.close_async()
        return received

    assert asyncio.run(scenario()) == [{"n": 1}, {"n": 2}]


def test_waking_a_blocked_take_loses_nothing(layer: RedisChannelLayer) -> None:
    taken = []
    connection = layer.connect()
    for number in range(200):
        connection.write([Take(["jobs"], 1, 5.0)])
        sender = threading.Thread(target=layer.send, args=("jobs", {"n": number}))
        waker = threading.Thread(target=connection.wake)
        sender.start()
        waker.start()
        found = connection.read()
        sender.join()
        waker.join()
        taken += layer.open(found)[0] if found else []
    connection.close()
    while (found := layer.receive(["jobs"])[1]) is not None:
        taken.append(found)  # type: ignore[arg-type]
    assert len(taken) == 200


def test_a_take_that_is_woken_before_it_is_written_does_not_block(layer: RedisChannelLayer) -> None:
    connection = layer.connect()
    connection.wake()
    connection.write([Take(["jobs"], 1, 3600.0)])  # longer than a test may take
    assert connection.read() is None
    connection.close()


def pause_writes(server: RedisServer, seconds: float) -> None:
    """Hold up what writes, as a planned fail-over does."""
    assert server.command("CLIENT", "PAUSE", str(round(seconds * 1000)), "WRITE") == "+OK"


def has_a_take(server: RedisServer) -> bool:
    with redis.Redis.from_url(server.url) as client:
        return any(found["cmd"] == "blmpop" and "b" in found["flags"] for found in client.client_list())


def test_a_take_can_be_woken_while_redis_holds_up_writes(own_redis: RedisServer) -> None:
    with layer_on(own_redis.url) as layer:
        connection = layer.connect()
        pause_writes(own_redis, 0.5)
        connection.write([Take(["jobs"], 1, 60.0)])
        eventually(lambda: has_a_take(own_redis))
        waker = threading.Thread(target=connection.wake)
        waker.start()
        assert connection.read() is None
        waker.join()
        connection.close()
        layer.send("jobs", {"n": 1})
        assert layer.receive(["jobs"])[1] == {"n": 1}


def test_a_take_of_a_coroutine_can_be_ended_while_redis_holds_up_writes(own_redis: RedisServer) -> None:
    async def scenario(layer: RedisChannelLayer) -> None:
        connection = await layer.connect_async()
        pause_writes(own_redis, 0.5)
        taking = asyncio.create_task(connection.run([Take(["jobs"], 1, 60.0)]))
        await asyncio.to_thread(eventually, lambda: has_a_take(own_redis))
        while not taking.done():
            await connection.unblock()
            await asyncio.sleep(0.01)
        assert await taking == [None]
        await connection.close()

    with layer_on(own_redis.url) as layer:
        asyncio.run(scenario(layer))
        assert own_redis.command("PING") == "+PONG"


def test_a_client_is_full_alone_however_long_its_inbox_is(layer: RedisChannelLayer) -> None:
    for client in range(QUOTAS_FROM):
        layer.send(f"inbox!{client}", {})
    for _ in range(4):
        layer.send("inbox!0", {})
    with pytest.raises(ChannelFull):
        layer.send("inbox!0", {})
    layer.send("inbox!1", {})


def test_what_was_read_does_not_count_against_a_client(layer: RedisChannelLayer) -> None:
    for _ in range(5):
        layer.send("inbox!0", {})
    for client in range(QUOTAS_FROM):
        layer.send(f"inbox!c{client}", {})
    with pytest.raises(ChannelFull):
        layer.send("inbox!0", {})
    layer.receive(["inbox!"])
    layer.send("inbox!0", {})
    with pytest.raises(ChannelFull):
        layer.send("inbox!0", {})


def test_expired_messages_do_not_count_against_capacity(redis_url: str) -> None:
    with layer_on(redis_url, capacity=2, expiry=0.1) as layer:
        for channel in ("jobs", "inbox!client"):
            layer.send(channel, {})
            layer.send(channel, {})
            time.sleep(0.15)  # the expiry itself is what is tested
            layer.send(channel, {"fresh": True})


def test_every_key_has_a_time_to_live(layer: RedisChannelLayer, raw: redis.Redis) -> None:
    inbox = names.new_inbox()
    layer.run([Heartbeat(inbox)])
    layer.group_add("group", f"{inbox}client")
    layer.group_add("group", "plain")
    for client in range(QUOTAS_FROM * 2):
        layer.send(f"{inbox}{client}", {})
    layer.send("jobs", {})
    lives = {key: raw.pttl(key) for key in raw.scan_iter()}
    assert len(lives) >= 7
    assert all(life > 0 for life in lives.values()), lives


def test_a_group_costs_one_entry_per_interface_server(layer: RedisChannelLayer) -> None:
    inboxes = [names.new_inbox(), names.new_inbox()]
    for inbox in inboxes:
        layer.run([Heartbeat(inbox), Join("room", inbox, [f"c{number}" for number in range(50)])])
    layer.send_group("room", {"text": "hello"})
    for inbox in inboxes:
        (taken,) = layer.run([Take([inbox], 100)])
        assert [decode(item.payload)[:2] for item in taken.items] == [[EntryKind.GROUP, "room"]]


def owner_of(layer: RedisChannelLayer) -> str:
    """The inbox of an owner that lives and has nothing to restore."""
    inbox = names.new_inbox()
    layer.run([Heartbeat(inbox, layer.run([Heartbeat(inbox)])[0])])
    return inbox


def test_a_dead_inbox_comes_back_to_its_groups_as_they_were_changed(layer: RedisChannelLayer) -> None:
    inbox = names.new_inbox()
    layer.run([Join("room", inbox, ["a", "b"])])
    layer.send_group("room", {})
    assert layer.losses.as_dict() == {"dead": 1}
    layer.group_discard("room", f"{inbox}b")
    layer.run([Heartbeat(inbox)])
    assert layer.group_channels("room") == [f"{inbox}a"]


def test_a_long_silence_is_not_a_loss_of_data(layer: RedisChannelLayer, redis_server: RedisServer) -> None:
    inbox = owner_of(layer)
    layer.run([Join("room", inbox, ["a"])])
    redis_server.command("DEL", f"asgi:{{0}}:alive:{inbox}", "asgi:{0}:inboxes")  # as if `LIVENESS` were over
    layer.group_discard("room", f"{inbox}a")
    layer.run([Restore("room", inbox, ["a"])])
    assert layer.run([Members("room", inbox)])[0][:3] == (0, [], True), "nobody is revived"


def test_what_a_snapshot_holds_of_groups_is_void(own_redis: RedisServer) -> None:
    with layer_on(own_redis.url) as layer:
        inbox = owner_of(layer)
        layer.run([Join("room", inbox, ["left since", "stayed"])])
        own_redis.command("SAVE")
        layer.run([Leave("room", inbox, ["left since"])])
        (before,) = layer.run([Heartbeat(inbox)])
        own_redis.stop()
        own_redis.start()
        (now,) = layer.run([Heartbeat(inbox, before)])
        assert now != before
        layer.run([Restore("room", inbox, ["stayed"])])
        assert layer.group_channels("room") == [f"{inbox}stayed"]


def test_versions_go_on_after_a_flush_of_all_data(layer: RedisChannelLayer, redis_server: RedisServer) -> None:
    inbox = owner_of(layer)
    (before,) = layer.run([Join("room", inbox, ["a"])])
    redis_server.flush()
    (after,) = layer.run([Join("room", inbox, ["a"])])
    assert after.previous == 0
    assert after.version > before.version


def test_an_audit_with_a_version_of_an_earlier_epoch_finds_no_loss(
    layer: RedisChannelLayer, redis_server: RedisServer
) -> None:
    """The server lost all data, not single keys. The owner learns that from its heartbeat, and suspects no group."""
    inbox = owner_of(layer)
    (joined,) = layer.run([Join("room", inbox, ["a"])])
    redis_server.flush()
    assert layer.run([Audit("room", inbox, joined.version)]) == [Audited(0, 0, 0)]
    layer.run([Heartbeat(inbox, layer.run([Heartbeat(inbox)])[0])])
    assert layer.run([Members("room", inbox)])[0].complete


def test_an_epoch_that_begins_from_nothing_is_later_than_any_that_its_client_has_seen(own_redis: RedisServer) -> None:
    """The server's clock may have been set back, or the address may lead to another server."""
    epoch = "asgi:{0}:epoch"
    with layer_on(own_redis.url) as sender, layer_on(own_redis.url) as reader:
        assert sender.receive(["jobs"]) == (None, None)
        ahead = int(own_redis.command_list("HMGET", epoch, "number")[0]) + 1000
        own_redis.command("HSET", epoch, "number", str(ahead))
        sender.close()
        sender.send("jobs", {"n": 1})
        assert reader.receive(["jobs"]) == ("jobs", {"n": 1})
        sender.close()
        own_redis.flush()
        sender.send("jobs", {"n": 2})
        assert reader.receive(["jobs"]) == ("jobs", {"n": 2})


def test_an_owner_restores_memberships_that_were_lost(layer: RedisChannelLayer, redis_server: RedisServer) -> None:
    inbox = owner_of(layer)
    layer.run([Join("room", inbox, ["a", "b"])])
    redis_server.flush()
    layer.run([Heartbeat(inbox), Restore("room", inbox, ["a", "b"])])
    assert sorted(layer.group_channels("room")) == [f"{inbox}a", f"{inbox}b"]


def test_put_back_messages_come_first_in_order_and_keep_their_age(redis_url: str) -> None:
    with layer_on(redis_url, expiry=scaled(0.5)) as layer:
        for number in range(3):
            layer.send("jobs", {"n": number})
        (taken,) = layer.run([Take(["jobs"], 3)])
        layer.send("jobs", {"n": 3})
        layer.run([PutBack("jobs", taken.items[1:])])
        assert layer.receive(["jobs"]) == ("jobs", {"n": 1})
        time.sleep(scaled(0.55))  # the expiry itself is what is tested
        assert layer.receive(["jobs"]) == (None, None)


def test_two_deployments_with_prefixes_of_their_own_do_not_meet(redis_url: str) -> None:
    with layer_on(redis_url, prefix="one:") as one, layer_on(redis_url, prefix="two:") as two:
        one.send("jobs", {})
        two.flush()
        assert two.receive(["jobs"]) == (None, None)
        assert one.receive(["jobs"]) == ("jobs", {})


def test_a_single_host_given_as_text_is_refused() -> None:
    with pytest.raises(ValueError, match="single"):
        RedisChannelLayer(hosts="redis://localhost")


def test_a_long_inbox_is_read_in_batches_without_a_client_getting_more_than_its_capacity_and_a_batch(
    layer: RedisChannelLayer, redis_server: RedisServer
) -> None:
    for client in range(200):
        layer.send(f"inbox!{client}", {})
    held = sent = 0
    reader = layer.connect()
    for number in range(70):
        for _ in range(8):
            with suppress(ChannelFull):
                layer.send("inbox!busy", {})
                held += 1
                sent += 1
        layer.send(f"inbox!other{number}", {})
        layer.send(f"inbox!more{number}", {})
        reader.write([Take(["inbox!"], 4)])
        held -= sum(delivery.channel == "inbox!busy" for delivery in layer.open(reader.read())[0])
        assert held <= layer.capacity + 4
    reader.close()
    assert sent > layer.capacity
    assert int(redis_server.command("LLEN", "asgi:{0}:queue:inbox!")[1:]) >= QUOTAS_FROM


def test_reading_a_long_inbox_makes_room_without_counting_it_again(
    layer: RedisChannelLayer, redis_server: RedisServer
) -> None:
    for _ in range(5):
        layer.send("inbox!busy", {})
    for client in range(2000):
        layer.send(f"inbox!{client}", {})
    with pytest.raises(ChannelFull):
        layer.send("inbox!busy", {})
    redis_server.command("PERSIST", "asgi:{0}:quotas:inbox!")  # they are counted anew where this takes five seconds
    redis_server.command("CONFIG", "RESETSTAT")
    for number in range(100):
        layer.receive(["inbox!"])
        layer.send(f"inbox!next{number}", {})
    layer.send("inbox!busy", {})
    assert calls(redis_server, "lrange") == 0


def test_a_reader_that_never_settles_leaves_nobody_refused_for_ever(
    layer: RedisChannelLayer, redis_server: RedisServer
) -> None:
    for _ in range(5):
        layer.send("inbox!busy", {})
    for client in range(600):
        layer.send(f"inbox!{client}", {})
    with pytest.raises(ChannelFull):
        layer.send("inbox!busy", {})
    reader = layer.connect()
    reader.write([Take(["inbox!"], 5)])
    reader.read()
    reader.close()
    with pytest.raises(ChannelFull):
        layer.send("inbox!busy", {})
    quotas = "asgi:{0}:quotas:inbox!"
    assert 0 < int(redis_server.command("PTTL", quotas)[1:]) <= 5000
    redis_server.command("PEXPIRE", quotas, "0")  # as if that time were over
    layer.send("inbox!busy", {})


def test_a_few_large_messages_fill_an_inbox_as_well(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "QUEUE_BYTES", 1024 * 1024)
    with layer_on(redis_url) as layer:
        message = {"bytes": b"x" * 110 * 1024}
        for client in range(9):
            layer.send(f"inbox!{client}", message)
        with pytest.raises(ChannelFull):
            layer.send("inbox!next", message)


def test_an_inbox_is_bounded_whatever_is_put_into_it(
    layer: RedisChannelLayer, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "INBOX_ENTRIES", 100)
    inbox = names.new_inbox()
    for client in range(110):
        with suppress(ChannelFull):
            layer.send(f"{inbox}{client}", {})
    assert redis_server.command("LLEN", f"asgi:{{0}}:queue:{inbox}") == ":100"
    for _ in range(60):
        layer.group_add("room", f"{inbox}1")
        layer.group_discard("room", f"{inbox}1")
    assert redis_server.command("LLEN", f"asgi:{{0}}:queue:{inbox}") == ":200"
    assert layer.group_channels("room") == []


def calls(server: RedisServer, command: str) -> int:
    """Return how often the server ran a command since its statistics were reset."""
    return server.statistics().get(command, 0)


def test_what_a_script_trims_is_counted(redis_url: str, raw: redis.Redis) -> None:
    with layer_on(redis_url, capacity=2, expiry=0.1) as layer:
        layer.send("jobs", {})
        layer.send("jobs", {})
        raw.persist("asgi:{0}:queue:jobs")  # otherwise the server drops the whole queue a second later
        time.sleep(0.15)  # the expiry itself is what is tested
        layer.send("jobs", {})
        assert layer.channel_statistics("jobs")["lost_expired"] == 2


def test_an_encrypted_message_cannot_be_read_on_the_server(redis_url: str, raw: redis.Redis) -> None:
    with layer_on(redis_url, symmetric_encryption_keys=["secret"]) as layer:
        layer.send("jobs", {"text": "confidential"})
        (entry,) = raw.lrange("asgi:{0}:queue:jobs", 0, -1)
        assert b"confidential" not in entry
        assert layer.receive(["jobs"]) == ("jobs", {"text": "confidential"})


def test_keys_can_be_replaced_one_by_one(redis_url: str) -> None:
    with (
        layer_on(redis_url, symmetric_encryption_keys=["old"]) as old,
        layer_on(redis_url, symmetric_encryption_keys=["new", "old"]) as both,
        layer_on(redis_url, symmetric_encryption_keys=["new"]) as new,
    ):
        old.send("jobs", {"n": 1})
        assert both.receive(["jobs"])[1] == {"n": 1}
        both.send("jobs", {"n": 2})
        assert new.receive(["jobs"])[1] == {"n": 2}


@pytest.mark.parametrize(("writer", "reader"), [(["a"], ["b"]), (["a"], None), (None, ["b"])])
def test_a_message_under_another_key_is_counted_and_kills_no_reader(
    redis_url: str, writer: list[str] | None, reader: list[str] | None
) -> None:
    with (
        layer_on(redis_url, symmetric_encryption_keys=writer) as writing,
        layer_on(redis_url, symmetric_encryption_keys=reader) as reading,
    ):
        writing.send("jobs", {"n": 1})
        assert reading.receive(["jobs"]) == (None, None)
        assert reading.losses.as_dict() == {"undecodable": 1}
        assert reading.channel_statistics("jobs")["lost_undecodable"] == 1


def test_an_encrypted_message_is_only_read_where_it_was_sent(redis_url: str, raw: redis.Redis) -> None:
    with layer_on(redis_url, symmetric_encryption_keys=["secret"]) as layer:
        layer.send("bills", {"text": "pay"})
        raw.rpush("asgi:{0}:queue:refunds", *raw.lrange("asgi:{0}:queue:bills", 0, -1))
        assert layer.receive(["refunds"]) == (None, None)
        assert layer.losses.as_dict() == {"undecodable": 1}
        assert layer.receive(["bills"]) == ("bills", {"text": "pay"})


def test_a_single_key_given_as_text_is_refused() -> None:
    with pytest.raises(ValueError, match="list of keys"):
        RedisChannelLayer(symmetric_encryption_keys="secret")


def test_the_arguments_are_those_of_1_x_in_their_order() -> None:
    assert list(signature(RedisChannelLayer).parameters) == [
        "expiry",
        "hosts",
        "prefix",
        "group_expiry",
        "capacity",
        "channel_capacity",
        "symmetric_encryption_keys",
        "stats_prefix",
        "connection_kwargs",
    ]


@pytest.mark.parametrize(("query", "options"), [("", {"socket_timeout": 0.2}), ("?socket_timeout=0.2", {})])
def test_how_long_an_answer_may_take_is_an_argument_or_in_the_url(
    own_redis: RedisServer, query: str, options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "REPLY_TIMEOUT", 3600.0)  # longer than a test may take
    with layer_on(own_redis.url + query, connection_kwargs=options) as layer:
        layer.send("jobs", {})
        own_redis.pause()
        with pytest.raises(LayerUnavailable):
            layer.send("jobs", {})


def test_connection_arguments_reach_the_connections(own_redis: RedisServer) -> None:
    own_redis.command("CONFIG", "SET", "requirepass", "secret")
    with layer_on(own_redis.url, connection_kwargs={"password": "secret"}) as layer:
        layer.send("jobs", {})
        assert layer.receive(["jobs"]) == ("jobs", {})


def test_a_server_that_has_too_many_clients_is_named_with_the_next_step(own_redis: RedisServer) -> None:
    """Also on an event loop, where no error may be left to itself: asyncio would report it when memory is collected."""
    refused = pytest.raises(LayerUnavailable, match=r"max number of clients reached.*Raise `maxclients`")
    reported: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        for _ in range(20):
            with layer_on(own_redis.url) as layer, refused:
                await layer.send_async("jobs", {})
        gc.collect()

    own_redis.command("CONFIG", "SET", "maxclients", "1")
    with socket.create_connection(("127.0.0.1", own_redis.port)):
        with layer_on(own_redis.url) as layer, refused:
            layer.send("jobs", {})
        asyncio.run(main())
    assert reported == []


def test_data_that_is_lost_as_soon_as_its_epoch_began_is_no_sign_of_another_server(own_redis: RedisServer) -> None:
    async def connect() -> None:
        await layer.run_async([Heartbeat(inbox)])
        await layer.close_async()

    inbox = names.new_inbox()
    with layer_on(own_redis.url) as layer:
        for _ in range(5):  # numbers of epochs count quarters of seconds
            asyncio.run(connect())
            own_redis.flush()
            before = layer.run([Heartbeat(inbox)])
            asyncio.run(connect())  # this registers anew
            assert layer.run([Heartbeat(inbox)]) == before
