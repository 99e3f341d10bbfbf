"""The protocol between the clients of the local layer and its host: steps and results as msgpack arrays. Pure, no I/O.

A client writes frames `[code, field, …]`, one for each step; the host answers each with its result, in order. Codes
never get a new meaning: interface servers run for months, and workers of later releases talk to them. A code that the
host does not know is answered with a refusal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgpack

from channels_classic.exceptions import StepRefused
from channels_classic.layers.losses import Count
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
    Announce,
    Audit,
    Entry,
    Envelope,
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

FRAME_LIMIT = 256 * 1024 * 1024
"""Bytes of one frame, far more than any step that a limit elsewhere lets through."""


@dataclass(frozen=True, slots=True)
class Lose:
    """Report losses that a client counted → None. Not a step: connections send it by themselves."""

    counts: Sequence[Count]


_WAKE = 0
_REFUSED = 1  # the ExtType of a refusal

_Number = (int, float)

_SHAPES: dict[type, tuple[int, dict[str, Any]]] = {
    Push: (1, {"queue": str, "entries": list, "alive": bool}),
    PutBack: (2, {"queue": str, "items": list}),
    Take: (3, {"queues": list, "count": int, "timeout": _Number}),
    # 4 to 9 and 13 were the groups of wire version 1
    Join: (16, {"group": str, "inbox": str, "members": list}),
    Leave: (17, {"group": str, "inbox": str, "members": list, "gone": bool}),
    Lookup: (18, {"group": str}),
    Members: (19, {"group": str, "inbox": str}),
    Renew: (20, {"group": str, "inbox": str}),
    Restore: (21, {"group": str, "inbox": str, "members": list}),
    MemberCount: (23, {"group": str, "inbox": str}),
    Audit: (36, {"group": str, "inbox": str, "known": int, "restored": int}),
    Heartbeat: (22, {"inbox": str, "restored": list}),
    JoinAs: (24, {"group": str, "inbox": str, "members": dict}),
    RestoreIdentities: (25, {"group": str, "inbox": str, "members": dict, "announce": bool}),
    GetPresence: (26, {"group": str}),
    GetPresenceGroups: (27, {"inbox": str}),
    TakeNotices: (28, {"count": int}),
    Record: (32, {"group": str, "payload": bytes, "keep": int, "seconds": _Number}),
    ReadHistory: (33, {"group": str, "life": int, "position": int, "inbox": str, "member": str}),
    SetStart: (
        34,
        {"group": str, "inbox": str, "member": str, "life": int, "position": int, "last": bool},
    ),
    Publish: (
        35,
        {
            "group": str,
            "envelope": list,
            "reading": str,
            "ttl": _Number,
            "quota_key": str,
            "limit": int,
            "apart": str,
            "apart_envelope": list,
            "direct": bool,
            "record": (list, type(None)),
        },
    ),
    Retire: (10, {"inbox": str}),
    Length: (11, {"queue": str}),
    Flush: (12, {}),
    Lose: (14, {"counts": list}),
    GetStatistics: (15, {"queue": (str, type(None))}),
    GetCounters: (29, {}),
    Announce: (30, {"program": str, "facts": bytes, "ttl": _Number}),
    GetPrograms: (31, {}),
}
_COUNT = (str, str, int)
_ENTRY = (bytes, _Number, str, (int, type(None)))
_ITEM = (bytes, list)
_RAW = (_Number, str)
_ENVELOPE = (bytes, bytes)
_IDENTITY = (str, bytes)

Frame = Callable[[Any], tuple[Any, ...]]


def _fields(names: Sequence[str]) -> Frame:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda step: tuple(getattr(step, name) for name in names)


_FRAMES: dict[type, Frame] = {
    **{kind: _fields(list(shape)) for kind, (_, shape) in _SHAPES.items()},
    Push: lambda step: (
        step.queue,
        [(entry.payload, entry.ttl, entry.quota_key, entry.limit) for entry in step.entries],
        step.alive,
    ),
    PutBack: lambda step: (step.queue, [(item.payload, item.raw) for item in step.items]),
}
_KINDS = {code: (kind, tuple(shape.values())) for kind, (code, shape) in _SHAPES.items()}

WAKE: bytes = msgpack.packb([_WAKE])
"""Ends a `Take` that waits."""


def encode_step(step: Step | Lose) -> bytes:
    """Return the frame of a step."""
    kind = type(step)
    frame: bytes = msgpack.packb((_SHAPES[kind][0], *_FRAMES[kind](step)))
    return frame


def decode_step(frame: Any) -> Step | Lose | StepRefused | None:
    """Return the step in a frame; None for a wake-up, a refusal for a code of later releases. Raises `ValueError`."""
    if not isinstance(frame, list) or not frame or not isinstance(frame[0], int):
        raise ValueError("a frame must be a list that begins with the code of a step")
    code, *fields = frame
    if code == _WAKE:
        return None
    if code not in _KINDS:
        return StepRefused("this machine", f"the interface server is older and does not know step {code}")
    kind, shape = _KINDS[code]
    _check(fields, shape)
    step: Step | Lose = kind(*_RESTORE.get(kind, _as_they_are)(fields))
    return step


def _as_they_are(fields: list[Any]) -> list[Any]:
    return fields


def _restore_push(fields: list[Any]) -> list[Any]:
    for entry in fields[1]:
        _check(entry, _ENTRY)
    return [fields[0], [Entry(*entry) for entry in fields[1]], fields[2]]


def _restore_put_back(fields: list[Any]) -> list[Any]:
    for item in fields[1]:
        _check(item, _ITEM)
        _check(item[1], _RAW)
    return [fields[0], [Item(*item) for item in fields[1]]]


def _restore_members(fields: list[Any]) -> list[Any]:
    members = fields[2]
    for member, identity in members.items():
        _check([member], (str,))
        _check(identity, _IDENTITY)
    identities = {member: Identity(*identity) for member, identity in members.items()}
    return [*fields[:2], identities, *fields[3:]]


def _restore_publish(fields: list[Any]) -> list[Any]:
    group, envelope, reading, ttl, quota_key, limit, apart, apart_envelope, direct, record = fields
    _check(envelope, _ENVELOPE)
    _check(apart_envelope, _ENVELOPE)
    if record is not None:
        _check(record, tuple(_SHAPES[Record][1].values()))
        record = Record(*_restore_record(record))
    bounds = (reading, ttl, quota_key, limit)
    return [group, Envelope(*envelope), *bounds, apart, Envelope(*apart_envelope), direct, record]


def _restore_record(fields: list[Any]) -> list[Any]:
    if fields[2] < 1:
        raise ValueError("a group keeps one message or more")
    return fields


def _restore_lose(fields: list[Any]) -> list[Any]:
    for count in fields[0]:
        _check(count, _COUNT)
    return fields


_RESTORE: dict[type, Callable[[list[Any]], list[Any]]] = {
    Push: _restore_push,
    PutBack: _restore_put_back,
    JoinAs: _restore_members,
    RestoreIdentities: _restore_members,
    Publish: _restore_publish,
    Record: _restore_record,
    Lose: _restore_lose,
}


def _check(fields: Any, shape: tuple[Any, ...]) -> None:
    """Reject a frame of one client that would harm the queues that all share."""
    if not isinstance(fields, list) or len(fields) != len(shape) or not all(map(isinstance, fields, shape)):
        raise ValueError("a frame does not have the fields of its step")


def encode_result(result: Any) -> bytes:
    """Return the answer to a step."""
    if isinstance(result, Taken):
        result = (result.queue, [(item.payload, item.raw) for item in result.items], result.lost)
    elif isinstance(result, Published):
        result = (result.left, result.full, result.life, result.position)
    elif isinstance(result, StepRefused):
        result = msgpack.ExtType(_REFUSED, result.reason.encode())
    answer: bytes = msgpack.packb(result)
    return answer


def decode_result(kind: type, answer: Any, where: str) -> Any:
    """Return the result of a step of this kind from an answer of the host at `where`."""
    if isinstance(answer, msgpack.ExtType):
        return StepRefused(where, answer.data.decode(), unknown=True)
    if kind is Push:
        return [PushStatus(status) for status in answer]
    if kind is Take and answer is not None:
        queue, items, lost = answer
        # Deadlines are by the clock of the machine, so they count also if this process was suspended meanwhile.
        now = time.monotonic()
        found = [Item(payload, raw, raw[0] - now) for payload, raw in items if raw[0] > now]
        late = [("expired", payload) for payload, raw in items if raw[0] <= now]
        return Taken(queue, found, [*((how, payload) for how, payload in lost), *late])
    restore = _RESULTS.get(kind)
    return restore(*answer) if restore and answer is not None else answer


def _roster(
    version: int,
    members: list[str],
    complete: bool,
    identities: dict[str, Any],
    starts: dict[str, Any],
    epoch: int = 0,  # an older host does not send it
    *_: Any,
) -> Roster:
    who = {member: Identity(*identity) for member, identity in identities.items()}
    return Roster(version, members, complete, who, {member: Start(*start) for member, start in starts.items()}, epoch)


def _history(life: int, head: int, kept: list[Any] | None, is_member: bool) -> History:
    return History(life, head, None if kept is None else [Kept(*entry) for entry in kept], is_member)


def _notices(*notices: list[Any]) -> list[Notice]:
    return [Notice(arrived, group, Identity(*identity)) for arrived, group, identity in notices]


_RESULTS: dict[type, Callable[..., Any]] = {
    Join: MembershipChange,
    JoinAs: MembershipChange,
    Leave: MembershipChange,
    Lookup: Audience,
    Publish: lambda left, full, *kept: Published(Audience(*left), full, 0, *kept),
    Record: lambda audience, life, position: Recorded(Audience(*audience), life, position),
    ReadHistory: _history,
    SetStart: Start,
    Members: _roster,
    Audit: Audited,
    GetPresence: lambda *found: [Identity(*identity) for identity in found],
    TakeNotices: _notices,
    Heartbeat: lambda *epochs: epochs,
    GetCounters: lambda *counts: [tuple(count) for count in counts],
    GetPrograms: lambda *found: [Announcement(*one) for one in found],
}


def unpacker() -> msgpack.Unpacker:
    """Return a parser of frames, or of answers, in a stream of bytes."""
    return msgpack.Unpacker(max_buffer_size=FRAME_LIMIT)
