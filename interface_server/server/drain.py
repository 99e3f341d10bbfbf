"""The schedule by which a server that stops closes its WebSockets: which one when. Pure, the time is given.

All clients of a server that is replaced connect to the others. Closed at once, they come back at once, and each costs a
handshake and two consumers; so they are closed one by one, evenly over the time that the operator allows. Where workers
cannot keep up even with that, handshakes would wait longer than clients do, which give up and come again, and each such
attempt is wasted work: `Pace` limits how fast the schedule is carried out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

RETRY = 1
"""Seconds after which a client whose socket is closed should connect again: others serve already."""

REASON = f"retry={RETRY}"
"""The reason in close frames, which `WebSocketBridge` reads; at most 123 bytes (RFC 6455, section 5.5)."""

MOST_WAITING = 10
"""Messages about clients that come and go that may wait while workers count as keeping up."""

SPEED_UP = 5.0
"""Seconds in which the speed grows from nothing to the planned one."""

HALF_LIFE = 1.25
"""Seconds in which the speed is halved while workers do not keep up, about as many as clients take to come back."""

MAX_SLOWDOWN = 10
"""The most times as long as planned that a drain takes while a successor serves."""

MAX_BUSY = 256
"""Busy sockets that are passed over for an idle one: a look at all of them each time would hold up their frames."""


class Pace:
    """The speed at which a schedule is carried out, as a fraction of the planned one.

    It grows from nothing while workers keep up, since only a second later it shows what a client that comes back costs.
    While they do not, nothing is closed, and the speed falls.
    """

    def __init__(self) -> None:
        self._speed = 0.0

    def turn(self, seconds: float, *, is_behind: bool) -> float:
        """Return the seconds by which the schedule is postponed in a turn of this many; `is_behind`: workers are."""
        if is_behind:
            self._speed *= 0.5 ** (seconds / HALF_LIFE)
            return seconds
        self._speed = min(1.0, self._speed + seconds / SPEED_UP)
        return seconds * (1 - self._speed)


class DrainSchedule(Generic[T]):
    """Spreads the sockets that were added over the `seconds` from `now` on, in random order, the idle ones first.

    n sockets leave n + 1 equal gaps, so that neither the beginning nor the end of the time has more than its share.
    Sockets that are added later, or leave by themselves, change the gaps that follow.
    """

    def __init__(self, now: float, seconds: float, shuffle: Callable[[list[Any]], object]) -> None:
        self._last = now
        self.end = now + seconds
        """The time at which the last socket is closed."""
        self._latest_end = now + MAX_SLOWDOWN * seconds
        self._shuffle = shuffle
        self._known: set[T] = set()
        self._waiting: deque[T] = deque()

    @property
    def waiting(self) -> int:
        """The number of sockets that `due` has not returned."""
        return len(self._waiting)

    @property
    def next(self) -> float:
        """The time at which the next socket is due."""
        return self._last + max(0.0, self.end - self._last) / (len(self._waiting) + 1)

    def extend(self, end: float) -> None:
        """Slow down so that the last socket is closed at this time, if that is later than planned."""
        self.end = max(self.end, min(end, self._latest_end))

    def shorten(self, end: float) -> None:
        """Let the last socket be closed at this time, if that is earlier than planned."""
        self.end = min(self.end, end)

    def postpone(self, seconds: float) -> None:
        """Let everything be due this much later, unless that would take too long."""
        if self.end + seconds <= self._latest_end:
            self._last += seconds
            self.end += seconds

    def add(self, sockets: Iterable[T]) -> None:
        """Add sockets; those that were added before are skipped."""
        found = [socket for socket in sockets if socket not in self._known]
        self._shuffle(found)
        self._known.update(found)
        self._waiting.extend(found)

    def due(self, now: float, is_idle: Callable[[T], bool]) -> Iterator[T]:
        """Return the sockets to close now, and never again."""
        while self._waiting and (when := self.next) <= now:
            self._last = when
            yield self._take(is_idle)

    def _take(self, is_idle: Callable[[T], bool]) -> T:
        for _ in range(min(len(self._waiting), MAX_BUSY)):
            socket = self._waiting.popleft()
            if is_idle(socket):
                return socket
            self._waiting.append(socket)
        return self._waiting.popleft()
