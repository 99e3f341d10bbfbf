"""The limit on WebSocket handshakes per second: how long one waits for its turn. Pure, the time is given.

A handshake costs two consumers and the work of a socket. When a herd of clients returns, answering all of them at once
makes all of them late; their own timeouts end most of that work unused, and they come again.
"""

from __future__ import annotations

import logging

from channels_classic._throttled_log import ThrottledLog

logger = logging.getLogger("channels_classic.interface_server")

MAX_WAIT = 2.0
"""Seconds that a handshake waits for its turn. Less than clients wait: `WebSocketBridge` gives up after 4."""

TOLERANCE = 0.1
"""Seconds of handshakes that may come at once: events of this length come together in one turn of a busy loop."""


class ConnectRate:
    """Gives each handshake its turn, `rate` of them a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._log = ThrottledLog()
        self.waited = 0
        self.refused = 0

    def seconds_for(self, clients: int) -> float:
        """Return the seconds over which this many clients may come back, leaving half of the rate to other clients."""
        return 2 * clients / self._rate

    def reserve(self, now: float) -> float | None:
        """Return the seconds that a handshake waits; None if it must be refused."""
        turn = max(self._free_at, now - TOLERANCE)
        delay = max(0.0, turn - now)
        if delay > MAX_WAIT:
            self.refused += 1
            self._log.warn(
                logger,
                "A handshake was refused with 503: more than %g a second came for %g s. See --connect-rate.",
                self._rate,
                MAX_WAIT,
            )
            return None
        self._free_at = turn + 1 / self._rate
        self.waited += delay > 0
        return delay
