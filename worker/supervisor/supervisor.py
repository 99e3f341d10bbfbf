"""The parent of worker processes: starts them, replaces them, reports for those that died, and stops them in order.

Each child runs the very command line that started this process, so it gets fresh code and shares nothing but a socket
and its ledger (see `parent`). A successor is started before its predecessor is stopped: a release that does not start
stops nothing that works.
"""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from channels_classic.layers.base import BaseChannelLayer

from ..inflight import InFlightTable
from ..signal_pipe import STOP_SIGNALS, SignalPipe
from . import child
from .obituary import tell

logger = logging.getLogger("django.channels")

_BACKOFF = (0.5, 30.0)
"""Seconds until a process that died young is replaced: at first, at most."""

_YOUNG = 10.0
"""Seconds below which a process counts as having died at once."""

_INSIST = 2.0
"""Seconds beyond the children's own grace after which they are killed."""

_SILENCE = 5.0
"""Seconds beyond the time for a consumer after which a process that cannot even complain is killed."""


class _Process:
    """One child."""

    def __init__(self, command: Sequence[str], slots: int) -> None:
        self.table = InFlightTable.make(slots)
        self.link, theirs = socket.socketpair()
        with theirs:
            descriptors = [theirs.fileno(), self.table.descriptor]
            self._popen = subprocess.Popen(
                command,
                env=child.mark(descriptors),
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                # Ctrl-C in the terminal reaches the parent alone, which stops its children in order.
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self._started = time.monotonic()
        self.is_ready = False
        self.wants_replacement = False
        self.deadline: float | None = None
        """When to kill it (`time.monotonic`), once it was told to stop."""

    def listen(self) -> None:
        """Read what it says; the socket is readable."""
        with contextlib.suppress(OSError):
            messages = self.link.recv(64)
            if child.READY in messages:
                self.is_ready = True
                logger.info("Worker process %d listens.", self.pid)
            self.wants_replacement = self.wants_replacement or child.REPLACE in messages
            if messages:
                return
        self.link.close()

    def stop(self, grace: float) -> None:
        """Ask it to finish what it has taken, and to end within `grace` seconds."""
        if self.deadline is None:
            self.deadline = time.monotonic() + grace + _INSIST
        # Not `close` alone: what a consumer has forked holds the socket as well.
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()

    def kill(self) -> None:
        """End it now."""
        self._popen.kill()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._popen.poll()

    @property
    def died_at_once(self) -> bool:
        """Whether it ended badly, and too soon to be replaced without a pause."""
        return self.status != 0 and time.monotonic() - self._started < _YOUNG


class _Slot:
    """A place for one process: who works there, who is to follow, and when the next one may start."""

    def __init__(self) -> None:
        self.process: _Process | None = None
        self.successor: _Process | None = None
        self.is_outdated = False
        """Whether the one who works there runs old code."""
        self.due = 0.0
        self._pause = _BACKOFF[0]

    @property
    def needs_successor(self) -> bool:
        """Whether the one who works there is to be replaced."""
        return self.process is not None and (self.is_outdated or self.process.wants_replacement)

    def clear(self, process: _Process) -> None:
        """A process of this place ended."""
        if self.successor is process:
            self.successor = None
        else:
            self.process, self.successor = self.successor, None
            self.is_outdated = False
        if process.died_at_once:
            self.due = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, _BACKOFF[1])
        else:
            self.due, self._pause = 0.0, _BACKOFF[0]

    def promote(self) -> _Process | None:
        """Let the successor take over → the one who worked there."""
        predecessor, self.process, self.successor = self.process, self.successor, None
        self.is_outdated = False
        return predecessor


