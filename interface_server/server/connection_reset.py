"""Ends a connection with a reset instead of a close, where its socket can do that."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from typing import Any

_AT_ONCE = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which `close` resets a connection."""


def can_reset(transport: asyncio.BaseTransport) -> bool:
    """Return True if the other side can tell a reset from a close: on a Unix socket it cannot."""
    return _resettable(transport) is not None


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Let a connection end with a reset, if it can."""
    found = _resettable(transport)
    if found is not None and found.fileno() >= 0:
        with suppress(OSError), socket.socket(fileno=os.dup(found.fileno())) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


def _resettable(transport: asyncio.BaseTransport) -> Any:
    found = transport.get_extra_info("socket")
    return found if found is not None and found.family != socket.AF_UNIX else None
