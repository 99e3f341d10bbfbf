"""What the worker threads of one process have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from channels_classic.worker.monitor import Monitor
from channels_classic.worker.pipeline import Outage
from channels_classic.worker.recycling import Recycling

if TYPE_CHECKING:
    from channels_classic.worker.worker import Worker


class Shared:
    """One for each `run` of a worker or of a group of workers, made from its attributes."""

    def __init__(self, worker: Worker) -> None:
        self.record = worker.record
        self.outage = Outage()
        self.recycling = Recycling(worker.max_messages, worker.max_memory, worker.ask_for_replacement)
        self.monitor = Monitor(
            worker.channel_layer.channel_layer,
            self.outage,
            self.record,
            worker.consumer_timeout,
            worker.ask_for_replacement,
        )
