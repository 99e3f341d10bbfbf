"""The supervisor of interface server processes, which all accept from the same listening sockets.

It binds the sockets once and passes them on, so that no client meets a closed port while processes come and go: what
waits in the accept queue of one socket is taken by whichever process accepts.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from channels_classic._supervisor.process import Process
from channels_classic._supervisor.supervisor import Supervisor

from .listen import move_from_standard_streams

logger = logging.getLogger("channels_classic.interface_server")


class InterfaceSupervisor(Supervisor[Process]):
    """Keeps interface server processes running on `sockets`."""

    name, names = "Interface server process", "interface server processes"

    def __init__(self, sockets: Sequence[socket.socket], processes: int, grace: float, **options: Any) -> None:
        super().__init__(logger, processes, grace, **options)
        self._sockets = [move_from_standard_streams(listener) for listener in sockets]

    def _start(self, *, is_successor: bool = False) -> Process:
        descriptors = [listener.fileno() for listener in self._sockets]
        return Process(self._command, descriptors, self._clock, is_successor=is_successor)

    def _stopped(self) -> None:
        """Close the sockets here too: a client that connects while nobody accepts any more would hang."""
        for listener in self._sockets:
            listener.close()

    def _insist(self, number: int) -> int | None:
        """Let the processes end at once: they cut their connections off, and return."""
        if not self._stopping:
            self._stop(number)
        for process in self._processes():
            process.signal(signal.SIGQUIT)
        return None

    def _stop(self, number: int) -> None:
        for process in self._leaving:
            process.signal(signal.SIGTERM)  # its link is closed: from now on its drain must not take longer
        super()._stop(number)

    _on_signal: ClassVar[dict[int, Callable[..., int | None]]] = {
        **Supervisor._on_signal,
        signal.SIGTERM: _stop,
        signal.SIGINT: _stop,
        signal.SIGQUIT: _insist,
    }
