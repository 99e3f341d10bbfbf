"""The schedule by which a server that stops closes its WebSockets: which one when. Pure, the time is given.

All clients of a server that is replaced connect to the others. Closed at once, they come back at once, and each costs a
handshake and two consumers; so they are closed one by one, evenly over the time that the operator allows.
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

MAX_BUSY = 256
"""Busy sockets that are passed over for an idle one: a look at all of them each time would hold up their frames."""


class DrainSchedule(Generic[T]):
    """Spreads the sockets that were added over the `seconds` from `now` on, in random order, the idle ones first.

    n sockets leave n + 1 equal gaps, so that neither the beginning nor the end of the time has more than its share.
    Sockets that are added later, or leave by themselves, change the gaps that follow.
    """

    def __init__(self, now: float, seconds: float, shuffle: Callable[[list[Any]], object]) -> None:
        self._last = now
        self._end = now + seconds
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
        return self._last + max(0.0, self._end - self._last) / (len(self._waiting) + 1)

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
