"""Deadlines of many clients with one timer: who is to be asked when. Knows nothing of what falls due.

An item that wants to be asked later than it is scheduled for need not tell: it says so when it is asked. So a deadline
that moves with every message costs one comparison.
"""

from __future__ import annotations

import heapq
import math
from asyncio import TimerHandle, get_running_loop
from collections.abc import Callable
from typing import Protocol

TICK = 0.05
"""Seconds by which a deadline may be late."""


class Timed(Protocol):
    """Something with deadlines."""

    slot: int | None
    """Where the wheel keeps it; None at first, and otherwise the wheel's own business."""

    def due(self, now: float) -> float:
        """Do what is due, and give the time of the next deadline (`math.inf`: none)."""


class Timers:
    """Asks each item once its time has come. Times are those of `clock`, which is the event loop's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: dict[int, set[Timed]] = {}
        self._order: list[int] = []
        self._timer: TimerHandle | None = None

    def schedule(self, item: Timed, when: float) -> None:
        """Ask `item` at `when` at the latest; a time that was agreed before and is earlier stays."""
        if when == math.inf:
            return
        slot = math.ceil(when / TICK)
        if item.slot is not None:
            if item.slot <= slot:
                return
            self._slots.get(item.slot, set()).discard(item)
        item.slot = slot
        if slot in self._slots:
            self._slots[slot].add(item)
            return
        self._slots[slot] = {item}
        heapq.heappush(self._order, slot)
        if self._order[0] == slot:
            self._arm()

    def forget(self, item: Timed) -> None:
        """Do not ask `item` any more."""
        if item.slot is not None:
            self._slots.get(item.slot, set()).discard(item)
            item.slot = None

    def stop(self) -> None:
        """Ask nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._slots.clear()
        self._order.clear()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = get_running_loop().call_at(self._order[0] * TICK, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = self._clock()
        while self._order and self._order[0] * TICK <= now + 1e-6:
            slot = heapq.heappop(self._order)
            for item in self._slots.pop(slot):
                # One that came before it in this turn may have moved or forgotten it.
                if item.slot == slot:
                    item.slot = None
                    self.schedule(item, max(item.due(now), now + TICK))
        if self._order and self._timer is None:
            self._arm()
