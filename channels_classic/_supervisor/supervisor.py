"""The parent of several processes of a program: starts, replaces and stops them.

Each child runs the command line that started this process, so it gets fresh code and shares only what it is passed (see
`link`). A successor is started before its predecessor is stopped: a release that fails to start leaves the running
processes alone.

A process that hangs, suspended or with a blocked event loop, holds its clients and does not end. Only its
heartbeats show that (`link`): without them for `STUCK_AFTER` seconds it no longer counts as ready, and after
`REPLACE_AFTER` it is killed and another one is started, unless `_may_kill` forbids it, as for a worker in which a
consumer runs.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic

from channels_classic._health import STUCK_AFTER, Health
from channels_classic._metrics.samples import Samples
from channels_classic._systemd import Notifier, WatchdogTimer

from .link import BEAT_INTERVAL
from .process import P, Reason, Slot
from .signal_pipe import STOP_SIGNALS, SignalPipe, insistence, readable

_SUCCESSOR_TIMEOUT = 120.0
"""Seconds in which a successor has to be ready; after that it is killed, and its predecessor stays."""

REPLACE_AFTER = 30.0
"""Seconds without a heartbeat after which a process is killed: those after which the layer gives up its inbox."""


class Supervisor(Generic[P]):
    """Keeps `processes` processes running until a signal stops them; SIGQUIT or the second signal insists.

    `grace` is the children's grace period in seconds, and `replaced_grace` that of those whose successor serves. A
    program derives its own and overrides `_start`.
    """

    name = "Process"
    """The start of log lines about one of them."""
    names = "processes"

    def __init__(
        self,
        logger: logging.Logger,
        processes: int,
        grace: float,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        replaced_grace: float | None = None,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._grace = grace
        self._replaced_grace = grace if replaced_grace is None else replaced_grace
        self._command = command or [sys.executable, *sys.orig_argv[1:]]
        self._signal_pipe = SignalPipe()
        self._slots: list[Slot[P]] = [Slot(clock) for _ in range(processes)]
        self._leaving: list[P] = []
        self._stopping = False
        self._killed = False
        self._notifier = Notifier.of_this_process()
        self._heartbeat = WatchdogTimer(self._notifier, clock)
        self._notified: object = None
        self._looked_at = clock()
        self._stuck: set[int] = set()
        self._restarts: Counter[Reason] = Counter()

    # What differs between programs

    def _start(self, *, is_successor: bool = False) -> P:
        """Start a process; a successor beside the one that it replaces."""
        raise NotImplementedError

    def _watch(self) -> float | None:
        """Look after the processes; return the seconds until the next time."""

    def _may_kill(self, process: P) -> bool:
        """Return True if a process that hangs may be killed."""
        return True

    def _ended(self, process: P) -> None:
        """Clean up after a process that ended."""
        process.close()

    def _stopped(self) -> None:
        """Called after the first signal to stop."""

    def _insist(self, number: int) -> int | None:
        """Act on SIGQUIT or the second signal to stop; return an exit status to end at once, killing the processes."""
        self._logger.error("%s: killing the %s.", insistence(number), self.names)
        return 128 + number

    # For systemd and probes

    @property
    def health(self) -> Health:
        """The state of the whole: ready if one process is. May be asked for by any thread."""
        if self._stopping:
            return Health.STOPPING
        processes = [slot.process for slot in self._slots if slot.process]
        ready = [process for process in processes if process.is_ready and not process.is_stuck]
        if ready:
            return Health.NO_WORKER if all(process.lacks_worker for process in ready) else Health.READY
        if processes and all(process.is_stuck for process in processes):
            return Health.STUCK
        return Health.LAYER_DOWN if any(process.was_ready for process in processes) else Health.STARTING

    def samples(self) -> Samples:
        """Return the values of its own metrics. May be asked for by any thread."""
        found = Samples()
        found.add("stuck_processes", len(self._stuck))
        for reason in Reason:
            found.add("process_restarts_total", self._restarts[reason], reason.value)
        return found

    def _notify(self) -> float | None:
        """Report changes to systemd; return the seconds until its watchdog is to be fed."""
        is_rolling = any(slot.is_outdated for slot in self._slots)
        state = (self.health, is_rolling)
        if state != self._notified and state[0] is not Health.STARTING:
            self._notified = state
            if self._stopping:
                self._notifier.stopping()
            elif is_rolling:
                self._notifier.reloading()
            else:
                self._notifier.ready()
        return self._heartbeat.tick()

    # The loop

    def run(self) -> int:
        """Supervise until stopped; return the exit status: 0, or 1 when processes had to be killed."""
        with self._signal_pipe.catching([signal.Signals(number) for number in self._on_signal]):
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
                status = self._insist(number)
                if status is not None:
                    return status
            elif number:
                status = self._on_signal[number](self, number)
                if status is not None:
                    return status
            if self._stopping and not self._processes():
                return int(self._killed)

    def _wait(self, timeout: float | None) -> int | None:
        """Wait for a signal, the end of a process or a message from one; return the signal, if any."""
        links = {process.link.fileno(): process for process in self._processes() if process.link.fileno() >= 0}
        for link in readable([self._signal_pipe.fileno(), *links], timeout):
            if link in links:
                self._listen(links[link])
        return self._signal_pipe.wait(0)

    def _listen(self, process: P) -> None:
        was_ready = process.was_ready
        process.listen()
        if process.was_ready and not was_ready:
            self._logger.info("%s %d listens.", self.name, process.pid)

    def _processes(self) -> list[P]:
        working = [process for slot in self._slots for process in (slot.process, slot.successor) if process]
        return working + self._leaving

    # Periodic work

    def _maintain(self) -> float | None:
        """Start, replace and kill processes that are due; return the seconds until there is more to do."""
        times = [self._kill_overdue(), self._check_heartbeats(), self._watch(), self._notify()]
        if not self._stopping:
            times += [self._fill(slot) for slot in self._slots]
            times.append(self._roll())
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _fill(self, slot: Slot[P]) -> float | None:
        """Start a process in an empty slot; if that is not due yet, return the seconds until it is."""
        if slot.process is None:
            left = slot.due - self._clock()
            if left > 0:
                return left
            slot.process = self._start()
        return None

    def _roll(self) -> float | None:
        """Replace one outdated process; if that is not due yet, return the seconds until it is."""
        for slot in self._slots:
            if slot.successor is not None:
                return self._promote(slot, slot.successor)
        waiting = [slot for slot in self._slots if slot.needs_successor]
        if not waiting:
            return None
        slot = min(waiting, key=lambda slot: slot.due)
        left = slot.due - self._clock()
        if left > 0:
            return left
        slot.successor = self._start(is_successor=True)
        return None

    def _promote(self, slot: Slot[P], successor: P) -> float | None:
        """Let a successor that is ready take over; kill one that does not become ready."""
        if successor.is_ready:
            reason = Reason.RELOADED if slot.is_outdated else Reason.RECYCLED
            if predecessor := slot.promote():
                self._restarts[reason] += 1
                self._logger.info("%s %d is replaced.", self.name, predecessor.pid)
                predecessor.stop(self._replaced_grace, is_replaced=True)
                self._leaving.append(predecessor)
            return 0.0
        left = successor.started + _SUCCESSOR_TIMEOUT - self._clock()
        if left <= 0 and successor.status is None:
            self._logger.error(
                "%s %d was not ready within %g s: killing it.", self.name, successor.pid, _SUCCESSOR_TIMEOUT
            )
            successor.kill()
            return None
        return max(left, 0.0)

    def _check_heartbeats(self) -> float:
        """Report processes that hang, and kill them when they are due; return the seconds until the next look.

        A supervisor that was suspended itself, as in a container that was paused, received no heartbeats meanwhile.
        """
        now = self._clock()
        stood_still, self._looked_at = now - self._looked_at > STUCK_AFTER / 2, now
        working = [slot.process for slot in self._slots if slot.process]
        if stood_still:
            for process in working:
                process.beat_at = process.beat_at and now
        stuck = {process.pid for process in working if process.is_stuck and process.status is None}
        for process in working:
            if process.pid in stuck:
                self._attend_to_stuck(process)
            elif process.pid in self._stuck and process.status is None:
                self._logger.info("%s %d runs again.", self.name, process.pid)
        self._stuck = stuck
        return BEAT_INTERVAL

    def _attend_to_stuck(self, process: P) -> None:
        if process.restart_reason is Reason.STUCK:
            return  # killed, and the kernel has not ended it yet
        if process.silence > REPLACE_AFTER and self._may_kill(process):
            self._logger.error("%s %d has not run for %.0f s: killing it.", self.name, process.pid, process.silence)
            process.kill(Reason.STUCK)
        elif process.pid not in self._stuck:
            self._logger.error("%s %d hangs: no heartbeat for %.0f s.", self.name, process.pid, process.silence)

    def _kill_overdue(self) -> float | None:
        """Kill processes that did not stop in time; return the seconds until the next deadline."""
        now = self._clock()
        for process in self._leaving:
            if process.deadline is not None and process.deadline <= now:
                self._logger.error("%s %d is still running after its grace period: killing it.", self.name, process.pid)
                self._killed = True
                process.deadline = None
                process.kill()
        return min((process.deadline - now for process in self._leaving if process.deadline), default=None)

    # Events

    def _reap(self, process: P) -> None:
        slot = next((slot for slot in self._slots if process in (slot.process, slot.successor)), None)
        if slot is None:
            self._leaving.remove(process)
        else:
            self._reap_from(slot, process)
        self._ended(process)

    def _reap_from(self, slot: Slot[P], process: P) -> None:
        self._restarts[Reason.FAILED if slot.successor is process else process.restart_reason] += 1
        failed_to_follow = slot.successor is process and slot.is_outdated
        slot.clear(process)
        if failed_to_follow:
            for other in self._slots:
                other.is_outdated = False
            self._logger.error(
                "%s %d with the new code ended with status %d: the others keep running the old code.",
                self.name,
                process.pid,
                process.status,
            )
            return
        self._logger.log(
            logging.ERROR if process.status else logging.INFO,
            "%s %d ended with status %d; it is replaced in %.1f s.",
            self.name,
            process.pid,
            process.status,
            max(0.0, slot.due - self._clock()),
        )

    def _stop(self, number: int) -> None:
        self._logger.info("%s: stopping the %s.", signal.Signals(number).name, self.names)
        self._stopping = True
        for process in self._processes():
            process.stop(self._grace)
        self._leaving = self._processes()
        for slot in self._slots:
            slot.process = slot.successor = None
        self._stopped()

    def _renew(self, number: int) -> None:
        if self._stopping:
            return
        self._logger.info("%s: replacing the %s one by one.", signal.Signals(number).name, self.names)
        for slot in self._slots:
            slot.is_outdated, slot.due = True, 0.0
            if slot.successor is not None:  # it may have started before the code changed
                slot.successor.stop(self._grace)
                self._leaving.append(slot.successor)
                slot.successor = None

    def _forward(self, number: int) -> None:
        for process in self._processes():
            if process.was_ready:  # before that, the signal would end it
                process.signal(number)

    def _ignore(self, number: int) -> None:
        """Do nothing: `_supervise` has looked after the processes already."""

    _on_signal: ClassVar[dict[int, Callable[..., int | None]]] = {
        signal.SIGTERM: _stop,
        signal.SIGINT: _stop,
        signal.SIGQUIT: _insist,
        signal.SIGHUP: _renew,
        signal.SIGUSR1: _forward,
        signal.SIGCHLD: _ignore,
    }
