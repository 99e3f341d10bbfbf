"""A client that sends its request and then ends its direction of the connection, as `nc` does (RFC 9293, section 3.6).

It still reads. A client that has left looks the same: TCP shows the difference only when something is written, by a
reset. So a response has a moment to begin. From then on its parts are what is written, and an error of the socket ends
it. Over TLS, where asyncio cannot keep such a connection, the client has left.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

INTERVAL = 1.0
"""Seconds that the response has to begin, and between two looks at the socket afterwards."""


def keep(transport: Any, cycle: Any) -> bool:
    """Return whether the connection stays open for a response that has not begun; watch it if so."""
    if cycle is None or cycle.response_started or transport.get_extra_info("sslcontext") is not None:
        return False
    cycle.keep_alive = False
    loop = asyncio.get_running_loop()

    def look() -> None:
        if cycle.response_complete or transport.is_closing():
            return
        if not cycle.response_started or _has_failed(transport):
            transport.abort()
        else:
            loop.call_later(INTERVAL, look)

    loop.call_later(INTERVAL, look)
    return True


def _has_failed(transport: Any) -> bool:
    found = transport.get_extra_info("socket")
    if found is None or found.fileno() < 0:
        return True
    try:
        with socket.socket(fileno=os.dup(found.fileno())) as connection:
            return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
    except OSError:  # no descriptor is left: the next look may find one
        return False
