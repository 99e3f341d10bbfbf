"""Routing of steps to shards: a step for the whole layer becomes requests to shards, their results one result. Pure.

Plain channels are spread over shards; inboxes, `?` channels and groups are pinned to one by their name.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, repeat
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers import rng
from channels_classic.layers.losses import Count
from channels_classic.layers.redis.protocol import MISPLACED
from channels_classic.layers.results import Announcement, Item, Taken
from channels_classic.layers.steps import (
    Announce,
    Audit,
    Flush,
    GetCounters,
    GetPresence,
    GetPresenceGroups,
    GetPrograms,
    GetStatistics,
    Heartbeat,
    Join,
    JoinAs,
    Leave,
    Length,
    Lookup,
    MemberCount,
    Members,
    Publish,
    Push,
    PutBack,
    ReadHistory,
    Record,
    Renew,
    Restore,
    RestoreIdentities,
    Retire,
    SetStart,
    Step,
    Take,
    TakeNotices,
)


@dataclass(eq=False, slots=True)
class ShardRequest:
    """A step for one shard, and its result once it is `done`: a `LayerUnavailable` if the outcome is unknown."""

    shard: int
    step: Step
    result: Any = None
    done: bool = False
    on_failure: Callable[[], None] | None = None
    """Called when the step was not carried out, or the outcome is unknown."""

    def end(self, result: Any) -> None:
        """Set the result."""
        self.result, self.done = result, True
        if self.on_failure is not None and isinstance(result, (StepRefused, LayerUnavailable)):
            self.on_failure()


class Routes:
    """Shards by purpose: `spread` shards carry plain channels, `pinned` ones everything whose name has one shard."""

    def __init__(self, spread: Sequence[int], pinned: Sequence[int]) -> None:
        self.spread = spread
        self.pinned = pinned
        self.everywhere = sorted({*spread, *pinned})
        # Two counters: a client that sends and takes in turn would otherwise always send to the same shard.
        self._sends, self._takes = (count(rng.randrange(len(self.everywhere))) for _ in range(2))

    def pin(self, name: str) -> int:
        """Return the shard of an inbox, a `?` channel or a group, by a range of CRC-32 as in Channels 1.x."""
        return self.pinned[(zlib.crc32(name.encode()) & 0xFFF) * len(self.pinned) // 0x1000]

    def next(self, down: Collection[int]) -> int:
        """Return the next shard for a message on a plain channel; one that is down only if all are."""
        shards = [shard for shard in self.spread if shard not in down] or self.spread
        return shards[next(self._sends) % len(shards)]

    def of_queue(self, queue: str) -> Sequence[int]:
        """Return the shards that may hold a queue."""
        return [self.pin(queue)] if "!" in queue or "?" in queue else self.spread

    def requests(self, step: Step, down: Collection[int]) -> list[ShardRequest]:
        """Return the requests for a step other than a `Take`."""
        if isinstance(step, PutBack):
            return _put_back(step)
        if isinstance(step, Push):
            shards = self.of_queue(step.queue)
            return [ShardRequest(shards[0] if len(shards) == 1 else self.next(down), step)]
        shards = _PLACES[type(step)](self, step)
        if isinstance(step, Heartbeat):
            epochs = chain(step.restored, repeat(None))
            return [ShardRequest(shard, step._replace(restored=[next(epochs)])) for shard in shards]
        if isinstance(step, Publish):
            step = step._replace(direct=len(set(self.pinned)) == 1)
        return [ShardRequest(shard, step) for shard in shards]

    def refusal(self, step: Step, error: LayerUnavailable, down: Collection[int]) -> StepRefused:
        """Return the refusal of a step whose shard is down.

        It may be retried if a channel has shards that are up, or if another server will be the one to talk to soon.
        """
        again = isinstance(step, Push) and any(shard not in down for shard in self.of_queue(step.queue))
        again = again or error.reason.partition(" ")[0] in MISPLACED
        return StepRefused(error.where, f"it cannot be reached: {error.reason}", again=again)

    def takes(self, step: Take) -> dict[int, Take]:
        """Return the `Take` for each shard that may have an entry."""
        queues: dict[int, list[str]] = {}
        for queue in step.queues:
            for shard in self.of_queue(queue):
                queues.setdefault(shard, []).append(queue)
        return {shard: replace(step, queues=names) for shard, names in queues.items()}

    def round_robin(self, shards: Iterable[int], down: Collection[int]) -> list[int]:
        """Return `shards` beginning with the next in turn; those that are down come last."""
        shards = sorted(shards)
        first = next(self._takes) % len(shards)
        return sorted(shards[first:] + shards[:first], key=lambda shard: shard in down)


def _put_back(step: PutBack) -> list[ShardRequest]:
    by_shard: dict[int, list[Item]] = {}
    for item in step.items:
        shard, raw = item.raw
        by_shard.setdefault(shard, []).append(Item(item.payload, raw))
    return [ShardRequest(shard, PutBack(step.queue, items)) for shard, items in by_shard.items()]


def decide(requests: Sequence[ShardRequest]) -> tuple[ShardRequest, list[ShardRequest]]:
    """Return which of the takes that waited at several shards gives the result, and those that go back.

    It is one with entries, if there is any. Shards that are down do not count while others are up.
    """
    found = [request for request in requests if isinstance(request.result, Taken)]
    if found:
        first, *others = sorted(found, key=lambda request: not request.result.items)
        return first, others
    return next((request for request in requests if request.result is None), requests[0]), []


def marked(request: ShardRequest) -> Any:
    """Return the result of a take, with the shard in each item: an item can only be put back where it came from."""
    taken, shard = request.result, request.shard
    if not isinstance(taken, Taken):
        return taken
    return replace(taken, items=[Item(item.payload, (shard, item.raw), item.left) for item in taken.items])


_PLACES: dict[type, Callable[[Routes, Any], Sequence[int]]] = {
    **dict.fromkeys(
        (
            *(Join, JoinAs, RestoreIdentities, Leave, Lookup, Publish, Record, ReadHistory, SetStart),
            *(MemberCount, Members, GetPresence, Renew, Restore, Audit),
        ),
        lambda routes, step: [routes.pin(step.group)],
    ),
    **dict.fromkeys((GetPresenceGroups, TakeNotices), lambda routes, step: sorted(set(routes.pinned))),
    # On all shards that keep groups, the one of the inbox first: each knows which inboxes are alive, and has its epoch.
    **dict.fromkeys((Heartbeat, Retire), lambda routes, step: sorted(routes.pinned, key=routes.pin(step.inbox).__ne__)),
    Length: lambda routes, step: routes.of_queue(step.queue),
    **dict.fromkeys((Flush, GetCounters), lambda routes, step: routes.everywhere),
    # Also on all of these, so that a shard that is down hides no program.
    **dict.fromkeys((Announce, GetPrograms), lambda routes, step: sorted(routes.pinned)),
    GetStatistics: lambda routes, step: routes.everywhere if step.queue is None else routes.of_queue(step.queue),
}


def merge(step: Step, results: Sequence[Any]) -> Any:
    """Return the result of a step from those of its requests; a `LayerUnavailable` is returned, not raised."""
    combine = _MERGES.get(type(step))
    if len(results) == 1 or combine is None:
        return next((result for result in results if isinstance(result, _ERRORS)), results[0])
    return combine(results)


_ERRORS = (LayerUnavailable, StepRefused)


def _epochs(results: Sequence[Any]) -> Any:
    """The epochs of all shards. The first is the one of the inbox; others may be down, and theirs are unknown then."""
    if isinstance(results[0], _ERRORS):
        return results[0]
    return tuple(None if isinstance(result, _ERRORS) else result[0] for result in results)


def _first(results: Sequence[Any]) -> Any:
    return results[0]


def _reachable(combine: Callable[[list[Any]], Any]) -> Callable[[Sequence[Any]], Any]:
    """Return the sum of the statistics of the shards that are up."""

    def merged(results: Sequence[Any]) -> Any:
        found = [result for result in results if not isinstance(result, _ERRORS)]
        return combine(found) if found else results[0]

    return merged


def _joined(results: list[list[Any]]) -> list[Any]:
    return [*chain.from_iterable(results)]


def _inboxes(results: Sequence[Any]) -> Any:
    failed = next((result for result in results if isinstance(result, _ERRORS)), None)
    return failed or sorted({inbox for result in results for inbox in result})


def _statistics(results: Sequence[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result)
    found = {name: total[name] for name in total}
    if "messages_max_age" in found:
        found["messages_max_age"] = max(result["messages_max_age"] for result in results)
    return found


def _counters(results: Sequence[Sequence[Count]]) -> list[Count]:
    total: Counter[tuple[str, str]] = Counter()
    for kind, name, number in chain.from_iterable(results):
        total[kind, name] += number
    return [(kind, name, number) for (kind, name), number in total.items()]


def _programs(results: Sequence[Sequence[Announcement]]) -> list[Announcement]:
    """Return the latest announcement of each program."""
    latest: dict[str, Announcement] = {}
    for found in chain.from_iterable(results):
        known = latest.setdefault(found.program, found)
        if found.age < known.age:
            latest[found.program] = found
    return list(latest.values())


_MERGES: dict[type, Callable[[Sequence[Any]], Any]] = {
    Heartbeat: _epochs,
    Retire: _first,
    **dict.fromkeys((GetPresenceGroups, TakeNotices), _reachable(_joined)),
    Length: _reachable(sum),
    Flush: _inboxes,
    GetStatistics: _reachable(_statistics),
    GetCounters: _reachable(_counters),
    Announce: _reachable(_first),
    GetPrograms: _reachable(_programs),
}
