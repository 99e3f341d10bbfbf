"""The messages that recoverable groups keep: the steps of every layer, and the part of channels that nobody owns."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from channels_classic import Group
from channels_classic.exceptions import StepRefused
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import EntryKind, decode, decode_kept
from channels_classic.layers.history import (
    ALL,
    BYTES_LIMIT,
    EVERYTHING,
    HEAD,
    NOWHERE,
    Cursor,
    Histories,
    make_retention,
    parse_cursor,
)
from channels_classic.layers.names import new_inbox
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.results import History, Start
from channels_classic.layers.steps import Heartbeat, Join, Leave, Members, ReadHistory, Record, SetStart, Take
from channels_classic.message import Message
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually
from tests.worker.harness import drain, make_worker, running


def run(layer: BaseChannelLayer, step: Any) -> Any:
    (result,) = layer.run([step])
    return result


def record(layer: BaseChannelLayer, number: int, **options: Any) -> Any:
    options = {"keep": 3, "seconds": 60.0, **options}
    return run(layer, Record("g", str(number).encode(), **options))


def kept(history: History) -> list[tuple[int, bytes]] | None:
    return None if history.kept is None else [(entry.position, entry.payload) for entry in history.kept]


def test_messages_have_positions_and_the_last_ones_are_kept(layer: BaseChannelLayer) -> None:
    first = record(layer, 1)
    recorded = [record(layer, number) for number in range(2, 6)]
    assert {found.life for found in recorded} == {first.life}
    assert [first.position, *(found.position for found in recorded)] == [1, 2, 3, 4, 5]
    history = run(layer, ReadHistory("g", ALL, 0))
    assert (history.life, history.head) == (first.life, 5)
    assert kept(history) == [(3, b"3"), (4, b"4"), (5, b"5")]
    assert kept(run(layer, ReadHistory("g", first.life, 3))) == [(4, b"4"), (5, b"5")]
    assert kept(run(layer, ReadHistory("g", first.life, 2))) == kept(history)
    assert kept(run(layer, ReadHistory("g", first.life, 5))) == []
    assert kept(run(layer, ReadHistory("g", HEAD, 0))) == []


def test_a_cursor_whose_messages_are_gone_or_never_were_gets_nothing_at_all(layer: BaseChannelLayer) -> None:
    life = {record(layer, number).life for number in range(1, 6)}.pop()
    other = run(layer, Record("other", b"", 3, 60.0))
    for cursor in [(life, 1), (life, 0), (life, 6), (life + 1, 3), (other.life, 1), (NOWHERE, 0), (life, 10**14)]:
        assert run(layer, ReadHistory("g", *cursor)).kept is None, cursor
    assert other.life != life
    assert kept(run(layer, ReadHistory("unknown", ALL, 0))) == []


def test_messages_are_kept_for_a_time_and_positions_for_longer(layer: BaseChannelLayer) -> None:
    """A reader that has the last message missed nothing, even if it is no longer kept."""
    for number in range(1, 4):
        life = record(layer, number, seconds=0.3).life
    time.sleep(0.4)
    assert kept(run(layer, ReadHistory("g", life, 3))) == []
    assert run(layer, ReadHistory("g", life, 2)).kept is None
    assert record(layer, 4).position == 4
    assert kept(run(layer, ReadHistory("g", life, 3))) == [(4, b"4")]
    assert run(layer, ReadHistory("g", life, 2)).kept is None


def test_what_is_kept_is_bounded_in_bytes(layer: BaseChannelLayer) -> None:
    large = b"x" * (BYTES_LIMIT // 2 - 100)
    for _ in range(4):
        run(layer, Record("g", large, 100, 60.0))
    assert [entry.position for entry in run(layer, ReadHistory("g", ALL, 0)).kept] == [3, 4]
    run(layer, Record("g", b"x" * (BYTES_LIMIT + 1), 100, 60.0))
    assert [entry.position for entry in run(layer, ReadHistory("g", ALL, 0)).kept] == [5]
    record(layer, 6)
    assert [entry.position for entry in run(layer, ReadHistory("g", ALL, 0)).kept] == [6]


def test_it_is_known_whether_a_member_may_have_it(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    run(layer, Heartbeat(inbox, run(layer, Heartbeat(inbox))))
    run(layer, Join("g", inbox, ["a"]))
    assert run(layer, ReadHistory("g", ALL, 0, inbox, "a")).is_member
    assert not run(layer, ReadHistory("g", ALL, 0, inbox, "b")).is_member


def test_the_look_up_comes_with_it(layer: BaseChannelLayer) -> None:
    layer.group_add("g", "plain")
    assert list(record(layer, 1).audience.channels) == ["plain"]


def test_after_a_flush_positions_begin_a_new_life(layer: BaseChannelLayer) -> None:
    life = record(layer, 1).life
    layer.flush()
    assert run(layer, ReadHistory("g", life, 1)).kept is None
    assert record(layer, 2).position == 1
    assert run(layer, ReadHistory("g", life, 1)).kept is None


def test_positions_last_for_a_day_after_each_message(redis_server: RedisServer) -> None:
    """Whatever the seconds of the messages before: they are not renewed for each message."""
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url])
    day = 86_400_000
    record(layer, 1, seconds=86_400.0)
    moment = int(time.time() * 1000)
    redis_server.command("HSET", "asgi:{0}:history:g", "lasts", str(moment + day - 1))
    redis_server.command("PEXPIRE", "asgi:{0}:history:g", "5000")
    record(layer, 2, seconds=1.0)
    assert day <= int(redis_server.command("PTTL", "asgi:{0}:history:g")[1:]) <= day * 9 / 8
    redis_server.command("SET", "asgi:{0}:group:odd", "x")
    with pytest.raises(StepRefused, match="WRONGTYPE"):
        layer.send_group("odd", {}, keep=3)
    assert int(redis_server.command("PTTL", "asgi:{0}:history:odd")[1:]) >= day, "a refusal leaves nothing for ever"
    layer.close()


def test_after_a_fail_over_positions_begin_a_new_life(redis_server: RedisServer) -> None:
    """They may have gone backwards: the same position may be that of another message."""
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url])
    life = record(layer, 1).life
    redis_server.command("HSET", "asgi:{0}:epoch", "since", str(int(time.time() * 1_000_000) + 1))
    assert run(layer, ReadHistory("g", life, 1)).kept is None
    assert record(layer, 2).position == 1
    layer.close()


def test_a_start_is_kept_when_the_join_behind_it_finds_members_of_an_earlier_epoch(redis_server: RedisServer) -> None:
    """Otherwise the owner would serve the client from nowhere, and what it missed would be left out."""
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url])
    inbox = new_inbox()
    record(layer, 1)
    run(layer, Join("g", inbox, ["old"]))
    redis_server.command("HSET", "asgi:{0}:epoch", "since", str(int(time.time() * 1_000_000) + 1))
    start, _ = layer.run([SetStart("g", inbox, "late", HEAD, 0, False), Join("g", inbox, ["late"])])
    roster = run(layer, Members("g", inbox))
    assert set(roster.members) == {"late"}
    assert roster.starts == {"late": start}
    layer.close()


def test_what_is_kept_is_encrypted_where_messages_are(redis_server: RedisServer) -> None:
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url], symmetric_encryption_keys=["a key"])
    layer.send_group("g", {"text": "secret"}, keep=3)
    with redis.Redis.from_url(redis_server.url) as client:
        (stored,) = client.lrange("asgi:{0}:kept:g", 0, -1)
    assert b"secret" not in stored
    (entry,) = run(layer, ReadHistory("g", ALL, 0)).kept
    assert decode_kept(entry.payload) == ({"text": "secret"}, "")
    layer.close()


def test_nothing_is_kept_of_groups_that_do_not_ask_for_it(redis_server: RedisServer) -> None:
    redis_server.flush()
    layer = RedisChannelLayer(hosts=[redis_server.url])
    layer.group_add("g", "plain")
    layer.send_group("g", {})
    assert redis_server.command("EXISTS", "asgi:{0}:history:g", "asgi:{0}:kept:g") == ":0"
    layer.close()


def test_groups_that_nobody_uses_are_forgotten() -> None:
    now = [0.0]
    histories = Histories(lambda: now[0], iter(range(1, 100)).__next__)
    histories.record(Record("g", b"1", 3, 60.0))
    now[0] = 100.0
    histories.sweep(50.0)
    assert histories.read(ReadHistory("g", HEAD, 0)).life == 2


# Cursors and what is asked for


@pytest.mark.parametrize("text", ["", "x", "1", "1-", "-1", "0-1", "1-2-3", "1-1\n", "9" * 30 + "-1", "１-１", "-2-0"])
def test_text_that_no_layer_made_is_a_cursor_from_nowhere(text: str) -> None:
    assert parse_cursor(text) == Cursor(NOWHERE, 0)


def test_cursors_are_text() -> None:
    assert parse_cursor(str(Cursor(12, 34))) == Cursor(12, 34)
    assert parse_cursor(EVERYTHING) == Cursor(ALL, 0)
    with pytest.raises(TypeError, match="expected a cursor"):
        parse_cursor(0)


@pytest.mark.parametrize(
    ("keep", "seconds"),
    [(-1, 60), (10_001, 60), (1.5, 60), ("3", 60), (True, 60), (3, 0), (3, -1), (3, 86_401), (3, "x"), (3, True)],
)
def test_numbers_that_mean_nothing_are_refused(keep: Any, seconds: Any) -> None:
    with pytest.raises(ValueError, match="expected the"):
        make_retention(keep, seconds)
    with pytest.raises(ValueError, match="expected the"):
        Group("g", channel_layer=object(), keep=keep, seconds=seconds)


def test_a_cursor_where_nothing_is_kept_is_refused(layer: BaseChannelLayer) -> None:
    with pytest.raises(ValueError, match=r"Group\('g', keep=…, seconds=…\)"):
        Group("g", channel_layer=layer).add("plain", after="1-1")
    with pytest.raises(ValueError, match="keeps nothing"):
        layer.group_add("g", "plain", after="1-1")
    with pytest.raises(TypeError, match="expected a cursor"):
        Group("g", channel_layer=layer, keep=3).add("plain", after=3)  # type: ignore[arg-type]  # that is the point
    assert layer.group_channels("g") == []


# Members


def numbers(layer: BaseChannelLayer, channel: str) -> list[int]:
    found = []
    while (received := layer.receive([channel]))[1] is not None:
        found.append(received[1]["n"])
    return found


def test_a_channel_that_nobody_owns_gets_what_it_missed(layer: BaseChannelLayer) -> None:
    group = Group("g", channel_layer=layer, keep=3)
    for n in range(5):
        group.send({"n": n}, but="left.out" if n == 4 else None)
    group.add("live")
    group.add("all", after=EVERYTHING)
    group.add("left.out", after=EVERYTHING)
    history = run(layer, ReadHistory("g", ALL, 0))
    group.add("some", after=f"{history.life}-4")
    group.add("gone", after=f"{history.life}-1")
    assert [numbers(layer, name) for name in ("live", "all", "left.out", "some", "gone")] == [
        *([], [2, 3, 4], [2, 3], [4], []),
    ]
    group.send({"n": 5})
    assert [numbers(layer, name) for name in ("live", "all", "left.out", "some", "gone")] == [[5]] * 5


def test_a_channel_that_is_added_again_gets_nothing_twice(layer: BaseChannelLayer) -> None:
    """With an identity or without, until it is discarded."""
    group = Group("g", channel_layer=layer, keep=3)
    group.send({"n": 1})
    for who in (None, "ada"):
        for _ in range(2):
            group.add("plain", after=EVERYTHING, who=who)
            assert layer.group_channels("g") == ["plain"]
    assert numbers(layer, "plain") == [1]
    group.send({"n": 2})
    group.add("plain", after=EVERYTHING)
    assert numbers(layer, "plain") == [2]
    group.discard("plain")
    group.add("plain", after=EVERYTHING, who="ada")
    assert numbers(layer, "plain") == [1, 2]


def test_kept_messages_for_which_a_channel_has_no_room_are_counted(layer: BaseChannelLayer) -> None:
    group = Group("g", channel_layer=layer, keep=3)
    for n in range(3):
        group.send({"n": n})
    for n in range(layer.capacity - 1):
        layer.send("plain", {"n": -n})
    group.add("plain", after=EVERYTHING)
    assert numbers(layer, "plain")[-1] == 0
    assert layer.losses.as_dict() == {"full": 2}


def test_a_group_that_keeps_one_message_gives_it_to_who_joins(layer: BaseChannelLayer) -> None:
    group = Group("price", channel_layer=layer, keep=1)
    group.add("early")
    for n in range(3):
        group.send({"n": n})
    history = run(layer, ReadHistory("price", ALL, 0))
    group.add("late")
    group.add("stale", after="1-1")
    group.add("current", after=f"{history.life}-{history.head}")
    assert [numbers(layer, name) for name in ("early", "late", "stale", "current")] == [[0, 1, 2], [2], [2], []]


def test_the_owner_of_a_client_learns_from_where_it_is_served(layer: BaseChannelLayer) -> None:
    """By the hint, or with its membership if that is lost."""
    inbox = new_inbox()
    run(layer, Heartbeat(inbox, run(layer, Heartbeat(inbox))))
    group = Group("g", channel_layer=layer, keep=3)
    group.send({"n": 1})
    group.add(f"{inbox}a")
    group.add(f"{inbox}b", after="12-34")
    group.add(f"{inbox}c", who="ada")
    layer.group_add("g", f"{inbox}d")
    entries = [decode(item.payload) for item in run(layer, Take([inbox], 10)).items]
    life = run(layer, ReadHistory("g", HEAD, 0)).life
    assert [(*entry[:3], *entry[5:]) for entry in entries] == [
        (EntryKind.JOINED, "g", "a", None, None, life, 1, False),
        (EntryKind.JOINED, "g", "b", None, None, 12, 34, False),
        (EntryKind.JOINED, "g", "c", "ada", b"\x80", life, 1, False),
        (EntryKind.JOINED, "g", "d"),
    ]
    here, nowhere = Start(life, 1, False), Start(12, 34, False)
    assert run(layer, Members("g", inbox)).starts == {"a": here, "b": nowhere, "c": here}
    layer.group_discard("g", f"{inbox}a")
    run(layer, Leave("g", inbox, ["c"], gone=True))
    assert run(layer, Members("g", inbox)).starts == {"b": nowhere}
    run(layer, Take([inbox], 10))
    group.send({"n": 2})
    (item,) = run(layer, Take([inbox], 10)).items
    assert decode(item.payload)[3:] == [{"n": 2}, "", life, 2]


@pytest.mark.django_db(transaction=True)
def test_a_member_that_is_added_again_keeps_the_start_that_it_has(layer: BaseChannelLayer) -> None:
    inbox = new_inbox()
    record(layer, 1)
    (_, start, *_) = layer.run([Heartbeat(inbox), SetStart("g", inbox, "a", HEAD, 0, False)])
    assert start == Start(start.life, 1, False)
    layer.run([Join("g", inbox, ["a", "plain"])])
    record(layer, 2)
    assert run(layer, SetStart("g", inbox, "a", HEAD, 0, False)) is None
    assert run(layer, SetStart("g", inbox, "plain", ALL, 0, False)) is None
    assert run(layer, Members("g", inbox)).starts == {"a": start}
    layer.run([Leave("g", inbox, ["a"])])
    assert run(layer, SetStart("g", inbox, "a", HEAD, 0, False)) == Start(start.life, 2, False)


def test_what_consumers_send_is_kept_in_order(layer: BaseChannelLayer) -> None:
    def consumer(message: Message) -> None:
        group = Group("g", channel_layer=message.channel_layer, keep=3, seconds=60)
        for n in range(5):
            group.send({"n": n})
            Group("plain", channel_layer=message.channel_layer).send({"n": n})
        group.send({"n": object()})

    for name in ("g", "plain"):
        layer.group_add(name, f"{name}.members")
    layer.send("test", {})
    with running(make_worker(layer, {"test": consumer})):
        for name in ("g", "plain"):
            assert [message["n"] for message in drain(layer, f"{name}.members", 5)] == [0, 1, 2, 3, 4]
        eventually(lambda: layer.losses.as_dict() == {"invalid": 1})
    history = run(layer, ReadHistory("g", ALL, 0))
    assert [decode_kept(entry.payload)[0]["n"] for entry in history.kept] == [2, 3, 4]
    assert history.head == 5
