"""Connections to several shards of which one breaks: what another one has handed out is not dropped. No server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.losses import Losses
from channels_classic.layers.redis.routes import Routes, ShardRequest
from channels_classic.layers.redis.sharded import ShardedConnection
from channels_classic.layers.redis.sharded_async import AsyncShardedConnection
from channels_classic.layers.results import Item, PushStatus, Taken
from channels_classic.layers.steps import PutBack, Step, Take

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
    """What opens the parts."""

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
