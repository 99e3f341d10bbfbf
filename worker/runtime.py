"""What the worker threads of one process have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .async_runner import AsyncConsumerRunner
from .concurrency import ConcurrencyLimits
from .connection import Outage
from .recycling import Recycling
from .stats import Stats, report
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .worker import Worker


class Runtime:
    """One for each `run` of a worker or of a group of workers, made from its attributes."""

    def __init__(self, worker: Worker, channels: Sequence[str]) -> None:
        self._layer = worker.channel_layer.channel_layer
        self._statistics: list[Stats] = []
        self.record = worker.record
        self.outage = Outage()
        self.recycling = Recycling(worker.max_messages, worker.max_memory, worker.ask_for_replacement)
        self.limits = ConcurrencyLimits(worker.limits, channels)
        self.async_runner = AsyncConsumerRunner(worker, self.outage, self.record, self.limits, self.new_statistics())
        self.watchdog = Watchdog(
            self._layer,
            self.outage,
            self.record,
            self.async_runner,
            worker.consumer_timeout,
            worker.ask_for_replacement,
        )

    def new_statistics(self) -> Stats:
        """Counts for one more thread."""
        self._statistics.append(Stats())
        return self._statistics[-1]

    def report(self) -> str:
        """What all threads have counted, as a table."""
        return report(self._statistics, self._layer.losses.as_dict())
