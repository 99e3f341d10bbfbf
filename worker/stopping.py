"""How a worker process stops: the first signal asks, the second insists, and time is limited.

A signal handler may run in the middle of anything, so it only puts the signal's number into a queue that is made for
that (`queue.SimpleQueue` is reentrant); a thread does the rest.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Protocol

logger = logging.getLogger("django.channels")

_AGAIN = 0.1
"""Seconds between attempts to wake a worker: one may have come just before it began to wait."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stoppable(Protocol):
    """What a stopper needs of a worker."""

    grace: float

    def stop(self) -> None:
        """Begin to stop."""

    def wake(self) -> None:
        """Wake up."""

    def sigterm_handler(self, signo: int, stack_frame: FrameType | None) -> None:
        """Take a signal."""


class Stopper:
    """Stops one worker, or one group of them, when a signal says so."""

    def __init__(self, worker: Stoppable) -> None:
        self._worker = worker
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._previous: dict[int, Any] = {}
        self._over = threading.Event()

    def install(self) -> None:
        """Catch the signals; nothing happens outside the main thread, where Python catches none."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous.setdefault(number, signal.signal(number, self._worker.sigterm_handler))

    def signalled(self, number: int) -> None:
        """Take note of a signal, or, with 0, of another request to stop. Safe in a signal handler."""
        self._signals.put(number)

    @contextlib.contextmanager
    def attending(self, install: bool) -> Iterator[None]:
        """Inside the block the worker runs, and signals stop it."""
        self._over.clear()
        if install:
            self.install()
        thread = threading.Thread(target=self._attend, name="worker-stopper", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._signals.put(0)
            thread.join()
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _attend(self) -> None:
        asked = self._signals.get()
        if self._over.is_set():
            return
        logger.info("%s: finishing what was taken.", signal.Signals(asked).name if asked else "Stopping")
        deadline = time.monotonic() + self._worker.grace
        self._worker.stop()
        while not self._over.is_set():
            self._worker.wake()
            if time.monotonic() >= deadline:
                logger.error(
                    "Consumers still run after %g seconds of grace: their messages are lost.", self._worker.grace
                )
                _exit(1)
            with contextlib.suppress(queue.Empty):
                again = self._signals.get(timeout=_AGAIN)
                if asked and again:
                    logger.error("%s again: stopping at once.", signal.Signals(again).name)
                    _exit(128 + again)
                asked = asked or again


def _exit(status: int) -> None:
    logging.shutdown()
    os._exit(status)
