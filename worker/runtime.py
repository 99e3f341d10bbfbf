"""The objects that the worker threads of one process share."""

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
    """Made from the attributes of a worker or group of workers for each `run`."""

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
        """Return a new set of counters, for one thread."""
        self._statistics.append(Stats())
        return self._statistics[-1]

    def report(self) -> str:
        """Return the counters of all threads as a table."""
        return report(self._statistics, self._layer.losses.as_dict())
