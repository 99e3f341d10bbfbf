"""Recoverable groups: messages that are kept for clients that come back, as plain data. Pure; the clock is given.

Each message of such a group has a position, one more than the one before. A cursor names the last position that a
client has got, and the *life* of the positions: they begin anew when the layer lost data, or might have.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from channels_classic.layers.results import History, Kept
from channels_classic.layers.steps import ReadHistory, Record

KEEP_LIMIT = 10_000
"""Most messages that a group keeps."""

SECONDS_LIMIT = 86_400.0
"""Most seconds for which a group keeps a message."""

BYTES_LIMIT = 1024 * 1024
"""Most bytes that a group keeps; of larger messages the last one alone."""

SECONDS = 300.0
"""Seconds for which a group keeps a message, unless it says otherwise."""

EVERYTHING = "0"
"""The cursor for everything that is kept."""

ALL, HEAD, NOWHERE = 0, -1, -2
"""Lives that no cursor has: for everything that is kept, for nothing of it, and for an invalid cursor."""

_CURSOR = re.compile(r"([1-9][0-9]{0,17})-([0-9]{1,15})")


class Retention(NamedTuple):
    """The number of messages that a group keeps, and the seconds for which it does."""

    keep: int
    seconds: float


class Cursor(NamedTuple):
    """The position up to which a client has the messages of a group."""

    life: int
    position: int

    def __str__(self) -> str:
        return f"{self.life}-{self.position}"


def make_retention(keep: Any, seconds: Any) -> Retention:
    """Return how much a group keeps. Raises `ValueError` for invalid numbers."""
    if isinstance(keep, bool) or not isinstance(keep, int) or not 1 <= keep <= KEEP_LIMIT:
        raise ValueError(f"keep={keep!r}: expected the number of messages that a group keeps, 1 to {KEEP_LIMIT}.")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= SECONDS_LIMIT:
        raise ValueError(
            f"seconds={seconds!r}: expected the seconds for which a group keeps messages, up to {SECONDS_LIMIT:.0f}."
        )
    return Retention(keep, float(seconds))


def parse_cursor(text: Any) -> Cursor:
    """Return the cursor that a client gave; one that no layer made is NOWHERE. Raises `TypeError`."""
    if not isinstance(text, str):
        raise TypeError(f"after={text!r} is of type {type(text).__name__}: expected a cursor, which is text.")
    if text == EVERYTHING:
        return Cursor(ALL, 0)
    found = _CURSOR.fullmatch(text)
    return Cursor(int(found[1]), int(found[2])) if found else Cursor(NOWHERE, 0)


def parse_start(after: Any, keep: int) -> Cursor:
    """Return where to start serving a member: without a cursor from now on, or from the one message that is kept."""
    if after is not None:
        return parse_cursor(after)
    return Cursor(ALL, 0) if keep == 1 else Cursor(HEAD, 0)


@dataclass(slots=True)
class _Group:
    """The kept messages of one group: position, when it expires, payload."""

    life: int
    head: int = 0
    kept: deque[tuple[int, float, bytes]] = field(default_factory=deque)
    size: int = 0
    used: float = 0.0

    def pop(self) -> None:
        self.size -= len(self.kept.popleft()[2])


class Histories:
    """The kept messages of all groups, for a store; `new_life` gives numbers that never repeat."""

    def __init__(self, clock: Callable[[], float], new_life: Callable[[], int]) -> None:
        self._clock = clock
        self._new_life = new_life
        self._groups: dict[str, _Group] = {}

    def record(self, step: Record) -> tuple[int, int]:
        """Keep a message; return its life and position."""
        group = self._group(step.group)
        group.head += 1
        group.kept.append((group.head, self._clock() + step.seconds, step.payload))
        group.size += len(step.payload)
        while len(group.kept) > step.keep or (group.size > BYTES_LIMIT and len(group.kept) > 1):
            group.pop()
        return group.life, group.head

    def read(self, step: ReadHistory) -> History:
        """Return what is kept after a position."""
        group = self._group(step.group)
        first = group.kept[0][0] if group.kept else group.head + 1
        return History(group.life, group.head, _after(step, group, first))

    def _group(self, name: str) -> _Group:
        now = self._clock()
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(self._new_life())
        group.used = now
        while group.kept and group.kept[0][1] <= now:
            group.pop()
        return group

    def sweep(self, oldest: float) -> None:
        """Forget groups that nobody has used since `oldest`, and messages that expired."""
        for name, group in list(self._groups.items()):
            if group.used < oldest:
                del self._groups[name]
            while group.kept and group.kept[0][1] <= self._clock():
                group.pop()

    def clear(self) -> None:
        """Forget everything; positions begin a new life."""
        self._groups.clear()


def _after(step: ReadHistory, group: _Group, first: int) -> Sequence[Kept] | None:
    if step.life == HEAD:
        return []
    if step.life != ALL and not is_contiguous(step.life, step.position, group.life, group.head, first):
        return None
    after = 0 if step.life == ALL else step.position
    return [Kept(position, payload) for position, _, payload in group.kept if position > after]


def is_contiguous(life: int, position: int, current_life: int, head: int, first: int) -> bool:
    """Return True if everything after a position is kept; `first` is the first position that is."""
    return life == current_life and first - 1 <= position <= head