class Supervisor:
    """Keeps `processes` worker processes running until a signal says stop; the second signal kills them.

    `grace` is theirs. Each may note `slots` messages in its ledger. With `consumer_timeout`, a process whose consumer
    keeps even its own monitor from acting is killed some seconds later than that.
    """

    def __init__(
        self,
        layer: BaseChannelLayer,
        processes: int,
        grace: float,
        slots: int = 0,
        consumer_timeout: float = 0,
        command: Sequence[str] | None = None,
    ) -> None:
        self._layer = layer
        self._grace = grace
        self._slots = slots
        self._consumer_timeout = consumer_timeout
        self._command = command or [sys.executable, *sys.orig_argv[1:]]
        self._signal_pipe = SignalPipe()
        self._worker_slots = [_Slot() for _ in range(processes)]
        self._leaving: list[_Process] = []
        self._stopping = False
        self._killed = False

    def run(self) -> int:
        """Supervise → the exit status: 0, or 1 when processes had to be killed."""
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
        """Wait for a signal, for the end of a process or for a word from one → the signal, if it is one."""
        links = {process.link.fileno(): process for process in self._processes() if process.link.fileno() >= 0}
        readable, _, _ = select.select([self._signal_pipe.fileno(), *links], [], [], timeout)
        for link in readable:
            if link in links:
                links[link].listen()
        return self._signal_pipe.wait(0)

    def _processes(self) -> list[_Process]:
        working = [process for place in self._worker_slots for process in (place.process, place.successor) if process]
        return working + self._leaving

    # What there is to do

    def _maintain(self) -> float | None:
        """Start, replace and kill what is due → seconds until there is more to do."""
        times = [self._kill_overdue()]
        if self._consumer_timeout:
            times.append(self._kill_silent())
        if not self._stopping:
            times += [self._fill(place) for place in self._worker_slots]
            times.append(self._roll())
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _fill(self, place: _Slot) -> float | None:
        """Have somebody work there → seconds until that may be tried, if it is not yet due."""
        if place.process is None:
            left = place.due - time.monotonic()
            if left > 0:
                return left
            place.process = self._start()
        return None

    def _roll(self) -> float | None:
        """Replace one process, if one is to be replaced → seconds until that may be tried, if it is not yet due."""
        for place in self._worker_slots:
            if place.successor is not None:
                if place.successor.is_ready and (predecessor := place.promote()):
                    logger.info("Worker process %d is replaced.", predecessor.pid)
                    predecessor.stop(self._grace)
                    self._leaving.append(predecessor)
                    return 0.0
                return None
        waiting = [place for place in self._worker_slots if place.needs_successor]
        left = min((place.due for place in waiting), default=0.0) - time.monotonic()
        if not waiting or left > 0:
            return left if waiting else None
        place = min(waiting, key=lambda place: place.due)
        place.successor = self._start()
        return None

    def _start(self) -> _Process:
        return _Process(self._command, self._slots)

    def _kill_overdue(self) -> float | None:
        """Kill those that were told to stop and have not → seconds until the next one is to be."""
        now = time.monotonic()
        for process in self._leaving:
            if process.deadline is not None and process.deadline <= now:
                logger.error("Worker process %d still runs after its time of grace: killing it.", process.pid)
                self._killed = True
                process.deadline = None
                process.kill()
        return min((process.deadline - now for process in self._leaving if process.deadline), default=None)

    def _kill_silent(self) -> float:
        """Kill those whose consumer has blocked the whole process → seconds until the next look."""
        for process in self._processes():
            heartbeat_age = process.table.heartbeat_age()
            if heartbeat_age > self._consumer_timeout + _SILENCE and process.status is None:
                logger.error("Worker process %d has been stuck for %.0f s: killing it.", process.pid, heartbeat_age)
                process.kill()
        return 1.0

    # What happens

    def _reap(self, process: _Process) -> None:
        place = next((place for place in self._worker_slots if process in (place.process, place.successor)), None)
        if place is None:
            self._leaving.remove(process)
        else:
            self._reap_from(place, process)
        held = process.table.held()
        if held:
            tell(self._layer, process.pid, held)
        process.link.close()
        process.table.close()

    def _reap_from(self, place: _Slot, process: _Process) -> None:
        failed_to_follow = place.successor is process and place.is_outdated
        place.clear(process)
        if failed_to_follow:
            for other in self._worker_slots:
                other.is_outdated = False
            logger.error(
                "Worker process %d with the new code ended with status %d: the others go on with the old code.",
                process.pid,
                process.status,
            )
            return
        logger.log(
            logging.ERROR if process.status else logging.INFO,
            "Worker process %d ended with status %d; it is replaced in %.1f s.",
            process.pid,
            process.status,
            max(0.0, place.due - time.monotonic()),
        )

    def _stop(self, number: int) -> None:
        logger.info("%s: the worker processes finish what they took.", signal.Signals(number).name)
        self._stopping = True
        for process in self._processes():
            process.stop(self._grace)
        self._leaving, places = self._processes(), self._worker_slots
        for place in places:
            place.process = place.successor = None

    def _renew(self, number: int) -> None:
        if self._stopping:
            return
        logger.info("%s: replacing the worker processes one by one.", signal.Signals(number).name)
        for place in self._worker_slots:
            place.is_outdated, place.due = True, 0.0
            if place.successor is not None:  # it may have begun with code that is old by now
                place.successor.stop(self._grace)
                self._leaving.append(place.successor)
                place.successor = None

    def _pass_on(self, number: int) -> None:
        for process in self._processes():
            if process.is_ready:  # before, the signal would end it
                process.signal(number)

    def _ignore(self, number: int) -> None:
        """Looking after the processes was all there was to do."""

    _on_signal: ClassVar[dict[int, Callable[[Supervisor, int], None]]] = {
        signal.SIGTERM: _stop,
        signal.SIGINT: _stop,
        signal.SIGHUP: _renew,
        signal.SIGUSR1: _pass_on,
        signal.SIGCHLD: _ignore,
    }
