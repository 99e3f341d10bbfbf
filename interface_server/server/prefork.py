"""Several processes that serve the same sockets: the parent binds them, forks, and replaces children that die.

Children stop when a pipe held by the parent closes, so they also end if the parent is killed. An init system that
sends SIGTERM to the whole process group does not count as the second signal, which forces the exit.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

logger = logging.getLogger("channels_classic.interface_server")

RESTART_INTERVAL = 1.0
"""Seconds a child must have lived to be replaced without a pause."""


class Prefork:
    """Forks `count` children that run `serve` until `stop` is called in them.

    Neither callable may have started threads or an event loop before the fork.
    """

    def __init__(self, count: int, serve: Callable[[], None], stop: Callable[[], None]) -> None:
        self._count = count
        self._serve = serve
        self._stop = stop
        self._started_at: dict[int, float] = {}
        self._stopping = False
        self._pipe_end, self._pipe_hold = os.pipe()

    def run(self) -> None:
        """Run the children; returns when all have ended after the first SIGTERM or Ctrl-C."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self._pass_on)
        for _ in range(self._count):
            self._start()
        while self._started_at:
            pid, status = os.waitpid(-1, 0)
            started_at = self._started_at.pop(pid, 0.0)
            if self._stopping:
                continue
            logger.error("The interface server process %d ended with status %d and is replaced.", pid, status)
            if time.monotonic() - started_at < RESTART_INTERVAL:
                time.sleep(RESTART_INTERVAL)
            self._start()

    def _on_signal(self, number: int, frame: Any) -> None:
        if not self._stopping:
            self._stopping = True
            os.close(self._pipe_hold)
            return
        self._pass_on(signal.SIGQUIT, frame)

    def _pass_on(self, number: int, frame: Any) -> None:
        for pid in list(self._started_at):
            with suppress(ProcessLookupError):  # `run` has just waited for it
                os.kill(pid, number)

    def _start(self) -> None:
        if self._stopping:
            return
        # A signal between the fork and the child's own handlers would run those of the parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        pid = os.fork()
        if not pid:
            self._run_child()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        self._started_at[pid] = time.monotonic()

    def _run_child(self) -> None:
        status = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
            os.close(self._pipe_hold)
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
            os._exit(status)  # the rest of the program is the parent's

    def _wait_for_parent(self) -> None:
        os.read(self._pipe_end, 1)
        self._stop()
