"""Steps as Redis commands, and replies as results. Pure: no socket, no clock; used by both kinds of connections.

Time is the server's own: scripts stamp what they store, and a `TIME` behind each take tells what has expired.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from channels_classic.layers.history import BYTES_LIMIT, SECONDS_LIMIT
from channels_classic.layers.losses import KINDS, Count, counted_name, describe
from channels_classic.layers.redis.cipher import Cipher
from channels_classic.layers.redis.handover import UNPROVEN
from channels_classic.layers.redis.keys import Keys
from channels_classic.layers.results import (
    Announcement,
    Audience,
    Change,
    History,
    Identity,
    Item,
    Kept,
    Notice,
    Recorded,
    Roster,
    Start,
    Status,
    Taken,
)
from channels_classic.layers.steps import (
    LISTENING,
    LIVENESS,
    Announce,
    Attend,
    Attendance,
    Attended,
    Flush,
    GetCounters,
    GetPrograms,
    GetStatistics,
    Heartbeat,
    Join,
    Leave,
    Length,
    Lookup,
    MemberCount,
    Members,
    Push,
    PutBack,
    ReadHistory,
    Reattend,
    Record,
    Renew,
    Restore,
    Retire,
    SetStart,
    Step,
    Take,
    TakeNotices,
)
from channels_classic.layers.store import INBOX_ENTRIES, QUEUE_BYTES

Command = Sequence[str | bytes | int | float]

QUOTAS_FROM = 64
"""Length from which the entries of an inbox are counted by client.

One client cannot fill a shorter queue at the default capacity.
"""

_HEAD = struct.Struct(">IdIB")
_KEPT_HEAD = struct.Struct(">dddB")
_ANNOUNCED = struct.Struct(">dd")
"""Before the facts of a program: when it reported them and until when they count, in milliseconds."""
_MAX_TTL = 2**32 - 1


class Script:
    """Lua files beside this module, one after the other, addressed by their digest.

    With `allow_oom` it runs also when the server has reached `maxmemory`: what it writes is little and keeps the layer
    alive, or makes room.
    """

    def __init__(self, *names: str, allow_oom: bool = False) -> None:
        sources = [(files(__package__) / "scripts" / f"{name}.lua").read_bytes() for name in names]
        self.source = b"".join([b"#!lua flags=allow-oom\n" if allow_oom else b"", *sources])
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *arguments: str | bytes | int | float) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


PUT_BACK = Script("put_back")
PUSH = Script("counters", "epoch", "push")
RELEASE_QUOTA = Script("release_quota", allow_oom=True)
_GROUP = ("epoch", "presence", "group")
JOIN, ATTEND, MEMBERS = (Script(*_GROUP, name) for name in ("join", "attend", "members"))
RESTORE, REATTEND = (Script(*_GROUP, name) for name in ("restore", "reattend"))
LEAVE = Script(*_GROUP, "leave", allow_oom=True)
JOIN_CHANNELS = Script("join_channels")
ATTEND_CHANNELS = Script("presence", "attend_channels")
LEAVE_CHANNELS = Script("presence", "leave_channels", allow_oom=True)
ATTENDANCE = Script("presence", "attendance")
TAKE_NOTICES = Script("presence", "take_notices", allow_oom=True)
LOOKUP = Script("audience", "lookup")
RECORD = Script("epoch", "history", "audience", "record")
READ_HISTORY, SET_START = (Script("epoch", "history", name) for name in ("read_history", "set_start"))
HEARTBEAT = Script("epoch", "heartbeat", allow_oom=True)
FLUSH = Script("flush")
RECORD_LOSSES = Script("counters", "record_losses", allow_oom=True)
REGISTER = Script("epoch", "register", allow_oom=True)
ANNOUNCE = Script("announce", allow_oom=True)
SCRIPTS = [
    *(PUT_BACK, PUSH, RELEASE_QUOTA, JOIN, LEAVE, MEMBERS, RESTORE),
    *(ATTEND, REATTEND, ATTEND_CHANNELS, LEAVE_CHANNELS, ATTENDANCE, TAKE_NOTICES),
    *(RECORD, READ_HISTORY, SET_START),
    *(JOIN_CHANNELS, LOOKUP, HEARTBEAT, FLUSH, RECORD_LOSSES, REGISTER, ANNOUNCE),
]

_COUNTED = ("messages", "full", *(f"lost_{kind}" for kind in KINDS))
"""Starts of the fields of the counters."""


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at most what an entry can carry: a month and a half."""
    return min(int(seconds * 1000), _MAX_TTL)


