"""The number of WebSockets that each client address has open in this process. Pure.

One client usually owns all addresses of an IPv6 network of 64 bits (RFC 6177), so these count as one.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address


class Addresses:
    """The number of sockets that each address has open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def admit(self, address: str | None) -> bool:
        """Count a socket; return False if its address already has the maximum. 0: no limit."""
        if not self._most or address is None:
            return True
        owner = _owner_of(address)
        if self._open[owner] >= self._most:
            return False
        self._open[owner] += 1
        return True

    def release(self, address: str | None) -> None:
        """Stop counting a socket that was admitted."""
        if self._most and address is not None:
            owner = _owner_of(address)
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]


def _owner_of(address: str) -> str:
    """Return what an address is counted under: an IPv4 address, also a mapped one, or the network of an IPv6 one."""
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
