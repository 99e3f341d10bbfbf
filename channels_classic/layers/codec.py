"""Payloads of entries, in msgpack, with the kind first. Pure.

A reader ignores kinds that it does not know, and counts them. Three things stay the same in every release, so that
releases can run side by side: the form of `MESSAGE`; that a kind with a token for a gate has its message and the token
where `MESSAGE` has them, and one with a report for a client the client, token and outcome; and that every outcome but
`RUNNING` is an end. So no client waits for a report that came in an entry of another release.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import msgpack

from channels_classic.exceptions import InvalidMessage, MessageTooLarge
from channels_classic.layers.blame import largest_key, refusal
from channels_classic.layers.names import DELAY_CHANNEL
from channels_classic.layers.steps import Envelope

SIZE_LIMIT = 8 * 1024 * 1024
"""Bytes of one encoded message (the ASGI draft asks for at least 1 MB)."""

RESERVED = "__asgi_channel__"


class EntryKind(IntEnum):
    """The kind of an entry, the first element of its payload; each line names the other elements."""

    MESSAGE = 0
    """message, token, local: one message; a token that is not None asks for a `REPORT`.

    In an inbox a report on another message may follow: token, outcome. It is for the same client, and this is a reply
    of the consumer of that message. With the outcome `RUNNING` it is not the last one.
    """
    GROUP = 1
    """group, version, message: one message for all clients of one inbox that are members of a group.

    The version is that of the memberships which the sender looked up. The local name of a client that is left out may
    follow, and for a message that the group keeps its life and position.
    """
    REPORT = 2
    """local, token, outcome: the message that carried the token ended, or still runs."""
    JOINED = 3
    """group, local, previous, version: a hint that a client became a member; the versions before and after.

    Who it is may follow, or twice None: who, info. Then for a member that recovers its start: life, position, last.
    """
    LEFT = 4
    """group, local, previous, version: a hint that a client is not a member any more."""
    FORGET = 5
    """No fields: somebody called `flush` of the layer; memberships are gone for good, not as after FLUSHALL."""
    POST = 6
    """local, secret, path, text, inbox, number: a message that the client of an event stream posted to the interface
    server with that inbox."""
    POSTED = 7
    """number, status: the answer to a `POST`, an HTTP status."""


class Outcome(IntEnum):
    """The end of a gated message, or that it still runs."""

    __hash__ = int.__hash__  # looked up in tables for each message; that of Enum is in Python

    CONSUMED = 0
    RAISED = 1
    UNROUTED = 2
    """No route matched."""
    EXPIRED = 3
    """It was too old to be started."""
    DROPPED = 4
    """It was given up: after too many retries, at a stop, or with an outcome that this release does not know."""
    RUNNING = 5
    """Not an end: its consumer still works."""
    DIED = 6
    """The process that had taken it died; reported by its supervisor."""


_OUTCOMES = {int(outcome): outcome for outcome in Outcome}

RUNNING_INTERVAL = 3.0
"""Most seconds between two reports of a worker that a consumer still runs."""


def encode(kind: EntryKind, *fields: Any) -> bytes:
    """Return one payload."""
    return msgpack.packb((int(kind), *fields))


def encode_message(channel: str, kind: EntryKind, message: Mapping[str, Any], *fields: Any) -> bytes:
    """Return a payload that carries `message`, then `fields`.

    Raises `InvalidMessage` or `MessageTooLarge`, naming `channel`.
    """
    if channel == DELAY_CHANNEL and isinstance(message, dict):
        _check_delayed(channel, message.get("content"))
    return _pack(channel, message, (int(kind), message, *fields))


def _check_delayed(channel: str, content: object) -> None:
    try:
        json.dumps(content)
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"in its content {refusal(content, json.dumps, error)}"
        raise InvalidMessage(channel, reason, "values that JSON has: it is kept as JSON until it is due") from error


def pack_message(group: str, message: Mapping[str, Any]) -> bytes:
    """Return a message for `encode_group`. Raises `InvalidMessage` or `MessageTooLarge`, naming `group`."""
    return _pack(group, message, message)


def _pack(name: str, message: Mapping[str, Any], value: object) -> bytes:
    if not isinstance(message, dict):
        raise InvalidMessage(name, f"a message is a dict, not {type(message).__name__}")
    if RESERVED in message:
        raise InvalidMessage(name, f"the key {RESERVED!r} is reserved")
    try:
        packed: bytes = msgpack.packb(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMessage(name, refusal(message, msgpack.packb, error)) from error
    if len(packed) > SIZE_LIMIT:
        raise MessageTooLarge(name, len(packed), SIZE_LIMIT, largest_key(message))
    return packed


def encode_group(group: str, packed: bytes, *fields: str | int, following: int = 0) -> Envelope:
    """Return a payload of kind `GROUP` for `seal`. It is packed once, however many inboxes it goes to.

    `following` is the number of fields that `append_fields` will add.
    """
    head = _GROUP_HEADS[len(fields) + following]
    return Envelope(head + msgpack.packb(group), packed + b"".join(map(msgpack.packb, fields)))


def append_fields(envelope: Envelope, *fields: int) -> Envelope:
    """Add the fields that were to follow. A script of the Redis layer does the same."""
    return Envelope(envelope.before, envelope.after + b"".join(map(msgpack.packb, fields)))


def seal(envelope: Envelope, version: int) -> bytes:
    """Return the payload for an inbox with this version. A script of the Redis layer does the same."""
    packed: bytes = msgpack.packb(version)
    return envelope.before + packed + envelope.after


_GROUP_HEADS = [bytes([0x94 + fields, EntryKind.GROUP]) for fields in range(4)]
"""An array of four elements or more, and the first of them."""


def encode_kept(packed: bytes, but: str) -> bytes:
    """Return what a group keeps of a message: the message, and the member that does not get it."""
    return b"\x92" + packed + msgpack.packb(but)


def decode_kept(payload: bytes) -> tuple[dict[str, Any], str]:
    """Return a kept message, and the member that does not get it. Raises `ValueError`."""
    match _unpacked(payload):
        case [dict() as message, str() as but]:
            return message, but
    raise ValueError("a kept message is a dict and the name of a channel")


def _unpacked(payload: bytes) -> Any:
    try:
        return msgpack.unpackb(payload, strict_map_key=False)
    except TypeError as error:  # a dict whose keys cannot be hashed
        raise ValueError(str(error)) from error


# One call and no loop for each entry that is read; `type` is enough for what msgpack makes.


def _is_message(fields: list[Any]) -> bool:
    return type(fields[1]) is dict and (fields[2] is None or type(fields[2]) is str) and type(fields[3]) is str


def _is_group(fields: list[Any]) -> bool:
    return type(fields[1]) is str and type(fields[2]) is int and type(fields[3]) is dict


def _is_report(fields: list[Any]) -> bool:
    return type(fields[1]) is str and type(fields[2]) is str and type(fields[3]) is int


def _is_hint(fields: list[Any]) -> bool:
    _, group, local, previous, version, *_ = fields
    return type(group) is str and type(local) is str and _leads_on(previous, version)


def _is_post(fields: list[Any]) -> bool:
    return len(fields) >= 7 and all(type(field) is str for field in fields[1:7])


def _is_posted(fields: list[Any]) -> bool:
    return type(fields[1]) is str and type(fields[2]) is int


def _leads_on(previous: object, version: object) -> bool:
    return type(previous) is int and type(version) is int and 0 <= previous < version


_IS_VALID: dict[int, Callable[[list[Any]], bool]] = {
    int(EntryKind.MESSAGE): _is_message,
    int(EntryKind.GROUP): _is_group,
    int(EntryKind.REPORT): _is_report,
    int(EntryKind.JOINED): _is_hint,
    int(EntryKind.LEFT): _is_hint,
    int(EntryKind.POST): _is_post,
    int(EntryKind.POSTED): _is_posted,
}
"""Checks of the fields that every release writes for a kind; later releases may append fields."""


def outcome_of(number: int) -> Outcome:
    """Return the outcome with a number on the wire; one of a later release is the end of a message that was lost."""
    return _OUTCOMES.get(number, Outcome.DROPPED)


def decode(payload: bytes) -> list[Any]:
    """Return the fields of a payload, the kind first; those of a known kind have the right types.

    Raises `ValueError` for anything else, whoever wrote it.
    """
    fields = _unpacked(payload)
    if type(fields) is not list or not fields or type(kind := fields[0]) is not int:
        raise ValueError("a payload must be a list that begins with its kind")
    is_valid = _IS_VALID.get(kind)
    try:
        if is_valid is None or is_valid(fields):
            return fields
    except (IndexError, ValueError):
        pass  # there are too few
    raise ValueError(f"a payload of kind {kind} has fields of other types")
