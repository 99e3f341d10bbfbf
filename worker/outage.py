"""Logs outages of the layer once for all threads of a process."""

from __future__ import annotations

import logging
import threading

logger = logging.getLogger("channels_classic.worker")


class Outage:
    """Logs once that the layer is down and once that it is back. Thread-safe.

    Outages are numbered: a thread that was busy may find its connection broken when others have reconnected already.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._is_down = False
        self.connections = 0
        """Open connections to the layer."""

    @property
    def number(self) -> int:
        """The number of outages so far."""
        return self._number

    def begin(self, error: Exception, known: int) -> None:
        """Record that the layer is down; `known` is the number of outages that the caller knew of."""
        with self._lock:
            if known == self._number:
                self._number += 1
                self._is_down = True
                logger.error("%s Retrying until the layer is back; messages in transit may be lost.", error)

    def connected(self) -> int:
        """Record a connection, so that the layer is up; return the number of outages so far."""
        with self._lock:
            self.connections += 1
            if self._is_down:
                self._is_down = False
                logger.info("The channel layer is back.")
            return self._number

    def closed(self) -> None:
        """Record that a connection was closed."""
        with self._lock:
            self.connections -= 1
