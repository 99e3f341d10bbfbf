"""The parent of worker processes: starts, replaces and stops them, and reports for those that died.

Each child runs the command line that started this process, so it gets fresh code and shares only a socket and its
in-flight table (see `child`). A successor is started before its predecessor is stopped: a release that fails to start
leaves the running processes alone.
"""

from __future__ import annotations

import logging
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

from channels_classic.exceptions import ChannelsError
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Report
from channels_classic.layers.steps import GetStatistics

from ..inflight import Held
from ..signal_pipe import STOP_SIGNALS, SignalPipe
from .process import Process, Slot

logger = logging.getLogger("channels_classic.worker")

_STUCK_AFTER = 5.0
"""Seconds after the consumer timeout until a process whose watchdog cannot run is killed."""


class Supervisor:
    """Keeps `processes` worker processes running until a signal stops them; the second signal kills them.

    `grace` is the children's grace period in seconds. Each child records up to `slots` messages in its table. With
    `consumer_timeout`, a process whose consumer blocks even the watchdog is killed a few seconds after that time.
    """

    def __init__(
        self,
        layer: BaseChannelLayer,
        processes: int,
        grace: float,
        slots: int = 0,
        consumer_timeout: float = 0,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._layer = layer
        self._grace = grace
        self._slots = slots
        self._consumer_timeout = consumer_timeout
        self._command = command or [sys.executable, *sys.orig_argv[1:]]
        self._signal_pipe = SignalPipe()
        self._worker_slots = [Slot(clock) for _ in range(processes)]
        self._leaving: list[Process] = []
        self._stopping = False
        self._killed = False

    def run(self) -> int:
        """Supervise until stopped; return the exit status: 0, or 1 when processes had to be killed."""
        with self._signal_pipe.catching([signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1]):
            try:
                return self._supervise()
            finally:
                for process in self._processes():
                    process.kill()

    def _supervise(self) -> int:
        while True:
            number = self._wait(self._maintain())
            for process in self._processes():
                if process.status is not None:
                    self._reap(process)
            if number in STOP_SIGNALS and self._stopping:
                logger.error("%s again: killing the worker processes.", signal.Signals(number).name)
                return 128 + number
            if number:
                self._on_signal[number](self, number)
            if self._stopping and not self._processes():
                return int(self._killed)

    def _wait(self, timeout: float | None) -> int | None:
        """Wait for a signal, the end of a process or a message from one; return the signal, if any."""
        links = {process.link.fileno(): process for process in self._processes() if process.link.fileno() >= 0}
        readable, _, _ = select.select([self._signal_pipe.fileno(), *links], [], [], timeout)
        for link in readable:
            if link in links:
                links[link].listen()
        return self._signal_pipe.wait(0)

    def _processes(self) -> list[Process]:
        working = [process for slot in self._worker_slots for process in (slot.process, slot.successor) if process]
        return working + self._leaving

    # Periodic work

    def _maintain(self) -> float | None:
        """Start, replace and kill processes that are due; return the seconds until there is more to do."""
        times = [self._kill_overdue()]
        if self._consumer_timeout:
            times.append(self._kill_silent())
        if not self._stopping:
            times += [self._fill(slot) for slot in self._worker_slots]
            times.append(self._roll())
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _fill(self, slot: Slot) -> float | None:
        """Start a process in an empty slot; if that is not due yet, return the seconds until it is."""
        if slot.process is None:
            left = slot.due - self._clock()
            if left > 0:
                return left
            slot.process = self._start()
        return None

    def _roll(self) -> float | None:
        """Replace one outdated process; if that is not due yet, return the seconds until it is."""
        for slot in self._worker_slots:
            if slot.successor is not None:
                if slot.successor.is_ready and (predecessor := slot.promote()):
                    logger.info("Worker process %d is replaced.", predecessor.pid)
                    predecessor.stop(self._grace)
                    self._leaving.append(predecessor)
                    return 0.0
                return None
        waiting = [slot for slot in self._worker_slots if slot.needs_successor]
        left = min((slot.due for slot in waiting), default=0.0) - self._clock()
        if not waiting or left > 0:
            return left if waiting else None
        slot = min(waiting, key=lambda slot: slot.due)
        slot.successor = self._start()
        return None

    def _start(self) -> Process:
        return Process(self._command, self._slots, self._clock)

    def _kill_overdue(self) -> float | None:
        """Kill processes that did not stop in time; return the seconds until the next deadline."""
        now = self._clock()
        for process in self._leaving:
            if process.deadline is not None and process.deadline <= now:
                logger.error("Worker process %d still runs after its grace period: killing it.", process.pid)
                self._killed = True
                process.deadline = None
                process.kill()
        return min((process.deadline - now for process in self._leaving if process.deadline), default=None)

    def _kill_silent(self) -> float:
        """Kill processes that a consumer blocks as a whole; return the seconds until the next look."""
        for process in self._processes():
            heartbeat_age = process.table.heartbeat_age()
            if heartbeat_age > self._consumer_timeout + _STUCK_AFTER and process.status is None:
                logger.error("Worker process %d has been stuck for %.0f s: killing it.", process.pid, heartbeat_age)
                process.kill()
        return 1.0

    # Events

    def _reap(self, process: Process) -> None:
        slot = next((slot for slot in self._worker_slots if process in (slot.process, slot.successor)), None)
        if slot is None:
            self._leaving.remove(process)
        else:
            self._reap_from(slot, process)
        held = process.table.held()
        if held:
            report_lost(self._layer, process.pid, held)
        process.link.close()
        process.table.close()

    def _reap_from(self, slot: Slot, process: Process) -> None:
        failed_to_follow = slot.successor is process and slot.is_outdated
        slot.clear(process)
        if failed_to_follow:
            for other in self._worker_slots:
                other.is_outdated = False
            logger.error(
                "Worker process %d with the new code ended with status %d: the others keep running the old code.",
                process.pid,
                process.status,
            )
            return
        logger.log(
            logging.ERROR if process.status else logging.INFO,
            "Worker process %d ended with status %d; it is replaced in %.1f s.",
            process.pid,
            process.status,
            max(0.0, slot.due - self._clock()),
        )

    def _stop(self, number: int) -> None:
        logger.info("%s: worker processes finish the messages they have taken.", signal.Signals(number).name)
        self._stopping = True
        for process in self._processes():
            process.stop(self._grace)
        self._leaving, slots = self._processes(), self._worker_slots
        for slot in slots:
            slot.process = slot.successor = None

    def _renew(self, number: int) -> None:
        if self._stopping:
            return
        logger.info("%s: replacing the worker processes one by one.", signal.Signals(number).name)
        for slot in self._worker_slots:
            slot.is_outdated, slot.due = True, 0.0
            if slot.successor is not None:  # it may have started before the code changed
                slot.successor.stop(self._grace)
                self._leaving.append(slot.successor)
                slot.successor = None

    def _forward(self, number: int) -> None:
        for process in self._processes():
            if process.is_ready:  # before that, the signal would end it
                process.signal(number)

    def _ignore(self, number: int) -> None:
        """Do nothing: `_supervise` has looked after the processes already."""

    _on_signal: ClassVar[dict[int, Callable[[Supervisor, int], None]]] = {
        signal.SIGTERM: _stop,
        signal.SIGINT: _stop,
        signal.SIGHUP: _renew,
        signal.SIGUSR1: _forward,
        signal.SIGCHLD: _ignore,
    }


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
