"""An event loop that notes for how long its timers were set."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any


class NotingLoop(asyncio.SelectorEventLoop):
    """`delays` has the seconds of each timer by the name of the function that it calls."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: defaultdict[str, list[float]] = defaultdict(list)

    def call_later(  # type: ignore[override]  # simpler than in the stubs
        self, delay: float, callback: Callable[..., object], *args: Any, **options: Any
    ) -> asyncio.TimerHandle:
        self.delays[getattr(callback, "__name__", "")].append(delay)
        return super().call_later(delay, callback, *args, **options)
