"""The results of steps, as plain data: what was taken, who is in a group, what a group keeps.

Every layer returns these, whatever carries out its steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple


class PushStatus(IntEnum):
    """Result of pushing one entry."""

    __hash__ = int.__hash__  # looked up in tables for each message; that of Enum is in Python

    ACCEPTED = 1
    FULL = 0
    DEAD = -1
    """The inbox belongs to an interface server without a `Heartbeat` for `LIVENESS` seconds; nothing was written."""


@dataclass(slots=True)  # frozen would be slower
class Item:
    """An entry that was taken. From `raw`, `PutBack` restores it, unchanged and with its age.

    It expires `left` seconds after it was read: whoever takes it must not start it later.
    """

    payload: bytes
    raw: Any
    left: float = field(default=math.inf, compare=False)

    @property
    def can_be_put_back(self) -> bool:
        """True unless it came by a way that carries nothing about the entry, such as `receive`."""
        return self.raw is not None


@dataclass(frozen=True, slots=True)
class Taken:
    """Result of one `Take` from one queue; `lost` must not be delivered any more.

    Each of the lost is a pair of a kind of loss (`expired`, `fenced`, `undecodable`) and a payload.
    """

    queue: str
    items: Sequence[Item]
    lost: Sequence[tuple[str, bytes]] = ()


class MembershipChange(NamedTuple):
    """The effect of a `Join` or `Leave` on the members that one inbox has in a group.

    The versions are equal when nothing changed. `previous` is 0 when the inbox had no member there.
    """

    previous: int
    version: int


class Audience(NamedTuple):
    """The receivers of a group message: the inboxes that are alive, each with its version, and single channels.

    `dead` are inboxes found dead for the first time.
    """

    inboxes: Mapping[str, int]
    channels: Sequence[str]
    dead: Sequence[str]


class Identity(NamedTuple):
    """The identity of a member, as a consumer gave it: who it is, and packed facts about it."""

    who: str
    info: bytes


class Notice(NamedTuple):
    """Somebody came to a group with the first of their sockets (`arrived`), or has left it with the last one."""

    arrived: bool
    group: str
    identity: Identity


class Kept(NamedTuple):
    """A message that a group keeps."""

    position: int
    payload: bytes


class History(NamedTuple):
    """The messages that a group keeps after a position; None if some of them are gone.

    `life` is the number of these positions, which no other group has and no earlier data had; `head` is the last one.
    `is_member` is False if the client that was asked about is not a member now.
    """

    life: int
    head: int
    kept: Sequence[Kept] | None
    is_member: bool = True


class Start(NamedTuple):
    """The position up to which a member of a recoverable group has its messages.

    With `last` the last message alone is of interest.
    """

    life: int
    position: int
    last: bool


class Roster(NamedTuple):
    """The members that one inbox has in a group. `version` is 0 when there are none.

    `complete` is False when the layer lost data and the owner has not restored all of its memberships since.
    `identities` are those of members that were given one, `starts` those of members that recover. `epoch` is the one
    that `Heartbeat` returns.
    """

    version: int
    members: Sequence[str]
    complete: bool
    identities: Mapping[str, Identity] = {}
    starts: Mapping[str, Start] = {}
    epoch: int = 0


class Audited(NamedTuple):
    """The state of the members that one inbox has in a group. `version` is 0 when there are none.

    `loss` is the number of the loss of members that their owner has to write again, or 0. `identities` is the number of
    members that have one.
    """

    version: int
    loss: int
    identities: int


class Published(NamedTuple):
    """The receivers that do not have a group message yet, and the numbers of inboxes that were full and that have it.

    The local layer does not tell the last: it leaves to the sender only inboxes of other releases. A message that was
    recorded has a life and a position.
    """

    left: Audience
    full: int
    reached: int = 0
    life: int = 0
    position: int = 0


class Recorded(NamedTuple):
    """The receivers of a group message that is kept, and its position."""

    audience: Audience
    life: int
    position: int


class Announcement(NamedTuple):
    """The facts that a program reported, `age` seconds ago."""

    program: str
    facts: bytes
    age: float
