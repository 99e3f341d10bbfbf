"""The operations of a channel layer: a dozen small steps, as plain data.

Everything above (`base`, `planner`) turns sends, groups and reads into steps; everything below runs them: a `Store` in
this process, a store behind a Unix socket, or scripts in Redis. Steps know nothing of messages: an entry's payload is
bytes. `results` has what they return.

They are named tuples: thirty of these are defined at each start in the time of three dataclasses. Those with a `count`,
which is a method of tuples, or without a field are dataclasses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from channels_classic.layers.results import Identity, Item

LIVENESS = 30.0
"""Seconds after its last `Heartbeat` until an inbox counts as dead."""

SHORTEST_OWNED_EXPIRY = 3600.0
"""Least seconds for which a layer keeps what concerns the clients of an interface server, who is in which group and the
hints of changes. Nothing shows it once the inbox counts as dead, but if its owner was only suspended, or cut off, it
finds there who is a member and who has left meanwhile."""


def owned_expiry(group_expiry: float) -> float:
    """Return the seconds for which a layer keeps what concerns the clients of an interface server."""
    return max(group_expiry, SHORTEST_OWNED_EXPIRY)


@dataclass(slots=True)  # frozen would be slower
class Entry:
    """One entry for a queue.

    `ttl` is in seconds; `limit` counts entries of the same `quota_key`. `None`: unlimited, except in an inbox at twice
    its bound.
    """

    payload: bytes
    ttl: float
    quota_key: str = ""
    limit: int | None = None
    origin: Any = field(default=None, compare=False)
    """The caller's own object for the entry; it stays in the process."""


class Push(NamedTuple):
    """Append entries to a queue, in order → a `PushStatus` for each."""

    queue: str
    entries: Sequence[Entry]
    alive: bool = False
    """Write only if the inbox is alive."""


class PutBack(NamedTuple):
    """Put items that nobody has started back to the head of the queue they came from, in order → None."""

    queue: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Take:
    """Take up to `count` entries from the first of `queues` that has any → `Taken`, or None after `timeout` seconds.

    With `timeout` 0 it does not wait. Give the queues in random order: an earlier one wins.
    """

    queues: Sequence[str]
    count: int = 1
    timeout: float = 0.0


class Join(NamedTuple):
    """Make `members` of an inbox members of a group now → `MembershipChange`.

    With the empty text as inbox, `members` are channels that no interface server owns; each membership lasts
    `group_expiry` seconds. Instead of versions the `MembershipChange` has 0 and the number of those that were no
    members.
    """

    group: str
    inbox: str
    members: Sequence[str]


class JoinAs(NamedTuple):
    """Make channels members as `Join` does, and say who each of them is → `MembershipChange`.

    That is also what comes where only the identities changed.
    """

    group: str
    inbox: str
    members: Mapping[str, Identity]


class RestoreIdentities(NamedTuple):
    """Write again who members of an inbox are, for a layer that lost it → None.

    It concerns those that are members and have no identity there, so a late one revives nobody. With `announce` those
    that were announced as having left are announced again.
    """

    group: str
    inbox: str
    members: Mapping[str, Identity]
    announce: bool


class Leave(NamedTuple):
    """Remove members of an inbox from a group, or channels as in `Join` → `MembershipChange`.

    `gone` says that these clients do not exist any more. Their owner, who writes that, knows it already, so the version
    stays.
    """

    group: str
    inbox: str
    members: Sequence[str]
    gone: bool = False


class Lookup(NamedTuple):
    """Find out where a message for a group must go → `Audience`. Its size depends on inboxes, not on members."""

    group: str


class Envelope(NamedTuple):
    """A payload for the inboxes of a group, without the version of the members there: that comes between these."""

    before: bytes
    after: bytes


EMPTY = Envelope(b"", b"")


class Record(NamedTuple):
    """Keep a message for a group, and find out where it must go → `Recorded`.

    The group keeps at most `keep` messages, each for `seconds`.
    """

    group: str
    payload: bytes
    keep: int
    seconds: float


class Publish(NamedTuple):
    """Push a message to all inboxes with members of a group, as one step → `Published`.

    Only inboxes whose names begin with `reading` read the envelope, and a step is bounded: the sender must push to the
    inboxes that are left, and to single channels. Each inbox holds `limit` entries of the `quota_key`, which
    live for `ttl` seconds. The inbox `apart` gets an envelope of its own.

    With a `record` that is done too; its life and position come behind the envelopes.
    """

    group: str
    envelope: Envelope
    reading: str
    ttl: float
    quota_key: str
    limit: int
    apart: str = ""
    apart_envelope: Envelope = EMPTY
    direct: bool = True
    """False where inboxes are in other places than their groups: then all of them are left to the sender."""
    record: Record | None = None


class ReadHistory(NamedTuple):
    """Read what a group keeps after a position → `History`. `life` is that of the position, or `ALL` or `HEAD`.

    With an `inbox` it is for a `member` of that alone.
    """

    group: str
    life: int
    position: int
    inbox: str = ""
    member: str = ""


class SetStart(NamedTuple):
    """Note the start of a client that is about to join a group → `Start`. The life `HEAD` is the last position now.

    It is kept until the client leaves, so whoever reads that it is a member reads this too. For one that is a member
    already nothing is noted → None: it goes on to get messages as it did.
    """

    group: str
    inbox: str
    member: str
    life: int
    position: int
    last: bool


