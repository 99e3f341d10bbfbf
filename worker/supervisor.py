"""The supervisor of worker processes: what each holds, and the report of what died with it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from channels_classic._supervisor.process import Process, Reason
from channels_classic._supervisor.supervisor import Supervisor
from channels_classic.exceptions import ChannelsError
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Report
from channels_classic.layers.steps import GetStatistics

from .inflight import Held, InFlightTable

logger = logging.getLogger("channels_classic.worker")

_BLOCKED_GRACE = 5.0
"""Seconds after the consumer timeout until a process whose watchdog cannot run is killed."""


class WorkerProcess(Process):
    """A worker process with the table in which it records up to `slots` messages."""

    def __init__(self, command: Sequence[str], slots: int, clock: Callable[[], float]) -> None:
        self.table = InFlightTable.make(slots)
        super().__init__(command, [self.table.descriptor], clock)

    def close(self) -> None:
        """Close its socket and its table."""
        super().close()
        self.table.close()


class WorkerSupervisor(Supervisor[WorkerProcess]):
    """Keeps worker processes running, each with a table of `slots` messages.

    With `consumer_timeout`, a process whose consumer blocks even the watchdog is killed a few seconds after that time.
    """

    name, names = "Worker process", "worker processes"

    def __init__(
        self,
        layer: BaseChannelLayer,
        processes: int,
        grace: float,
        slots: int = 0,
        consumer_timeout: float = 0,
        **options: Any,
    ) -> None:
        super().__init__(logger, processes, grace, **options)
        self._layer = layer
        self._table_slots = slots
        self._consumer_timeout = consumer_timeout

    def _start(self, *, is_successor: bool = False) -> WorkerProcess:
        return WorkerProcess(self._command, self._table_slots, self._clock)

    def _watch(self) -> float | None:
        """Kill processes that a consumer blocks as a whole; return the seconds until the next look."""
        if not self._consumer_timeout:
            return None
        for process in self._processes():
            heartbeat_age = process.table.heartbeat_age()
            is_killed = process.status is not None or process.restart_reason is Reason.STUCK
            if heartbeat_age > self._consumer_timeout + _BLOCKED_GRACE and not is_killed:
                logger.error("Worker process %d has been stuck for %.0f s: killing it.", process.pid, heartbeat_age)
                process.kill(Reason.STUCK)
        return 1.0

    def _may_kill(self, process: WorkerProcess) -> bool:
        """Return whether no consumer runs in it.

        A consumer may keep the whole process from running, in C code; --consumer-timeout limits for how long.
        """
        return process.table.heartbeat_age() == 0

    def _ended(self, process: WorkerProcess) -> None:
        """Report what it held."""
        held = process.table.held()
        if held:
            report_lost(self._layer, process.pid, held)
        super()._ended(process)


def report_lost(layer: BaseChannelLayer, pid: int, held: Sequence[Held]) -> None:
    """Log what process `pid` held when it died, report to waiting clients, and count messages without one as lost.

    Reports are sent from a thread, because the layer may be down. The interface server counts messages with a client;
    it ignores a report for a message that was finished.
    """
    channels = Counter(message.channel for message in held)
    logger.error(
        "Worker process %d died holding %d message(s): %s.",
        pid,
        len(held),
        ", ".join(f"{number} of {channel}" for channel, number in sorted(channels.items())),
    )
    reports = []
    for message in held:
        if message.token and message.reply_channel:
            reports.append(Report(message.reply_channel, message.token, Outcome.DIED))
        else:
            layer.losses.count("died", message.channel)
    threading.Thread(target=_report, args=(layer, reports), name="worker-report-lost", daemon=True).start()


def _report(layer: BaseChannelLayer, reports: Sequence[Report]) -> None:
    try:
        # Counted losses are written together with any step.
        layer.run(layer.planner.pushes([], {}, reports) or [GetStatistics(None)])
    except ChannelsError as error:
        logger.error("Could not report lost messages; %d client(s) keep waiting: %s", len(reports), error)
