"""What the worker threads of one process have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .async_runner import Coroutines
from .concurrency import Limits
from .connection import Outage
from .recycling import Recycling
from .stats import Statistics, report
from .watchdog import Monitor

if TYPE_CHECKING:
    from .worker import Worker


class Shared:
    """One for each `run` of a worker or of a group of workers, made from its attributes."""

    def __init__(self, worker: Worker, channels: Sequence[str]) -> None:
        self._layer = worker.channel_layer.channel_layer
        self._statistics: list[Statistics] = []
        self.record = worker.record
        self.outage = Outage()
        self.recycling = Recycling(worker.max_messages, worker.max_memory, worker.ask_for_replacement)
        self.limits = Limits(worker.limits, channels)
        self.coroutines = Coroutines(worker, self.outage, self.record, self.limits, self.new_statistics())
        self.monitor = Monitor(
            self._layer,
            self.outage,
            self.record,
            self.coroutines,
            worker.consumer_timeout,
            worker.ask_for_replacement,
        )

    def new_statistics(self) -> Statistics:
        """Counts for one more thread."""
        self._statistics.append(Statistics())
        return self._statistics[-1]

    def report(self) -> str:
        """What all threads have counted, as a table."""
        return report(self._statistics, self._layer.losses.as_dict())
