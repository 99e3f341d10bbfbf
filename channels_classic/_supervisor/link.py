"""The supervisor as seen by one of its processes: a socket, and further descriptors that the process was given.

The process sends `READY` when it is about to do its work, `NOT_READY` while it cannot, and `REPLACE` to ask for a
replacement. It stops gracefully when the socket is closed: by the supervisor, or because the supervisor died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence

from channels_classic._systemd import VARIABLES

_MARK = "CHANNELS_CLASSIC_PROCESS"

READY = b"r"
NOT_READY = b"n"
NO_WORKER = b"w"
REPLACE = b"x"


def mark(descriptors: Sequence[int]) -> dict[str, str]:
    """Return the environment for a process that is given these descriptors, of which the first is its socket."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**environment, _MARK: ",".join(map(str, descriptors))}


class SupervisorLink:
    """The link of a process to its supervisor."""

    def __init__(self, link: int, descriptors: Sequence[int]) -> None:
        for descriptor in (link, *descriptors):
            os.set_inheritable(descriptor, False)  # not for processes that this one starts
        self._link = socket.socket(fileno=link)
        self.descriptors = descriptors
        """The descriptors that the supervisor passed: a table of messages, or listening sockets."""

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
        self._send(READY)

    def is_not_ready(self) -> None:
        """Report that the process has lost the channel layer."""
        self._send(NOT_READY)

    def has_no_worker(self) -> None:
        """Report that an interface server is ready but for a worker."""
        self._send(NO_WORKER)

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

        threading.Thread(target=wait, name="supervisor-link", daemon=True).start()

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # the supervisor died, which the other thread notices
            self._link.sendall(message)
