"""Ends a connection behind what was written to it."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

FLUSH_TIMEOUT = 120.0
"""Seconds that a client has to take the last bytes: a transport holds some 128 KiB of a response at most, and
`--stall-timeout` allows a minute for each 64 KiB before them."""


def close_in_time(transport: Any) -> None:
    """Close a connection, and cut it off if its client does not take what was written.

    asyncio waits for that without a limit: a client that reads nothing, but acknowledges that it has no room, would
    hold the connection for ever.
    """
    transport.close()
    if transport.get_write_buffer_size():
        # The timer does not keep a connection in memory that ends before it.
        asyncio.get_running_loop().call_later(FLUSH_TIMEOUT, _abort, weakref.ref(transport))


def _abort(reference: weakref.ref[Any]) -> None:
    transport = reference()
    if transport is not None:
        transport.abort()
