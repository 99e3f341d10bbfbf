"""The supervisor as seen by one of its processes: a socket, and further descriptors that the process was given.

The process sends `READY` when it is about to do its work, `NOT_READY` while it cannot, `REPLACE` to ask for a
replacement, and once a second `BEAT`, to show that it runs. It stops gracefully when the socket is closed: by the
supervisor, or because the supervisor died. A supervisor that stops it because its successor serves sends `REPLACED`
before.

Nothing waits for the socket: the supervisor may hang, and what is sent comes from an event loop. A message that
finds the socket full is dropped, which loses nothing, since each heartbeat repeats the state.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence

from channels_classic._systemd import VARIABLES

_MARK = "CHANNELS_CLASSIC_PROCESS"
_SUCCESSOR = "CHANNELS_CLASSIC_SUCCESSOR"

READY = b"r"
NOT_READY = b"n"
NO_WORKER = b"w"
REPLACE = b"x"
BEAT = b"."
"""Supervisors of releases without heartbeats ignore it."""
REPLACED = b"s"
"""Processes of releases without it ignore it."""

BEAT_INTERVAL = 1.0
"""Seconds between two heartbeats of a process."""


def mark(descriptors: Sequence[int], *, is_successor: bool) -> dict[str, str]:
    """Return the environment for a process that inherits these descriptors; the first is its socket."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**environment, _MARK: ",".join(map(str, descriptors)), **({_SUCCESSOR: "1"} if is_successor else {})}


class SupervisorLink:
    """The link of a process to its supervisor."""

    def __init__(self, link: int, descriptors: Sequence[int]) -> None:
        for descriptor in (link, *descriptors):
            os.set_inheritable(descriptor, False)  # not for processes that this one starts
        self._link = socket.socket(fileno=link)
        self.descriptors = descriptors
        """The descriptors that the supervisor passed: a table of messages, or listening sockets."""
        self.is_successor = os.environ.pop(_SUCCESSOR, None) is not None
        """True if another process works until this one is ready."""
        self.is_replaced = False
        """True at the end if a successor serves."""
        self._state = b""
        self._request = b""
        self._beat_due = 0.0

    @classmethod
    def of_this_process(cls) -> SupervisorLink | None:
        """Return the link to the supervisor that started this process, if any. Removes the environment variable."""
        descriptors = os.environ.pop(_MARK, None)
        if descriptors is None:
            return None
        # A signal for the whole service reaches the supervisor too, which handles it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        link, *others = map(int, descriptors.split(","))
        return cls(link, others)

    def is_ready(self) -> None:
        """Report that the process does its work from now on."""
        self._report(READY)

    def is_not_ready(self) -> None:
        """Report that the process has lost the channel layer."""
        self._report(NOT_READY)

    def has_no_worker(self) -> None:
        """Report that an interface server is ready but for a worker."""
        self._report(NO_WORKER)

    def ask_for_replacement(self) -> None:
        """Ask for another process in the place of this one, which continues until then."""
        self._request = REPLACE
        self._send(REPLACE)

    def beat(self) -> float:
        """Show that the process runs, if that is due; return the seconds until the next time."""
        now = time.monotonic()
        if now >= self._beat_due:
            self._beat_due = now + BEAT_INTERVAL
            self._send(self._state + self._request + BEAT)
        return self._beat_due - now

    def call_at_end(self, stop: Callable[[], object]) -> None:
        """Call `stop`, in a thread, when the supervisor closes the socket or dies."""

        def wait() -> None:
            with contextlib.suppress(OSError):
                while received := self._link.recv(1024):
                    self.is_replaced = REPLACED in received
            stop()

        threading.Thread(target=wait, name="supervisor-link", daemon=True).start()

    def _report(self, state: bytes) -> None:
        self._state = state
        self._send(state + BEAT)  # from now on silence shows, even if it hangs before its first heartbeat is due

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # full; or the supervisor died, which the other thread notices
            self._link.send(message, socket.MSG_DONTWAIT)
