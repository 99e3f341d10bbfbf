"""The supervisor as seen by a worker process: a socket and an in-flight table, named by an environment variable.

The process sends `READY` when it is about to take its first message and `REPLACE` to ask for a replacement. It stops
gracefully when the socket is closed: by the supervisor, or because the supervisor died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence

from ..inflight import InFlightTable

_MARK = "CHANNELS_CLASSIC_WORKER_PROCESS"

READY = b"r"
REPLACE = b"x"


def mark(descriptors: Sequence[int]) -> dict[str, str]:
    """Return the environment for a process that uses these descriptors: a socket, and the memory of a table."""
    return {**os.environ, _MARK: ",".join(map(str, descriptors))}


class SupervisorLink:
    """The link of a worker process to its supervisor."""

    def __init__(self, link: int, memory: int) -> None:
        for descriptor in (link, memory):
            os.set_inheritable(descriptor, False)  # not for processes that consumers start
        self._link = socket.socket(fileno=link)
        self.table = InFlightTable(memory)

    @classmethod
    def of_this_process(cls) -> SupervisorLink | None:
        """Return the link to the supervisor that started this process, if any. Removes the environment variable."""
        descriptors = os.environ.pop(_MARK, None)
        if descriptors is None:
            return None
        # A signal for the whole service reaches the supervisor too, which handles it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        link, memory = map(int, descriptors.split(","))
        return cls(link, memory)

    def is_ready(self) -> None:
        """Report that messages are taken from now on."""
        self._send(READY)

    def ask_for_replacement(self) -> None:
        """Ask for another process in the place of this one, which continues until then."""
        self._send(REPLACE)

    def call_at_end(self, stop: Callable[[], object]) -> None:
        """Call `stop`, in a thread, when the supervisor closes the socket or dies."""

        def wait() -> None:
            with contextlib.suppress(OSError):
                while self._link.recv(1024):
                    pass
            stop()

        threading.Thread(target=wait, name="worker-supervisor-link", daemon=True).start()

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # the supervisor died, which the other thread notices
            self._link.sendall(message)
