"""Limits on what one WebSocket may send. Pure; the time is given.

A socket that sends more than its rate is read more slowly, so that it gets its rate and no more. A socket that
continues to is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..config import InterfaceConfig

BURST = 2.0
"""Seconds' worth of its rate that a socket may send at once."""

FLOOD_TIMEOUT = 10.0
"""Seconds of being held back again and again after which a socket is closed."""

CALM = 1.0
"""Seconds without being held back after which it counts from the start."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Frames and bytes per second; 0: unlimited. One object for all sockets."""

    frames: int
    size: int

    @property
    def any(self) -> bool:
        """True if there is a limit."""
        return self.frames > 0 or self.size > 0


class Allowance:
    """The frames and bytes that one socket may still send now: two buckets, refilled with time."""

    __slots__ = ("_frames", "_held_since", "_held_until", "_rates", "_size", "_updated")

    def __init__(self, rates: Rates, now: float) -> None:
        self._rates = rates
        self._frames = rates.frames * BURST
        self._size = rates.size * BURST
        self._updated = now
        self._held_since: float | None = None
        self._held_until = now

    def take(self, size: int, now: float) -> float:
        """Charge a frame; return the seconds for which nothing more should be read."""
        rates, elapsed = self._rates, now - self._updated
        self._updated = now
        pause = 0.0
        if rates.frames:
            self._frames = min(rates.frames * BURST, self._frames + elapsed * rates.frames) - 1
            pause = max(pause, -self._frames / rates.frames)
        if rates.size:
            self._size = min(rates.size * BURST, self._size + elapsed * rates.size) - size
            pause = max(pause, -self._size / rates.size)
        if now - self._held_until > CALM:
            self._held_since = None
        if pause:
            self._held_until = now + pause
            if self._held_since is None:
                self._held_since = now
        return pause

    def is_flooding(self, now: float) -> bool:
        """Return True if the socket has been held back continuously for too long."""
        return self._held_since is not None and now - self._held_since > FLOOD_TIMEOUT


def make_allowance(config: InterfaceConfig, now: float) -> Allowance | None:
    """Return the allowance of a new socket; None without a limit."""
    rates = _rates(config)
    return Allowance(rates, now) if rates.any else None


@lru_cache(maxsize=16)
def _rates(config: InterfaceConfig) -> Rates:
    return Rates(config.frame_rate, config.byte_rate)