class CommandBuilder:
    """The commands for one hash tag of one server, or of several that stand for each other."""

    def __init__(self, keys: Keys, group_expiry: float, cipher: Cipher) -> None:
        self.keys = keys
        self.cipher = cipher
        self.membership = milliseconds(group_expiry)

    def register(self, node: str = "", masters: Sequence[str] = (), proof: str = UNPROVEN) -> Command:
        """Return what every connection runs first → the number of the epoch, and the lineage of the server.

        With an empty `proof` the answer may name a former master of which it must be proven first, see `handover`.
        """
        return REGISTER([self.keys.epoch], node, proof, *masters)

    def commands(self, step: Step) -> list[Command]:
        """Return the commands of a step, in order."""
        return _COMMANDS[type(step)](self, step)

    def result(self, step: Step, replies: Sequence[Any], epoch: int) -> Any:
        """Return the result of a step from the replies to its commands, read by a client that registered at `epoch`."""
        if isinstance(step, Take):
            return self._taken(replies, epoch)
        decrypt = _DECRYPTED.get(type(step))
        if decrypt is not None:
            return decrypt(self, replies[0])
        convert = _RESULTS.get(type(step))
        return convert(step, replies, epoch) if convert else None

    def _push(self, step: Push) -> list[Command]:
        keys = [self.keys.queue(step.queue), self.keys.epoch, self.keys.counters]
        if step.queue.endswith("!"):
            keys.append(self.keys.quotas(step.queue))
            if step.alive:
                keys.append(self.keys.alive(step.queue))
        arguments: list[str | bytes | int] = [INBOX_ENTRIES, QUEUE_BYTES, QUOTAS_FROM, counted_name(step.queue)]
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
        """Return the deferred command that releases the quota of what was taken, from the replies to a `Take`."""
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
            try:
                number, stamp, ttl, quota_key = _HEAD.unpack_from(entry)
                payload = self.cipher.decrypt(entry[_HEAD.size + quota_key :])
            except (ValueError, struct.error):
                lost.append(("undecodable", b""))
                continue
            if number < epoch:
                lost.append(("fenced", payload))
            elif stamp + ttl <= now:
                lost.append(("expired", payload))
            else:
                items.append(Item(payload, entry, (stamp + ttl - now) / 1000))
        return Taken(_queue_of(key), items, lost)

    def _group(
        self, script: Script, step: Join | Attend | Reattend | Leave | Members | Restore, *arguments: str | bytes
    ) -> list[Command]:
        """A command about the members that one inbox has in one group."""
        group, inbox = step.group, step.inbox
        by_group = [self.keys.group(group), self.keys.members(group, inbox)]
        by_inbox = [self.keys.restored(inbox), self.keys.left(group, inbox)]
        keys = [*by_group, self.keys.epoch, *by_inbox, self.keys.notices]
        return [script(keys, inbox, self.membership, *arguments)]

    def _join(self, step: Join) -> list[Command]:
        if not step.inbox:
            return [JOIN_CHANNELS([self.keys.channels(step.group)], self.membership, *step.members)]
        return self._group(JOIN, step, *step.members)

    def _identities(self, members: Mapping[str, Identity]) -> Iterator[str | bytes]:
        for member, (who, info) in members.items():
            name = who.encode()
            yield member
            yield bytes([len(name)]) + name + self.cipher.encrypt(info)

    def _attend(self, step: Attend) -> list[Command]:
        if not step.inbox:
            keys = [self.keys.channels(step.group), self.keys.notices]
            return [ATTEND_CHANNELS(keys, step.group, self.membership, *self._identities(step.members))]
        return self._group(ATTEND, step, *self._identities(step.members))

    def _reattend(self, step: Reattend) -> list[Command]:
        return self._group(REATTEND, step, "1" if step.announce else "0", *self._identities(step.members))

    def _attendance(self, step: Attendance) -> list[Command]:
        keys = [self.keys.group(step.group), self.keys.channels(step.group), self.keys.notices]
        return [ATTENDANCE(keys, step.group, self.membership)]

    def _attended(self, step: Attended) -> list[Command]:
        return [("SMEMBERS", self.keys.attended(step.inbox))]

    def _take_notices(self, step: TakeNotices) -> list[Command]:
        return [TAKE_NOTICES([self.keys.notices], milliseconds(LISTENING), step.count)]

    def identity(self, stored: bytes) -> Identity | None:
        """Return an identity as it was given; None for one that was encrypted with another key."""
        length = stored[0] + 1
        try:
            return Identity(stored[1:length].decode(), self.cipher.decrypt(stored[length:]))
        except ValueError:
            return None

    def _leave(self, step: Leave) -> list[Command]:
        if not step.inbox:
            return [LEAVE_CHANNELS([self.keys.channels(step.group), self.keys.notices], step.group, *step.members)]
        return self._group(LEAVE, step, "1" if step.gone else "0", *step.members)

    def _lookup(self, step: Lookup) -> list[Command]:
        keys = [self.keys.group(step.group), self.keys.channels(step.group)]
        return [LOOKUP(keys, self.membership, self.keys.alive(""), self.keys.members(step.group, ""))]

    def _history_keys(self, group: str) -> list[str]:
        by_group = (self.keys.history(group), self.keys.kept(group))
        return [self.keys.group(group), self.keys.channels(group), self.keys.epoch, *by_group]

    @property
    def _positions(self) -> int:
        """Milliseconds for which positions outlive the messages: whoever missed nothing is to be told so."""
        return max(self.membership, milliseconds(SECONDS_LIMIT))

    def _record(self, step: Record) -> list[Command]:
        where = (self.membership, self.keys.alive(""), self.keys.members(step.group, ""))
        bounds = (self._positions, step.keep, milliseconds(step.seconds), BYTES_LIMIT)
        message = (step.name, "1" if step.again else "0", self.cipher.encrypt(step.payload))
        return [RECORD(self._history_keys(step.group), *where, *bounds, *message)]

    def _read_history(self, step: ReadHistory) -> list[Command]:
        keys = [*self._history_keys(step.group), self.keys.members(step.group, step.inbox)]
        return [READ_HISTORY(keys, self._positions, step.life, step.position, step.member)]

    def _set_start(self, step: SetStart) -> list[Command]:
        keys = [*self._history_keys(step.group), self.keys.starts(step.group, step.inbox)]
        start = (step.life, step.position, int(step.last))
        return [SET_START(keys, self._positions, self.membership, step.member, *start)]

    def history(self, life: Any, head: int, complete: int, stored: Sequence[bytes], is_member: int) -> History:
        """Return a history as it was recorded; one of another encryption key is not complete."""
        kept: list[Kept] | None = [] if complete else None
        for entry in stored:
            position, _, _, name = _KEPT_HEAD.unpack_from(entry)
            try:
                payload = self.cipher.decrypt(entry[_KEPT_HEAD.size + name :])
            except ValueError:
                return History(int(life), head, None, bool(is_member))
            if kept is not None:
                kept.append(Kept(int(position), payload))
        return History(int(life), head, kept, bool(is_member))

    def _members(self, step: Members) -> list[Command]:
        return self._group(MEMBERS, step)

    def _member_count(self, step: MemberCount) -> list[Command]:
        return [("SCARD", self.keys.members(step.group, step.inbox))]

    def _renew(self, step: Renew) -> list[Command]:
        group, inbox = step.group, step.inbox
        keys = [self.keys.group(group), self.keys.members(group, inbox), self.keys.attends(group, inbox)]
        keys += [self.keys.people(group, inbox), self.keys.attended(inbox), self.keys.attending]
        keys += [self.keys.starts(group, inbox)]
        return [("PEXPIRE", key, self.membership) for key in keys]

    def _restore(self, step: Restore) -> list[Command]:
        return self._group(RESTORE, step, *step.members)

    def _heartbeat(self, step: Heartbeat) -> list[Command]:
        keys = [self.keys.alive(step.inbox), self.keys.inboxes, self.keys.epoch, self.keys.restored(step.inbox)]
        restored = next(iter(step.restored), None) or 0
        # Longer than any membership, which a restoration must not revive.
        kept = self.membership + 2 * milliseconds(LIVENESS)
        return [HEARTBEAT(keys, step.inbox, milliseconds(LIVENESS), restored, kept)]

    def _retire(self, step: Retire) -> list[Command]:
        gone = (self.keys.alive, self.keys.queue, self.keys.quotas)
        return [
            ("UNLINK", *(key(step.inbox) for key in gone)),
            ("ZREM", self.keys.inboxes, step.inbox),
            # Kept while the last consumers of its clients discard them: the owner has nothing to restore.
            ("PEXPIRE", self.keys.restored(step.inbox), milliseconds(LIVENESS)),
        ]

    def _length(self, step: Length) -> list[Command]:
        return [("LLEN", self.keys.queue(step.queue))]

    def _flush(self, step: Flush) -> list[Command]:
        return [FLUSH([self.keys.inboxes, self.keys.counters], *self.keys.flushable())]

    def record_losses(self, counts: Iterable[Count]) -> list[Command]:
        """Return the commands that add losses to the counters."""
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

    def _get_counters(self, step: GetCounters) -> list[Command]:
        return [("HGETALL", self.keys.counters)]

    def _announce(self, step: Announce) -> list[Command]:
        if step.ttl <= 0:
            return [("HDEL", self.keys.programs, step.program)]
        return [ANNOUNCE([self.keys.programs], step.program, milliseconds(step.ttl), step.facts)]

    def _get_programs(self, step: GetPrograms) -> list[Command]:
        return [("HGETALL", self.keys.programs), ("TIME",)]


