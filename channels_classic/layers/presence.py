"""Presence: who the members of groups are, as plain data and for the store that keeps them. Pure; the clock is given.

A consumer names the person at a socket with `add(channel, who=…, info=…)`. The layer keeps that beside the membership,
and makes a notice when somebody's first socket joins or the last one leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgpack

from channels_classic.exceptions import InvalidPresence
from channels_classic.layers.results import Identity, Notice

LEAVE_GRACE = 15.0
"""Seconds from the end of somebody's last socket in a group to its `Notice`: a quick reconnect announces nothing."""

GRACE_OF_DEAD = 10.0
"""Seconds until the clients of an interface server that counts as dead are said to have left. After an outage of the
layer all seem to be dead, and take some seconds to be heard of again and to write who their clients are."""

LISTENING = 60.0
"""Seconds after a `TakeNotices` for which notices are made: longer than a deploy of all workers takes."""

MOST_NOTICES = 10_000
"""Most notices that wait; further ones are dropped."""

WHO_LIMIT = 255
"""Bytes of the name of somebody."""

INFO_LIMIT = 4096
"""Bytes of the facts about a socket, once serialised: each reader of a group gets those of all sockets."""


def make_identity(who: Any, info: Any) -> Identity:
    """Return the identity that a consumer gives to a member. Raises `InvalidPresence`."""
    if not isinstance(who, str) or not who:
        hint = "expected text that names somebody, such as who=str(user.pk)"
        raise InvalidPresence(f"who is {who!r}, of type {type(who).__name__}: {hint}")
    try:
        size = len(who.encode())
    except UnicodeEncodeError as error:
        raise InvalidPresence(f"who is {who!r}, which cannot be encoded as UTF-8: {error.reason}") from error
    if size > WHO_LIMIT:
        raise InvalidPresence(f"who has {size} bytes: at most {WHO_LIMIT} are possible")
    if info is not None and not isinstance(info, dict):
        raise InvalidPresence(f"info is {info!r}, of type {type(info).__name__}: expected a dict")
    try:
        packed: bytes = msgpack.packb(info or {})
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidPresence(f"info cannot be encoded: {error}. Give text, numbers, lists and dicts") from error
    if len(packed) > INFO_LIMIT:
        raise InvalidPresence(
            f"info has {len(packed)} bytes: at most {INFO_LIMIT} are possible. Keep the rest in the database"
        )
    return Identity(who, packed)


def read_info(identity: Identity) -> dict[str, Any]:
    """Return the facts as they were given."""
    info: dict[str, Any] = msgpack.unpackb(identity.info, strict_map_key=False)
    return info


def by_who(identities: Iterable[Identity]) -> dict[str, list[dict[str, Any]]]:
    """Return one entry for each person, with the facts about each of their sockets."""
    found: dict[str, list[dict[str, Any]]] = {}
    for identity in identities:
        with suppress(ValueError):  # something else has written it
            info = read_info(identity)
            found.setdefault(identity.who, []).append(info)
    return found


class Presence:
    """The identities of the members of all groups, by inbox, and the notices that wait to be taken."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._groups: dict[str, dict[str, dict[str, Identity]]] = {}
        self._sockets: Counter[tuple[str, str]] = Counter()
        self._notices: dict[tuple[bool, str, str], tuple[float, Identity]] = {}
        self._listening_until = 0.0

    def appear(self, group: str, inbox: str, member: str, identity: Identity, announce: bool = True) -> bool:
        """Set the identity of a member. Return False if it had the same one."""
        here = self._groups.setdefault(group, {}).setdefault(inbox, {})
        known = here.get(member)
        if known == identity:
            return False
        here[member] = identity
        if known is not None and known.who == identity.who:
            return True
        self._sockets[group, identity.who] += 1
        if self._sockets[group, identity.who] == 1:
            came_back = self._notices.pop((False, group, identity.who), None)
            if came_back is None and announce:
                self._notify(True, group, identity, 0.0)
        if known is not None:
            self._end(group, known, LEAVE_GRACE)
        return True

    def disappear(self, group: str, inbox: str, members: Iterable[str], grace: float = LEAVE_GRACE) -> None:
        """Remove the identities of members that are gone or have left."""
        here = self._groups.get(group, {}).get(inbox, {})
        for member in members:
            identity = here.pop(member, None)
            if identity is not None:
                self._end(group, identity, grace)
        self._forget_if_empty(group, inbox)

    def _end(self, group: str, identity: Identity, grace: float) -> None:
        if self._remove_socket(group, identity.who):
            if not self._is_listening:
                self._notices.pop((True, group, identity.who), None)  # it is not true any more
            self._notify(False, group, identity, grace)

    def _remove_socket(self, group: str, who: str) -> bool:
        """Count one socket of somebody less; return True if it was the last one."""
        self._sockets[group, who] -= 1
        if self._sockets[group, who]:
            return False
        del self._sockets[group, who]
        return True

    def _notify(self, arrived: bool, group: str, identity: Identity, delay: float) -> None:
        if self._is_listening and len(self._notices) < MOST_NOTICES:
            self._notices[arrived, group, identity.who] = self._clock() + delay, identity

    @property
    def _is_listening(self) -> bool:
        return self._clock() < self._listening_until

    def _forget_if_empty(self, group: str, inbox: str) -> None:
        inboxes = self._groups.get(group, {})
        if not inboxes.get(inbox):
            inboxes.pop(inbox, None)
        if not inboxes:
            self._groups.pop(group, None)

    def has(self, group: str, inbox: str, member: str) -> bool:
        """Return True if a member has an identity."""
        return member in self.here(group, inbox)

    def here(self, group: str, inbox: str) -> Mapping[str, Identity]:
        """Return who the members of an inbox are."""
        return self._groups.get(group, {}).get(inbox, {})

    def everybody(self, group: str, is_alive: Callable[[str], bool]) -> Iterator[Identity]:
        """Yield who is in a group, for each socket; the empty text is the inbox of channels that nobody owns."""
        for inbox, members in self._groups.get(group, {}).items():
            if not inbox or is_alive(inbox):
                yield from members.values()

    def groups_of(self, inbox: str) -> list[str]:
        """Return the groups in which members of an inbox have an identity."""
        return [group for group, inboxes in self._groups.items() if inbox in inboxes]

    def keep(self, group: str, inboxes: Iterable[str], channels: Iterable[str]) -> None:
        """Forget, without a notice, those whose membership has lapsed."""
        kept = {*inboxes}
        unowned = {*channels}
        for inbox, members in list(self._groups.get(group, {}).items()):
            lapsed = [name for name in members if (name not in unowned if not inbox else inbox not in kept)]
            for name in lapsed:
                self._remove_socket(group, members.pop(name).who)
            self._forget_if_empty(group, inbox)

    def take(self, count: int, is_alive: Callable[[str], bool]) -> list[Notice]:
        """Take notices that are due, after those of inboxes that are dead were made."""
        self._listening_until = self._clock() + LISTENING
        for group, inboxes in list(self._groups.items()):
            for inbox in [inbox for inbox in inboxes if inbox and not is_alive(inbox)]:
                self.disappear(group, inbox, list(inboxes[inbox]), GRACE_OF_DEAD)
        now = self._clock()
        due = sorted((when, key) for key, (when, _) in self._notices.items() if when <= now)[:count]
        return [Notice(key[0], key[1], self._notices.pop(key)[1]) for _, key in due]
