"""Several shards as one connection for one event loop: what `sharded` does for a thread, with the same routes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.losses import Losses
from channels_classic.layers.redis.routes import Errand, Routes, marked, merge
from channels_classic.layers.redis.sharded import INCOMPLETE
from channels_classic.layers.redis.shards import AsyncPart, Shards
from channels_classic.layers.steps import PutBack, Step, Take, Taken

_UNBLOCK = 0.005
"""Seconds between attempts to end a take: the first may come before the server has begun to wait."""


class AsyncShardedConnection:
    """An `AsyncConnection` to several shards. Connections to single shards are made when they are needed."""

    def __init__(self, shards: Shards, routes: Routes, losses: Losses) -> None:
        self._shards = shards
        self._routes = routes
        self._losses = losses
        self._parts: dict[int, AsyncPart] = {}
        self._kept: list[Taken] = []
        self._turn = asyncio.Lock()

    async def connect(self) -> None:
        """Reach one shard at least. Raises `LayerUnavailable`."""
        failed: LayerUnavailable | None = None
        for shard in self._routes.rotated(self._routes.everywhere, self._shards.away):
            try:
                self._parts[shard] = await self._shards.open_async(shard)
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
                # Cancelled in the middle: answers would be taken for those of the next steps.
                await self.close()
                raise

    async def _run(self, steps: Sequence[Step]) -> list[Any]:
        plan = [(step, self._errands(step)) for step in steps]
        await self._carry([errand for _, errands in plan for errand in errands])
        results = []
        for step, errands in plan:
            if isinstance(step, Take):
                results.append(await self._take(step, errands))
            else:
                results.append(merge(step, [errand.result for errand in errands]))
        lost = next((result for result in results if isinstance(result, LayerUnavailable)), None)
        if lost is not None:
            await self._give_back([(errand.shard, errand.result) for _, errands in plan for errand in errands])
            raise lost
        return results

    def _errands(self, step: Step) -> list[Errand]:
        if not isinstance(step, Take):
            return self._routes.errands(step, self._shards.away)
        takes = self._routes.takes(step)
        if not takes or self._kept:
            return []
        shard = self._routes.rotated(takes, self._shards.away)[0]
        return [Errand(shard, takes[shard] if len(takes) == 1 else replace(takes[shard], timeout=0.0))]

    async def _carry(self, errands: Sequence[Errand]) -> None:
        """Run errands, on all shards at once; each ends with a result."""
        by_shard: dict[int, list[Errand]] = {}
        for errand in errands:
            by_shard.setdefault(errand.shard, []).append(errand)
        if len(by_shard) == 1:
            ((shard, only),) = by_shard.items()
            await self._carry_to(shard, only)
        elif by_shard:
            await asyncio.gather(*(self._carry_to(shard, some) for shard, some in by_shard.items()))

    async def _carry_to(self, shard: int, errands: Sequence[Errand]) -> None:
        results: Sequence[Any]
        try:
            part = await self._part(shard)
        except LayerUnavailable as error:
            results = [self._routes.refusal(errand.step, error) for errand in errands]
        else:
            try:
                results = await part.run([errand.step for errand in errands])
            except LayerUnavailable as error:
                await self._lose(shard, error)
                results = [error] * len(errands)
        for errand, result in zip(errands, results, strict=True):
            errand.end(result)

    async def _part(self, shard: int) -> AsyncPart:
        part = self._parts.get(shard)
        if part is not None and not part.usable():
            # The server closed it while the others were talked to; what is written to it would be lost.
            del self._parts[shard]
            await part.close()
            part = None
        if part is None:
            part = self._parts[shard] = await self._shards.open_async(shard)
        return part

    async def _lose(self, shard: int, error: LayerUnavailable) -> None:
        part = self._parts.pop(shard, None)
        if part is not None:
            await part.close()
        self._shards.lost(shard, error)

    # Taking

    async def _take(self, step: Take, errands: Sequence[Errand]) -> Any:
        if not errands:
            return self._kept.pop(0) if self._kept else None
        first = errands[0]
        takes = self._routes.takes(step)
        if isinstance(first.result, Taken) or len(takes) == 1:
            return _mark(first)
        return await (self._race(takes) if step.timeout else self._look(takes, first))

    async def _look(self, takes: dict[int, Take], first: Errand) -> Any:
        """Look at one shard after the other without waiting."""
        for shard in self._routes.rotated(takes, self._shards.away):
            if shard != first.shard:
                errand = Errand(shard, takes[shard])
                await self._carry([errand])
                if isinstance(errand.result, Taken):
                    return _mark(errand)
                first = first if first.result is None else errand
        return first.result

    async def _race(self, takes: dict[int, Take]) -> Any:
        """Wait for all shards at once; the first that answers ends the waiting at the others."""
        errands = [Errand(shard, take) for shard, take in takes.items()]
        works = {asyncio.create_task(self._carry([errand])): errand for errand in errands}
        try:
            await self._first_answer(works)
            await asyncio.gather(*(self._end(work, errand.shard) for work, errand in works.items()))
        except BaseException:
            for work in works:
                work.cancel()
            await asyncio.wait(works, timeout=1)
            raise
        found = [errand for errand in errands if isinstance(errand.result, Taken)]
        if not found:
            # Shards that are away do not count while others are there.
            return next((None for errand in errands if errand.result is None), errands[0].result)
        found.sort(key=lambda errand: not errand.result.items)
        await self._give_back([(errand.shard, errand.result) for errand in found[1:]])
        return _mark(found[0])

    @staticmethod
    async def _first_answer(works: dict[asyncio.Task[None], Errand]) -> None:
        """Return once one shard has answered or broken. While one is away soon: it may be back any moment."""
        waiting, limit = set(works), None
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not done or any(not isinstance(works[work].result, StepRefused) for work in done):
                return
            limit = INCOMPLETE

    async def _end(self, work: asyncio.Task[None], shard: int) -> None:
        """End a take that waits. The read is never cut short: it may have popped something."""
        while not work.done():
            part = self._parts.get(shard)
            if part is not None:
                try:
                    await part.unblock()
                except LayerUnavailable:
                    await part.close()  # so that the read fails
            await asyncio.wait([work], timeout=_UNBLOCK)

    async def _give_back(self, results: Sequence[tuple[int, Any]]) -> None:
        """Put back what another shard was faster with; what is lost anyway is kept for the next take."""
        errands = []
        for shard, taken in results:
            if isinstance(taken, Taken) and taken.items:
                errand = Errand(shard, PutBack(taken.queue, taken.items))
                errand.undone = partial(self._losses.count, "broker", taken.queue, len(taken.items))
                errands.append(errand)
            if isinstance(taken, Taken) and taken.lost:
                self._kept.append(Taken(taken.queue, [], taken.lost))
        await self._carry(errands)

    def usable(self) -> bool:
        """Always: connections to shards are made again when they must."""
        return True

    async def close(self) -> None:
        """Let go of the connections."""
        parts, self._parts = self._parts, {}
        for part in parts.values():
            await part.close()


def _mark(errand: Errand) -> Any:
    return marked(errand.result, errand.shard) if isinstance(errand.result, Taken) else errand.result
