"""Steps as Redis commands; `replies` is the way back. Pure: no socket, no clock; used by both kinds of connections.

Time is the server's own: scripts stamp what they store, and a `TIME` behind each take shows what has expired.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from channels_classic.layers.history import BYTES_LIMIT, SECONDS_LIMIT
from channels_classic.layers.losses import Count, counted_name
from channels_classic.layers.presence import LISTENING
from channels_classic.layers.redis.cipher import KEPT, QUEUE, WHO, Cipher, Plain
from channels_classic.layers.redis.handover import UNPROVEN
from channels_classic.layers.redis.keys import Keys
from channels_classic.layers.redis.replies import COUNTED, ENTRY_HEAD, queue_of, quota_key_of
from channels_classic.layers.results import Identity
from channels_classic.layers.steps import (
    LIVENESS,
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
    owned_expiry,
)
from channels_classic.layers.store import INBOX_ENTRIES, QUEUE_BYTES

Command = Sequence[str | bytes | int | float]

QUOTAS_FROM = 64
"""Length from which the entries of an inbox are counted by client.

One client cannot fill a shorter queue at the default capacity.
"""

_MAX_TTL = 2**32 - 1


_COMMENTS = re.compile(rb"^ *--.*\n|^ +| +-- .*$", re.MULTILINE)
"""Comments and indents of scripts, which are not sent to the server."""

_HEADS = {None: b"", False: b"#!lua\n", True: b"#!lua flags=allow-oom\n"}


class Script:
    """Lua files beside this module, one after the other, addressed by their digest.

    With `allow_oom` it runs also when the server has reached `maxmemory`: what it writes is little and keeps the layer
    alive, or makes room. With `allow_oom` False it is refused then, as a whole; otherwise at the first command that
    needs memory, but not once it has written anything. A `digest` is added as a comment.
    """

    def __init__(self, *names: str, allow_oom: bool | None = None, digest: str = "") -> None:
        sources = [(files(__package__) / "scripts" / f"{name}.lua").read_bytes() for name in names]
        self.source = _COMMENTS.sub(b"", b"".join([_HEADS[allow_oom], *sources]))
        if digest:
            self.source += f"-- {hashlib.sha1(digest.encode(), usedforsecurity=False).hexdigest()}\n".encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *arguments: str | bytes | int | float) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


PUT_BACK = Script("put_back", allow_oom=True)
PUSH = Script("clock", "mended", "counters", "epoch", "append", "push")
RELEASE_QUOTA = Script("release_quota", allow_oom=True)
_GROUP = ("clock", "mended", "epoch", "presence", "group")
JOIN, JOIN_AS, MEMBERS = (Script(*_GROUP, name) for name in ("join", "join_as", "members"))
RESTORE, RESTORE_IDENTITIES = (Script(*_GROUP, name) for name in ("restore", "restore_identities"))
LEAVE, AUDIT = (Script(*_GROUP, name, allow_oom=True) for name in ("leave", "audit"))
JOIN_CHANNELS = Script("clock", "join_channels")
JOIN_CHANNELS_AS = Script("clock", "mended", "presence", "join_channels_as")
LEAVE_CHANNELS = Script("clock", "mended", "presence", "leave_channels", allow_oom=True)
GET_PRESENCE = Script("clock", "mended", "presence", "get_presence")
TAKE_NOTICES = Script("clock", "mended", "presence", "take_notices", allow_oom=True)
LOOKUP = Script("clock", "audience", "lookup")
_PUBLISH = ("clock", "mended", "counters", "epoch", "append", "audience", "push_to_group")
PUBLISH = Script(*_PUBLISH, "publish", allow_oom=False)
PUBLISH_KEPT = Script(*_PUBLISH, "history", "keep", "publish_kept", allow_oom=False)
RECORD = Script("clock", "mended", "epoch", "history", "audience", "keep", "record")
READ_HISTORY, SET_START = (
    Script("clock", "mended", "epoch", "history", name) for name in ("read_history", "set_start")
)
HEARTBEAT = Script("clock", "mended", "epoch", "heartbeat", allow_oom=True)
FLUSH = Script("flush")
RECORD_LOSSES = Script("mended", "counters", "record_losses", allow_oom=True)
REGISTER = Script("clock", "mended", "epoch", "register", allow_oom=True)
ANNOUNCE = Script("clock", "mended", "announce", allow_oom=True)
SCRIPTS = [
    *(PUT_BACK, PUSH, RELEASE_QUOTA, JOIN, LEAVE, MEMBERS, RESTORE, AUDIT),
    *(JOIN_AS, RESTORE_IDENTITIES, JOIN_CHANNELS_AS, LEAVE_CHANNELS, GET_PRESENCE, TAKE_NOTICES),
    *(RECORD, READ_HISTORY, SET_START),
    *(JOIN_CHANNELS, LOOKUP, PUBLISH, PUBLISH_KEPT, HEARTBEAT, FLUSH, RECORD_LOSSES, REGISTER, ANNOUNCE),
]
BARRIER = Script("barrier", digest="".join(script.sha for script in SCRIPTS))
SCRIPTS.append(BARRIER)
"""All scripts, in the order in which they are loaded. A server that knows the last one, which is another one after each
change of any, knows all of them."""


def unblock(client: int) -> list[Command]:
    """Return what ends the take of another connection, if it blocks. The reply to the first of the two means nothing.

    While `CLIENT PAUSE … WRITE` is in force, as during a planned fail-over, a take does not block but waits to be run,
    and Redis 7.0 aborts when it is told to unblock that client. A script waits as well, even an unknown one, and what
    is written together with it is run right behind it: when the server is not paused.
    """
    return [BARRIER([]), ("CLIENT", "UNBLOCK", client)]


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at most what an entry can carry: a month and a half."""
    return min(int(seconds * 1000), _MAX_TTL)


