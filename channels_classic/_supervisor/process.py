"""A process as its supervisor sees it, and the slot that it fills."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Generic, TypeVar

from channels_classic._health import STUCK_AFTER

from . import link

_BACKOFF = (0.5, 30.0)
"""Seconds until a process that died young is replaced: initial, maximum."""

_YOUNG = 10.0
"""A process that ends within this many seconds died young."""

_KILL_AFTER = 2.0
"""Seconds after the end of the children's grace period until they are killed."""


class Reason(Enum):
    """The reason why a process was replaced, as the metrics name it."""

    DIED = "died"
    """It ended by itself, or another program killed it."""
    STUCK = "stuck"
    """It hung, and the supervisor killed it."""
    FAILED = "failed"
    """A successor ended, or was killed, before it was ready."""
    RECYCLED = "recycled"
    """It asked for it."""
    RELOADED = "reloaded"
    """SIGHUP asked for it."""


class Process:
    """One child process, which runs `command` and is given `descriptors`.

    A successor learns that another process works until it is ready.
    """

    def __init__(
        self,
        command: Sequence[str],
        descriptors: Sequence[int],
        clock: Callable[[], float],
        *,
        is_successor: bool = False,
    ) -> None:
        self._clock = clock
        self.link, theirs = socket.socketpair()
        with theirs:
            given = [theirs.fileno(), *descriptors]
            self._popen = subprocess.Popen(
                command,
                env=link.mark(given, is_successor=is_successor),
                pass_fds=given,
                stdin=subprocess.DEVNULL,
                # Ctrl-C in the terminal reaches the parent alone, which stops its children in order.
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self.started = self._clock()
        self.is_ready = False
        self.lacks_worker = False
        self.was_ready = False
        """True once it has been ready; from then on it handles signals."""
        self.wants_replacement = False
        self.beat_at: float | None = None
        """The time of its last heartbeat (by the clock); None for a process of a release that sends none."""
        self.restart_reason = Reason.DIED
        """The reason to count when it ends."""
        self.deadline: float | None = None
        """The time to kill it (by the clock), once it was asked to stop."""

    def listen(self) -> None:
        """Read from its socket, which is readable."""
        with contextlib.suppress(OSError):
            messages = self.link.recv(64)
            last = max(map(messages.rfind, (link.READY, link.NO_WORKER, link.NOT_READY)))
            if last >= 0:
                self.lacks_worker = messages[last : last + 1] == link.NO_WORKER
                self.is_ready = messages[last : last + 1] != link.NOT_READY
                self.was_ready = self.was_ready or self.is_ready
            self.wants_replacement = self.wants_replacement or link.REPLACE in messages
            if link.BEAT in messages:
                self.beat_at = self._clock()
            if messages:
                return
        self.link.close()

    def stop(self, grace: float, *, is_replaced: bool = False) -> None:
        """Ask it to finish what it has taken, and to end within `grace` seconds. A later call may shorten the time."""
        deadline = self._clock() + grace + _KILL_AFTER
        self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)
        # Not `close` alone: a process that a consumer forked holds the socket too.
        with contextlib.suppress(OSError):
            if is_replaced:
                self.link.send(link.REPLACED)
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()

    def kill(self, reason: Reason = Reason.DIED) -> None:
        """Kill it."""
        self.restart_reason = reason
        self._popen.kill()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def close(self) -> None:
        """Close what is left of it after its end."""
        self.link.close()

    @property
    def silence(self) -> float:
        """Seconds since its last heartbeat; 0 before its work has begun, and of a release that sends none."""
        return self._clock() - self.beat_at if self.was_ready and self.beat_at is not None else 0.0

    @property
    def is_stuck(self) -> bool:
        """True if it hangs."""
        return self.silence > STUCK_AFTER

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._popen.poll()

    @property
    def died_at_once(self) -> bool:
        """True if it failed too soon to be replaced without a pause."""
        return self.status != 0 and self._clock() - self.started < _YOUNG


P = TypeVar("P", bound=Process)


class Slot(Generic[P]):
    """A slot for one process: the current one, its successor, and when the next one may start."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.process: P | None = None
        self.successor: P | None = None
        self.is_outdated = False
        """True if the current process runs old code."""
        self.due = 0.0
        self._pause = _BACKOFF[0]

    @property
    def needs_successor(self) -> bool:
        """True if the current process is to be replaced."""
        return self.process is not None and (self.is_outdated or self.process.wants_replacement)

    def clear(self, process: P) -> None:
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

    def promote(self) -> P | None:
        """Make the successor the current process; return its predecessor."""
        predecessor, self.process, self.successor = self.process, self.successor, None
        self.is_outdated = False
        return predecessor
