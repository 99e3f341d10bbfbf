"""Connections to several shards of which one breaks: what another one has handed out is not dropped. No server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.losses import Losses
from channels_classic.layers.redis.routes import Routes, ShardRequest
from channels_classic.layers.redis.sharded import ShardedConnection
from channels_classic.layers.redis.sharded_async import AsyncShardedConnection
from channels_classic.layers.results import Item, PushStatus, Taken
from channels_classic.layers.steps import Entry, Push, PutBack, Step, Take

ITEM = Item(b"message", b"raw")


def broken(*_: object) -> LayerUnavailable:
    return LayerUnavailable("a shard", "it broke", "")


class Part:
    """A shard that has one item, if any, and answers takes at once, or when it is told to."""

    def __init__(self, items: Sequence[Item] = ()) -> None:
        self.items = list(items)
        self.closed = False
        self.answers: Callable[[Step], Any] = self.answer

    def answer(self, step: Step) -> Any:
        if isinstance(step, Take):
            return Taken("jobs", [self.items.pop()]) if self.items else None
        if isinstance(step, PutBack):
            self.items += step.items
            return None
        return [PushStatus.ACCEPTED]

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        return [self.answers(step) for step in steps]

    def usable(self) -> bool:
        return not self.closed


class AsyncPart(Part):
    """A shard for one event loop."""

    async def unblock(self) -> None:
        raise broken()

    async def close(self) -> None:
        self.closed = True


class SyncPart(Part):
    """A shard for one thread."""

    def __init__(self, items: Sequence[Item] = ()) -> None:
        super().__init__(items)
        self.read_end, self.write_end = socket.socketpair()
        self.unread: list[Step] = []

    def write(self, steps: Sequence[Step]) -> None:
        self.unread += steps

    def read(self) -> Any:
        return self.answers(self.unread.pop(0))

    def fileno(self) -> int:
        return self.read_end.fileno()

    def unblock(self) -> None:
        self.write_end.send(b"the answer")
        raise broken()

    def close(self) -> None:
        self.closed = True
        self.read_end.close()
        self.write_end.close()


class Shards:
    """Opens the parts."""

    down: frozenset[int] = frozenset()

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts

    def open(self, shard: int) -> Any:
        return self.parts[shard]

    async def open_async(self, shard: int) -> Any:
        return self.parts[shard]

    def lost(self, shard: int, error: LayerUnavailable) -> None:
        pass


def test_a_take_that_cannot_be_ended_is_not_cut_short() -> None:
    async def main() -> None:
        part = AsyncPart()
        connection = AsyncShardedConnection(Shards([part]), Routes([0], [0]), Losses())  # type: ignore[arg-type]
        await connection.connect()
        await connection._end(asyncio.create_task(asyncio.sleep(0.2)), 0)
        assert not part.closed

    asyncio.run(main())


def test_an_answer_that_has_come_is_read_although_the_take_could_not_be_ended() -> None:
    part = SyncPart([ITEM])
    connection = ShardedConnection(Shards([part]), Routes([0], [0]), Losses())  # type: ignore[arg-type]
    request = ShardRequest(0, Take(["jobs"], 1, 60.0))
    connection._put(0, [request])
    connection._end(request)
    assert request.result == Taken("jobs", [ITEM])
    connection.close()


def sharded(parts: Sequence[AsyncPart], losses: Losses | None = None) -> AsyncShardedConnection:
    """A connection to `parts` that sends to the first one, and looks there first."""
    routes = Routes(range(len(parts)), range(len(parts)))
    routes._takes, routes._sends = count(0), count(0)
    return AsyncShardedConnection(Shards(parts), routes, losses or Losses())  # type: ignore[arg-type]


def breaks(step: Step) -> Any:
    raise broken()


@pytest.mark.parametrize("timeout", [0.0, 60.0], ids=["look", "race"])
@pytest.mark.parametrize("push_first", [False, True], ids=["take", "push"])
def test_what_another_shard_has_is_not_dropped_when_a_send_of_the_same_batch_is_lost(
    timeout: float, push_first: bool
) -> None:
    parts = [AsyncPart(), AsyncPart([ITEM])]
    parts[0].answers = breaks
    steps: list[Step] = [Take(["jobs"], 1, timeout), Push("other", [Entry(b"", 1)])]
    with pytest.raises(LayerUnavailable):
        asyncio.run(sharded(parts).run(steps[::-1] if push_first else steps))
    assert parts[1].items == [ITEM]


@pytest.mark.parametrize("timeout", [0.0, 60.0], ids=["look", "race"])
def test_what_a_look_at_another_shard_gave_goes_back_when_a_later_take_is_lost(timeout: float) -> None:
    parts = [AsyncPart(), AsyncPart([ITEM])]

    def breaks_later(step: Step) -> Any:
        if isinstance(step, Take) and step.queues == ["web!"]:
            raise broken()
        return parts[0].answer(step)

    parts[0].answers = breaks_later
    connection = sharded(parts)
    connection._routes.pin = lambda name: 0  # type: ignore[method-assign]
    # Both takes begin in one batch at the first shard, so that it is lost for both.
    with pytest.raises(LayerUnavailable):
        asyncio.run(connection.run([Take(["jobs"], 1, timeout), Take(["web!"], 1)]))
    assert parts[1].items == [ITEM]


def test_losses_in_hand_are_kept_when_a_batch_is_lost_and_counted_at_the_end() -> None:
    losses = Losses()
    part = AsyncPart()
    part.answers = breaks
    connection = sharded([part], losses)
    connection._kept.append(Taken("jobs", [], [("fenced", b"")]))

    async def main() -> None:
        with pytest.raises(LayerUnavailable):
            await connection.run([Take(["jobs"], 1), Push("other", [Entry(b"", 1)])])
        await connection.close()
        await connection.close()

    asyncio.run(main())
    assert losses.as_dict() == {"fenced": 1}


def test_losses_that_a_thread_has_in_hand_are_counted_at_the_end() -> None:
    losses = Losses()
    connection = ShardedConnection(Shards([SyncPart()]), Routes([0], [0]), losses)  # type: ignore[arg-type]
    connection._kept.append(Taken("jobs", [], [("fenced", b"")]))
    connection.close()
    connection.close()
    assert losses.as_dict() == {"fenced": 1}


def test_what_was_taken_is_not_dropped_when_the_second_attempt_to_put_back_breaks() -> None:
    part, losses = AsyncPart([ITEM]), Losses()

    def forgets(step: Step) -> Any:
        if not isinstance(step, PutBack):
            return part.answer(step)
        part.answers = breaks
        return StepRefused("a shard", "it forgot its scripts", again=True)

    part.answers = forgets
    back = PutBack("jobs", [Item(b"other", (0, b"other"))])
    taken, refused = asyncio.run(sharded([part], losses).run([Take(["jobs"], 1), back]))
    assert [item.payload for item in taken.items] == [b"message"]
    assert isinstance(refused, StepRefused)
