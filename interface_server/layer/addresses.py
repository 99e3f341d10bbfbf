"""The number of WebSockets that each client address has open in this process. Pure."""

from __future__ import annotations

from collections import Counter


class Addresses:
    """The number of sockets that each address has open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def admit(self, address: str | None) -> bool:
        """Count a socket; return False if its address already has the maximum. 0: no limit."""
        if not self._most or address is None:
            return True
        if self._open[address] >= self._most:
            return False
        self._open[address] += 1
        return True

    def release(self, address: str | None) -> None:
        """Stop counting a socket that was admitted."""
        if self._most and address is not None:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