class CommandBuilder:
    """The commands for one hash tag of one server, or of several that stand for each other."""

    def __init__(self, keys: Keys, group_expiry: float, cipher: Cipher) -> None:
        self.keys = keys
        self.cipher = cipher
        self.membership = milliseconds(group_expiry)
        self.owned = milliseconds(owned_expiry(group_expiry))

    def register(self, node: str, masters: Sequence[str], seen: int, since: int, proof: str = UNPROVEN) -> Command:
        """Return what every connection runs first → the number of the epoch, the server's lineage, the first version.

        `seen` is the highest number of an epoch that the client has seen, `since` its first version. With an empty
        `proof` the answer may name a former master of which it must be proven first, see `handover`.
        """
        return REGISTER([self.keys.epoch], node, proof, seen, since, *masters)

    def commands(self, step: Step) -> list[Command]:
        """Return the commands of a step, in order."""
        return _COMMANDS[type(step)](self, step)

    def keys_of(self, step: Step) -> list[str]:
        """Return the keys that a step concerns alone, or with others of its kind."""
        keys = self.keys
        shared = {keys.epoch, keys.counters, keys.notices, keys.noticed, keys.inboxes, keys.programs}
        found: list[str] = []
        for command in self.commands(step):
            words = command[3 : 3 + int(command[2])] if command[0] == "EVALSHA" else command[1:]
            found += [str(word) for word in words if str(word).startswith(self.keys.start)]
        return [key for key in dict.fromkeys(found) if key not in shared]

    def _push(self, step: Push) -> list[Command]:
        keys = [self.keys.queue(step.queue), self.keys.epoch, self.keys.counters]
        if step.queue.endswith("!"):
            keys.append(self.keys.quotas(step.queue))
            if step.alive:
                keys.append(self.keys.alive(step.queue))
        encrypt, place = self.cipher.encrypt, QUEUE + step.queue
        arguments: list[str | bytes | int] = [INBOX_ENTRIES, QUEUE_BYTES, QUOTAS_FROM, counted_name(step.queue)]
        for entry in step.entries:
            limit = -1 if entry.limit is None else entry.limit
            arguments += (entry.quota_key, limit, milliseconds(entry.ttl), encrypt(entry.payload, place))
        return [PUSH(keys, *arguments)]

    def _put_back(self, step: PutBack) -> list[Command]:
        keys = [self.keys.queue(step.queue)]
        if step.queue.endswith("!"):
            keys.append(self.keys.quotas(step.queue))
        longest = max(ENTRY_HEAD.unpack_from(item.raw)[2] for item in step.items)
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
        queue = queue_of(key)
        counted = dict(zip(_inboxes(step), replies[2:], strict=True)).get(queue)
        if counted is None:
            return None
        taken: list[bytes | int] = []
        for quota_key, number in Counter(map(quota_key_of, entries)).items():
            taken += (quota_key, number)
        return RELEASE_QUOTA([self.keys.quotas(queue)], counted, sum(map(len, entries)), *taken)

    def _group(
        self,
        script: Script,
        step: Join | JoinAs | RestoreIdentities | Leave | Members | Restore | Audit,
        *arguments: str | bytes | int,
    ) -> list[Command]:
        """A command about the members that one inbox has in one group."""
        group, inbox = step.group, step.inbox
        by_group = [self.keys.group(group), self.keys.members(group, inbox)]
        by_inbox = [self.keys.restored(inbox), self.keys.left(group, inbox), self.keys.starts(group, inbox)]
        by_inbox += [self.keys.identities(group, inbox), self.keys.people(group, inbox)]
        keys = [*by_group, self.keys.epoch, *by_inbox, self.keys.notices]
        return [script(keys, inbox, self.owned, *arguments)]

    def _join(self, step: Join) -> list[Command]:
        if not step.inbox:
            return [JOIN_CHANNELS([self.keys.channels(step.group)], self.membership, *step.members)]
        return self._group(JOIN, step, *step.members)

    def _identities(self, members: Mapping[str, Identity]) -> Iterator[str | bytes]:
        for member, (who, info) in members.items():
            name = who.encode()
            yield member
            yield bytes([len(name)]) + name + self.cipher.encrypt(info, WHO + who)

    def _join_as(self, step: JoinAs) -> list[Command]:
        if not step.inbox:
            keys = [self.keys.channels(step.group), self.keys.notices]
            return [JOIN_CHANNELS_AS(keys, step.group, self.membership, *self._identities(step.members))]
        return self._group(JOIN_AS, step, *self._identities(step.members))

    def _restore_identities(self, step: RestoreIdentities) -> list[Command]:
        return self._group(RESTORE_IDENTITIES, step, "1" if step.announce else "0", *self._identities(step.members))

    def _get_presence(self, step: GetPresence) -> list[Command]:
        keys = [self.keys.group(step.group), self.keys.channels(step.group), self.keys.notices]
        return [GET_PRESENCE(keys, step.group, self.membership)]

    def _get_presence_groups(self, step: GetPresenceGroups) -> list[Command]:
        return [("SMEMBERS", self.keys.presence_groups(step.inbox))]

    def _take_notices(self, step: TakeNotices) -> list[Command]:
        keys = [self.keys.noticed, self.keys.notices]
        return [TAKE_NOTICES(keys, milliseconds(LISTENING), step.count)]

    def _leave(self, step: Leave) -> list[Command]:
        if not step.inbox:
            return [LEAVE_CHANNELS([self.keys.channels(step.group), self.keys.notices], step.group, *step.members)]
        return self._group(LEAVE, step, "1" if step.gone else "0", *step.members)

    def _audience(self, group: str) -> tuple[int, str, str]:
        """Return the arguments by which audience.lua finds the receivers in a group."""
        return self.membership, self.keys.alive(""), self.keys.members(group, "")

    def _lookup(self, step: Lookup) -> list[Command]:
        keys = [self.keys.group(step.group), self.keys.channels(step.group)]
        return [LOOKUP(keys, *self._audience(step.group))]

    def _publish(self, step: Publish) -> list[Command]:
        if not step.direct or not isinstance(self.cipher, Plain):
            # A script cannot write the version into what is encrypted.
            return self._lookup(Lookup(step.group)) if step.record is None else self._record(step.record)
        starts = (self.keys.queue(""), self.keys.quotas(""))
        bounds = (INBOX_ENTRIES, QUEUE_BYTES, QUOTAS_FROM)
        entry = (step.quota_key, step.limit, milliseconds(step.ttl), step.reading)
        sent = (*entry, *step.envelope, step.apart, *step.apart_envelope)
        pushed = (*self._audience(step.group), *starts, *bounds, *sent)
        if step.record is None:
            keys = [self.keys.group(step.group), self.keys.channels(step.group), self.keys.epoch, self.keys.counters]
            return [PUBLISH(keys, *pushed)]
        return [PUBLISH_KEPT([*self._history_keys(step.group), self.keys.counters], *pushed, *self._kept(step.record))]

    def _history_keys(self, group: str) -> list[str]:
        by_group = (self.keys.history(group), self.keys.kept(group))
        return [self.keys.group(group), self.keys.channels(group), self.keys.epoch, *by_group]

    @property
    def _positions(self) -> int:
        """Milliseconds for which positions outlive messages, so that clients that missed nothing get no gap."""
        return max(self.membership, milliseconds(SECONDS_LIMIT))

    def _record(self, step: Record) -> list[Command]:
        return [RECORD(self._history_keys(step.group), *self._audience(step.group), *self._kept(step))]

    def _kept(self, step: Record) -> tuple[int | bytes, ...]:
        """Return the arguments by which keep.lua keeps a message."""
        payload = self.cipher.encrypt(step.payload, KEPT + step.group)
        return self._positions, step.keep, milliseconds(step.seconds), BYTES_LIMIT, payload

    def _read_history(self, step: ReadHistory) -> list[Command]:
        keys = [*self._history_keys(step.group), self.keys.members(step.group, step.inbox)]
        return [READ_HISTORY(keys, self._positions, step.life, step.position, step.member)]

    def _set_start(self, step: SetStart) -> list[Command]:
        group, inbox = step.group, step.inbox
        keys = [*self._history_keys(group), self.keys.starts(group, inbox), self.keys.members(group, inbox)]
        start = (step.life, step.position, int(step.last))
        return [SET_START(keys, self._positions, self.owned, step.member, *start)]

    def _members(self, step: Members) -> list[Command]:
        return self._group(MEMBERS, step)

    def _member_count(self, step: MemberCount) -> list[Command]:
        return [("SCARD", self.keys.members(step.group, step.inbox))]

    def _renew(self, step: Renew) -> list[Command]:
        group, inbox = step.group, step.inbox
        keys = [self.keys.group(group), self.keys.members(group, inbox), self.keys.identities(group, inbox)]
        keys += [self.keys.people(group, inbox), self.keys.presence_groups(inbox), self.keys.presence_inboxes]
        keys += [self.keys.starts(group, inbox)]
        return [("PEXPIRE", key, self.owned) for key in keys]

    def _restore(self, step: Restore) -> list[Command]:
        return self._group(RESTORE, step, *step.members)

    def _audit(self, step: Audit) -> list[Command]:
        return self._group(AUDIT, step, step.known, step.restored)

    def _heartbeat(self, step: Heartbeat) -> list[Command]:
        keys = [self.keys.alive(step.inbox), self.keys.inboxes, self.keys.epoch, self.keys.restored(step.inbox)]
        restored = next(iter(step.restored), None) or 0
        # Longer than any membership, which a restoration must not revive.
        kept = self.owned + 2 * milliseconds(LIVENESS)
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
        fields = [f"{kind}:{counted_name(step.queue)}" for kind in COUNTED]
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


