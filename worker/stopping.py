"""How a worker stops: the first signal asks, the second insists, and time is limited.

A thread waits for signals, so that they count even while the main thread is deep in a consumer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Protocol

from channels_classic.worker.doorbell import Doorbell

logger = logging.getLogger("django.channels")

_AGAIN = 0.1
"""Seconds between attempts to wake a worker: one may have come just before it began to wait."""


class Stoppable(Protocol):
    """What a stopper needs of a worker."""

    grace: float

    def stop(self) -> None:
        """Begin to stop."""

    def wake(self) -> None:
        """Wake up."""


class Stopper:
    """Stops one worker, or one group of them, when a signal says so."""

    def __init__(self, worker: Stoppable) -> None:
        self._worker = worker
        self._doorbell: Doorbell | None = None
        self._over = threading.Event()

    def request(self, number: int) -> None:
        """Ask the worker to stop, as the signal `number` does; 0 stands for none, and never insists."""
        doorbell = self._doorbell
        if doorbell is None:
            self._worker.stop()
        else:
            doorbell.ring(number)

    @contextlib.contextmanager
    def attending(self, signals: bool) -> Iterator[None]:
        """Inside the block the worker runs, and can be asked to stop, with `signals` also by signals."""
        self._over.clear()
        self._doorbell = doorbell = Doorbell()
        thread = threading.Thread(target=self._attend, args=(doorbell,), name="worker-stopper", daemon=True)
        thread.start()
        try:
            with doorbell.catching() if signals else contextlib.nullcontext():
                yield
        finally:
            self._over.set()
            self._doorbell = None
            doorbell.ring()
            thread.join()
            doorbell.close()

    def _attend(self, doorbell: Doorbell) -> None:
        asked = doorbell.wait()
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
            again = doorbell.wait(_AGAIN)
            if asked and again:
                logger.error("%s again: stopping at once.", signal.Signals(again).name)
                _exit(128 + again)
            asked = asked or again


def _exit(status: int) -> None:
    logging.shutdown()
    os._exit(status)
