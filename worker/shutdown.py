"""Stops a worker: the first signal finishes what was taken, the second or SIGQUIT ends the process at once.

The time to finish is limited.

A thread of its own waits for signals, so that they take effect while the main thread runs a consumer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

from channels_classic._supervisor.signal_pipe import STOP_SIGNALS, SignalPipe, end_at_once
from channels_classic._systemd import Notifier, WatchdogTimer

logger = logging.getLogger("channels_classic.worker")

_AGAIN = 0.1
"""Seconds between attempts to wake a worker: an attempt may come just before it begins to wait."""


class Stoppable(Protocol):
    """The part of a worker that `Shutdown` uses."""

    grace: float
    is_renewable: bool
    notifier: Notifier
    to_be_replaced: bool
    beat: Callable[[], float | None]

    def stop(self) -> None:
        """Take no more messages."""

    def wake(self) -> None:
        """End a blocking take."""

    def log_statistics(self) -> None:
        """Log what was consumed."""

    def report_end(self) -> None:
        """Let the layer know that the process ends."""

    def is_stuck(self) -> bool:
        """Return whether only consumers that timed out still run."""


class Shutdown:
    """Stops one worker, or one group of workers, when a signal or another thread asks for it."""

    def __init__(self, worker: Stoppable) -> None:
        self._worker = worker
        self._signal_pipe: SignalPipe | None = None
        self._over = threading.Event()
        self._terminal = False

    def request(self, number: int) -> None:
        """Ask the worker to stop, as the signal `number` does; 0 is not a signal and never ends the process."""
        signal_pipe = self._signal_pipe
        if signal_pipe is None:
            self._worker.stop()
        else:
            signal_pipe.notify(number)

    @contextlib.contextmanager
    def accepting_requests(self, signals: bool) -> Iterator[None]:
        """Inside the block the worker runs and can be asked to stop, with `signals` also by signals."""
        self._over.clear()
        self._terminal = os.isatty(0)
        self._signal_pipe = signal_pipe = SignalPipe()
        thread = threading.Thread(target=self._wait_and_stop, args=(signal_pipe,), name="worker-stopper", daemon=True)
        thread.start()
        others = [signal.SIGUSR1, signal.SIGQUIT, *([signal.SIGHUP] if self._worker.is_renewable else [])]
        try:
            with signal_pipe.catching(others) if signals else contextlib.nullcontext():
                yield
        finally:
            self._over.set()
            self._signal_pipe = None
            signal_pipe.notify()
            thread.join()
            signal_pipe.close()

    def _wait_and_stop(self, signal_pipe: SignalPipe) -> None:
        asked = self._wait_for_request(signal_pipe)
        if self._over.is_set():
            return
        if asked == signal.SIGQUIT:
            end_at_once(asked, logger)
        if asked == signal.SIGHUP:
            # A terminal that is closed sends SIGHUP too; then no new worker is wanted.
            self._worker.to_be_replaced = not self._terminal or os.isatty(0)
        logger.info("%s: finishing the messages taken so far.", signal.Signals(asked).name if asked else "Stopping")
        if self._worker.to_be_replaced:
            self._worker.notifier.reloading()
        else:
            self._worker.notifier.stopping()
        heartbeat = WatchdogTimer(self._worker.notifier)
        deadline = time.monotonic() + self._worker.grace
        self._worker.stop()
        while not self._over.is_set():
            self._worker.wake()
            heartbeat.tick()
            self._worker.beat()
            if self._worker.is_stuck():
                logger.error("Only consumers that timed out are still running: ending the process.")
                self._end(1)
            if time.monotonic() >= deadline:
                logger.error(
                    "Consumers are still running after the grace period of %g s: their messages are lost.",
                    self._worker.grace,
                )
                self._end(1)
            again = signal_pipe.wait(_AGAIN)
            if again == signal.SIGUSR1:
                self._worker.log_statistics()
            if again == signal.SIGQUIT or (again in STOP_SIGNALS and asked in STOP_SIGNALS):
                end_at_once(again, logger)
            if again in STOP_SIGNALS:
                asked = again
                self._worker.to_be_replaced = False

    def _wait_for_request(self, signal_pipe: SignalPipe) -> int:
        """Wait until the worker is to stop; return the signal, or 0. Meanwhile send heartbeats."""
        heartbeat = WatchdogTimer(self._worker.notifier)
        while True:
            times = [heartbeat.tick(), self._worker.beat()]
            asked = signal_pipe.wait(min((seconds for seconds in times if seconds is not None), default=None))
            if asked == signal.SIGUSR1:
                self._worker.log_statistics()
            elif asked is not None:
                return asked

    def _end(self, status: int) -> None:
        self._worker.report_end()
        if self._worker.to_be_replaced:
            renew()
        logging.shutdown()
        os._exit(status)


def renew() -> NoReturn:
    """Replace this process by a new run of its command line, with fresh code."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # the command line that started this process