_COMMANDS: dict[type, Callable[[CommandBuilder, Any], list[Command]]] = {
    Push: CommandBuilder._push,
    PutBack: CommandBuilder._put_back,
    Take: CommandBuilder._take,
    Join: CommandBuilder._join,
    JoinAs: CommandBuilder._join_as,
    RestoreIdentities: CommandBuilder._restore_identities,
    Leave: CommandBuilder._leave,
    Lookup: CommandBuilder._lookup,
    Publish: CommandBuilder._publish,
    Record: CommandBuilder._record,
    ReadHistory: CommandBuilder._read_history,
    SetStart: CommandBuilder._set_start,
    Members: CommandBuilder._members,
    MemberCount: CommandBuilder._member_count,
    GetPresence: CommandBuilder._get_presence,
    GetPresenceGroups: CommandBuilder._get_presence_groups,
    TakeNotices: CommandBuilder._take_notices,
    Renew: CommandBuilder._renew,
    Restore: CommandBuilder._restore,
    Audit: CommandBuilder._audit,
    Heartbeat: CommandBuilder._heartbeat,
    Retire: CommandBuilder._retire,
    Length: CommandBuilder._length,
    Flush: CommandBuilder._flush,
    GetStatistics: CommandBuilder._statistics,
    GetCounters: CommandBuilder._get_counters,
    Announce: CommandBuilder._announce,
    GetPrograms: CommandBuilder._get_programs,
}
