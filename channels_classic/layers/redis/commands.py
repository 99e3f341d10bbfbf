"""Steps as Redis commands, and replies as results. Pure: no socket, no clock; both faces use it.

Time is the server's own: scripts stamp what they store, and a `TIME` behind each take tells what has expired.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Any

from channels_classic.layers.losses import KINDS, Count, counted_name, describe
from channels_classic.layers.redis.cipher import Cipher
from channels_classic.layers.redis.keys import Keys
from channels_classic.layers.steps import (
    LIVENESS,
    Alive,
    Delist,
    Flush,
    GetStatistics,
    Heartbeat,
    Item,
    Join,
    Leave,
    Length,
    Members,
    Push,
    PutBack,
    Rejoin,
    Retire,
    Status,
    Step,
    Take,
    Taken,
)
from channels_classic.layers.store import INBOX_BYTES, INBOX_ENTRIES

Command = Sequence[str | bytes | int | float]

QUOTAS_FROM = 64
"""Length from which an inbox is counted by client.

A shorter list cannot be filled by one client at the default capacity.
"""

_HEAD = struct.Struct(">IdIB")
_MAX_TTL = 2**32 - 1


class Script:
    """Lua files beside this module, one after the other, addressed by their digest."""

    def __init__(self, *names: str) -> None:
        self.source = b"".join((files(__package__) / "scripts" / f"{name}.lua").read_bytes() for name in names)
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *arguments: str | bytes | int | float) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


PUT_BACK, RELEASE_QUOTA, JOIN, LEAVE, MEMBERS, HEARTBEAT, FLUSH, RECORD_LOSSES, REGISTER, PUSH = SCRIPTS = [
    *(Script(name) for name in ("put_back", "release_quota", "join", "leave", "members")),
    Script("epoch", "heartbeat"),
    Script("flush"),
    Script("counters", "record_losses"),
    Script("epoch", "register"),
    Script("counters", "epoch", "push"),
]

_COUNTED = ("messages", "full", *(f"lost_{kind}" for kind in KINDS))
"""What the counters count, as their fields begin."""


def milliseconds(seconds: float) -> int:
    """For Redis; longer times than a month and a half are cut to what an entry can carry."""
    return min(int(seconds * 1000), _MAX_TTL)


class CommandBuilder:
    """The commands for one hash tag of one server, or of several that stand for each other."""

    def __init__(self, keys: Keys, group_expiry: float, cipher: Cipher) -> None:
        self.keys = keys
        self.cipher = cipher
        self.membership = milliseconds(group_expiry)

    def register(self, run_id: str) -> Command:
        """What every connection runs first → the fence number."""
        return REGISTER([self.keys.epoch], run_id)

    def commands(self, step: Step) -> list[Command]:
        """The commands of a step, in order."""
        return _COMMANDS[type(step)](self, step)

    def result(self, step: Step, replies: Sequence[Any], epoch: int) -> Any:
        """The result of a step from the replies to its commands, read by a client that attached at `epoch`."""
        if isinstance(step, Take):
            return self._taken(replies, epoch)
        convert = _RESULTS.get(type(step))
        return convert(step, replies, epoch) if convert else None

    def _push(self, step: Push) -> list[Command]:
        keys = [self.keys.queue(step.queue), self.keys.epoch, self.keys.counters]
        if step.queue.endswith("!"):
            keys.append(self.keys.quotas(step.queue))
            if step.alive:
                keys.append(self.keys.alive(step.queue))
        arguments: list[str | bytes | int] = [INBOX_ENTRIES, INBOX_BYTES, QUOTAS_FROM, counted_name(step.queue)]
        for entry in step.entries:
            limit = -1 if entry.limit is None else entry.limit
            arguments += (entry.quota_key, limit, milliseconds(entry.ttl), self.cipher.encrypt(entry.payload))
        return [PUSH(keys, *arguments)]

    def _put_back(self, step: PutBack) -> list[Command]:
        keys = [self.keys.queue(step.queue)]
        if step.queue.endswith("!"):
            keys.append(self.keys.quotas(step.queue))
        longest = max(_HEAD.unpack_from(item.raw)[2] for item in step.items)
        return [PUT_BACK(keys, longest + 1000, *(item.raw for item in step.items))]

    def _take(self, step: Take) -> list[Command]:
        keys = [self.keys.queue(queue) for queue in step.queues]
        tail: Command = (len(keys), *keys, "LEFT", "COUNT", step.count)
        pop: Command = ("BLMPOP", step.timeout, *tail) if step.timeout else ("LMPOP", *tail)
        counted: list[Command] = [("HGET", self.keys.quotas(inbox), "#counted") for inbox in _inboxes(step)]
        return [pop, ("TIME",), *counted]

    def quota_release(self, step: Take, replies: Sequence[Any]) -> Command | None:
        """What to run later, in order that what was taken counts against nobody any longer, from the same replies."""
        if replies[0] is None:
            return None
        key, entries = replies[0]
        queue = _queue_of(key)
        counted = dict(zip(_inboxes(step), replies[2:], strict=True)).get(queue)
        if counted is None:
            return None
        taken: list[bytes | int] = []
        for quota_key, number in Counter(map(_quota_key, entries)).items():
            taken += (quota_key, number)
        return RELEASE_QUOTA([self.keys.quotas(queue)], counted, sum(map(len, entries)), *taken)

    def _taken(self, replies: Sequence[Any], epoch: int) -> Taken | None:
        if replies[0] is None:
            return None
        key, entries = replies[0]
        now = _now(replies[1])
        items, lost = [], []
        for entry in entries:
            number, stamp, ttl, quota_key = _HEAD.unpack_from(entry)
            try:
                payload = self.cipher.decrypt(entry[_HEAD.size + quota_key :])
            except ValueError:
                lost.append(("undecodable", b""))
                continue
            if number < epoch:
                lost.append(("fenced", payload))
            elif stamp + ttl <= now:
                lost.append(("expired", payload))
            else:
                items.append(Item(payload, entry))
        return Taken(_queue_of(key), items, lost)

    def _join(self, step: Join) -> list[Command]:
        return [self._member_change(step.group, step.queue, step.members, "add")]

    def _rejoin(self, step: Rejoin) -> list[Command]:
        return [self._member_change(step.group, step.inbox, step.members, "replace" if step.replace else "restore")]

    def _member_change(self, group: str, queue: str, members: Sequence[str], how: str) -> Command:
        return JOIN([self.keys.group(group), self.keys.members(group, queue)], queue, self.membership, how, *members)

    def _leave(self, step: Leave) -> list[Command]:
        keys = [self.keys.group(step.group), self.keys.members(step.group, step.queue)]
        return [LEAVE(keys, step.queue, *step.members)]

    def _members(self, step: Members) -> list[Command]:
        return [MEMBERS([self.keys.group(step.group)], self.keys.members(step.group, ""), self.membership)]

    def _delist(self, step: Delist) -> list[Command]:
        return [("ZREM", self.keys.group(step.group), step.inbox)]

    def _beat(self, step: Heartbeat) -> list[Command]:
        keys = [self.keys.alive(step.inbox), self.keys.inboxes, self.keys.epoch, self.keys.life(step.inbox)]
        return [HEARTBEAT(keys, step.inbox, milliseconds(LIVENESS), self.membership)]

    def _alive(self, step: Alive) -> list[Command]:
        return [("EXISTS", self.keys.alive(step.inbox))]

    def _retire(self, step: Retire) -> list[Command]:
        gone = (self.keys.alive, self.keys.life, self.keys.queue, self.keys.quotas)
        return [("UNLINK", *(key(step.inbox) for key in gone)), ("ZREM", self.keys.inboxes, step.inbox)]

    def _length(self, step: Length) -> list[Command]:
        return [("LLEN", self.keys.queue(step.queue))]

    def _flush(self, step: Flush) -> list[Command]:
        return [FLUSH([self.keys.inboxes, self.keys.counters], *self.keys.flushable())]

    def record_losses(self, counts: Iterable[Count]) -> list[Command]:
        """What tells the counters of losses."""
        arguments: list[str | int] = []
        for kind, name, number in counts:
            arguments += (f"lost_{kind}:{name}", number)
        return [RECORD_LOSSES([self.keys.counters], *arguments)] if arguments else []

    def _statistics(self, step: GetStatistics) -> list[Command]:
        if step.queue is None:
            return [("HGETALL", self.keys.counters)]
        fields = [f"{kind}:{counted_name(step.queue)}" for kind in _COUNTED]
        entries = self.keys.queue(step.queue)
        return [("HMGET", self.keys.counters, *fields), ("LLEN", entries), ("LINDEX", entries, 0), ("TIME",)]


def _inboxes(step: Take) -> list[str]:
    return [queue for queue in step.queues if queue.endswith("!")]


def _queue_of(key: bytes) -> str:
    return key.decode().rpartition(":queue:")[2]


def _quota_key(entry: bytes) -> bytes:
    return entry[_HEAD.size : _HEAD.size + entry[_HEAD.size - 1]]


_STATUSES = {int(status): status for status in Status}


def _statuses(step: Push, replies: Sequence[Any], epoch: int) -> list[Status]:
    return [_STATUSES[status] for status in replies[0]]


def _membership(step: Members, replies: Sequence[Any], epoch: int) -> dict[str, list[str]]:
    found = iter(replies[0])
    return {
        queue.decode(): [member.decode() for member in members] for queue, members in zip(found, found, strict=True)
    }


def _members_there(step: Rejoin, replies: Sequence[Any], epoch: int) -> list[str]:
    return [member.decode() for member in replies[0]]


def _known(step: Heartbeat | Alive, replies: Sequence[Any], epoch: int) -> bool:
    return bool(replies[0])


def _count(step: Length, replies: Sequence[Any], epoch: int) -> int:
    return int(replies[0])


def _names(step: Flush, replies: Sequence[Any], epoch: int) -> list[str]:
    return [inbox.decode() for inbox in replies[0]]


def _statistics(step: GetStatistics, replies: Sequence[Any], epoch: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    if step.queue is None:
        found = iter(replies[0])
        for field, number in zip(found, found, strict=True):
            counts[field.decode().partition(":")[0]] += int(number)
        return describe(counts)
    counts.update({kind: int(number or 0) for kind, number in zip(_COUNTED, replies[0], strict=True)})
    oldest, now = replies[2], _now(replies[3])
    age = 0.0 if oldest is None else now - _HEAD.unpack_from(oldest)[1]
    return describe(counts, replies[1], age / 1000)


def _now(time: Sequence[bytes]) -> int:
    """The answer to `TIME` in milliseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


_COMMANDS: dict[type, Callable[[CommandBuilder, Any], list[Command]]] = {
    Push: CommandBuilder._push,
    PutBack: CommandBuilder._put_back,
    Take: CommandBuilder._take,
    Join: CommandBuilder._join,
    Rejoin: CommandBuilder._rejoin,
    Leave: CommandBuilder._leave,
    Members: CommandBuilder._members,
    Delist: CommandBuilder._delist,
    Heartbeat: CommandBuilder._beat,
    Alive: CommandBuilder._alive,
    Retire: CommandBuilder._retire,
    Length: CommandBuilder._length,
    Flush: CommandBuilder._flush,
    GetStatistics: CommandBuilder._statistics,
}

_RESULTS: dict[type, Callable[[Any, Sequence[Any], int], Any]] = {
    Push: _statuses,
    Members: _membership,
    Rejoin: _members_there,
    Heartbeat: _known,
    Alive: _known,
    Length: _count,
    Flush: _names,
    GetStatistics: _statistics,
}