def _inboxes(step: Take) -> list[str]:
    return [queue for queue in step.queues if queue.endswith("!")]


def _queue_of(key: bytes) -> str:
    return key.decode().rpartition(":queue:")[2]


def _quota_key(entry: bytes) -> bytes:
    if len(entry) < _HEAD.size:
        return b""
    return entry[_HEAD.size : _HEAD.size + entry[_HEAD.size - 1]]


_STATUSES = {int(status): status for status in Status}


def _statuses(step: Push, replies: Sequence[Any], epoch: int) -> list[Status]:
    return [_STATUSES[status] for status in replies[0]]


def _change(step: Join | Attend | Leave, replies: Sequence[Any], epoch: int) -> Change:
    return Change(*replies[0]) if step.inbox else Change(0, 0)


def _audience(step: Lookup, replies: Sequence[Any], epoch: int) -> Audience:
    return _audience_of(replies[0])


def _audience_of(reply: Sequence[Any]) -> Audience:
    inboxes, channels, dead = reply
    found = iter(inboxes)
    versions = {inbox.decode(): int(version) for inbox, version in zip(found, found, strict=True)}
    return Audience(versions, [channel.decode() for channel in channels], [inbox.decode() for inbox in dead])


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    found = iter(flat)
    return zip(found, found, strict=True)


