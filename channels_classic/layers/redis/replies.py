"""Replies of Redis as results of steps: the other half of `commands`. Pure: no socket, no clock.

What is stored in Redis is taken apart here, and nowhere else: entries of queues, kept messages, identities.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from channels_classic.layers.history import ALL
from channels_classic.layers.losses import KINDS, Count, describe
from channels_classic.layers.redis.cipher import KEPT, QUEUE, WHO, Cipher
from channels_classic.layers.results import (
    Announcement,
    Audience,
    Audited,
    History,
    Identity,
    Item,
    Kept,
    MembershipChange,
    Notice,
    Published,
    PushStatus,
    Recorded,
    Roster,
    Start,
    Taken,
)
from channels_classic.layers.steps import (
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
    ReadHistory,
    Record,
    SetStart,
    Step,
    Take,
    TakeNotices,
)

ENTRY_HEAD = struct.Struct(">IdIB")
"""Before the payload of an entry: epoch, time in milliseconds, time to live, bytes of the quota key that follows."""

COUNTED = ("messages", "full", *(f"lost_{kind}" for kind in KINDS))
"""Starts of the fields of the counters."""

_KEPT_HEAD = struct.Struct(">dd")
_ANNOUNCED = struct.Struct(">dd")
"""Before the facts of a program: when it reported them and until when they count, in milliseconds."""


def result_of(step: Step, replies: Sequence[Any], epoch: int, cipher: Cipher) -> Any:
    """Return the result of a step from the replies to its commands, read by a client that registered at `epoch`."""
    if isinstance(step, Take):
        return _taken(replies, epoch, cipher)
    convert = _RESULTS.get(type(step))
    return convert(step, replies, cipher) if convert else None


def queue_of(key: bytes) -> str:
    """Return the queue that has a key."""
    return key.decode().rpartition(":queue:")[2]


def quota_key_of(entry: bytes) -> bytes:
    """Return the quota key of an entry."""
    if len(entry) < ENTRY_HEAD.size:
        return b""
    return entry[ENTRY_HEAD.size : ENTRY_HEAD.size + entry[ENTRY_HEAD.size - 1]]


def _taken(replies: Sequence[Any], epoch: int, cipher: Cipher) -> Taken | None:
    if replies[0] is None:
        return None
    key, entries = replies[0]
    now, queue = _now(replies[1]), queue_of(key)
    items, lost = [], []
    for entry in entries:
        try:
            number, stamp, ttl, quota_key = ENTRY_HEAD.unpack_from(entry)
            payload = cipher.decrypt(entry[ENTRY_HEAD.size + quota_key :], QUEUE + queue)
        except (ValueError, struct.error):
            lost.append(("undecodable", b""))
            continue
        if number < epoch:
            lost.append(("fenced", payload))
        elif stamp + ttl <= now:
            lost.append(("expired", payload))
        else:
            items.append(Item(payload, entry, (stamp + ttl - now) / 1000))
    return Taken(queue, items, lost)


_STATUSES = {int(status): status for status in PushStatus}


def _statuses(step: Push, replies: Sequence[Any], cipher: Cipher) -> list[PushStatus]:
    return [_STATUSES[status] for status in replies[0]]


def _change(step: Join | JoinAs | Leave, replies: Sequence[Any], cipher: Cipher) -> MembershipChange:
    return MembershipChange(*replies[0]) if step.inbox else MembershipChange(0, replies[0] or 0)


def _audience(step: Lookup, replies: Sequence[Any], cipher: Cipher) -> Audience:
    return _audience_of(replies[0])


def _audience_of(reply: Sequence[Any]) -> Audience:
    inboxes, channels, dead = reply
    versions = {_text(inbox): _version(score) for inbox, score in _pairs(inboxes)}
    return Audience(versions, [*map(_text, channels)], [*map(_text, dead)])


def _version(score: bytes) -> int:
    """Return a version; one that something else has written may be any number."""
    return int(min(float(score), 2.0**62))


def _text(name: bytes) -> str:
    """Return a name; whatever something else has written there is not a valid one."""
    return name.decode(errors="replace")


def _published(step: Publish, replies: Sequence[Any], cipher: Cipher) -> Published:
    audience, numbers = _audience_of(replies[0][:3]), replies[0][3:]
    kept = [] if step.record is None else [int(number) for number in numbers[-2:]]
    # Without these when all was left to the sender.
    pushed = numbers[: len(numbers) - len(kept)] or [0, 0]
    return Published(audience, *pushed, *kept)


def _recorded(step: Record, replies: Sequence[Any], cipher: Cipher) -> Recorded:
    life, position = replies[0][3:]
    return Recorded(_audience_of(replies[0][:3]), int(life), position)


def _history(step: ReadHistory, replies: Sequence[Any], cipher: Cipher) -> History:
    """Return a history as it was recorded; one of another encryption key, or another writer, is not complete."""
    life, head, complete, stored, is_member = replies[0]
    kept: list[Kept] | None = [] if complete else None
    for entry in stored:
        try:
            position, _ = _KEPT_HEAD.unpack_from(entry)
            one = Kept(int(position), cipher.decrypt(entry[_KEPT_HEAD.size :], KEPT + step.group))
        except (ValueError, OverflowError, struct.error):
            return History(int(life), head, None, bool(is_member))
        # What something else has written there moves those behind it.
        if kept is not None and (one.position > step.position or step.life == ALL):
            kept.append(one)
    return History(int(life), head, kept, bool(is_member))


def _roster(step: Members, replies: Sequence[Any], cipher: Cipher) -> Roster:
    version, complete, members, stored, starts, epoch = replies[0]
    identities = {_text(member): _identity(identity, cipher) for member, identity in _pairs(stored)}
    known = {member: identity for member, identity in identities.items() if identity is not None}
    found = {_text(member): _start(start.split()) for member, start in _pairs(starts) if _IS_START.fullmatch(start)}
    return Roster(version, [*map(_text, members)], bool(complete), known, found, int(epoch))


_IS_START = re.compile(rb"-?[0-9]{1,18} [0-9]{1,18} [01]")


def _start(fields: Sequence[Any]) -> Start:
    life, position, last = map(int, fields)
    return Start(life, position, bool(last))


def _identity(stored: bytes, cipher: Cipher) -> Identity | None:
    """Return an identity as it was given; None for one of another key or name, or that something else has written."""
    try:
        length = stored[0] + 1
        who = stored[1:length].decode()
        return Identity(who, cipher.decrypt(stored[length:], WHO + who))
    except (ValueError, IndexError):
        return None


def _audited(step: Audit, replies: Sequence[Any], cipher: Cipher) -> Audited:
    version, loss, identities = replies[0]
    return Audited(int(version), int(loss), identities)


def _presence(step: GetPresence, replies: Sequence[Any], cipher: Cipher) -> list[Identity]:
    return [identity for stored in replies[0] if (identity := _identity(stored, cipher)) is not None]


def _notices(step: TakeNotices, replies: Sequence[Any], cipher: Cipher) -> list[Notice]:
    found = []
    for notice, stored in _pairs(replies[0]):
        identity = _identity(stored, cipher)
        if identity is not None:
            found.append(Notice(notice[:1] == b"+", notice[1:].partition(b"\0")[0].decode(), identity))
    return found


def _epochs(step: Heartbeat, replies: Sequence[Any], cipher: Cipher) -> tuple[int | None, ...]:
    return (int(replies[0]),)


def _count(step: Length | MemberCount, replies: Sequence[Any], cipher: Cipher) -> int:
    return int(replies[0])


def _names(step: Flush | GetPresenceGroups, replies: Sequence[Any], cipher: Cipher) -> list[str]:
    return [*map(_text, replies[0])]


def _statistics(step: GetStatistics, replies: Sequence[Any], cipher: Cipher) -> dict[str, int]:
    counts: Counter[str] = Counter()
    if step.queue is None:
        for kind, _, number in _counts(step, replies, cipher):
            counts[kind] += number
        return describe(counts)
    counts.update({kind: int(number or 0) for kind, number in zip(COUNTED, replies[0], strict=True)})
    oldest, now = replies[2], _now(replies[3])
    age = 0.0 if oldest is None or len(oldest) < ENTRY_HEAD.size else now - ENTRY_HEAD.unpack_from(oldest)[1]
    return describe(counts, replies[1], age / 1000 if math.isfinite(age) else 0.0)


def _counts(step: GetStatistics | GetCounters, replies: Sequence[Any], cipher: Cipher) -> list[Count]:
    counts = []
    for field, number in _pairs(replies[0]):
        kind, _, name = _text(field).partition(":")
        if number.lstrip(b"-").isdigit():  # otherwise something else has written it
            counts.append((kind, name, int(number)))
    return counts


def _programs(step: GetPrograms, replies: Sequence[Any], cipher: Cipher) -> list[Announcement]:
    now = _now(replies[1])
    programs = []
    for name, value in _pairs(replies[0]):
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


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    found = iter(flat)
    return zip(found, found, strict=True)


_RESULTS: dict[type, Callable[[Any, Sequence[Any], Cipher], Any]] = {
    Push: _statuses,
    Join: _change,
    JoinAs: _change,
    Leave: _change,
    Lookup: _audience,
    Publish: _published,
    Record: _recorded,
    ReadHistory: _history,
    SetStart: lambda step, replies, cipher: _start(replies[0]) if replies[0] is not None else None,
    Members: _roster,
    Audit: _audited,
    MemberCount: _count,
    GetPresence: _presence,
    GetPresenceGroups: _names,
    TakeNotices: _notices,
    Heartbeat: _epochs,
    Length: _count,
    Flush: _names,
    GetStatistics: _statistics,
    GetCounters: _counts,
    GetPrograms: _programs,
}
