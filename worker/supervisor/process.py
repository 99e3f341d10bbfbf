"""A worker process as its supervisor sees it, and the slot that it fills."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
from collections.abc import Callable, Sequence

from ..inflight import InFlightTable
from . import child

logger = logging.getLogger("channels_classic.worker")

_BACKOFF = (0.5, 30.0)
"""Seconds until a process that died young is replaced: initial, maximum."""

_YOUNG = 10.0
"""A process that ends within this many seconds died young."""

_KILL_AFTER = 2.0
"""Seconds after the end of the children's grace period until they are killed."""


class Process:
    """One child process."""

    def __init__(self, command: Sequence[str], slots: int, clock: Callable[[], float]) -> None:
        self._clock = clock
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
        self._started = self._clock()
        self.is_ready = False
        self.wants_replacement = False
        self.deadline: float | None = None
        """When to kill it (by the clock), once it was asked to stop."""

    def listen(self) -> None:
        """Read from its socket, which is readable."""
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
            self.deadline = self._clock() + grace + _KILL_AFTER
        # Not `close` alone: a process that a consumer forked holds the socket too.
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()

    def kill(self) -> None:
        """Kill it."""
        self._popen.kill()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._popen.poll()

    @property
    def died_at_once(self) -> bool:
        """True if it failed too soon to be replaced without a pause."""
        return self.status != 0 and self._clock() - self._started < _YOUNG


class Slot:
    """A slot for one process: the current one, its successor, and when the next one may start."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.process: Process | None = None
        self.successor: Process | None = None
        self.is_outdated = False
        """True if the current process runs old code."""
        self.due = 0.0
        self._pause = _BACKOFF[0]

    @property
    def needs_successor(self) -> bool:
        """True if the current process is to be replaced."""
        return self.process is not None and (self.is_outdated or self.process.wants_replacement)

    def clear(self, process: Process) -> None:
        """Remove a process of this slot, which ended."""
        if self.successor is process:
            self.successor = None
        else:
            self.process, self.successor = self.successor, None
            self.is_outdated = False
        if process.died_at_once:
            self.due = self._clock() + self._pause
            self._pause = min(self._pause * 2, _BACKOFF[1])
        else:
            self.due, self._pause = 0.0, _BACKOFF[0]

    def promote(self) -> Process | None:
        """Make the successor the current process; return its predecessor."""
        predecessor, self.process, self.successor = self.process, self.successor, None
        self.is_outdated = False
        return predecessor
