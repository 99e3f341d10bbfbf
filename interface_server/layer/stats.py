"""Counts of what happens to clients: plain numbers, from which metrics and announcements are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sized
from typing import Protocol

from channels_classic._durations import Durations
from channels_classic.layers.limits import LIMITS

MOST_LABELS = 50
"""Most codes or statuses that are counted separately."""

OTHER = "other"
"""The label of all further ones."""


class _Known(Container[str], Sized, Protocol):
    """Labels that are counted already."""


class InterfaceStats:
    """The counts of one process. Only its event loop adds to them."""

    def __init__(self) -> None:
        self.opened = 0
        """WebSockets that were accepted."""
        self.closed: Counter[str] = Counter()
        """Accepted WebSockets that ended, by close code."""
        self.handshakes: dict[str, Durations] = {}
        """Handshakes by outcome: `accepted`, the HTTP status of the refusal, or `left`."""
        self.begun = 0
        """Requests that were begun."""
        self.requests: dict[str, Durations] = {}
        """Requests that ended, by HTTP status, or `left`."""
        self.cut_off: Counter[str] = Counter()
        """Clients that were cut off, by reason."""
        self.refused: Mapping[int, int] = {}
        """Requests that were refused before the application knew of them, by status; the server counts them."""
        self.outages = 0
        """Outages of the channel layer."""
        self.restored_groups = 0
        """Groups of which the layer had lost members, but no other data."""
        self._ended = 0

    @property
    def sockets(self) -> int:
        """The number of open WebSockets."""
        return self.opened - self.closed.total()

    @property
    def open_requests(self) -> int:
        """The number of requests that have not ended."""
        return self.begun - self._ended

    def limits(self) -> dict[str, int]:
        """Return how often each of `LIMITS` was reached."""
        counts = {
            **{f"refused {status}": number for status, number in self.refused.items()},
            **{f"request {status}": durations.number for status, durations in self.requests.items()},
            **{f"handshake {outcome}": durations.number for outcome, durations in self.handshakes.items()},
            **{f"closed {code}": number for code, number in self.closed.items()},
            **{f"cut_off {reason}": number for reason, number in self.cut_off.items()},
        }
        return {limit: counts[limit] for limit in LIMITS if limit in counts}

    def socket_opened(self, duration: float) -> None:
        """Count a handshake that was accepted after `duration` seconds."""
        self.opened += 1
        self.handshake_ended("accepted", duration)

    def socket_closed(self, code: int) -> None:
        """Count the end of an accepted WebSocket."""
        self.closed[_label(self.closed, code)] += 1

    def handshake_ended(self, outcome: str, duration: float) -> None:
        """Count a handshake that took `duration` seconds."""
        self.handshakes.setdefault(outcome, Durations()).add(duration)

    def request_ended(self, status: int | str, duration: float) -> None:
        """Count a request that took `duration` seconds."""
        self._ended += 1
        self.requests.setdefault(_label(self.requests, status), Durations()).add(duration)


def _label(known: _Known, value: int | str) -> str:
    """Return the label of a code that a client or consumer chose; their number is bounded."""
    label = str(value)
    return label if label in known or len(known) < MOST_LABELS else OTHER
