"""The parent of several worker processes: starts them, replaces those that die, and stops them in order.

Each child runs the very command line that started this process, so it gets fresh code and shares nothing. It knows what
it is by an environment variable, and ends in order when its standard input ends: when the parent closes it to stop the
child, or when the parent is gone, however that came.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from channels_classic.worker.doorbell import Doorbell

if TYPE_CHECKING:
    from channels_classic.worker.worker import Worker

logger = logging.getLogger("django.channels")

_MARK = "CHANNELS_CLASSIC_WORKER_PROCESS"

_BACKOFF = (0.5, 30.0)
"""Seconds until a process that died young is replaced: at first, at most."""

_YOUNG = 10.0
"""Seconds below which a process counts as having died at once."""

_INSIST = 2.0
"""Seconds beyond the children's own grace after which they are killed."""


def take_mark() -> bool:
    """Whether this process was started by a supervisor; asked once, so that what it starts itself bears no mark."""
    return os.environ.pop(_MARK, None) is not None


def stop_with_parent(worker: Worker) -> None:
    """In a child: let `worker` stop when the supervisor says so, or is gone."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        worker.stop_gracefully()

    threading.Thread(target=wait, name="worker-parent", daemon=True).start()


class _Child:
    """One place for a process: what runs in it now, and when the next one may start."""

    def __init__(self, command: Sequence[str], doorbell: Doorbell) -> None:
        self._command = command
        self._doorbell = doorbell
        self._pause = _BACKOFF[0]
        self._started = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0
        """When to start (`time.monotonic`)."""

    def start(self) -> None:
        """Start a process; the doorbell rings when it ends."""
        self._started = time.monotonic()
        self.process = subprocess.Popen(
            self._command,
            env={**os.environ, _MARK: "1"},
            stdin=subprocess.PIPE,
            # Ctrl-C in the terminal reaches the parent alone, which stops its children in order.
            start_new_session=True,
        )
        threading.Thread(target=self._await, args=(self.process,), daemon=True).start()

    def _await(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._doorbell.ring()

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, and `ended` was not called."""
        return self.process is not None and self.process.poll() is not None

    def ended(self) -> int:
        """Take note that the process ended → its status."""
        assert self.process is not None
        status = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None
        now = time.monotonic()
        if status != 0 and now - self._started < _YOUNG:
            self.due = now + self._pause
            self._pause = min(self._pause * 2, _BACKOFF[1])
        else:
            self.due, self._pause = now, _BACKOFF[0]
        return status

    def stop(self) -> None:
        """Ask the process to finish what it has taken, and to end."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()

    def kill(self) -> None:
        """End the process now."""
        if self.process is not None:
            self.process.kill()


class Supervisor:
    """Keeps `processes` worker processes running until a signal says stop; the second signal kills them."""

    def __init__(self, processes: int, grace: float, command: Sequence[str] | None = None) -> None:
        self._grace = grace
        self._doorbell = Doorbell()
        command = command or [sys.executable, *sys.orig_argv[1:]]
        self._children = [_Child(command, self._doorbell) for _ in range(processes)]
        self._deadline: float | None = None

    def run(self) -> int:
        """Supervise → the exit status: 0, or 1 when processes had to be killed."""
        with self._doorbell.catching():
            try:
                return self._supervise()
            finally:
                for child in self._children:
                    child.kill()

    def _supervise(self) -> int:
        while True:
            number = self._doorbell.wait(self._tend())
            for child in self._running():
                if child.has_ended:
                    self._bury(child)
            if number and self._deadline is not None:
                logger.error("%s again: killing the worker processes.", signal.Signals(number).name)
                return 128 + number
            if number:
                self._stop(number)
            if self._deadline is not None and not self._running():
                return 0
            if self._deadline is not None and time.monotonic() >= self._deadline:
                logger.error("Worker processes still run after the time of grace: killing them.")
                return 1

    def _tend(self) -> float | None:
        """Start what is due → seconds until there is more to do."""
        if self._deadline is not None:
            return max(0.0, self._deadline - time.monotonic())
        waiting = [child for child in self._children if child.process is None]
        now = time.monotonic()
        for child in waiting:
            if child.due <= now:
                child.start()
        return min((child.due - now for child in waiting if child.process is None), default=None)

    def _running(self) -> list[_Child]:
        return [child for child in self._children if child.process is not None]

    def _bury(self, child: _Child) -> None:
        pid = child.process.pid if child.process is not None else 0
        status = child.ended()
        if self._deadline is None:
            logger.log(
                logging.INFO if status == 0 else logging.ERROR,
                "Worker process %d ended with status %d; it is replaced in %.1f s.",
                pid,
                status,
                max(0.0, child.due - time.monotonic()),
            )

    def _stop(self, number: int) -> None:
        logger.info("%s: the worker processes finish what they took.", signal.Signals(number).name)
        self._deadline = time.monotonic() + self._grace + _INSIST
        for child in self._children:
            child.stop()