class Members(NamedTuple):
    """Read which members an inbox has in a group → `Roster`."""

    group: str
    inbox: str


class MemberCount(NamedTuple):
    """Count the members that an inbox has in a group → int."""

    group: str
    inbox: str


class GetPresence(NamedTuple):
    """Read who is in a group, with one `Identity` for each socket → list; those of dead inboxes are left out."""

    group: str


class GetPresenceGroups(NamedTuple):
    """Read in which groups members of an inbox have an identity → list. It may name some in which none has any more."""

    inbox: str


@dataclass(frozen=True, slots=True)
class TakeNotices:
    """Take up to `count` notices that are due → list of `Notice`, each for one caller alone.

    Notices are made while somebody takes them, and for `presence.LISTENING` seconds after the last time.
    """

    count: int


class Renew(NamedTuple):
    """Keep the members that an inbox has in a group for another `owned_expiry` seconds, whoever they are → None."""

    group: str
    inbox: str


class Restore(NamedTuple):
    """Write members that the layer lost with its data → None.

    It adds them to those that joined since, and leaves out those that left since. Where nothing was lost since the
    owner last confirmed the epoch with a `Heartbeat` it does nothing: a late one cannot revive anybody.
    """

    group: str
    inbox: str
    members: Sequence[str]


class Audit(NamedTuple):
    """Find out whether the layer lost what it holds of the members that an inbox has in a group → `Audited`.

    `known` is the version up to which the owner knows them all, or knew them until a hint reported that there had been
    none: where the layer has none, or only others that joined later, and they did not leave, that is a loss. `restored`
    is the loss after which the owner has written them again: it ends with that.
    """

    group: str
    inbox: str
    known: int = 0
    restored: int = 0


class Heartbeat(NamedTuple):
    """Report that the owner of an inbox is alive → the epoch of each place that keeps groups, None where it is unknown.

    An epoch is named by its first version, not by the number that entries carry. It changes when data was lost; asking
    ends none. `restored` are the epochs, in the same order, for which the owner has written all of its memberships.
    """

    inbox: str
    restored: Sequence[int | None] = ()


class Retire(NamedTuple):
    """The owner of an inbox stops: forget the inbox and what it holds → None."""

    inbox: str


class Length(NamedTuple):
    """Count the entries in a queue, expired ones included → int."""

    queue: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Empty everything but liveness → the inboxes that are alive, whose owners must be told to forget their groups."""


class GetStatistics(NamedTuple):
    """Read the statistics of one queue, or with None of the whole layer → dict."""

    queue: str | None = None


@dataclass(frozen=True, slots=True)
class GetCounters:
    """Read all counters, by kind (`messages`, `full`, `lost_…`) and name → a list of `Count`.

    The name is empty for those that were summed because there were too many.
    """


class Announce(NamedTuple):
    """Keep what a program reports about itself for `ttl` seconds, in place of what it reported before → None.

    With `ttl` 0 the program ends, and what it reported is removed.
    """

    program: str
    facts: bytes
    ttl: float


@dataclass(frozen=True, slots=True)
class GetPrograms:
    """Read what programs report about themselves → a list of `Announcement`, in any order."""


Step = (
    Push
    | PutBack
    | Take
    | Join
    | JoinAs
    | RestoreIdentities
    | Leave
    | Lookup
    | Publish
    | Record
    | ReadHistory
    | SetStart
    | Members
    | MemberCount
    | GetPresence
    | GetPresenceGroups
    | TakeNotices
    | Renew
    | Restore
    | Audit
    | Heartbeat
    | Retire
    | Length
    | Flush
    | GetStatistics
    | GetCounters
    | Announce
    | GetPrograms
)


def waits(step: Step) -> bool:
    """Return True for a step that may wait for what others do."""
    return isinstance(step, Take) and step.timeout > 0


class Connection(Protocol):
    """A way to a layer for one thread. Steps are written without waiting; results come in the same order.

    `write` and `read` raise `LayerUnavailable` when the layer is lost: then every step not yet read has an unknown
    outcome and must not be repeated, except for those that `read` gave as a `StepRefused`, which were certainly not
    carried out.
    """

    def write(self, steps: Sequence[Step]) -> None:
        """Send steps without waiting."""

    def read(self) -> Any:
        """Return the result of the oldest step that was not read yet; a `StepRefused` is returned, not raised."""

    def usable(self) -> bool:
        """Return False if the connection is known to be closed, without a round trip. Only between steps."""

    def wake(self) -> None:
        """End a `Take` that blocks in another thread: it returns what it already has, or None. Nothing is lost."""

    def close(self) -> None:
        """Close the connection; results that were not read are lost to the caller."""


class AsyncConnection(Protocol):
    """A way to a layer for one event loop, with the promises of `Connection`."""

    async def run(self, steps: Sequence[Step]) -> list[Any]:
        """Carry out steps in order and return their results.

        Callers wait for one another; use a connection of its own to block.
        """

    async def unblock(self) -> None:
        """Ask the layer once to end a `Take` that blocks: it returns what it already has, or None. Nothing is lost."""

    def usable(self) -> bool:
        """Return False if the event loop knows that the connection is closed. Only between steps."""

    async def close(self) -> None:
        """Close the connection."""
