"""Several processes that serve the same sockets: one parent that listens, does nothing else, and replaces what dies.

The children are stopped by the end of a pipe that the parent holds, so they also end when the parent is killed; and a
SIGTERM that an init system sends to everybody is not the second one, which insists.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds a process must have lived to be replaced at once."""


class Prefork:
    """`count` children that each `serve`, until `stop` is called there. Neither must have begun anything before."""

    def __init__(self, count: int, serve: Callable[[], None], stop: Callable[[], None]) -> None:
        self._count = count
        self._serve = serve
        self._stop = stop
        self._born: dict[int, float] = {}
        self._stopping = False
        self._life, self._hold = os.pipe()

    def run(self) -> None:
        """Return when all have ended, after the first SIGTERM or Ctrl-C."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for _ in range(self._count):
            self._start()
        while self._born:
            pid, status = os.waitpid(-1, 0)
            born = self._born.pop(pid, 0.0)
            if self._stopping:
                continue
            logger.error("The interface server process %d ended with status %d and is replaced.", pid, status)
            if time.monotonic() - born < PAUSE:
                time.sleep(PAUSE)
            self._start()

    def _on_signal(self, number: int, frame: Any) -> None:
        if not self._stopping:
            self._stopping = True
            os.close(self._hold)
            return
        for pid in self._born:
            os.kill(pid, signal.SIGQUIT)

    def _start(self) -> None:
        if self._stopping:
            return
        pid = os.fork()
        if not pid:
            self._be_child()
        self._born[pid] = time.monotonic()

    def _be_child(self) -> None:
        status = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.close(self._hold)
            threading.Thread(target=self._wait_for_parent, name="interface-parent", daemon=True).start()
            self._serve()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            logger.exception("An interface server process failed")
        finally:
            logging.shutdown()
            sys.stdout.flush()
            os._exit(status)  # what follows in the program is for the parent

    def _wait_for_parent(self) -> None:
        os.read(self._life, 1)
        self._stop()
