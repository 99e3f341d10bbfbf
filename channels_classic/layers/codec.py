"""Payloads: what stands inside a list entry, in msgpack, with the kind first.

Both directions are pure. A reader ignores kinds that it does not know, and counts them: release N reads what N + 1
writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import msgpack

from channels_classic.exceptions import InvalidMessage, MessageTooLarge

SIZE_LIMIT = 8 * 1024 * 1024
"""Bytes of one encoded message (the ASGI draft asks for at least 1 MB)."""

RESERVED = "__asgi_channel__"


class Kind(IntEnum):
    """What an entry says. Written as the first element of the payload; the rest is named in each line."""

    MESSAGE = 0
    """message, token, local: one message; a token that is not None asks for a `REPORT`.

    In an inbox a report on another message may follow: token, outcome. It is for the same client.
    """
    GROUP = 1
    """message, group, locals: one message for many clients of one inbox."""
    REPORT = 2
    """local, token, outcome: the message that carried the token came to its end, or still runs."""
    JOINED = 3
    """group, local: a hint that a client became a member."""
    LEFT = 4
    """group, local: a hint that a client is no member any more."""
    FORGET = 5
    """Nothing: the layer was flushed; memberships are gone for good."""


class Outcome(IntEnum):
    """How a gated message ended."""

    __hash__ = int.__hash__  # looked up in tables for each message; that of Enum is in Python

    CONSUMED = 0
    RAISED = 1
    UNROUTED = 2
    EXPIRED = 3
    DROPPED = 4
    RUNNING = 5
    """Not an end: its consumer still works."""
    DIED = 6
    """The process that had taken it died; its supervisor says so."""


OUTCOMES = {int(outcome): outcome for outcome in Outcome}
"""Each outcome by what is written for it."""

RUNNING_INTERVAL = 3.0
"""Seconds, at most, between two reports of a worker that a consumer still runs."""


def encode(kind: Kind, *fields: Any) -> bytes:
    """One payload."""
    return msgpack.packb((int(kind), *fields))


def encode_message(channel: str, kind: Kind, message: Mapping[str, Any], *fields: Any) -> bytes:
    """A payload that carries `message`, then `fields`.

    Raises `InvalidMessage` or `MessageTooLarge`, naming `channel`.
    """
    if not isinstance(message, dict):
        raise InvalidMessage(channel, f"a message is a dict, not {type(message).__name__}")
    if RESERVED in message:
        raise InvalidMessage(channel, f"the key {RESERVED!r} is reserved")
    try:
        payload: bytes = msgpack.packb((int(kind), message, *fields))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMessage(channel, str(error)) from error
    if len(payload) > SIZE_LIMIT:
        raise MessageTooLarge(channel, len(payload), SIZE_LIMIT)
    return payload


def decode(payload: bytes) -> list[Any]:
    """The fields of a payload, the kind first. Raises `ValueError` when it is no payload."""
    try:
        fields = msgpack.unpackb(payload, strict_map_key=False)
    except TypeError as error:  # a dict whose keys cannot be hashed
        raise ValueError(str(error)) from error
    if not isinstance(fields, list) or not fields:
        raise ValueError("a payload is a list that begins with its kind")
    return fields
