"""Reports to the layer what a worker process does, from a thread: consumers may keep all others busy."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter

from channels_classic.exceptions import ChannelsError
from channels_classic.layers.programs import ANNOUNCE_INTERVAL, ProgramAnnouncer, WorkerFacts
from channels_classic.layers.steps import Announce

from .runtime import Runtime

logger = logging.getLogger("channels_classic.worker")

_STOP_TIMEOUT = 1.0
"""Most seconds that a stop waits until the layer knows that the worker ends."""


class StatusReporter:
    """Reports for a worker of `threads` threads until `stop`. `has_supervisor`: it is one process of several."""

    def __init__(self, runtime: Runtime, threads: int, has_supervisor: bool) -> None:
        self._runtime = runtime
        self._worker_threads = threads
        self._parent = os.getppid() if has_supervisor else os.getpid()
        self._announcer = ProgramAnnouncer()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker-status", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Report that the worker ends."""
        self._stopped.set()
        self._thread.join(_STOP_TIMEOUT)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._send(self._announcement())
            self._stopped.wait(ANNOUNCE_INTERVAL)
        self._send(self._announcer.withdraw())

    def _announcement(self) -> Announce:
        in_threads, in_coroutines = self._runtime.running()
        return self._announcer.announce(
            WorkerFacts,
            parent=self._parent,
            threads=self._worker_threads,
            busy=len(in_threads),
            coroutines=len(in_coroutines),
            consumed=self._runtime.consumed,
            channels=sorted(self._runtime.channels),
            routing=routing if isinstance(routing := self._runtime.context.wrapper.routing, str) else "",
            running=dict(Counter([*in_threads, *in_coroutines])),
        )

    def _send(self, step: Announce) -> None:
        """Write an announcement; if the layer does not accept it, the next one replaces it."""
        try:
            self._runtime.context.layer.run([step])
        except ChannelsError as error:
            logger.debug("The worker could not announce itself: %s", error)
        except Exception:
            logger.exception("The worker could not announce itself.")
