"""Logs outages of the layer once for all threads of a process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from channels_classic.exceptions import LayerUnavailable

logger = logging.getLogger("channels_classic.worker")


class Outage:
    """Logs once that the layer is down and once that it is back, and calls `on_change`. Thread-safe.

    Outages are numbered: a thread that was busy may find its connection broken when others have reconnected already.
    A server that closes connections may refuse the next ones for another reason, such as a changed password: each
    reason that asks for something else to be done is logged too.
    """

    def __init__(self, on_change: Callable[[bool], object] = lambda is_down: None) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._number = 0
        self._is_down = False
        self._logged: set[str] = set()
        """The next steps that were logged in this outage."""
        self.connections = 0
        """Open connections to the layer."""

    @property
    def number(self) -> int:
        """The number of outages so far."""
        return self._number

    @property
    def is_down(self) -> bool:
        """True while the layer is down."""
        return self._is_down

    def begin(self, error: LayerUnavailable, known: int) -> None:
        """Record that the layer is down; `known` is the number of outages that the caller knew of."""
        with self._lock:
            if known == self._number:
                self._number += 1
                self._is_down = True
                self._on_change(True)
                self._logged.clear()
            if self._is_down and error.next_step not in self._logged:
                self._logged.add(error.next_step)
                logger.error("%s Retrying until the layer is back; messages in transit may be lost.", error)

    def connected(self) -> int:
        """Record a connection, so that the layer is up; return the number of outages so far."""
        with self._lock:
            self.connections += 1
            if self._is_down:
                self._is_down = False
                self._on_change(False)
                logger.info("The channel layer is back.")
            return self._number

    def closed(self) -> None:
        """Record that a connection was closed."""
        with self._lock:
            self.connections -= 1
