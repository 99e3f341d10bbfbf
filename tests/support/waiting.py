"""Waiting for a condition with a deadline: what tests do instead of sleeping for a fixed time."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.01  # seconds between checks

TIME_FACTOR = float(os.environ.get("TEST_TIME_FACTOR", "1"))
"""By how much deadlines are longer than the tests say: 1 on a quiet machine, more on a slow or busy one."""


def scaled(seconds: float) -> float:
    """Return a deadline of this many seconds on a quiet machine; the functions that wait here scale their own."""
    return seconds * TIME_FACTOR


def eventually(condition: Callable[[], T], timeout: float = 5) -> T:
    """Return the first true value of `condition()`; fail when there is none within `timeout` seconds, scaled."""
    timeout = scaled(timeout)
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {timeout} s: {condition}")
        time.sleep(_PAUSE)
    return value


async def eventually_async(condition: Callable[[], T], timeout: float = 5) -> T:
    """Do what `eventually` does while the event loop goes on."""
    timeout = scaled(timeout)
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {timeout} s: {condition}")
        await asyncio.sleep(_PAUSE)
    return value


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something listens on `port`."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
