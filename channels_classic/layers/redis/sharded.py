"""Several shards as one connection for one thread: each step goes to its shard, a take waits for all shards at once.

What shards have for a take at the same time is handed out one by one: the first is given, the others go back to the
head of their lists before it is. So what a busy worker does not work on yet, another one can have.
"""

from __future__ import annotations

import select
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.losses import Losses
from channels_classic.layers.pool import PROBE_AFTER, UNBLOCK_INTERVAL, answers, probes, refused_for_now
from channels_classic.layers.redis.connector import REPLY_TIMEOUT
from channels_classic.layers.redis.routes import Routes, ShardRequest, decide, marked, merge
from channels_classic.layers.redis.shards import ShardConnection, Shards
from channels_classic.layers.results import Taken
from channels_classic.layers.steps import PutBack, Step, Take

INCOMPLETE = 0.5
"""Seconds for which a take waits for some shards while others are down."""

UNBLOCK_PAUSE = 0.05
"""Seconds after an attempt to end a take that failed: it needs a connection of its own, which may break alone."""


class ShardedConnection:
    """A `Connection` to several shards, which connects to each when it is needed."""

    def __init__(self, shards: Shards, routes: Routes, losses: Losses) -> None:
        self._shards = shards
        self._routes = routes
        self._losses = losses
        self._parts: dict[int, ShardConnection] = {}
        self._used: dict[int, float] = {}
        """The time at which each shard last answered: one may idle while others are in use."""
        self._waiting: defaultdict[int, deque[ShardRequest]] = defaultdict(deque)
        self._unread: deque[tuple[Step, list[ShardRequest]]] = deque()
        self._kept: deque[Taken] = deque()
        self._blocked: Sequence[int] = ()
        self._woken = False
        self._connect()

    def _connect(self) -> None:
        """Connect to at least one shard. Raise `LayerUnavailable`."""
        failed: LayerUnavailable | None = None
        for shard in self._routes.round_robin(self._routes.everywhere, self._shards.down):
            try:
                self._open(shard)
            except LayerUnavailable as error:
                failed = failed or error
            else:
                return
        assert failed is not None
        raise failed

    # Writing

    def write(self, steps: Sequence[Step]) -> None:
        by_shard: dict[int, list[ShardRequest]] = {}
        for step in steps:
            requests = self._requests(step)
            self._unread.append((step, requests))
            for request in requests:
                by_shard.setdefault(request.shard, []).append(request)
        for shard, requests in by_shard.items():
            self._put(shard, requests)

    def _requests(self, step: Step) -> list[ShardRequest]:
        return self._begin_take(step) if isinstance(step, Take) else self._routes.requests(step, self._shards.down)

    def _begin_take(self, step: Take) -> list[ShardRequest]:
        """Wait at a single shard; of several, look at the next in turn first: under load it has an entry."""
        takes = self._routes.takes(step)
        if not takes:
            return []
        shard = self._routes.round_robin(takes, self._shards.down)[0]
        if len(takes) > 1:
            return [ShardRequest(shard, replace(takes[shard], timeout=0.0))]
        return [ShardRequest(shard, self._blocking(takes, [shard])[shard])]

    def _blocking(self, takes: dict[int, Take], shards: Sequence[int]) -> dict[int, Take]:
        """Return `takes` as they may block, now that `wake` knows of them."""
        self._blocked = shards  # before `_woken` is read: `wake` looks at them the other way round
        if self._woken:
            return {shard: replace(takes[shard], timeout=0.0) for shard in shards}
        return {shard: takes[shard] for shard in shards}

    def _put(self, shard: int, requests: Sequence[ShardRequest]) -> None:
        try:
            part = self._part(shard, [request.step for request in requests])
        except LayerUnavailable as error:
            for request in requests:
                request.end(self._routes.refusal(request.step, error, self._shards.down))
            return
        self._waiting[shard].extend(requests)
        try:
            part.write([request.step for request in requests])
        except LayerUnavailable as error:
            self._lose(shard, error)

    def _part(self, shard: int, steps: Sequence[Step]) -> ShardConnection:
        part = self._parts.get(shard)
        if part is not None and not self._waiting[shard] and not self._still_answers(part, shard, steps):
            # It ended while other shards were in use; data written to it would be lost.
            part.close()
            del self._parts[shard]
            part = None
        return part or self._open(shard)

    def _still_answers(self, part: ShardConnection, shard: int, steps: Sequence[Step]) -> bool:
        idled = time.monotonic() - self._used[shard]
        return part.usable() and (idled < PROBE_AFTER or answers(part, probes(steps)))

    def _open(self, shard: int) -> ShardConnection:
        part = self._parts[shard] = self._shards.open(shard)
        self._used[shard] = time.monotonic()
        return part

    def _lose(self, shard: int, error: LayerUnavailable) -> None:
        """Handle a broken shard: the outcome of its outstanding requests is unknown."""
        part = self._parts.pop(shard, None)
        if part is not None:
            part.close()
        self._shards.lost(shard, error)
        requests, self._waiting[shard] = self._waiting[shard], deque()
        for request in requests:
            request.end(error)

    # Reading

    def read(self) -> Any:
        step, requests = self._unread.popleft()
        if isinstance(step, Take):
            result = self._take(step, requests)
            self._blocked, self._woken = (), False
        else:
            result = merge(step, [self._await(request) for request in requests])
        if isinstance(result, LayerUnavailable):
            self._give_up()
            raise result
        return result

    def _await(self, request: ShardRequest) -> Any:
        while not request.done:
            self._read_next(request.shard)
        return request.result

    def _read_next(self, shard: int) -> None:
        try:
            result = self._parts[shard].read()
        except LayerUnavailable as error:
            self._lose(shard, error)
        else:
            self._used[shard] = time.monotonic()
            self._waiting[shard].popleft().end(result)

    def _catch_up(self, shard: int) -> None:
        while self._waiting[shard]:
            self._read_next(shard)

    def _give_up(self) -> None:
        """Put back what was taken, before this connection is abandoned and nobody asks for it."""
        for _, requests in self._unread:
            self._give_back(requests)
        for shard in list(self._waiting):
            self._catch_up(shard)

    def _give_back(self, requests: Sequence[ShardRequest]) -> None:
        for request in requests:
            if isinstance(request.step, Take):
                if request.step.timeout:
                    self._end(request)
                taken = self._await(request)
                if isinstance(taken, Taken):
                    self._return(request.shard, taken)

    # Taking

    def _take(self, step: Take, requests: Sequence[ShardRequest]) -> Any:
        if self._kept:
            self._give_back(requests)
            return self._kept.popleft()
        if not requests:
            return None
        first = requests[0]
        takes = self._routes.takes(step)
        if isinstance(self._await(first), Taken) or len(takes) == 1:
            return marked(first)
        return self._race(takes) if step.timeout else self._look(takes, first)

    def _look(self, takes: dict[int, Take], first: ShardRequest) -> Any:
        """Look at one shard after the other without waiting."""
        for shard in self._routes.round_robin(takes, self._shards.down):
            if shard != first.shard:
                request = ShardRequest(shard, takes[shard])
                self._put(shard, [request])
                if isinstance(self._await(request), Taken):
                    return marked(request)
                first = first if first.result is None else request
        return first.result

    def _race(self, takes: dict[int, Take]) -> Any:
        """Wait for all shards at once; the first answer ends the waiting at the others."""
        for shard in takes:
            self._catch_up(shard)
        blocking = self._blocking(takes, list(takes))
        requests = [ShardRequest(shard, take) for shard, take in blocking.items()]
        for request in requests:
            self._put(request.shard, [request])
        self._wait_for_one(requests)
        for request in requests:
            self._end(request)
        first, others = decide(requests)
        for request in others:
            self._return(request.shard, request.result)
        return marked(first)

    def _wait_for_one(self, requests: Sequence[ShardRequest]) -> None:
        """Wait until one has an answer or breaks; not for long while a shard is down, as it may be back soon."""
        racing = [request for request in requests if not request.done]
        if not racing:
            return
        limit = max(_timeout(request) for request in racing) + REPLY_TIMEOUT
        ready = self._readable(
            [request.shard for request in racing], limit if len(racing) == len(requests) else INCOMPLETE
        )
        for request in racing:
            if request.shard in ready:
                self._await(request)

    def _readable(self, shards: Sequence[int], timeout: float) -> set[int]:
        poll = select.poll()
        numbers = {self._parts[shard].fileno(): shard for shard in shards}
        for number in numbers:
            poll.register(number, select.POLLIN)
        return {numbers[number] for number, _ in poll.poll(max(0.0, timeout) * 1000)}

    def _end(self, request: ShardRequest) -> None:
        """End a take that blocks, and read its result. The read is never cut short: it may have popped entries."""
        deadline = time.monotonic() + REPLY_TIMEOUT
        while not request.done:
            try:
                self._parts[request.shard].unblock()
            except LayerUnavailable as error:
                if self._readable([request.shard], UNBLOCK_PAUSE):
                    self._read_next(request.shard)
                elif time.monotonic() > deadline:
                    self._lose(request.shard, error)
            else:
                if self._readable([request.shard], UNBLOCK_INTERVAL) or time.monotonic() > deadline:
                    self._read_next(request.shard)

    def _return(self, shard: int, taken: Taken) -> None:
        """Put back what came from a slower shard; losses among it are kept for the next take."""
        if taken.items:
            self._put_back(shard, PutBack(taken.queue, taken.items))
        if taken.lost:
            self._kept.append(Taken(taken.queue, [], taken.lost))

    def _put_back(self, shard: int, step: PutBack, again: bool = True) -> None:
        request = ShardRequest(shard, step)
        request.on_failure = partial(self._not_put_back, request, step, again)
        self._put(shard, [request])

    def _not_put_back(self, request: ShardRequest, step: PutBack, again: bool) -> None:
        """Nobody else has these items: try once more where the server had forgotten its scripts."""
        if again and refused_for_now([request.result]):
            self._put_back(request.shard, step, again=False)
        else:
            self._losses.count("broker", step.queue, len(step.items))

    # The rest of the contract

    def usable(self) -> bool:
        for shard, part in list(self._parts.items()):
            if self._waiting[shard]:
                self._catch_up(shard)
            elif not part.usable():
                self._parts.pop(shard).close()
        return True

    def wake(self) -> None:
        self._woken = True
        for shard in self._blocked:
            part = self._parts.get(shard)
            if part is not None:
                part.wake()
                return

    def close(self) -> None:
        self._blocked = ()
        kept, self._kept = self._kept, deque()
        count_lost(self._losses, kept)
        parts, self._parts = self._parts, {}
        for part in parts.values():
            part.close()


def count_lost(losses: Losses, kept: Iterable[Taken]) -> None:
    """Count losses that were kept for a take that does not come any more."""
    for taken in kept:
        for kind, _ in taken.lost:
            losses.count(kind, taken.queue)


def _timeout(request: ShardRequest) -> float:
    return request.step.timeout if isinstance(request.step, Take) else 0.0