def _roster(builder: CommandBuilder, reply: Any) -> Roster:
    version, complete, members, stored, starts = reply
    identities = {member.decode(): builder.identity(identity) for member, identity in _pairs(stored)}
    known = {member: identity for member, identity in identities.items() if identity is not None}
    found = {member.decode(): _start(start.split()) for member, start in _pairs(starts)}
    return Roster(version, [member.decode() for member in members], bool(complete), known, found)


def _start(fields: Sequence[Any]) -> Start:
    life, position, last = map(int, fields)
    return Start(life, position, bool(last))


def _attendance(builder: CommandBuilder, reply: Any) -> list[Identity]:
    return [identity for stored in reply if (identity := builder.identity(stored)) is not None]


def _notices(builder: CommandBuilder, reply: Any) -> list[Notice]:
    found = []
    for notice, stored in _pairs(reply):
        identity = builder.identity(stored)
        if identity is not None:
            found.append(Notice(notice[:1] == b"+", notice[1:].partition(b"\0")[0].decode(), identity))
    return found


def _epochs(step: Heartbeat, replies: Sequence[Any], epoch: int) -> tuple[int | None, ...]:
    return (int(replies[0]),)


def _recorded(step: Record, replies: Sequence[Any], epoch: int) -> Recorded:
    life, position = replies[0][3:]
    return Recorded(_audience_of(replies[0][:3]), int(life), position)


