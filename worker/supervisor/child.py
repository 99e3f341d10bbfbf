"""The supervisor as the worker process below it sees it: a socket and a ledger, named by an environment variable.

The process says `READY` when it is about to take its first message and `REPLACE` when it wants another one in its
place. It stops in order when the socket is closed: by the supervisor, or because the supervisor is gone, however that
came.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..inflight import InFlightTable

if TYPE_CHECKING:
    from ..worker import Worker

_MARK = "CHANNELS_CLASSIC_WORKER_PROCESS"

READY = b"r"
REPLACE = b"x"


def mark(descriptors: Sequence[int]) -> dict[str, str]:
    """The environment of a process that is to use these: a socket, and the memory of a ledger."""
    return {**os.environ, _MARK: ",".join(map(str, descriptors))}


class SupervisorLink:
    """What a supervised process tells its supervisor, and hears from it."""

    def __init__(self, link: int, memory: int) -> None:
        for descriptor in (link, memory):
            os.set_inheritable(descriptor, False)  # what consumers start is none of ours
        self._link = socket.socket(fileno=link)
        self.table = InFlightTable(memory)

    @classmethod
    def of_this_process(cls) -> SupervisorLink | None:
        """The supervisor that started this process, if one did; asked once: what it starts itself bears no mark."""
        descriptors = os.environ.pop(_MARK, None)
        if descriptors is None:
            return None
        # Signals for a whole service reach the supervisor too, and it is the one to act.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        link, memory = map(int, descriptors.split(","))
        return cls(link, memory)

    def is_ready(self) -> None:
        """From now on messages are taken."""
        self._send(READY)

    def ask_for_replacement(self) -> None:
        """Go on, but please put another process in the place of this one."""
        self._send(REPLACE)

    def stop_with(self, worker: Worker) -> None:
        """Let `worker` stop when the supervisor says so, or is gone."""

        def wait() -> None:
            with contextlib.suppress(OSError):
                while self._link.recv(1024):
                    pass
            worker.stop_gracefully()

        threading.Thread(target=wait, name="worker-parent", daemon=True).start()

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone, which the other thread notices
            self._link.sendall(message)
