"""What a channel layer can be asked to do: a dozen small steps, as plain data.

Everything above (`base`, `delivery`) turns sends, groups and reads into steps; everything below runs them: a `Store` in
this process, a store behind a Unix socket, or scripts in Redis. Steps know nothing of messages: an entry's payload is
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol


class Status(IntEnum):
    """What became of an entry that was pushed."""

    __hash__ = int.__hash__  # looked up in tables for each message; that of Enum is in Python

    ACCEPTED = 1
    FULL = 0
    DEAD = -1
    """The inbox belongs to an interface server that has not been seen for `LIVENESS` seconds; nothing was written."""


LIVENESS = 30.0
"""Seconds after its last `Heartbeat` until an inbox counts as dead."""


@dataclass(slots=True)  # frozen would be slower
class Entry:
    """One entry for a list.

    `ttl` is in seconds; `limit` counts entries of the same `quota_key`. `None` is refused by inboxes alone, by one
    that holds twice what it should.
    """

    payload: bytes
    ttl: float
    quota_key: str = ""
    limit: int | None = None
    origin: Any = field(default=None, compare=False)
    """What the caller wants to know the entry by; it stays in the process."""


@dataclass(slots=True)  # frozen would be slower
class Item:
    """An entry that was taken. `raw` is what `PutBack` needs to restore it, unchanged and as old as it is."""

    payload: bytes
    raw: Any


@dataclass(frozen=True, slots=True)
class Taken:
    """What one `Take` got from one list; `lost` is what nobody may have any more: `("expired" | "fenced", payload)`."""

    queue: str
    items: Sequence[Item]
    lost: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Push:
    """Append entries to a list, in order → a `Status` for each."""

    queue: str
    entries: Sequence[Entry]
    alive: bool = False
    """Write only if the inbox is alive."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """Put items that nobody has started back to the head of the list they came from, in order → None."""

    queue: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Take:
    """Take up to `count` entries from the first of `queues` that has any → `Taken`, or None after `timeout` seconds.

    With `timeout` 0 it does not wait. Give the lists in random order: an earlier one wins.
    """

    queues: Sequence[str]
    count: int = 1
    timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class Join:
    """Make `members` of one list members of a group now → None. A member of a plain channel is the channel itself."""

    group: str
    queue: str
    members: Sequence[str]


@dataclass(frozen=True, slots=True)
class Leave:
    """Remove members of one list from a group → None."""

    group: str
    queue: str
    members: Sequence[str]


@dataclass(frozen=True, slots=True)
class Members:
    """Look a group up → `{queue: [member, …]}`, without memberships older than `group_expiry`."""

    group: str


@dataclass(frozen=True, slots=True)
class Delist:
    """Take a dead inbox off a group's list of inboxes → None. Its memberships stay; `Rejoin` lists it again."""

    group: str
    inbox: str


@dataclass(frozen=True, slots=True)
class Rejoin:
    """List an owner's inbox in one group again → its members there now.

    With `replace` they are `members`, for a layer that lost its data. Without, the stored members win where there are
    any: others may have changed them while the owner was away.
    """

    group: str
    inbox: str
    members: Sequence[str]
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Say that the owner of an inbox lives → whether the layer still has what it had at the last `Heartbeat`.

    False: this is the first one, or the layer lost data since. A long silence alone makes it not False.
    """

    inbox: str


@dataclass(frozen=True, slots=True)
class Alive:
    """→ whether the owner of an inbox lives."""

    inbox: str


@dataclass(frozen=True, slots=True)
class Retire:
    """The owner of an inbox stops: forget the inbox and what it holds → None."""

    inbox: str


@dataclass(frozen=True, slots=True)
class Length:
    """→ how many entries a list holds, expired ones included."""

    queue: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Empty everything but liveness → the inboxes that are alive, whose owners must be told to forget their groups."""


@dataclass(frozen=True, slots=True)
class GetStatistics:
    """→ what the statistics extension tells of one list, or with None of the whole layer."""

    queue: str | None = None


Step = (
    Push
    | PutBack
    | Take
    | Join
    | Leave
    | Members
    | Delist
    | Rejoin
    | Heartbeat
    | Alive
    | Retire
    | Length
    | Flush
    | GetStatistics
)


class Connection(Protocol):
    """A way to a layer for one thread. Steps are written without waiting; results come in the same order.

    `write` and `read` raise `LayerUnavailable` when the layer is lost: then every step not yet read has an unknown
    outcome and must not be repeated, except for those that `read` gave as a `StepRefused`, which were certainly not
    carried out.
    """

    def write(self, steps: Sequence[Step]) -> None:
        """Send steps; nothing is waited for."""

    def read(self) -> Any:
        """The result of the oldest step that was written and not read; a `StepRefused` is returned, not raised."""

    def usable(self) -> bool:
        """Whether the other side still listens, as far as can be told without asking. Only between steps."""

    def wake(self) -> None:
        """End a `Take` that blocks in another thread: it gives what it already had, or None. Nothing is lost."""

    def close(self) -> None:
        """Let go of the connection; what was not read is lost to the caller."""


class AsyncConnection(Protocol):
    """A way to a layer for one event loop, with the promises of `Connection`."""

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps in order and give their results.

        Callers wait for one another; use a connection of its own to block.
        """

    def usable(self) -> bool:
        """Whether the other side still listens, as far as the event loop has heard. Only between steps."""

    async def close(self) -> None:
        """Let go of the connection."""
