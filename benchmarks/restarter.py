"""Runs a server that cannot replace itself: on SIGHUP it is stopped with SIGTERM and started again.

`python -m benchmarks.restarter MODULE ARGUMENT …` runs `python -m MODULE ARGUMENT …`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any


class Restarter:
    """Starts the server whenever it has ended."""

    def __init__(self, arguments: list[str]) -> None:
        self._command = [sys.executable, "-m", *arguments]
        self._server: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Run forever."""
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGTERM, self._on_stop)
        while True:
            self._server = subprocess.Popen(self._command)
            self._server.wait()

    def _on_hangup(self, number: int, frame: Any) -> None:
        if self._server is not None:
            self._server.terminate()

    def _on_stop(self, number: int, frame: Any) -> None:
        if self._server is not None:
            self._server.kill()
        os._exit(0)


if __name__ == "__main__":
    Restarter(sys.argv[1:]).run()
