"""Deadlines of many clients on one timer of the event loop. Knows nothing of what falls due.

To postpone a deadline do nothing: when the timer fires, the item returns the new one. So a deadline that moves with
every message costs one comparison.
"""

from __future__ import annotations

import heapq
import logging
import math
from asyncio import TimerHandle, get_running_loop
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger("channels_classic.interface_server")

TICK = 0.05
"""Seconds by which a deadline may be handled late."""

AGAIN_AFTER = 1.0
"""Seconds until an item is asked again that failed because of a bug."""


class Timed(Protocol):
    """An item with deadlines."""

    slot: int | None
    """The slot of `Timers` that holds it; None at first, and otherwise set by `Timers` alone."""

    def due(self, now: float) -> float:
        """Handle expired deadlines; return the time of the next one, or `math.inf`."""


class Timers:
    """Calls `due` of each item at its time. Times are those of `clock`, which is the event loop's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slots: dict[int, set[Timed]] = {}
        self._order: list[int] = []
        self._served = 0  # the last slot whose time has come
        self._timer: TimerHandle | None = None

    def schedule(self, item: Timed, when: float) -> None:
        """Call `item.due` at `when` at the latest; an earlier time that was set before stays.

        A time that is over is handled in the next turn of the timer, never in the current one. Otherwise the loop could
        stand still in one turn: slots are rounded, so an item may be asked a moment before its time, as that is
        computed, and name it again.
        """
        if when == math.inf:
            return
        slot = max(math.ceil(when / TICK), self._served + 1)
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

    def cancel(self, item: Timed) -> None:
        """Do not call `item` any more."""
        if item.slot is not None:
            self._slots.get(item.slot, set()).discard(item)
            item.slot = None

    def stop(self) -> None:
        """Cancel everything."""
        if self._timer is not None:
            self._timer.cancel()
        self._slots.clear()
        self._order.clear()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = get_running_loop().call_at(self._order[0] * TICK, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock()
        self._served = math.floor((now + 1e-6) / TICK)
        while self._order and self._order[0] <= self._served:
            slot = heapq.heappop(self._order)
            for item in self._slots.pop(slot):
                # An item before it in this turn may have rescheduled or cancelled it.
                if item.slot == slot:
                    item.slot = None
                    self.schedule(item, self._due(item, now))
        if self._order and self._timer is None:
            self._arm()

    @staticmethod
    def _due(item: Timed, now: float) -> float:
        try:
            return item.due(now)
        except Exception:  # must not keep the others from their turn
            logger.exception("The deadlines of a client could not be handled because of a bug in the interface server.")
            return now + AGAIN_AFTER