def _count(step: Length | MemberCount, replies: Sequence[Any], epoch: int) -> int:
    return int(replies[0])


def _names(step: Flush | Attended, replies: Sequence[Any], epoch: int) -> list[str]:
    return [inbox.decode() for inbox in replies[0]]


def _statistics(step: GetStatistics, replies: Sequence[Any], epoch: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    if step.queue is None:
        for kind, _, number in _counts(step, replies, epoch):
            counts[kind] += number
        return describe(counts)
    counts.update({kind: int(number or 0) for kind, number in zip(_COUNTED, replies[0], strict=True)})
    oldest, now = replies[2], _now(replies[3])
    age = 0.0 if oldest is None or len(oldest) < _HEAD.size else now - _HEAD.unpack_from(oldest)[1]
    return describe(counts, replies[1], age / 1000 if math.isfinite(age) else 0.0)


def _counts(step: GetStatistics | GetCounters, replies: Sequence[Any], epoch: int) -> list[Count]:
    found = iter(replies[0])
    counts = []
    for field, number in zip(found, found, strict=True):
        kind, _, name = field.decode().partition(":")
        counts.append((kind, name, int(number)))
    return counts


def _programs(step: GetPrograms, replies: Sequence[Any], epoch: int) -> list[Announcement]:
    found, now = iter(replies[0]), _now(replies[1])
    programs = []
    for name, value in zip(found, found, strict=True):
        if len(value) < _ANNOUNCED.size:
            continue  # written by something else
        since, deadline = _ANNOUNCED.unpack_from(value)
        if deadline > now:
            age = max(0.0, (now - since) / 1000)
            programs.append(Announcement(name.decode(errors="replace"), value[_ANNOUNCED.size :], age))
    return programs


def _now(time: Sequence[bytes]) -> int:
    """Return the answer to `TIME` in milliseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


_COMMANDS: dict[type, Callable[[CommandBuilder, Any], list[Command]]] = {
    Push: CommandBuilder._push,
    PutBack: CommandBuilder._put_back,
    Take: CommandBuilder._take,
    Join: CommandBuilder._join,
    Attend: CommandBuilder._attend,
    Reattend: CommandBuilder._reattend,
    Leave: CommandBuilder._leave,
    Lookup: CommandBuilder._lookup,
    Record: CommandBuilder._record,
    ReadHistory: CommandBuilder._read_history,
    SetStart: CommandBuilder._set_start,
    Members: CommandBuilder._members,
    MemberCount: CommandBuilder._member_count,
    Attendance: CommandBuilder._attendance,
    Attended: CommandBuilder._attended,
    TakeNotices: CommandBuilder._take_notices,
    Renew: CommandBuilder._renew,
    Restore: CommandBuilder._restore,
    Heartbeat: CommandBuilder._heartbeat,
    Retire: CommandBuilder._retire,
    Length: CommandBuilder._length,
    Flush: CommandBuilder._flush,
    GetStatistics: CommandBuilder._statistics,
    GetCounters: CommandBuilder._get_counters,
    Announce: CommandBuilder._announce,
    GetPrograms: CommandBuilder._get_programs,
}

_DECRYPTED: dict[type, Callable[[CommandBuilder, Any], Any]] = {
    Members: _roster,
    Attendance: _attendance,
    TakeNotices: _notices,
    ReadHistory: lambda builder, reply: builder.history(*reply),
}
"""Results that need the cipher."""

_RESULTS: dict[type, Callable[[Any, Sequence[Any], int], Any]] = {
    Push: _statuses,
    Join: _change,
    Attend: _change,
    Leave: _change,
    Lookup: _audience,
    Record: _recorded,
    SetStart: lambda step, replies, epoch: _start(replies[0]),
    MemberCount: _count,
    Attended: _names,
    Heartbeat: _epochs,
    Length: _count,
    Flush: _names,
    GetStatistics: _statistics,
    GetCounters: _counts,
    GetPrograms: _programs,
}
