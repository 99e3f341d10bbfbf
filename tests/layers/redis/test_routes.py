"""The shard of each step, and one result from those of several shards. No server."""

from __future__ import annotations

from typing import Any

import pytest

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.redis.routes import Routes, ShardRequest, marked, merge
from channels_classic.layers.results import Announcement, Item, Taken
from channels_classic.layers.steps import (
    Entry,
    Flush,
    GetCounters,
    GetPrograms,
    GetStatistics,
    Heartbeat,
    Join,
    Length,
    Push,
    PutBack,
    Step,
    Take,
)

DOWN = LayerUnavailable("redis://a:6379", "connection refused", "")
INBOX = "interface.v2.aaaa!"


@pytest.fixture
def routes() -> Routes:
    return Routes(range(3), range(3))


def shards(routes: Routes, step: Step, *down: int) -> list[int]:
    return [request.shard for request in routes.requests(step, set(down))]


def push(queue: str) -> Push:
    return Push(queue, [Entry(b"", 60)])


def test_messages_of_a_plain_channel_go_round(routes: Routes) -> None:
    found = [shards(routes, push("work"))[0] for _ in range(6)]
    assert sorted(found[:3]) == [0, 1, 2]
    assert found[3:] == found[:3]


def test_a_shard_that_is_down_gets_nothing_unless_all_are(routes: Routes) -> None:
    assert {shards(routes, push("work"), 0, 2)[0] for _ in range(4)} == {1}
    assert {shards(routes, push("work"), 0, 1, 2)[0] for _ in range(4)} == {0, 1, 2}


@pytest.mark.parametrize("queue", [INBOX, "answers?abc"])
def test_an_inbox_has_one_shard(routes: Routes, queue: str) -> None:
    assert {shards(routes, push(queue))[0] for _ in range(4)} == {routes.pin(queue)}
    assert shards(routes, Length(queue)) == [routes.pin(queue)]


def test_a_group_has_one_shard(routes: Routes) -> None:
    assert shards(routes, Join("room", INBOX, ["a"])) == [routes.pin("room")]


def test_a_take_is_split_by_where_its_queues_are(routes: Routes) -> None:
    takes = routes.takes(Take(["work", INBOX]))
    assert {shard: take.queues for shard, take in takes.items()} == {
        shard: ["work", INBOX] if shard == routes.pin(INBOX) else ["work"] for shard in range(3)
    }


def test_an_item_is_put_back_where_it_came_from(routes: Routes) -> None:
    taken = marked(ShardRequest(2, Take(["work"]), Taken("work", [Item(b"a", "raw")])))
    (request,) = routes.requests(PutBack("work", taken.items), set())
    assert (request.shard, request.step) == (2, PutBack("work", [Item(b"a", "raw")]))


def test_each_shard_hears_the_epoch_that_was_restored_there(routes: Routes) -> None:
    requests = routes.requests(Heartbeat(INBOX, [7, 8]), set())
    assert requests[0].shard == routes.pin(INBOX)
    assert [request.step.restored for request in requests if isinstance(request.step, Heartbeat)] == [[7], [8], [None]]


def test_only_a_plain_channel_may_try_another_shard(routes: Routes) -> None:
    down = {routes.pin(INBOX)}
    assert routes.refusal(push("work"), DOWN, down).again
    assert not routes.refusal(push("work"), DOWN, {0, 1, 2}).again
    assert not routes.refusal(push(INBOX), DOWN, down).again
    assert not routes.refusal(Join("room", INBOX, ["a"]), DOWN, down).again


@pytest.mark.parametrize(
    ("step", "results", "merged"),
    [
        (Length("work"), [1, 2, 3], 6),
        (Length("work"), [1, DOWN, 3], 4),
        (Length("work"), [DOWN, DOWN], DOWN),
        (
            GetCounters(),
            [[("full", "a", 1)], [("full", "a", 2), ("dead", "b", 1)]],
            [("full", "a", 3), ("dead", "b", 1)],
        ),
        (GetStatistics("a"), [{"messages_max_age": 3}, {"messages_max_age": 5}], {"messages_max_age": 5}),
        (Flush(), [["b", "a"], ["a"]], ["a", "b"]),
        (Flush(), [["a"], DOWN], DOWN),
        (Heartbeat(INBOX), [(4,), DOWN, (6,)], (4, None, 6)),
        (Heartbeat(INBOX), [DOWN, (5,)], DOWN),
        (
            GetPrograms(),
            [[Announcement("p", b"old", 9.0)], [Announcement("p", b"new", 1.0)]],
            [Announcement("p", b"new", 1.0)],
        ),
        (Join("room", INBOX, ["a"]), [DOWN], DOWN),
    ],
)
def test_results_of_shards_become_one(step: Step, results: list[Any], merged: object) -> None:
    assert merge(step, results) == merged


def test_a_refusal_is_the_result() -> None:
    refusal = StepRefused("redis://a:6379", "OOM")
    assert merge(Length("work"), [refusal]) is refusal
