"""The worker and the group of workers, with the names and attributes of Channels 1.1.8.

In comes a layer with its routing; `run` consumes its messages until somebody says stop. What happens to one message is
the loop's business, in `channels_classic.worker.loop`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

from django.db import connections

from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.exceptions import InvalidChannelLayerError
from channels_classic.layers.names import check_receivable
from channels_classic.message import Message
from channels_classic.signals import worker_ready
from channels_classic.worker.config import WorkerConfig
from channels_classic.worker.doorbell import STOP_SIGNALS
from channels_classic.worker.loop import Loop
from channels_classic.worker.monitor import Monitor
from channels_classic.worker.pipeline import Outage
from channels_classic.worker.stopping import Stopper

logger = logging.getLogger("django.channels")

Callback = Callable[[str, Message], object]

_DEFAULTS = WorkerConfig()

_RESTART_PAUSE = 1.0
"""Seconds (at most) before a loop that failed by a fault of its own or of the layer's is started again."""


class Worker:
    """Consumes the messages of a layer in the calling thread.

    `channel_layer` is a layer with its routing, as `channel_layers[alias]` gives it. `callback(channel, message)` is
    called before each consumer. A message whose consumer raises `ConsumeLater` is put back at most `message_retries`
    times. `only_channels` and `exclude_channels` are globs. `termed` ends `run` before the next message is taken,
    `in_job` tells that a consumer runs. `prefetch` and `grace` are described in `WorkerConfig`.
    """

    prefetch = _DEFAULTS.prefetch
    grace = _DEFAULTS.grace

    def __init__(
        self,
        channel_layer: ChannelLayerWrapper | None,
        callback: Callback | None = None,
        message_retries: int = 10,
        signal_handlers: bool = True,
        only_channels: Sequence[str] | None = None,
        exclude_channels: Sequence[str] | None = None,
    ) -> None:
        self.channel_layer: Any = channel_layer
        self.callback = callback
        self.message_retries = message_retries
        self.signal_handlers = signal_handlers
        self.only_channels = only_channels
        self.exclude_channels = exclude_channels
        self.termed = False
        self.in_job = False
        self._loop: Loop | None = None
        self._stopper = Stopper(self)

    def install_signal_handler(self) -> None:
        """Let SIGTERM and SIGINT call `sigterm_handler`. While `run` runs it catches them itself, and sooner."""
        for number in STOP_SIGNALS:
            signal.signal(number, self.sigterm_handler)

    def sigterm_handler(self, signo: int, stack_frame: FrameType | None) -> None:
        """Do what SIGTERM and SIGINT do when `signal_handlers` is set: the first one asks, the second insists."""
        self._stopper.request(signo)

    def apply_channel_filters(self, channels: Iterable[str]) -> list[str]:
        """The channels that match `only_channels`, if given, and not `exclude_channels`; in the same order."""
        found = list(channels)
        if self.only_channels:
            found = [name for name in found if _matches(name, self.only_channels)]
        if self.exclude_channels:
            found = [name for name in found if not _matches(name, self.exclude_channels)]
        return found

    def ready(self) -> None:
        """Send the signal `worker_ready`."""
        worker_ready.send(sender=self)

    def run(self) -> None:
        """Consume until `termed`; may be called again afterwards.

        Raises `InvalidChannelName` when the routing names a channel that cannot be one, `InvalidChannelLayerError` when
        the layer can never be reached as it is configured. Nothing else ends it: not what consumers do, and not a layer
        that is away.
        """
        channels = [check_receivable(name) for name in self.apply_channel_filters(self.channel_layer.router.channels)]
        with self._stopper.attending(self.signal_handlers):
            logger.info("Listening on channels %s", ", ".join(sorted(channels)))
            outage = Outage()
            monitor = Monitor(self.channel_layer.channel_layer, outage)
            monitor.start()
            try:
                self._run_threads(channels, monitor, outage)
            finally:
                monitor.stop()

    def stop(self) -> None:
        """From any thread: take nothing more, finish what was taken, return from `run`."""
        self.termed = True
        self.wake()

    def stop_gracefully(self) -> None:
        """From any thread: stop as the first SIGTERM does, with `grace` seconds for consumers that run."""
        self._stopper.request(0)

    def wake(self) -> None:
        """From any thread: look at `termed` now, also when no message comes."""
        loop = self._loop
        if loop is not None:
            loop.stop()

    def _run_threads(self, channels: Sequence[str], monitor: Monitor, outage: Outage) -> None:
        self._run_loop(channels, monitor, outage)

    def _run_thread(self, channels: Sequence[str], monitor: Monitor, outage: Outage) -> None:
        try:
            # The calling thread runs into the same and raises it.
            with contextlib.suppress(InvalidChannelLayerError):
                self._run_loop(channels, monitor, outage)
        finally:
            connections.close_all()  # they are the thread's own, and it ends

    def _run_loop(self, channels: Sequence[str], monitor: Monitor, outage: Outage) -> None:
        while True:
            self._loop = Loop(self, channels, monitor, outage)
            try:
                return self._loop.run()
            except InvalidChannelLayerError:
                raise
            except Exception:
                logger.exception("The loop of the worker failed; it starts again.")
                time.sleep(_RESTART_PAUSE * random.random())
            finally:
                self._loop = None


class WorkerGroup(Worker):
    """A worker in the calling thread and `n_threads - 1` more, in `workers`, each in a thread of its own."""

    def __init__(self, *args: Any, n_threads: int | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kwargs["signal_handlers"] = False
        number = multiprocessing.cpu_count() if n_threads is None else n_threads
        self.workers = [Worker(*args, **kwargs) for _ in range(number - 1)]
        self.threads: list[threading.Thread] = []

    def ready(self) -> None:
        """Send the signal `worker_ready` for every worker."""
        super().ready()
        for worker in self.workers:
            worker.ready()

    def stop(self) -> None:
        """From any thread: stop all workers."""
        for worker in self.workers:
            worker.stop()
        super().stop()

    def wake(self) -> None:
        """From any thread: wake all workers."""
        for worker in self.workers:
            worker.wake()
        super().wake()

    def _run_threads(self, channels: Sequence[str], monitor: Monitor, outage: Outage) -> None:
        self.threads = []
        for worker in self.workers:
            worker.termed = False
            worker.prefetch = self.prefetch
            thread = threading.Thread(target=worker._run_thread, args=(channels, monitor, outage), daemon=True)
            self.threads.append(thread)
            thread.start()
        try:
            self._run_loop(channels, monitor, outage)
        finally:
            for worker in self.workers:
                worker.stop()
            for thread in self.threads:
                thread.join()


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
