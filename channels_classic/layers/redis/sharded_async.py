"""Several shards as one connection for one event loop, as `sharded` is for a thread, with the same routes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.losses import Losses
from channels_classic.layers.pool import UNBLOCK_INTERVAL, refused_for_now, still_answers
from channels_classic.layers.redis.connector import REPLY_TIMEOUT
from channels_classic.layers.redis.routes import Routes, ShardRequest, decide, marked, merge
from channels_classic.layers.redis.sharded import INCOMPLETE, UNBLOCK_PAUSE, count_lost
from channels_classic.layers.redis.shards import Shards
from channels_classic.layers.results import Taken
from channels_classic.layers.steps import AsyncConnection, PutBack, Step, Take


class AsyncShardedConnection:
    """An `AsyncConnection` to several shards, which connects to each when it is needed."""

    def __init__(self, shards: Shards, routes: Routes, losses: Losses) -> None:
        self._shards = shards
        self._routes = routes
        self._losses = losses
        self._parts: dict[int, AsyncConnection] = {}
        self._used: dict[int, float] = {}
        """The time at which each shard last answered: one may idle while others are in use."""
        self._kept: list[Taken] = []
        self._turn = asyncio.Lock()

    async def connect(self) -> None:
        """Connect to at least one shard. Raise `LayerUnavailable`."""
        failed: LayerUnavailable | None = None
        for shard in self._routes.round_robin(self._routes.everywhere, self._shards.down):
            try:
                await self._open(shard)
            except LayerUnavailable as error:
                failed = failed or error
            else:
                return
        assert failed is not None
        raise failed

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        async with self._turn:
            try:
                return await self._run(steps)
            except LayerUnavailable:
                raise
            except BaseException:
                # Cancelled midway: the replies would be mistaken for those of the next steps.
                await self.close()
                raise

    async def _run(self, steps: Sequence[Step]) -> list[Any]:
        plan = [(step, self._requests(step)) for step in steps]
        await self._carry([request for _, requests in plan for request in requests])
        results = [
            None if isinstance(step, Take) else merge(step, [request.result for request in requests])
            for step, requests in plan
        ]
        lost = next((result for result in results if isinstance(result, LayerUnavailable)), None)
        for index, (step, requests) in enumerate(plan):
            if isinstance(step, Take) and lost is None:
                results[index] = await self._take(step, requests)
                lost = results[index] if isinstance(results[index], LayerUnavailable) else None
        if lost is not None:
            await self._give_back([(request.shard, request.result) for _, requests in plan for request in requests])
            raise lost
        return results

    def _requests(self, step: Step) -> list[ShardRequest]:
        if not isinstance(step, Take):
            return self._routes.requests(step, self._shards.down)
        takes = self._routes.takes(step)
        if not takes or self._kept:
            return []
        shard = self._routes.round_robin(takes, self._shards.down)[0]
        return [ShardRequest(shard, takes[shard] if len(takes) == 1 else replace(takes[shard], timeout=0.0))]

    async def _carry(self, requests: Sequence[ShardRequest]) -> None:
        """Carry out requests on all shards at once; each ends with a result."""
        by_shard: dict[int, list[ShardRequest]] = {}
        for request in requests:
            by_shard.setdefault(request.shard, []).append(request)
        if len(by_shard) == 1:
            ((shard, only),) = by_shard.items()
            await self._carry_to(shard, only)
        elif by_shard:
            await asyncio.gather(*(self._carry_to(shard, some) for shard, some in by_shard.items()))

    async def _carry_to(self, shard: int, requests: Sequence[ShardRequest]) -> None:
        results: Sequence[Any]
        steps = [request.step for request in requests]
        try:
            part = await self._part(shard, steps)
        except LayerUnavailable as error:
            results = [self._routes.refusal(request.step, error, self._shards.down) for request in requests]
        else:
            try:
                results = await self._run_on(part, steps)
                self._used[shard] = time.monotonic()
            except LayerUnavailable as error:
                await self._lose(shard, error)
                results = [error] * len(requests)
        for request, result in zip(requests, results, strict=True):
            request.end(result)

    @staticmethod
    async def _run_on(part: AsyncConnection, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps. Put back once more where the server had forgotten its scripts: nobody else has the items."""
        results = await part.run(steps)
        for index in refused_for_now(results):
            if isinstance(steps[index], PutBack) and part.usable():
                with suppress(LayerUnavailable):  # the other results are in hand
                    (results[index],) = await part.run([steps[index]])
        return results

    async def _part(self, shard: int, steps: Sequence[Step]) -> AsyncConnection:
        part = self._parts.get(shard)
        if part is not None and not await still_answers(part, self._used[shard], steps):
            # It ended while other shards were in use; data written to it would be lost.
            self._parts.pop(shard, None)
            await part.close()
            part = None
        return part or await self._open(shard)

    async def _open(self, shard: int) -> AsyncConnection:
        part = self._parts[shard] = await self._shards.open_async(shard)
        self._used[shard] = time.monotonic()
        return part

    async def _lose(self, shard: int, error: LayerUnavailable) -> None:
        part = self._parts.pop(shard, None)
        if part is not None:
            await part.close()
        self._shards.lost(shard, error)

    async def unblock(self) -> None:
        for part in list(self._parts.values()):
            await part.unblock()

    # Taking

    async def _take(self, step: Take, requests: list[ShardRequest]) -> Any:
        """Return the result of a take; what gave it is among `requests` then, so that it can be given back."""
        if not requests:
            if not self._kept:
                return None
            requests.append(ShardRequest(-1, step, self._kept.pop(0), done=True))  # losses alone
            return requests[-1].result
        first = requests[0]
        takes = self._routes.takes(step)
        if isinstance(first.result, Taken) or len(takes) == 1:
            return marked(first)
        return await (self._race(takes, requests) if step.timeout else self._look(takes, requests))

    async def _look(self, takes: dict[int, Take], requests: list[ShardRequest]) -> Any:
        """Look at one shard after the other without waiting."""
        first = looked_at = requests[0]
        for shard in self._routes.round_robin(takes, self._shards.down):
            if shard != looked_at.shard:
                request = ShardRequest(shard, takes[shard])
                requests.append(request)
                await self._carry([request])
                if isinstance(request.result, Taken):
                    return marked(request)
                first = first if first.result is None else request
        return first.result

    async def _race(self, takes: dict[int, Take], requests: list[ShardRequest]) -> Any:
        """Wait for all shards at once; the first answer ends the waiting at the others."""
        racing = [ShardRequest(shard, take) for shard, take in takes.items()]
        works = {asyncio.create_task(self._carry([request])): request for request in racing}
        try:
            await self._first_answer(works)
            await asyncio.gather(*(self._end(work, request.shard) for work, request in works.items()))
        except BaseException:
            for work in works:
                work.cancel()
            await asyncio.wait(works, timeout=1)
            raise
        first, others = decide(racing)
        requests.append(first)
        await self._give_back([(request.shard, request.result) for request in others])
        return marked(first)

    @staticmethod
    async def _first_answer(works: dict[asyncio.Task[None], ShardRequest]) -> None:
        """Return once one shard has answered or broken; soon while one is down, as it may be back."""
        waiting, limit = set(works), None
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not done or any(not isinstance(works[work].result, StepRefused) for work in done):
                return
            limit = INCOMPLETE

    async def _end(self, work: asyncio.Task[None], shard: int) -> None:
        """End a take that blocks. The read is not cut short at once: it may have popped entries."""
        deadline = time.monotonic() + REPLY_TIMEOUT
        while not work.done():
            pause, part = UNBLOCK_INTERVAL, self._parts.get(shard)
            if part is not None:
                try:
                    await part.unblock()
                    deadline = time.monotonic() + REPLY_TIMEOUT
                except LayerUnavailable:
                    pause = UNBLOCK_PAUSE
                    if time.monotonic() > deadline:
                        await part.close()  # so that the read fails
            await asyncio.wait([work], timeout=pause)

    async def _give_back(self, results: Sequence[tuple[int, Any]]) -> None:
        """Put back what came from a slower shard; losses among it are kept for the next take."""
        requests = []
        for shard, taken in results:
            if isinstance(taken, Taken) and taken.items:
                requests.append(ShardRequest(shard, PutBack(taken.queue, taken.items)))
                requests[-1].on_failure = partial(self._losses.count, "broker", taken.queue, len(taken.items))
            if isinstance(taken, Taken) and taken.lost:
                self._kept.append(Taken(taken.queue, [], taken.lost))
        await self._carry(requests)

    def usable(self) -> bool:
        """Return True: connections to shards are made anew when they must be."""
        return True

    async def close(self) -> None:
        """Close the connections, and count what nobody asks for any more."""
        kept, self._kept = self._kept, []
        count_lost(self._losses, kept)
        parts, self._parts = self._parts, {}
        for part in parts.values():
            await part.close()
