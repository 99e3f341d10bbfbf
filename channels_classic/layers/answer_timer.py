"""A time limit for an answer that a standstill of this process does not use up.

After one, uvloop runs timers before it reads what has arrived meanwhile. A limit that acts at once would give up an
answer that is there, and with it everything that a take has removed from the layer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SECOND_LOOK = 0.1
"""Seconds for which the event loop runs, and reads, before the limit acts."""


class AnswerTimer:
    """Calls `expire` after `seconds`, unless it is cancelled before."""

    __slots__ = ("_expire", "_handle", "_loop")

    def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expire = expire
        self._handle = self._loop.call_later(seconds, self._look_again)

    def _look_again(self) -> None:
        self._handle = self._loop.call_later(SECOND_LOOK, self._expire)

    def cancel(self) -> None:
        """Do not act: the answer has come."""
        self._handle.cancel()
